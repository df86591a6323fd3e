"""What holds for any bytes that a client may send, up to what the others would be shown of them.

The first bytes of an input decide how it is sent, so that a fuzzer can find that out as well:

| byte | |
|---|---|
| 0 | the two lowest bits: which of `_LIMITS` holds; the third: telnet is left in; the fourth: no end comes |
| 1 to 3 | sizes of the packets, in turn: the remainder of 48; a 0 takes all that is left, so does the last |

What is expected is worked out here once more in the plainest way, byte by byte and from the whole stream: a
fault would have to be made twice.
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from simple_chat.core.detect import REQUEST_END_MAX
from simple_chat.core.framing import LineBuffer
from simple_chat.core.protocol import (
    Code,
    Command,
    Err,
    HistoryMessage,
    Join,
    Joined,
    Message,
    Msg,
    Ok,
    Ping,
    Pong,
    encode,
    encode_message,
    encode_past,
    parse_command,
    parse_event,
)
from simple_chat.core.telnet import Telnet
from simple_chat.core.text import MARKS_MAX
from simple_chat.errors import CommandError

HEAD = 4
"""Bytes of an input that are not sent."""

_LIMITS = (8, 64, 20, 4096)  # bytes a line may have; short ones, which a fuzzer reaches soon
_HARMFUL = frozenset(
    map(
        chr,
        (
            *(code for code in range(0x20) if code != 0x09),
            *range(0x7F, 0xA0),
            *(0x2028, 0x2029, 0x061C, 0x200E, 0x200F),
            *range(0x202A, 0x202F),
            *range(0x2066, 0x206A),
        ),
    )
)
_PACKETS_MAX = 20  # before the last; a thousand would say no more, and cost a fuzzer its speed
_REFUSED = {b"\xfb": b"\xfe", b"\xfd": b"\xfc"}  # WILL by DONT, DO by WONT
_REFUSALS_MAX = 2 * 256 * 3  # bytes: each option refused once, in each direction
_AUTHOR = "ann"

Outcome = tuple[str | Code, bool]
"""A line, or why one was refused, and whether a line has ended in CRLF by then."""


@dataclass(frozen=True, slots=True)
class Case:
    """An input, read."""

    max_line: int
    telnet: bool
    ends: bool
    packets: tuple[bytes, ...]

    @property
    def stream(self) -> bytes:
        """All that is sent."""
        return b"".join(self.packets)


def read_case(data: bytes) -> Case:
    """Read an input, which may be too short for a head."""
    flags, *sizes = data[:HEAD].ljust(HEAD, b"\0")
    return Case(_LIMITS[flags & 3], not flags & 4, not flags & 8, tuple(_cut(data[HEAD:], sizes)))


def check(data: bytes) -> None:
    """Check everything about one input.

    Raises:
        AssertionError: something does not hold. Any other exception is a fault as well.
    """
    case = read_case(data)
    text, refusals = _without_negotiation(case.stream) if case.telnet else (case.stream, {})
    expected = list(_expected(text, case))
    cut = _receive(case, case.packets)
    assert cut == (expected, refusals), "in packets, the stream says something else"
    assert _receive(case, (case.stream,)) == cut, "the whole stream says something else than its packets"
    for outcome in {outcome for outcome, _ in expected}:
        _check_outcome(outcome)


def _cut(stream: bytes, sizes: list[int]) -> Iterator[bytes]:
    at = turn = 0
    while at < len(stream):
        size = sizes[turn % len(sizes)] % 48 if turn < _PACKETS_MAX else 0
        size = size or len(stream)
        yield stream[at : at + size]
        at, turn = at + size, turn + 1


# What comes in


def _receive(case: Case, packets: tuple[bytes, ...]) -> tuple[list[Outcome], dict[bytes, None]]:
    """Receive packets as a session does: all lines, and everything that telnet is refused."""
    telnet, lines = Telnet(), LineBuffer(case.max_line)
    held_max = max(case.max_line, REQUEST_END_MAX) + 1
    taken: list[Outcome] = []
    refused = b""
    for packet in packets:
        clear = telnet.feed(packet) if case.telnet else packet
        assert len(clear) <= len(packet) + 3, "more came out of telnet than went in"
        lines.feed(clear)
        assert lines.held <= max(case.max_line, REQUEST_END_MAX) + 1 + len(clear), (
            "more is held than a line and a packet"
        )
        taken += _take_all(lines)
        assert len(lines._data) <= held_max, "more is held than an unfinished line"
        assert len(telnet._unfinished) <= 3, "more is held than a negotiation's end needs"
        answer = telnet.take_refusals()
        assert len(answer) <= _REFUSALS_MAX, "refusals pile up"
        refused += answer
    if case.ends:
        lines.feed_eof()
        taken += _take_all(lines)
        assert lines.at_end
        assert not lines.held
    assert _take_all(lines) == [], "a line came from nothing"
    return taken, dict.fromkeys(refused[at : at + 3] for at in range(0, len(refused), 3))


def _take_all(lines: LineBuffer) -> list[Outcome]:
    taken: list[Outcome] = []
    while True:
        try:
            line = lines.next_line()
        except CommandError as error:
            taken.append((Code(error.code), lines.crlf))
        else:
            if line is None:
                return taken
            taken.append((line, lines.crlf))


def _expected(text: bytes, case: Case) -> Iterator[Outcome]:
    """The same, said of the whole text: one outcome a line end, and one for what stands behind the last."""
    *complete, rest = text.split(b"\n")
    crlf, first = False, True
    for line in complete:
        body = line.removesuffix(b"\r")
        too_long = len(body) > case.max_line
        if too_long:
            yield Code.LINE_TOO_LONG, crlf  # certain before its end has come
        crlf = crlf or line.endswith(b"\r")
        if first and body and _is_request(body, too_long=too_long):
            yield Code.NOT_CHAT, crlf
        elif not too_long:
            yield _decoded(body), crlf
        first = first and not body
    if len(rest.removesuffix(b"\r")) > case.max_line:
        yield Code.LINE_TOO_LONG, crlf
    elif rest and case.ends:
        yield Code.INCOMPLETE_LINE, crlf


def _is_request(line: bytes, *, too_long: bool) -> bool:
    if too_long:  # its end alone is looked at
        _, space, version = line[-REQUEST_END_MAX:].rstrip(b" \t").rpartition(b" ")
        return bool(space) and version.upper()[:5] == b"HTTP/" and _is_version(version[5:])
    words = line.split(b" ")
    words = words[:1] + [word for word in words[1:] if word]
    method_and_target = b"".join(words[:2])
    if len(words) < 3 or not words[0] or len(method_and_target.split()) != 1:
        return False
    return method_and_target.strip() == method_and_target and _begins_version(words[2])


def _begins_version(word: bytes) -> bool:
    return word.upper()[:5] == b"HTTP/" and word[5:6].isdigit()


def _is_version(version: bytes) -> bool:
    return (version.isdigit() and len(version) == 1) or (
        len(version) == 3 and version[1:2] == b"." and version.replace(b".", b"").isdigit()
    )


def _decoded(line: bytes) -> str | Code:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return Code.NOT_UTF8


def _without_negotiation(stream: bytes) -> tuple[bytes, dict[bytes, None]]:
    """Take telnet out of a stream; return its text and each refusal that is due."""
    text = bytearray()
    refusals: dict[bytes, None] = {}
    at = 0
    while (iac := stream.find(b"\xff", at)) >= 0:
        text += stream[at:iac]
        at = iac
        command, option = stream[at + 1 : at + 2], stream[at + 2 : at + 3]
        if command == b"\xff":
            text.append(0xFF)
        elif command in _REFUSED and option:
            refusals[b"\xff" + _REFUSED[command] + option] = None
        elif command and command < b"\xec":  # it stays, and makes its line one that is not UTF-8
            text += b"\xff" + command
        at = _behind_negotiation(stream, at)
    return bytes(text + stream[at:]), refusals


def _behind_negotiation(stream: bytes, at: int) -> int:
    command = stream[at + 1 : at + 2]
    if command == b"\xfa":
        return _behind_subnegotiation(stream, at + 2)
    return at + (3 if b"\xfb" <= command <= b"\xfe" else 2)


def _behind_subnegotiation(stream: bytes, at: int) -> int:
    while at < len(stream):
        if stream[at] != 0xFF:
            at += 1
        elif stream[at + 1 : at + 2] == b"\xf0":
            return at + 2
        else:
            at += 2
    return at


# What goes out


def _check_outcome(outcome: str | Code) -> None:
    if isinstance(outcome, Code):
        _check_refusal(outcome)
    elif outcome:
        try:
            command = parse_command(outcome)
        except CommandError as error:
            _check_refusal(Code(error.code))
        else:
            _check_command(command)


@cache
def _check_refusal(code: Code) -> None:
    """Check what is said of a line that was refused, which is always the same."""
    _check_sent(encode(Err(code, code.advice)))


def _check_command(command: Command) -> None:
    """Check what a command makes the server send, to whomever."""
    assert parse_command(str(command)) == command, "it is not read as what it is written as"
    match command:
        case Msg(text):
            line = encode_message(_AUTHOR, text)
            _check_sent(line)
            assert parse_event(line.decode()[:-1]) == Message(_AUTHOR, text)
            past = encode_past(0.0, line)
            _check_sent(past)
            told = parse_event(past.decode()[:-1])
            assert isinstance(told, HistoryMessage)
            assert (told.name, told.text) == (_AUTHOR, text)
        case Join(name):
            assert name.isascii()
            for event in (Joined(name), Ok("JOIN", name)):
                line = encode(event)
                _check_sent(line)
                assert parse_event(line.decode()[:-1]) == event
        case Ping(token):
            line = encode(Pong(token))
            _check_sent(line)
            assert parse_event(line.decode()[:-1]) == Pong(token)


def _check_sent(line: bytes) -> None:
    """Check that a line is one line, and can't play tricks on a terminal."""
    text = line.decode()
    assert text.endswith("\n"), "a line has no end"
    text = text[:-1]
    assert _HARMFUL.isdisjoint(text), "a control character gets through"  # LF and CR are among them
    if not text.isascii():
        run = 0
        for char in text:
            run = run + 1 if unicodedata.category(char)[0] == "M" else 0
            assert run <= MARKS_MAX, "a pile of marks gets through"
