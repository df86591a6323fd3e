import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_chat.opening import BYTE_ORDER_MARK, Visitor, recognize
from tests.core.streams import packets

METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PRI"]
UNDECIDED_MAX = 7

starts = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([*(method.encode() for method in METHODS), b"\x16\x03", BYTE_ORDER_MARK])
    .flatmap(lambda opening: st.integers(0, len(opening)).map(lambda size: opening[:size]))
    .flatmap(lambda begun: st.sampled_from([b"", b" ", b"\n", b"\x03\x01", b"X"]).map(begun.__add__)),
)


@pytest.mark.parametrize("method", METHODS)
def test_http_is_recognized_by_its_method_and_a_space(method: str) -> None:
    request = f"{method} / HTTP/1.1\r\nHost: chat.example\r\n\r\n".encode()
    end = len(method) + 1
    assert [recognize(request[:size]) for size in range(end)] == [None] * end
    assert {recognize(request[:size]) for size in range(end, len(request))} == {Visitor.HTTP}


@pytest.mark.parametrize("version", [0, 1, 3, 4])
def test_tls_is_recognized_by_its_first_two_bytes(version: int) -> None:
    hello = bytes([0x16, 0x03, version, 0x02, 0x00, 0x01])
    assert [recognize(hello[:size]) for size in range(5)] == [None, None, *[Visitor.TLS] * 3]


@pytest.mark.parametrize(
    "start",
    [
        *["GETTING on", "get / HTTP/1.1", "GET\t/", "GET\n", "PINGx", "PING", "PASS x", "HELP", "HEADS up"],
        *[
            "POSTER",
            "PUTTING",
            "DELETED",
            "CONNECTED",
            "OPTIONSx",
            "TRACER",
            "PATCHY",
            "PRIVATE",
            "TRACE\r\n",
        ],
        *["JOIN ann", "MSG GET / HTTP/1.1", " GET /", "\n", "\r\n", "\x16\n", "\x03\x16", "é", "\ufeffGET /"],
    ],
)
def test_words_that_merely_begin_alike_are_chat(start: str) -> None:
    assert recognize(start.encode()) is Visitor.CHAT


@pytest.mark.parametrize("start", [b"\xff\xfd\x03", b"\xff\xfb\x1f", b"\x80", b"\xef\xbbx", b"\xef\xbb\n"])
def test_telnet_and_bytes_that_are_no_text_are_left_to_others(start: bytes) -> None:
    assert recognize(start) is Visitor.CHAT


def test_nothing_is_known_of_who_sent_nothing() -> None:
    assert recognize(b"") is None


@given(packets(starts))
def test_who_is_recognized_does_not_depend_on_how_the_bytes_are_cut(cut: list[bytes]) -> None:
    whole, so_far = b"".join(cut), b""
    for packet in cut:
        so_far += packet
        if (found := recognize(so_far)) is not None:
            assert found is recognize(whole)
            return
    assert recognize(whole) is None


@given(starts.filter(lambda start: len(start) > UNDECIDED_MAX) | st.binary(min_size=UNDECIDED_MAX + 1))
def test_it_is_decided_soon(start: bytes) -> None:
    assert recognize(start) is not None
