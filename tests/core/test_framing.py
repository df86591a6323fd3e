import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_chat.core.codes import Code
from simple_chat.core.detect import PeerProtocol
from simple_chat.core.framing import MAX_LINE, LineBuffer
from simple_chat.errors import CommandError
from tests.harness.packets import packets

LIMIT = 8

Outcome = tuple[str | Code, bool]
"""A line or its error code, and whether a CRLF has been seen by then."""


def drain(lines: LineBuffer) -> list[Outcome]:
    """Return all outcomes available now."""
    taken: list[Outcome] = []
    while True:
        try:
            line = lines.next_line()
        except CommandError as error:
            taken.append((Code(error.code), lines.crlf))
            continue
        if line is None:
            return taken
        taken.append((line, lines.crlf))


def receive(*data: bytes, end: bool = False, limit: int = LIMIT) -> list[str | Code]:
    lines = LineBuffer(limit)
    taken: list[Outcome] = []
    for packet in data:
        lines.feed(packet)
        taken += drain(lines)
    if end:
        lines.feed_eof()
        taken += drain(lines)
        assert lines.at_end
    return [outcome for outcome, _ in taken]


@pytest.mark.parametrize(
    ("data", "outcomes"),
    [
        (b"", []),
        (b"WHO", []),
        (b"WHO\n", ["WHO"]),
        (b"WHO\r\n", ["WHO"]),
        (b"WHO\r\r\n", ["WHO\r"]),
        (b"W\rHO\n", ["W\rHO"]),
        (b"a\nb\r\nc", ["a", "b"]),
        (b"\n\r\n\n", ["", "", ""]),
        (b"\r\r\n", ["\r"]),
        (b" \n", [" "]),
        ("ä😀\n".encode(), ["ä😀"]),
        (b"a\x00b\x1c\x85"[:4] + b"\n", ["a\x00b\x1c"]),
        ("a\x85b\u2028\n".encode(), ["a\x85b\u2028"]),  # line boundaries only for str.splitlines
        (b"\xff\nWHO\n", [Code.NOT_UTF8, "WHO"]),
        (b"ok \xc3\n\xa4\n", [Code.NOT_UTF8, Code.NOT_UTF8]),
        (b"\xc0\xaf\n\xed\xa0\x80\n\xf4\x90\x80\x80\n", [Code.NOT_UTF8] * 3),
        (b"12345678\n", ["12345678"]),
        (b"12345678\r\n", ["12345678"]),
        (b"123456789\n", [Code.LINE_TOO_LONG]),
        (b"12345678\r\r\n", [Code.LINE_TOO_LONG]),
        (b"12345678\r", []),
        (b"123456789", [Code.LINE_TOO_LONG]),
        ("1234567ä\n".encode(), [Code.LINE_TOO_LONG]),  # bytes count, not characters
        (b"\xff" * 9 + b"\n", [Code.LINE_TOO_LONG]),
        (b"x" * 100 + b"\nQUIT\n", [Code.LINE_TOO_LONG, "QUIT"]),
        (b"x" * 100 + b"\n" + b"y" * 100 + b"\r\nQUIT\n", [Code.LINE_TOO_LONG] * 2 + ["QUIT"]),
    ],
)
def test_stream_is_split_into_lines(data: bytes, outcomes: list[str | Code]) -> None:
    assert receive(data) == outcomes
    assert receive(*(data[at : at + 1] for at in range(len(data)))) == outcomes


@pytest.mark.parametrize(
    ("data", "outcomes"),
    [
        (b"", []),
        (b"WHO\n", ["WHO"]),
        (b"WHO\nQUIT", ["WHO", Code.INCOMPLETE_LINE]),
        (b"WHO\nQUIT\r", ["WHO", Code.INCOMPLETE_LINE]),
        (b"\xff", [Code.INCOMPLETE_LINE]),
        (b"12345678\r", [Code.INCOMPLETE_LINE]),
        (b"123456789", [Code.LINE_TOO_LONG]),
        (b"123456789\r", [Code.LINE_TOO_LONG]),
        (b"123456789\n", [Code.LINE_TOO_LONG]),
    ],
)
def test_eof_does_not_terminate_a_line(data: bytes, outcomes: list[str | Code]) -> None:
    assert receive(data, end=True) == outcomes
    assert receive(*(data[at : at + 1] for at in range(len(data))), end=True) == outcomes


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_default_limit_accepts_4096_bytes_and_rejects_4097(end: bytes) -> None:
    assert MAX_LINE == 4096
    assert receive(b"x" * 4096 + end, limit=MAX_LINE) == ["x" * 4096]
    assert receive(b"x" * 4097 + end + b"WHO\n", limit=MAX_LINE) == [Code.LINE_TOO_LONG, "WHO"]


def test_tail_of_an_overlong_line_is_discarded() -> None:
    assert receive(b"123456789", b"QUIT\r", b"QUIT", b"\r\nWHO\n") == [Code.LINE_TOO_LONG, "WHO"]
    assert receive(b"12345678\r", b"QUIT\n", b"WHO\n") == [Code.LINE_TOO_LONG, "WHO"]


def test_incomplete_line_is_reported_once() -> None:
    lines = LineBuffer()
    lines.feed(b"QUIT")
    lines.feed_eof()
    assert drain(lines) == [(Code.INCOMPLETE_LINE, False)]
    assert drain(lines) == []


def test_at_end_is_set_after_the_last_line() -> None:
    lines = LineBuffer()
    lines.feed(b"WHO\nQUIT\n")
    lines.feed_eof()
    steps = [(lines.at_end, lines.next_line()) for _ in range(3)]
    assert steps == [(False, "WHO"), (False, "QUIT"), (True, None)]


