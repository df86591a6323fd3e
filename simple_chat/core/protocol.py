"""The events: what the server may send, and how lines are encoded.

A line is a verb and, after one space, its argument. `str()` of an event is its line without the line end;
`parse_event` parses it back.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from simple_chat.core.codes import Code
from simple_chat.core.commands import Command, join_words, require_argument
from simple_chat.core.text import is_name, sanitize
from simple_chat.errors import CommandError

VERSION = "simple_chat/1"
"""What the server calls the protocol in its first line."""


@dataclass(frozen=True, slots=True)
class Hello:
    """The first line of every connection."""

    text: str

    def __str__(self) -> str:
        return f"HELLO {VERSION} {self.text}"


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Behind `Hello`, where they are not those of the protocol: what the client has to keep to.

    Attributes:
        max_line: bytes that a line may have before its line end.
    """

    max_line: int

    def __str__(self) -> str:
        return f"LIMITS max-line={self.max_line}"


@dataclass(frozen=True, slots=True)
class Ok:
    """A command was carried out; `detail` is its name or count, if it has one."""

    verb: str
    detail: str = ""

    def __str__(self) -> str:
        return join_words(f"OK {self.verb}", self.detail)


@dataclass(frozen=True, slots=True)
class Err:
    """A line was refused."""

    code: str
    advice: str = ""

    def __str__(self) -> str:
        return join_words(f"ERR {self.code}", self.advice)


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a member."""

    name: str
    text: str

    def __str__(self) -> str:
        return f"MSG {self.name} {self.text}"


@dataclass(frozen=True, slots=True)
class Joined:
    """A member joined the room."""

    name: str

    def __str__(self) -> str:
        return f"JOINED {self.name}"


@dataclass(frozen=True, slots=True)
class Left:
    """A member left the room, or its connection was lost."""

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
        return join_words("PONG", self.token)


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


Event = (
    Hello
    | ServerLimits
    | Ok
    | Err
    | Message
    | Joined
    | Left
    | Names
    | HistoryMessage
    | Pong
    | Info
    | Gap
    | Bye
)


def encode(*lines: Command | Event) -> bytes:
    """Encode lines in UTF-8, each ended by LF."""
    return "".join([f"{line}\n" for line in lines]).encode()


def encode_message(name: str, text: str) -> bytes:
    """Encode a `Message`; a function of its own, because it is on the hot path."""
    return f"MSG {name} {text}\n".encode()


def encode_past(time: float, message: bytes) -> bytes:
    """Encode the `HistoryMessage` of a message.

    Args:
        time: seconds since the epoch.
        message: the line, with its LF.
    """
    return b"PAST %b %b" % (
        timestamp(datetime.fromtimestamp(time, UTC)).encode(),
        message.removeprefix(b"MSG "),
    )


def timestamp(time: datetime) -> str:
    """Format a time as RFC 3339 in UTC, to the millisecond."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def parse_event(line: str) -> Event | None:
    """Parse a server's line.

    Its texts are sanitized once more: nobody knows who runs a server.

    Args:
        line: without its line end.

    Returns:
        The event, or None if the verb is not known, which is no fault: a newer server may say more.

    Raises:
        CommandError: bad-syntax, if the argument is none that the verb may have.
    """
    verb, _, argument = line.partition(" ")
    parse = _EVENT_PARSERS.get(verb)
    return None if parse is None else parse(sanitize(argument))


def _parse_hello(argument: str) -> Hello:
    version, _, text = argument.partition(" ")
    if version != VERSION:
        raise CommandError(Code.BAD_SYNTAX)
    return Hello(text)


def _parse_limits(argument: str) -> ServerLimits | None:
    """Parse ``name=value`` words; a newer server may know more names."""
    limits = dict(word.partition("=")[::2] for word in argument.split(" "))
    value = limits.get("max-line")
    return None if value is None else ServerLimits(_parse_number(value))


def _parse_ok(argument: str) -> Ok:
    verb, _, detail = require_argument(argument).partition(" ")
    return Ok(verb, detail)


def _parse_err(argument: str) -> Err:
    code, _, advice = require_argument(argument).partition(" ")
    return Err(code, advice)


def _parse_message(argument: str) -> Message:
    name, _, text = argument.partition(" ")
    return Message(_require_name(name), require_argument(text))


def _parse_names(argument: str) -> Names:
    return Names(tuple(_require_name(name) for name in argument.split(" ")))


def _parse_past(argument: str) -> HistoryMessage:
    time, _, message = argument.partition(" ")
    said = _parse_message(message)
    try:
        return HistoryMessage(datetime.fromisoformat(time).astimezone(UTC), said.name, said.text)
    except (ValueError, OverflowError):
        raise CommandError(Code.BAD_SYNTAX) from None


def _parse_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise CommandError(Code.BAD_SYNTAX)
    return int(text)


def _require_name(text: str) -> str:
    if not is_name(text):
        raise CommandError(Code.BAD_SYNTAX)
    return text


_EVENT_PARSERS: dict[str, Callable[[str], Event | None]] = {
    "MSG": _parse_message,
    "JOINED": lambda argument: Joined(_require_name(argument)),
    "LEFT": lambda argument: Left(_require_name(argument)),
    "GAP": lambda argument: Gap(_parse_number(argument)),
    "OK": _parse_ok,
    "ERR": _parse_err,
    "PONG": Pong,
    "NAMES": _parse_names,
    "PAST": _parse_past,
    "INFO": Info,
    "BYE": Bye,
    "HELLO": _parse_hello,
    "LIMITS": _parse_limits,
}
