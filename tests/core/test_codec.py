"""Codecs: the two renderings of the plain protocol, and one more that costs a line a method."""

from array import array

import pytest

from simple_chat.core.backlog import Batch
from simple_chat.core.codec import CRLF, LF, PlainCodec, Rendering
from tests.harness.sessions import RoomHarness, SessionClient

LINES = [b"MSG ann 1\n", b"JOINED bob\n", b"MSG bob 22\n"]


class NetstringRendering(Rendering):
    """Each line as ``<time> <line>;``, and each write as a netstring: a frame with its length."""

    def render_line(self, line: bytes, time: float) -> bytes:
        return b"%d %b;" % (time, line[:-1])

    def pack(self, data: bytes) -> bytes:
        return b"%d:%b," % (len(data), data)


NETSTRING = NetstringRendering()


class NetstringCodec(PlainCodec):
    """A codec whose lines come in as those of the plain one do, and go out as netstrings."""

    @property
    def rendering(self) -> Rendering:
        return NETSTRING


def make_batch(first: int = 7) -> Batch:
    return Batch(first, LINES, array("Q", [1, 2, 2]), [(first, 5.0), (first + 2, 6.0)])


@pytest.mark.parametrize(
    ("rendering", "data", "rest"),
    [
        (LF, b"MSG ann 1\nJOINED bob\nMSG bob 22\n", b"MSG ann 1\n"),
        (CRLF, b"MSG ann 1\r\nJOINED bob\r\nMSG bob 22\r\n", b"MSG ann 1\r\n"),
        (NETSTRING, b"38:5 MSG ann 1;5 JOINED bob;6 MSG bob 22;,", b"12:5 MSG ann 1;,"),
    ],
)
def test_batch_is_rendered_once_and_shares_are_cut_from_it(
    rendering: Rendering, data: bytes, rest: bytes
) -> None:
    rendered = rendering.render_batch(make_batch())
    assert rendered.data == data
    assert rendered.excluding([]) is rendered.data
    assert rendered.excluding([8, 9]) == rest
    assert rendered.excluding([7, 8, 9]) == b""


@pytest.mark.parametrize("rendering", [LF, CRLF])
def test_lines_rendered_one_by_one_are_the_lines_rendered_together(rendering: Rendering) -> None:
    together = rendering.render(b"".join(LINES), 0.0)
    assert b"".join(rendering.render_line(line, 0.0) for line in LINES) == together


def test_lines_of_another_kind_are_packed_together() -> None:
    assert NETSTRING.render(b"".join(LINES), 5.0) == b"38:5 MSG ann 1;5 JOINED bob;5 MSG bob 22;,"


def test_batch_is_not_copied_for_clients_that_end_lines_with_lf() -> None:
    batch = make_batch()
    assert LF.render_batch(batch).data is batch.data


def test_plain_codec_renders_crlf_from_the_first_crlf_on() -> None:
    codec = PlainCodec()
    assert codec.rendering is LF
    codec.feed(b"a\n\r\nb\n")
    assert (codec.next_line(), codec.rendering) == ("a", LF)
    assert (codec.next_line(), codec.rendering) == ("", CRLF)
    assert (codec.next_line(), codec.rendering) == ("b", CRLF)
    assert codec.encode(b"PONG\n") == b"PONG\r\n"


def test_plain_codec_says_when_it_has_replies() -> None:
    codec = PlainCodec()
    said = []
    for data in (b"PING\n", b"\xff\xfd\x03", b"PING\n"):
        codec.feed(data)
        said.append(codec.has_replies)
    assert said == [False, True, True]
    assert codec.take_replies() == b"\xff\xfc\x03"
    assert codec.take_replies() == b""


# A third rendering in the room


def frames(client: SessionClient) -> list[str]:
    """Return the payloads of the netstrings written since the last call, and check their lengths."""
    data, found = client.written, []
    while data:
        size = bytes(data).partition(b":")[0]
        end = len(size) + 1 + int(size)
        found.append(data[len(size) + 1 : end].decode())
        assert data[end : end + 1] == b","
        del data[: end + 1]
    return found


@pytest.fixture
def other(harness: RoomHarness) -> SessionClient:
    """A member that speaks netstrings."""
    client = harness.connect(codec=NetstringCodec())
    client.send("JOIN other")
    harness.rest()
    frames(client)
    return client


def test_member_of_another_kind_shares_the_room(harness: RoomHarness, other: SessionClient) -> None:
    ann, bob = harness.enter("ann", "bob")
    frames(other)
    harness.time = 9.0
    ann.send("MSG 1")
    other.send("MSG 2", "PING x")
    bob.send("MSG 3")
    harness.rest()
    assert ann.read() == ["MSG other 2", "MSG bob 3"]
    assert frames(other) == ["9 MSG ann 1;", "0 PONG x;", "9 MSG bob 3;"]


def test_author_of_another_kind_gets_its_share_in_one_frame(
    harness: RoomHarness, other: SessionClient
) -> None:
    (ann,) = harness.enter("ann")
    frames(other)
    other.send("MSG 1")
    ann.send("MSG 2", "MSG 3")
    harness.rest()
    assert frames(other) == ["0 MSG ann 2;0 MSG ann 3;"]


def test_slow_reader_of_another_kind_catches_up_and_is_told_of_a_gap() -> None:
    harness = RoomHarness(backlog=1)
    slow = harness.connect(codec=NetstringCodec())
    slow.send("JOIN slow")
    (ann,) = harness.enter("ann")
    frames(slow)
    slow.block()
    for number in range(3):
        harness.time = float(number)
        ann.send(f"MSG {number}")
        harness.rest()
    slow.unblock()
    slow.session.notify("news")
    harness.rest()
    assert frames(slow) == ["0 INFO news;", "0 GAP 2;", "2 MSG ann 2;"]
