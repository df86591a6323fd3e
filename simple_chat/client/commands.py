"""The commands that a user may type at the prompt or write into a pipe.

Pure.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from os.path import commonprefix

from simple_chat.core.commands import Help, History, Leave, Msg, Who

HELP = (
    "send <MSG>   send a message to everybody else",
    "who          list the members",
    "history [n]  show the last messages",
    "leave        leave the room and exit",
    "help         show this list",
)
KEYWORDS = ("help", "history", "leave", "send", "who")


@dataclass(frozen=True, slots=True)
class InvalidInput:
    """Input that is not a command; `hint` says what to type instead."""

    hint: str


UserCommand = Msg | Leave | Who | History | Help | InvalidInput

_SPACE = re.compile(r"\s")  # any of Unicode's: input methods type others than that of ASCII
_WITHOUT_ARGUMENT: dict[str, UserCommand] = {"leave": Leave(), "who": Who(), "help": Help()}


def parse_input(line: str) -> UserCommand:
    """Parse one line, without its line end. A slash before the command, as in IRC, is ignored."""
    word, *rest = _SPACE.split(line.lstrip(), maxsplit=1)
    argument = "".join(rest)
    keyword = word.removeprefix("/").lower()
    if keyword == "send":
        return Msg(argument) if argument.strip() else InvalidInput("the message is missing: send <MSG>")
    if keyword == "history":
        return _parse_history(argument.strip())
    command = _WITHOUT_ARGUMENT.get(keyword)
    if command is None:
        return InvalidInput(
            f"there is no command {word!r}; to send a message: send <MSG>, for all commands: help"
        )
    if argument := argument.strip():
        return InvalidInput(f"{keyword} takes no argument: {argument!r}")
    return command


def parse_lines(text: str) -> list[UserCommand]:
    """Parse one line or several, as from a paste: each is a command, or all are text behind one ``send``."""
    lines = [line for line in text.split("\n") if line.strip()]
    commands = [parse_input(line) for line in lines]
    if commands and isinstance(commands[0], Msg) and any(isinstance(each, InvalidInput) for each in commands):
        return [commands[0], *map(Msg, lines[1:])]
    return commands


def _parse_history(argument: str) -> History | InvalidInput:
    if not argument:
        return History()
    if argument.isascii() and argument.isdigit() and len(argument) < 10:
        return History(int(argument))
    return InvalidInput(f"{argument!r} is not a number of messages: history [n]")


def complete(before: str, names: Iterable[str]) -> tuple[str, list[str]]:
    """Complete the word before the cursor: a keyword, or behind ``send`` a name.

    Args:
        before: the input up to the cursor.
        names: the names to choose from.

    Returns:
        What all candidates have in common and can be inserted, and the candidates.
    """
    word = _SPACE.split(before)[-1]
    is_first = word == before.lstrip()
    if not is_first and not isinstance(parse_input(f"{before}."), Msg):
        return "", []
    pool = names
    if is_first:
        word, pool = word.removeprefix("/"), KEYWORDS
    candidates = sorted(each for each in pool if each.lower().startswith(word.lower()))
    common = commonprefix([each.lower() for each in candidates])  # noqa: RUF071 - these are not paths
    insertion = candidates[0][len(word) : len(common)] if candidates else ""
    return insertion + " " if len(candidates) == 1 else insertion, candidates
