import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_chat.core.detect import (
    BYTE_ORDER_MARK,
    REQUEST_END_MAX,
    PeerProtocol,
    detect_protocol,
    ends_http_request,
    is_http_request,
)
from tests.harness.packets import packets

UNDECIDED_MAX = 2

starts = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([b"\x16\x03", BYTE_ORDER_MARK])
    .flatmap(lambda opening: st.integers(0, len(opening)).map(lambda size: opening[:size]))
    .flatmap(lambda begun: st.sampled_from([b"", b" ", b"\n", b"\x03\x01", b"X"]).map(begun.__add__)),
)


@pytest.mark.parametrize(
    "line",
    [
        "GET / HTTP/1.1",
        "PRI * HTTP/2.0",
        "FOO / HTTP/1.1",
        "JOIN / HTTP/1.1",
        "patch /x?y=%20 HTTP/1.1",
        "pass secret http/1.0",
        "CONNECT chat.example:8090  HTTP/1.1 ",
    ],
)
def test_a_request_is_recognized_whatever_its_method_and_case(line: str) -> None:
    assert is_http_request(line.encode())
    assert ends_http_request(line.encode())
    assert ends_http_request(line.encode()[-REQUEST_END_MAX:])


@pytest.mark.parametrize(
    "line",
    [
        *["GET /", "GET HTTP/1.1", "GET / HTTP/", "GET / HTTP", "GET\t/\tHTTP/1.1", " GET / HTTP/1.1"],
        *["JOIN ann", "PASS secret", "PING", "MSG do you know HTTP/1.1", ""],
    ],
)
def test_words_that_are_no_request_line_are_chat(line: str) -> None:
    assert not is_http_request(line.encode())


@pytest.mark.parametrize(
    "end",
    [
        *[b"aaaa HTTP/1.1 or so", b"aaaaaaaaHTTP/1.1", b"", b"aaaaaaa HTTP/11"],
        b" HTTP/1.1".ljust(REQUEST_END_MAX + 1),  # as much is not kept of every line
    ],
)
def test_ends_of_other_long_lines_are_no_request_s(end: bytes) -> None:
    assert not ends_http_request(end)


@pytest.mark.parametrize("version", [0, 1, 3, 4])
def test_tls_is_recognized_by_its_first_two_bytes(version: int) -> None:
    hello = bytes([0x16, 0x03, version, 0x02, 0x00, 0x01])
    assert [detect_protocol(hello[:size]) for size in range(5)] == [None, None, *[PeerProtocol.TLS] * 3]


@pytest.mark.parametrize("start", ["GET / HTTP/1.1", "JOIN ann", "\n", "\r\n", "\x16\n", "\x03\x16", "é"])
def test_text_is_left_to_the_lines(start: str) -> None:
    assert detect_protocol(start.encode()) is PeerProtocol.CHAT


@pytest.mark.parametrize("start", [b"\xff\xfd\x03", b"\xff\xfb\x1f", b"\x80", b"\xef\xbbx", b"\xef\xbb\n"])
def test_telnet_and_bytes_that_are_no_text_are_left_to_others(start: bytes) -> None:
    assert detect_protocol(start) is PeerProtocol.CHAT


def test_nothing_is_known_of_who_sent_nothing() -> None:
    assert detect_protocol(b"") is None


@given(packets(starts))
def test_who_is_recognized_does_not_depend_on_how_the_bytes_are_cut(cut: list[bytes]) -> None:
    whole, so_far = b"".join(cut), b""
    for packet in cut:
        so_far += packet
        if (found := detect_protocol(so_far)) is not None:
            assert found is detect_protocol(whole)
            return
    assert detect_protocol(whole) is None


@given(starts.filter(lambda start: len(start) > UNDECIDED_MAX) | st.binary(min_size=UNDECIDED_MAX + 1))
def test_it_is_decided_soon(start: bytes) -> None:
    assert detect_protocol(start) is not None
