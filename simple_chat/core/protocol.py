"""The grammar: what a client and the server may say.

Pure. A line is a verb and, after one space, its argument. `str()` of a command or an event is its line as
it stands on the wire, without the line end; `parse_command` and `parse_event` read it back.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from simple_chat.core.text import is_name, sanitize
from simple_chat.errors import CommandError

VERSION = "simple_chat/1"
"""What the server calls the protocol in its first line."""


class Code(StrEnum):
    """Why a line or a connection is refused: the first word of an ``ERR``."""

    UNKNOWN_COMMAND = "unknown-command"
    BAD_SYNTAX = "bad-syntax"
    BAD_NAME = "bad-name"
    NAME_TAKEN = "name-taken"
    ALREADY_JOINED = "already-joined"
    NOT_JOINED = "not-joined"
    EMPTY_MESSAGE = "empty-message"
    LINE_TOO_LONG = "line-too-long"
    NOT_UTF8 = "not-utf8"
    INCOMPLETE_LINE = "incomplete-line"
    AUTH_REQUIRED = "auth-required"
    AUTH_FAILED = "auth-failed"
    TOO_MANY_CONNECTIONS = "too-many-connections"
    TOO_MANY_ERRORS = "too-many-errors"
    JOIN_TIMEOUT = "join-timeout"
    NOT_CHAT = "not-chat"
    BUSY = "busy"

    @property
    def advice(self) -> str:
        """What to do next, for people."""
        return _ADVICE[self]


_ADVICE = {
    Code.UNKNOWN_COMMAND: "no such command: MSG <text> says something, HELP lists all there is",
    Code.BAD_SYNTAX: "an argument is missing or out of place, HELP shows how it is written",
    Code.BAD_NAME: "a name is 1 to 32 of A-Z a-z 0-9 . _ - and begins with a letter or a digit",
    Code.NAME_TAKEN: "somebody here has that name, JOIN with another one",
    Code.ALREADY_JOINED: "you are in the room, LEAVE before you JOIN again",
    Code.NOT_JOINED: "JOIN <name> first",
    Code.EMPTY_MESSAGE: "write something after MSG and a space",
    Code.LINE_TOO_LONG: "the line was dropped, send shorter ones",
    Code.NOT_UTF8: "the line was dropped, send UTF-8",
    Code.INCOMPLETE_LINE: "the last line had no line end and was not carried out",
    Code.AUTH_REQUIRED: "there is a password here, PASS <secret> first",
    Code.AUTH_FAILED: "that is not the password",
    Code.TOO_MANY_CONNECTIONS: "there is no room for another connection, try again later",
    Code.TOO_MANY_ERRORS: "none of that was a command, HELP lists all there is",
    Code.JOIN_TIMEOUT: "nobody joined, come back and JOIN sooner",
    Code.NOT_CHAT: "this is a chat server, its clients are nc, telnet and simple_chat.client",
    Code.BUSY: "this was not sent, the room can't take it now: try again later",
}


# What a client sends


@dataclass(frozen=True, slots=True)
class Join:
    """Enter the room under a name."""

    name: str

    def __str__(self) -> str:
        return f"JOIN {self.name}"


@dataclass(frozen=True, slots=True)
class Msg:
    """Say something to everybody else."""

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
        return _line("PING", self.token)


@dataclass(frozen=True, slots=True)
class Help:
    """Ask what there is to say."""

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


# What the server sends


@dataclass(frozen=True, slots=True)
class Hello:
    """The first line of every connection."""

    text: str

    def __str__(self) -> str:
        return f"HELLO {VERSION} {self.text}"


@dataclass(frozen=True, slots=True)
class Ok:
    """A command was carried out; `detail` is its name or count, if it has one."""

    verb: str
    detail: str = ""

    def __str__(self) -> str:
        return _line(f"OK {self.verb}", self.detail)


@dataclass(frozen=True, slots=True)
class Err:
    """A line was refused."""

    code: str
    advice: str = ""

    def __str__(self) -> str:
        return _line(f"ERR {self.code}", self.advice)


@dataclass(frozen=True, slots=True)
class Message:
    """Somebody said something."""

    name: str
    text: str

    def __str__(self) -> str:
        return f"MSG {self.name} {self.text}"


@dataclass(frozen=True, slots=True)
class Joined:
    """Somebody entered the room."""

    name: str

    def __str__(self) -> str:
        return f"JOINED {self.name}"


@dataclass(frozen=True, slots=True)
class Left:
    """Somebody left the room or is gone."""

    name: str

    def __str__(self) -> str:
        return f"LEFT {self.name}"


@dataclass(frozen=True, slots=True)
class Names:
    """Some of those who are in the room."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"NAMES {' '.join(self.names)}"


@dataclass(frozen=True, slots=True)
class HistoryMessage:
    """Something that was said before."""

    time: datetime
    name: str
    text: str

    def __str__(self) -> str:
        return f"PAST {timestamp(self.time)} {self.name} {self.text}"


@dataclass(frozen=True, slots=True)
class Pong:
    """Everything before the `Ping` with this token is done."""

    token: str = ""

    def __str__(self) -> str:
        return _line("PONG", self.token)


@dataclass(frozen=True, slots=True)
class Info:
    """Something for people to read."""

    text: str

    def __str__(self) -> str:
        return f"INFO {self.text}"


@dataclass(frozen=True, slots=True)
class Gap:
    """The client read too slowly: `count` lines that it was owed are lost to it."""

    count: int

    def __str__(self) -> str:
        return f"GAP {self.count}"


