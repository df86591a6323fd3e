"""Invariants for any bytes that a client may send, up to the lines that other members would receive.

The first bytes of an input select how it is sent, so that a fuzzer can vary that too:

| byte | |
|---|---|
| 0 | bits 0 and 1: index into `_LIMITS`; bit 2: telnet is not decoded; bit 3: no EOF |
| 1 to 3 | sizes of the packets in turn, modulo 48; 0 stands for all remaining bytes, as in the last packet |

The expectation is computed here a second time, in the simplest way and from the whole stream: a bug would
have to be made twice.
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from simple_chat.core.codes import Code
from simple_chat.core.commands import Command, Join, Msg, Ping, parse_command
from simple_chat.core.detect import REQUEST_END_MAX
from simple_chat.core.framing import LineBuffer
from simple_chat.core.protocol import (
    Err,
    HistoryMessage,
    Joined,
    Message,
    Ok,
    Pong,
    encode,
    encode_message,
    encode_past,
    parse_event,
)
from simple_chat.core.telnet import Telnet
from simple_chat.core.text import MARKS_MAX
from simple_chat.errors import CommandError

HEAD = 4
"""Bytes of an input that are not sent, see above."""

_LIMITS = (8, 64, 20, 4096)  # bytes of a line; the short ones are soon reached by a fuzzer
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
_PACKETS_MAX = 20  # before the last; more would only slow the fuzzer down
_REFUSAL = {b"\xfb": b"\xfe", b"\xfd": b"\xfc"}  # WILL: DONT, DO: WONT
_REFUSALS_MAX = 2 * 256 * 3  # bytes: each option refused once, in each direction
_AUTHOR = "ann"

Outcome = tuple[str | Code, bool]
"""A line or the code of its error, and whether any line has ended in CRLF so far."""


@dataclass(frozen=True, slots=True)
class Case:
    """A parsed input."""

    max_line: int
    telnet: bool
    eof: bool
    packets: tuple[bytes, ...]

    @property
    def stream(self) -> bytes:
        """All bytes that are sent."""
        return b"".join(self.packets)


def parse_case(data: bytes) -> Case:
    """Parse an input, which may be shorter than a head."""
    flags, *sizes = data[:HEAD].ljust(HEAD, b"\0")
    return Case(_LIMITS[flags & 3], not flags & 4, not flags & 8, tuple(_split(data[HEAD:], sizes)))


def check(data: bytes) -> None:
    """Check all invariants for one input.

    Raises:
        AssertionError: an invariant is violated. Any other exception is a bug as well.
    """
    case = parse_case(data)
    text, refusals = _without_negotiation(case.stream) if case.telnet else (case.stream, {})
    expected = list(_expected(text, case))
    received = _receive(case, case.packets)
    assert received == (expected, refusals), "the packets are not received as expected"
    assert _receive(case, (case.stream,)) == received, "one packet is not received like several"
    for outcome in {outcome for outcome, _ in expected}:
        _check_outcome(outcome)


def _split(stream: bytes, sizes: list[int]) -> Iterator[bytes]:
    at = turn = 0
    while at < len(stream):
        size = sizes[turn % len(sizes)] % 48 if turn < _PACKETS_MAX else 0
        size = size or len(stream)
        yield stream[at : at + size]
        at, turn = at + size, turn + 1


# Input


def _receive(case: Case, packets: tuple[bytes, ...]) -> tuple[list[Outcome], dict[bytes, None]]:
    """Receive packets as a session does, and return all lines and all telnet refusals."""
    telnet, lines = Telnet(), LineBuffer(case.max_line)
    held_max = max(case.max_line, REQUEST_END_MAX) + 1
    outcomes: list[Outcome] = []
    refusals = b""
    for packet in packets:
        clear = telnet.feed(packet) if case.telnet else packet
        assert len(clear) <= len(packet) + 3, "telnet added bytes"
        lines.feed(clear)
        assert lines.held <= max(case.max_line, REQUEST_END_MAX) + 1 + len(clear), (
            "more is buffered than a line and a packet"
        )
        outcomes += _next_lines(lines)
        assert len(lines._data) <= held_max, "more is buffered than an incomplete line"
        assert len(telnet._unfinished) <= 3, "telnet buffers more than an incomplete negotiation"
        answer = telnet.take_refusals()
        assert len(answer) <= _REFUSALS_MAX, "refusals accumulate"
        refusals += answer
    if case.eof:
        lines.feed_eof()
        outcomes += _next_lines(lines)
        assert lines.at_end
        assert not lines.held
    assert _next_lines(lines) == [], "a line without input"
    return outcomes, dict.fromkeys(refusals[at : at + 3] for at in range(0, len(refusals), 3))


def _next_lines(lines: LineBuffer) -> list[Outcome]:
    outcomes: list[Outcome] = []
    while True:
        try:
            line = lines.next_line()
        except CommandError as error:
            outcomes.append((Code(error.code), lines.crlf))
        else:
            if line is None:
                return outcomes
            outcomes.append((line, lines.crlf))


def _expected(text: bytes, case: Case) -> Iterator[Outcome]:
    """Yield the expected outcomes of the whole text: one per line end, and one for the rest."""
    *complete, rest = text.split(b"\n")
    crlf, first = False, True
    for line in complete:
        body = line.removesuffix(b"\r")
        too_long = len(body) > case.max_line
        if too_long:
            yield Code.LINE_TOO_LONG, crlf  # before its end has arrived
        crlf = crlf or line.endswith(b"\r")
        if first and body and _is_request(body, too_long=too_long):
            yield Code.NOT_CHAT, crlf
        elif not too_long:
            yield _decoded(body), crlf
        first = first and not body
    if len(rest.removesuffix(b"\r")) > case.max_line:
        yield Code.LINE_TOO_LONG, crlf
    elif rest and case.eof:
        yield Code.INCOMPLETE_LINE, crlf


def _is_request(line: bytes, *, too_long: bool) -> bool:
    if too_long:  # only its end is checked
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
    """Return a stream without telnet negotiation, and the refusals to send."""
    text = bytearray()
    refusals: dict[bytes, None] = {}
    at = 0
    while (iac := stream.find(b"\xff", at)) >= 0:
        text += stream[at:iac]
        at = iac
        command, option = stream[at + 1 : at + 2], stream[at + 2 : at + 3]
        if command == b"\xff":
            text.append(0xFF)
        elif command in _REFUSAL and option:
            refusals[b"\xff" + _REFUSAL[command] + option] = None
        elif command and command < b"\xec":  # not telnet: it stays, and the line is not UTF-8
            text += b"\xff" + command
        at = _end_of_negotiation(stream, at)
    return bytes(text + stream[at:]), refusals


def _end_of_negotiation(stream: bytes, at: int) -> int:
    command = stream[at + 1 : at + 2]
    if command == b"\xfa":
        return _end_of_subnegotiation(stream, at + 2)
    return at + (3 if b"\xfb" <= command <= b"\xfe" else 2)


def _end_of_subnegotiation(stream: bytes, at: int) -> int:
    while at < len(stream):
        if stream[at] != 0xFF:
            at += 1
        elif stream[at + 1 : at + 2] == b"\xf0":
            return at + 2
        else:
            at += 2
    return at


# Output


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
    """Check the ERR line of a code, which is always the same."""
    _check_sent(encode(Err(code, code.advice)))


def _check_command(command: Command) -> None:
    """Check the lines that a command makes the server send."""
    assert parse_command(str(command)) == command, "the command does not survive formatting and parsing"
    match command:
        case Msg(text):
            line = encode_message(_AUTHOR, text)
            _check_sent(line)
            assert parse_event(line.decode()[:-1]) == Message(_AUTHOR, text)
            past = encode_past(0.0, line)
            _check_sent(past)
            history = parse_event(past.decode()[:-1])
            assert isinstance(history, HistoryMessage)
            assert (history.name, history.text) == (_AUTHOR, text)
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
    """Check that a line is a single line, and harmless in a terminal."""
    text = line.decode()
    assert text.endswith("\n"), "the line has no LF"
    text = text[:-1]
    assert _HARMFUL.isdisjoint(text), "a control character is not replaced"  # LF and CR are among them
    if not text.isascii():
        run = 0
        for char in text:
            run = run + 1 if unicodedata.category(char)[0] == "M" else 0
            assert run <= MARKS_MAX, "too many combining marks in a row"