@pytest.mark.parametrize(
    ("data", "crlf"),
    [
        (b"a\nb\n", [False, False]),
        (b"a\nb\r\nc\n", [False, True, True]),
        (b"a\n\r\nb\n", [False, True, True]),
        (b"\xff\r\nb\n", [True, True]),
        (b"123456789\r\nb\n", [False, True]),
        (b"a\r", []),
    ],
)
def test_crlf_stays_set_after_the_first_crlf(data: bytes, crlf: list[bool]) -> None:
    lines = LineBuffer(LIMIT)
    lines.feed(data)
    assert [seen for _, seen in drain(lines)] == crlf


@pytest.mark.parametrize("size", [1_000, 65_536])
def test_endless_line_is_not_buffered(size: int, held: Callable[[], int]) -> None:
    lines = LineBuffer()
    refusals: list[Outcome] = []
    for _ in range(10_000_000 // size):
        lines.feed(b"x" * size)
        refusals += drain(lines)
    assert refusals == [(Code.LINE_TOO_LONG, False)]
    assert held() < 100_000


def expected_outcomes(stream: bytes) -> tuple[list[Outcome], bool]:
    """Return the outcomes and final CRLF state for a complete stream, by a simpler algorithm."""
    *complete, rest = stream.split(b"\n")
    outcomes: list[Outcome] = []
    crlf = False
    for line in complete:
        text = line.removesuffix(b"\r")
        if len(text) > LIMIT:
            outcomes.append((Code.LINE_TOO_LONG, crlf))  # detected before its end has arrived
        crlf = crlf or line.endswith(b"\r")
        if len(text) <= LIMIT:
            outcomes.append((decoded(text), crlf))
    if rest:
        too_long = len(rest.removesuffix(b"\r")) > LIMIT
        outcomes.append((Code.LINE_TOO_LONG if too_long else Code.INCOMPLETE_LINE, crlf))
    return outcomes, crlf


def decoded(line: bytes) -> str | Code:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return Code.NOT_UTF8


streams = st.lists(
    st.one_of(
        st.sampled_from([b"\n", b"\r\n", b"\r", b"QUIT", "ä€😀".encode(), b"\xff", b"\xff\xfd\x01", b"\xc3"]),
        st.integers(LIMIT - 2, LIMIT + 2).map(lambda size: b"x" * size),
    ),
    max_size=12,
).map(b"".join)


@given(packets(streams))
def test_outcomes_are_independent_of_packet_boundaries(cut: list[bytes]) -> None:
    lines = LineBuffer(LIMIT)
    taken: list[Outcome] = []
    for packet in cut:
        lines.feed(packet)
        taken += drain(lines)
    lines.feed_eof()
    taken += drain(lines)
    assert (taken, lines.crlf) == expected_outcomes(b"".join(cut))
    assert lines.at_end


@given(packets(streams))
def test_outcomes_are_the_same_when_read_after_eof(cut: list[bytes]) -> None:
    lines = LineBuffer(LIMIT)
    for packet in cut:
        lines.feed(packet)
    lines.feed_eof()
    assert drain(lines) == expected_outcomes(b"".join(cut))[0]


def test_consumed_packet_is_not_referenced() -> None:
    packet = b"PING 1\n" * 3
    references = sys.getrefcount(packet)
    lines = LineBuffer(LIMIT)
    lines.feed(packet)
    assert len(drain(lines)) == 3
    assert sys.getrefcount(packet) == references


def test_held_are_the_bytes_that_were_not_read() -> None:
    lines = LineBuffer(LIMIT)
    counts = [lines.held]
    lines.feed(b"ab\nc\n")
    for _ in range(2):
        counts.append(lines.held)
        lines.next_line()
    assert [*counts, lines.held] == [0, 5, 2, 0]


def test_partial_line_does_not_keep_its_packet_in_memory(held: Callable[[], int]) -> None:
    buffer = LineBuffer()
    buffer.feed(b"PING %b\n" % (b"x" * 4000) * 100 + b"y")
    while buffer.next_line() is not None:
        pass
    assert buffer.held == 1
    assert held() < 100_000


@pytest.mark.parametrize("size", [64, 200])
def test_overlong_http_request_line_is_detected_at_its_end(size: int) -> None:
    lines = LineBuffer(32)
    outcomes: list[str | None] = []
    for data in (b"JOIN /" + b"a" * size, b"a" * size + b" HTTP/1.1\r\n", b"JOIN ann\n"):
        lines.feed(data)
        for _ in range(2):
            try:
                outcomes.append(lines.next_line())
            except CommandError as error:
                outcomes.append(error.code)
    assert outcomes == [Code.LINE_TOO_LONG, None, Code.NOT_CHAT, None, "JOIN ann", None]
    assert lines.peer is PeerProtocol.HTTP


def test_end_of_an_overlong_http_request_line_is_detected_in_pieces() -> None:
    outcomes = receive(b"JOIN /aaaaaaaaaaaaaaaaa HTT", b"P/1.1\n")
    assert outcomes == [Code.LINE_TOO_LONG, Code.NOT_CHAT]


def test_empty_lines_before_an_http_request_do_not_hide_it() -> None:
    assert receive(b"\n\r\nGET / HTTP/1.1\n", limit=32) == ["", "", Code.NOT_CHAT]


def test_later_overlong_line_that_ends_as_an_http_request_is_only_too_long() -> None:
    assert receive(b"PING\nMSG GET / HTTP/1.1\nPING\n") == ["PING", Code.LINE_TOO_LONG, "PING"]
