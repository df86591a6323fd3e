"""The commands: what a client may send.

A line is a verb and, after one space, its argument. `str()` of a command is its line without the line end;
`parse_command` parses it back.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from simple_chat.core.codes import Code
from simple_chat.core.text import is_name, sanitize
from simple_chat.errors import CommandError


@dataclass(frozen=True, slots=True)
class Join:
    """Enter the room under a name."""

    name: str

    def __str__(self) -> str:
        return f"JOIN {self.name}"


@dataclass(frozen=True, slots=True)
class Msg:
    """Send a message to all other members."""

    text: str

    def __str__(self) -> str:
        return f"MSG {self.text}"


@dataclass(frozen=True, slots=True)
class Leave:
    """Leave the room and stay connected."""

    def __str__(self) -> str:
        return "LEAVE"


@dataclass(frozen=True, slots=True)
class Who:
    """Ask who is in the room."""

    def __str__(self) -> str:
        return "WHO"


@dataclass(frozen=True, slots=True)
class History:
    """Ask for the room's last messages: at most `count` of them, or all that are kept."""

    count: int | None = None

    def __str__(self) -> str:
        return "HISTORY" if self.count is None else f"HISTORY {self.count}"


@dataclass(frozen=True, slots=True)
class Ping:
    """Ask for a `Pong`: the barrier."""

    token: str = ""

    def __str__(self) -> str:
        return join_words("PING", self.token)


@dataclass(frozen=True, slots=True)
class Help:
    """Ask for the list of commands."""

    def __str__(self) -> str:
        return "HELP"


@dataclass(frozen=True, slots=True)
class Pass:
    """Show the server's password."""

    secret: str = field(repr=False)

    def __str__(self) -> str:
        return f"PASS {self.secret}"


@dataclass(frozen=True, slots=True)
class Quit:
    """End the connection."""

    def __str__(self) -> str:
        return "QUIT"


Command = Join | Msg | Leave | Who | History | Ping | Help | Pass | Quit

USAGE = (
    "JOIN <name>   enter the room",
    "MSG <text>    say something to everybody else",
    "LEAVE         leave the room and stay connected",
    "WHO           who is here",
    "HISTORY [n]   the last messages",
    "PING [token]  answered when everything before it is done",
    "QUIT          end the connection",
)
"""What HELP answers, a line each."""


def parse_command(line: str) -> Command:
    """Parse a client's line.

    Args:
        line: without its line end.

    Raises:
        CommandError: unknown-command, bad-syntax, bad-name or empty-message.
    """
    verb, _, argument = line.partition(" ")
    parse = _PARSERS.get(verb)
    if parse is None and verb.isascii():  # upper() alone would take U+0131, the dotless i, for an I
        parse = _PARSERS.get(verb.upper())
    if parse is None:
        raise CommandError(Code.UNKNOWN_COMMAND)
    return parse(argument)


def _parse_join(argument: str) -> Join:
    name = require_argument(argument)
    if not is_name(name):
        raise CommandError(Code.BAD_NAME)
    return Join(name)


def _parse_msg(argument: str) -> Msg:
    if not argument:
        raise CommandError(Code.EMPTY_MESSAGE)
    return Msg(sanitize(argument))


def _parse_history(argument: str) -> History:
    if not argument:
        return History()
    if not (argument.isascii() and argument.isdigit()):
        raise CommandError(Code.BAD_SYNTAX)
    # Nobody keeps that many lines, and the time int() takes grows with the square of the digits.
    return History(int(argument) if len(argument) < 19 else None)


def _parse_ping(argument: str) -> Ping:
    return Ping(sanitize(argument))


def _parse_pass(argument: str) -> Pass:
    return Pass(require_argument(argument))


def require_argument(argument: str) -> str:
    """Return an argument.

    Raises:
        CommandError: bad-syntax, if it is empty.
    """
    if not argument:
        raise CommandError(Code.BAD_SYNTAX)
    return argument


def _without_argument(command: Command) -> Callable[[str], Command]:
    def read(argument: str) -> Command:
        if argument:
            raise CommandError(Code.BAD_SYNTAX)
        return command

    return read


_PARSERS: dict[str, Callable[[str], Command]] = {
    "MSG": _parse_msg,
    "JOIN": _parse_join,
    "LEAVE": _without_argument(Leave()),
    "WHO": _without_argument(Who()),
    "HISTORY": _parse_history,
    "PING": _parse_ping,
    "HELP": _without_argument(Help()),
    "PASS": _parse_pass,
    "QUIT": _without_argument(Quit()),
}


def join_words(verb: str, argument: str) -> str:
    """Return a line of a verb and its argument, if it has one."""
    return f"{verb} {argument}" if argument else verb
