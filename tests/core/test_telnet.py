from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_chat.core.telnet import Telnet
from tests.harness.packets import packets

IAC, DONT, DO, WONT, WILL, SB, SE, NOP = (bytes([code]) for code in (255, 254, 253, 252, 251, 250, 240, 241))
ECHO, NAWS = b"\x01", b"\x1f"


def feed(*data: bytes) -> tuple[bytes, bytes]:
    """Return all text and all refusals."""
    telnet = Telnet()
    return b"".join([telnet.feed(each) for each in data]), telnet.take_refusals()


@pytest.mark.parametrize(
    ("data", "text", "replies"),
    [
        (b"", b"", b""),
        (b"MSG hi\r\n", b"MSG hi\r\n", b""),
        (b"PI" + IAC + DO + ECHO + b"NG", b"PING", IAC + WONT + ECHO),
        (b"PI" + IAC + WILL + NAWS + b"NG", b"PING", IAC + DONT + NAWS),
        (IAC + DO + IAC + b"a", b"a", IAC + WONT + IAC),
        (IAC + DO + b"\n" + b"a", b"a", IAC + WONT + b"\n"),
        (b"PI" + IAC + WONT + ECHO + IAC + DONT + ECHO + b"NG", b"PING", b""),
        (b"PI" + IAC + NOP + IAC + b"\xf9" + IAC + SE + b"NG", b"PING", b""),
        (b"PI" + IAC + SB + NAWS + b"\x00\x50\n\x00" + IAC + SE + b"NG", b"PING", b""),
        (IAC + SB + IAC + IAC + SE + IAC + SE + b"a", b"a", b""),
        (IAC + SB + IAC + DO + ECHO + IAC + SE + b"a", b"a", b""),
        (IAC + SB + IAC + SE + b"a" + IAC + SB + IAC + SE + b"b", b"ab", b""),
        (b"a" + IAC + IAC + b"b", b"a\xffb", b""),
        (IAC * 4, b"\xff\xff", b""),
        (IAC + IAC + DO + ECHO, b"\xff" + DO + ECHO, b""),
        (b"a" + IAC + b"b" + IAC + b"\xeb", b"a" + IAC + b"b" + IAC + b"\xeb", b""),
        (b"a" + IAC, b"a", b""),
        (b"a" + IAC + DO, b"a", b""),
        (b"a" + IAC + SB + b"b" + IAC, b"a", b""),
    ],
)
def test_negotiation_is_removed_and_refused(data: bytes, text: bytes, replies: bytes) -> None:
    assert feed(data) == (text, replies)
    assert feed(*(data[at : at + 1] for at in range(len(data))), b"") == (text, replies)


def test_subnegotiation_that_is_cut_after_three_iac_ends_with_the_last() -> None:
    assert feed(IAC + SB + NAWS + IAC * 3, SE + b"PING") == (b"PING", b"")


def test_duplicate_requests_are_refused_once() -> None:
    telnet = Telnet()
    for _ in range(3):
        telnet.feed((IAC + DO + ECHO) * 3 + IAC + WILL + ECHO)
    assert telnet.take_refusals() == IAC + WONT + ECHO + IAC + DONT + ECHO
    assert telnet.take_refusals() == b""


def test_repeated_request_is_refused_again_after_the_refusal_was_sent() -> None:
    telnet = Telnet()
    for _ in range(2):
        assert telnet.feed(IAC + DO + ECHO) == b""
        assert telnet.take_refusals() == IAC + WONT + ECHO


def test_every_option_is_refused() -> None:
    options = [bytes([option]) for option in range(256)]
    requests = b"".join(IAC + DO + option for option in options)
    assert feed(requests) == (b"", b"".join(IAC + WONT + option for option in options))


def test_unterminated_subnegotiation_is_not_buffered(held: Callable[[], int]) -> None:
    telnet = Telnet()
    telnet.feed(IAC + SB)
    for _ in range(100):
        assert telnet.feed(b"x" * 10_000 + IAC + IAC) == b""
    assert held() < 100_000
    assert telnet.feed(IAC + SE + b"PING") == b"PING"


requests = st.tuples(st.sampled_from([DO, WILL]), st.sampled_from([ECHO, NAWS, b"\n", IAC]))
unanswered = st.sampled_from(
    [
        IAC + WONT + ECHO,
        IAC + DONT + IAC,
        IAC + NOP,
        IAC + SB + b"\n\r" + IAC + IAC + SE + IAC + SE,
        IAC + SB + NAWS + IAC + DO + IAC + SE,
    ]
)
text = st.binary(max_size=5).map(lambda data: data.replace(IAC, b""))


@given(st.lists(st.one_of(requests, unanswered, text)), st.data())
def test_text_and_negotiation_are_separated(
    parts: list[bytes | tuple[bytes, bytes]], data: st.DataObject
) -> None:
    requested = [part for part in parts if isinstance(part, tuple)]
    text_parts = [part for part in parts if isinstance(part, bytes) and not part.startswith(IAC)]
    stream = b"".join(part if isinstance(part, bytes) else IAC + b"".join(part) for part in parts)
    refusals = [IAC + (WONT if verb == DO else DONT) + option for verb, option in dict.fromkeys(requested)]
    telnet = Telnet()
    assert b"".join(map(telnet.feed, data.draw(packets(st.just(stream))))) == b"".join(text_parts)
    assert telnet.take_refusals() == b"".join(refusals)


garbage = st.lists(st.sampled_from([IAC, DO, WILL, WONT, SB, SE, NOP, ECHO, b"a", b"\n"])).map(b"".join)


@given(packets(garbage))
def test_output_is_independent_of_packet_boundaries(cut: list[bytes]) -> None:
    assert feed(*cut) == feed(b"".join(cut))