@dataclass(frozen=True, slots=True)
class Bye:
    """The last line of a clean end."""

    reason: str

    def __str__(self) -> str:
        return f"BYE {self.reason}"


Event = Hello | Ok | Err | Message | Joined | Left | Names | HistoryMessage | Pong | Info | Gap | Bye


def encode(*lines: Command | Event) -> bytes:
    """Put lines on the wire: UTF-8, each ended by LF."""
    return "".join([f"{line}\n" for line in lines]).encode()


def encode_message(name: str, text: str) -> bytes:
    """Put a `Message` on the wire, the one line of which there are so many that its time counts."""
    return f"MSG {name} {text}\n".encode()


def encode_past(time: float, message: bytes) -> bytes:
    """Turn an encoded `Message` into the `HistoryMessage` that tells of it.

    Args:
        time: seconds since the epoch.
        message: the line, with its LF.
    """
    return b"PAST %b %b" % (
        timestamp(datetime.fromtimestamp(time, UTC)).encode(),
        message.removeprefix(b"MSG "),
    )


def timestamp(time: datetime) -> str:
    """Write a moment as RFC 3339 in UTC, to the millisecond."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _line(verb: str, argument: str) -> str:
    return f"{verb} {argument}" if argument else verb


# Reading a client's line


def parse_command(line: str) -> Command:
    """Read a client's line.

    Args:
        line: without its line end.

    Raises:
        CommandError: unknown-command, bad-syntax, bad-name or empty-message.
    """
    verb, _, argument = line.partition(" ")
    # upper() alone would take U+0131, the dotless i, for an I.
    reader = _READERS.get(verb.upper()) if verb.isascii() else None
    if reader is None:
        raise CommandError(Code.UNKNOWN_COMMAND)
    return reader(argument)


def _read_join(argument: str) -> Join:
    name = _required(argument)
    if not is_name(name):
        raise CommandError(Code.BAD_NAME)
    return Join(name)


def _read_msg(argument: str) -> Msg:
    if not argument:
        raise CommandError(Code.EMPTY_MESSAGE)
    return Msg(sanitize(argument))


def _read_history(argument: str) -> History:
    if not argument:
        return History()
    if not (argument.isascii() and argument.isdigit()):
        raise CommandError(Code.BAD_SYNTAX)
    # Nobody keeps that many lines, and the time int() takes grows with the square of the digits.
    return History(int(argument) if len(argument) < 19 else None)


def _read_ping(argument: str) -> Ping:
    return Ping(sanitize(argument))


def _read_pass(argument: str) -> Pass:
    return Pass(_required(argument))


def _required(argument: str) -> str:
    if not argument:
        raise CommandError(Code.BAD_SYNTAX)
    return argument


def _alone(command: Command) -> Callable[[str], Command]:
    def read(argument: str) -> Command:
        if argument:
            raise CommandError(Code.BAD_SYNTAX)
        return command

    return read


_READERS: dict[str, Callable[[str], Command]] = {
    "MSG": _read_msg,
    "JOIN": _read_join,
    "LEAVE": _alone(Leave()),
    "WHO": _alone(Who()),
    "HISTORY": _read_history,
    "PING": _read_ping,
    "HELP": _alone(Help()),
    "PASS": _read_pass,
    "QUIT": _alone(Quit()),
}


# Reading a server's line


def parse_event(line: str) -> Event | None:
    """Read a server's line.

    Its texts are sanitized once more: nobody knows who runs a server.

    Args:
        line: without its line end.

    Returns:
        The event, or None if the verb is not known, which is no fault: a newer server may say more.

    Raises:
        CommandError: bad-syntax, if the argument is none that the verb may have.
    """
    verb, _, argument = line.partition(" ")
    reader = _EVENT_READERS.get(verb)
    return None if reader is None else reader(sanitize(argument))


def _read_hello(argument: str) -> Hello:
    version, _, text = argument.partition(" ")
    if version != VERSION:
        raise CommandError(Code.BAD_SYNTAX)
    return Hello(text)


def _read_ok(argument: str) -> Ok:
    verb, _, detail = _required(argument).partition(" ")
    return Ok(verb, detail)


def _read_err(argument: str) -> Err:
    code, _, advice = _required(argument).partition(" ")
    return Err(code, advice)


def _read_message(argument: str) -> Message:
    name, _, text = argument.partition(" ")
    return Message(_a_name(name), _required(text))


def _read_names(argument: str) -> Names:
    return Names(tuple(_a_name(name) for name in argument.split(" ")))


def _read_past(argument: str) -> HistoryMessage:
    time, _, message = argument.partition(" ")
    said = _read_message(message)
    try:
        return HistoryMessage(datetime.fromisoformat(time).astimezone(UTC), said.name, said.text)
    except (ValueError, OverflowError):
        raise CommandError(Code.BAD_SYNTAX) from None


def _read_gap(argument: str) -> Gap:
    if not (argument.isascii() and argument.isdigit() and len(argument) < 19):
        raise CommandError(Code.BAD_SYNTAX)
    return Gap(int(argument))


def _a_name(text: str) -> str:
    if not is_name(text):
        raise CommandError(Code.BAD_SYNTAX)
    return text


_EVENT_READERS: dict[str, Callable[[str], Event]] = {
    "MSG": _read_message,
    "JOINED": lambda argument: Joined(_a_name(argument)),
    "LEFT": lambda argument: Left(_a_name(argument)),
    "GAP": _read_gap,
    "OK": _read_ok,
    "ERR": _read_err,
    "PONG": Pong,
    "NAMES": _read_names,
    "PAST": _read_past,
    "INFO": Info,
    "BYE": Bye,
    "HELLO": _read_hello,
}
