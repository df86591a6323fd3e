"""What a user may type, at the prompt or into a pipe.

Pure. The words are the users', the commands are the protocol's.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from os.path import commonprefix

from simple_chat.core.protocol import Help, History, Leave, Msg, Who

HELP = (
    "send <MSG>   say something to everybody else",
    "who          who is here",
    "history [n]  the last messages",
    "leave        leave the room and end",
    "help         this list",
)
WORDS = ("help", "history", "leave", "send", "who")


@dataclass(frozen=True, slots=True)
class Hint:
    """What was typed can't be carried out; how it would be right."""

    text: str


Typed = Msg | Leave | Who | History | Help | Hint

_ALONE: dict[str, Typed] = {"leave": Leave(), "who": Who(), "help": Help()}


def read_typed(line: str) -> Typed:
    """Read what was typed.

    Args:
        line: one line, without its line end.
    """
    word, _, argument = line.lstrip().partition(" ")
    word = word.lower()
    if word == "send":
        return Msg(argument) if argument.strip() else Hint("say what to send: send <MSG>")
    if word == "history":
        return _read_history(argument.strip())
    alone = _ALONE.get(word)
    if alone is None:
        return Hint(f"there is no command {word!r}; to say something: send <MSG>, for all commands: help")
    return Hint(f"{word} stands alone") if argument.strip() else alone


def read_pasted(text: str) -> list[Typed]:
    """Read what was typed or pasted at once: commands, or a text of several lines behind one ``send``.

    Args:
        text: one line or more.
    """
    lines = [line for line in text.split("\n") if line.strip()]
    typed = [read_typed(line) for line in lines]
    if typed and isinstance(typed[0], Msg) and any(isinstance(each, Hint) for each in typed):
        return [typed[0], *map(Msg, lines[1:])]
    return typed


def _read_history(argument: str) -> History | Hint:
    if not argument:
        return History()
    if argument.isascii() and argument.isdigit() and len(argument) < 10:
        return History(int(argument))
    return Hint("say how many: history [n]")


def complete(before: str, names: Iterable[str]) -> tuple[str, list[str]]:
    """Complete the word before the cursor: a command, or behind ``send`` the name of somebody.

    Args:
        before: the typed line up to the cursor.
        names: who may be meant.

    Returns:
        What can be added for certain, and all the words that it could become.
    """
    word = before.rpartition(" ")[2]
    first = word == before.lstrip()
    if not first and not isinstance(read_typed(f"{before}."), Msg):
        return "", []
    found = sorted(each for each in (WORDS if first else names) if each.lower().startswith(word.lower()))
    certain = commonprefix([each.lower() for each in found])  # noqa: RUF071 - these are no paths
    addition = found[0][len(word) : len(certain)] if found else ""
    return addition + " " if len(found) == 1 else addition, found
