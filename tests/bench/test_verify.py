"""The check of every delivery passes what is right, however it is cut, and catches whatever is planted."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_chat.bench import message
from simple_chat.bench.latency import Latencies
from simple_chat.bench.verify import Reference, Stream

SENDERS = 3
CLIENTS = 5


class Room:
    """A reference and streams, and what each of them should get of some messages.

    Args:
        senders: who says each of the messages.
    """

    def __init__(self, senders: list[int]) -> None:
        self.reference = Reference(SENDERS)
        self.latencies = Latencies()
        self.latencies.begin(0)
        self.streams = [
            Stream(self.reference, number if number < SENDERS else None, self.latencies)
            for number in range(CLIENTS)
        ]
        self.senders = senders
        self.lines: list[bytes] = []
        for number, sender in enumerate(senders):
            text = message.compose(1000, sender, number, 40).encode()
            self.reference.expect(sender, text)
            self.lines.append(b"MSG name%d %s\n" % (sender, text))

    def lines_for(self, client: int) -> list[bytes]:
        said = zip(self.lines, self.senders, strict=True)
        return [line for line, sender in said if sender != client]

    def give_all(self) -> None:
        self.reference.grow(b"".join(self.lines))
        for client, stream in enumerate(self.streams):
            stream.take(b"".join(self.lines_for(client)), 3000)

    def finish(self) -> None:
        self.reference.finish()
        for stream in self.streams:
            stream.finish()

    def lost(self) -> int:
        right = sum(stream.messages() for stream in self.streams)
        return len(self.lines) * CLIENTS - right - self.reference.messages(self.reference.end)

    def faulty(self) -> list[int]:
        return [client for client, stream in enumerate(self.streams) if stream.fault]

    def assert_right(self) -> None:
        self.finish()
        assert self.reference.faults == []
        assert [stream.fault for stream in self.streams] == [None] * CLIENTS
        assert all(stream.at_end for stream in self.streams)
        assert self.reference.complete
        assert self.lost() == 0


SAID = [
    pytest.param([], id="nothing"),
    pytest.param([0], id="one"),
    pytest.param([0, 0, 0], id="one sender"),
    pytest.param([0, 1, 2, 0, 1, 2], id="by turns"),
    pytest.param([0, 0, 1, 1, 0, 2, 2, 2], id="in runs"),
]


@pytest.mark.parametrize("senders", SAID)
def test_what_everybody_should_get_is_right(senders: list[int]) -> None:
    room = Room(senders)
    room.give_all()
    room.assert_right()


@pytest.mark.parametrize("senders", SAID)
def test_a_client_may_be_ahead_of_the_observer(senders: list[int]) -> None:
    room = Room(senders)
    for client, stream in enumerate(room.streams):
        stream.take(b"".join(room.lines_for(client)), 3000)
    room.reference.grow(b"".join(room.lines))
    room.assert_right()


@given(st.data())
def test_what_is_right_is_right_in_any_pieces_and_any_order(data: st.DataObject) -> None:
    room = Room(data.draw(st.lists(st.integers(0, SENDERS - 1), max_size=8)))
    takers: list[Callable[[bytes], None]] = [room.reference.grow]
    takers += [lambda piece, stream=stream: stream.take(piece, 3000) for stream in room.streams]  # type: ignore[misc]
    whole = [b"".join(room.lines), *(b"".join(room.lines_for(client)) for client in range(CLIENTS))]
    queues = [data.draw(pieces(each)) for each in whole]
    while waiting := [number for number, queue in enumerate(queues) if queue]:
        number = data.draw(st.sampled_from(waiting))
        takers[number](queues[number].pop(0))
        if data.draw(st.booleans()):
            room.reference.forget(min(stream.position for stream in room.streams))
    room.assert_right()


def pieces(whole: bytes) -> st.SearchStrategy[list[bytes]]:
    cuts = st.lists(st.integers(0, len(whole)), max_size=6).map(sorted)
    return cuts.map(lambda cuts: [whole[a:b] for a, b in pairwise([0, *cuts, len(whole)]) if a < b])


def test_what_others_say_and_what_the_server_tells_may_be_among_it() -> None:
    room = Room([0, 1])
    foreign = [b"JOINED someone\n", b"MSG someone @0123 hello\n"]
    room.lines[1:1] = foreign
    room.senders[1:1] = [-1, -1]
    room.give_all()
    assert [stream.messages() for stream in room.streams] == [1, 1, 2, 2, 2]
    assert not room.faulty()
    assert room.reference.faults == []


def test_lines_may_end_in_cr_lf() -> None:
    room = Room([0, 1, 1])
    room.lines = [line.replace(b"\n", b"\r\n") for line in room.lines]
    room.give_all()
    room.assert_right()


# Faults of what one client gets

PLANTS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "lost first": lambda lines: lines[1:],
    "lost within": lambda lines: lines[:2] + lines[3:],
    "doubled first": lambda lines: [lines[0], *lines],
    "doubled within": lambda lines: [*lines[:3], *lines[2:]],
    "doubled last": lambda lines: [*lines, lines[-1]],
    "swapped": lambda lines: [lines[1], lines[0], *lines[2:]],
    "byte changed": lambda lines: [lines[0], b"X" + lines[1][1:], *lines[2:]],
    "last byte changed": lambda lines: [*lines[:-1], lines[-1][:-2] + b"y\n"],
    "byte missing": lambda lines: [lines[0][:10] + lines[0][11:], *lines[1:]],
    "byte more": lambda lines: [lines[0], b" ", *lines[1:]],
    "line more": lambda lines: [lines[0], b"GAP 3\n", *lines[1:]],
    "line more at the end": lambda lines: [*lines, b"BYE\n"],
    "torn line more at the end": lambda lines: [*lines, b"B"],
}


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)
@pytest.mark.parametrize("client", range(CLIENTS))
@pytest.mark.parametrize("bytewise", [False, True], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("ahead", [False, True], ids=["behind the observer", "ahead of the observer"])
def test_planted_fault_is_caught_where_it_is(
    plant: Callable[[list[bytes]], list[bytes]],
    client: int,
    bytewise: bool,  # noqa: FBT001 - a parameter
    ahead: bool,  # noqa: FBT001 - a parameter
) -> None:
    room = Room([0, 1, 2, 0, 0, 1, 2, 2, 1])
    if not ahead:
        room.reference.grow(b"".join(room.lines))
    for each, stream in enumerate(room.streams):
        lines = room.lines_for(each)
        got = b"".join(plant(lines) if each == client else lines)
        for at in range(0, len(got), 1 if bytewise else len(got)):
            stream.take(got[at : at + (1 if bytewise else len(got))], 3000)
    if ahead:
        room.reference.grow(b"".join(room.lines))
    room.finish()
    assert room.faulty() == [client]
    assert room.reference.faults == []


@pytest.mark.parametrize("at", [0, 1, 3])
def test_own_line_that_comes_back_is_caught(at: int) -> None:
    room = Room([1, 0, 1, 0])
    room.reference.grow(b"".join(room.lines))
    lines = room.lines_for(0)
    lines.insert(at, room.lines[1])
    room.streams[0].take(b"".join(lines), 3000)
    room.finish()
    assert room.faulty() == [0]


def test_line_that_never_comes_is_lost_but_no_fault() -> None:
    room = Room([0, 1, 1])
    room.reference.grow(b"".join(room.lines))
    for client, stream in enumerate(room.streams):
        stream.take(b"".join(room.lines_for(client)[: -1 if client == 4 else None]), 3000)
    room.finish()
    assert (room.faulty(), room.lost()) == ([], 1)
    assert not room.streams[4].at_end


def test_fault_shows_what_came_and_what_should_have() -> None:
    room = Room([0, 0])
    room.reference.grow(b"".join(room.lines))
    room.streams[4].take(room.lines[0] + b"GAP 1\n", 3000)
    assert room.streams[4].fault == f"got b'GAP 1\\n' where the observer got {room.lines[1]!r}"


def test_after_a_fault_nothing_is_right_any_more() -> None:
    room = Room([0, 0, 0])
    room.reference.grow(b"".join(room.lines))
    room.streams[4].take(room.lines[1] + room.lines[2], 3000)
    room.streams[4].take(b"".join(room.lines), 3000)
    assert room.streams[4].messages() == 0


# Faults that everybody gets alike


@pytest.mark.parametrize(
    ("plant", "faults", "lost"),
    [
        pytest.param(lambda lines: lines[:-1], 0, CLIENTS, id="last line lost"),
        pytest.param(lambda lines: lines[1:], 1, CLIENTS, id="line lost"),
        pytest.param(lambda lines: [lines[0], *lines], 1, 0, id="line doubled"),
        pytest.param(lambda lines: [lines[1], lines[0], *lines[2:]], 2, CLIENTS, id="lines swapped"),
        pytest.param(
            lambda lines: [lines[0].replace(b"x", b"xx"), *lines[1:]], 2, CLIENTS, id="text changed"
        ),
        pytest.param(lambda lines: [*lines[:-1], lines[-1][:-1]], 1, CLIENTS, id="line end lost"),
        pytest.param(
            lambda lines: [*lines, lines[0].replace(b"3e800000000", b"3e8000000ff")], 1, 0, id="nobody's"
        ),
    ],
)
def test_fault_that_everybody_gets_is_caught(
    plant: Callable[[list[bytes]], list[bytes]], faults: int, lost: int
) -> None:
    room = Room([0, 0, 0, 0])
    heard = b"".join(plant(room.lines))
    room.reference.grow(heard)
    for stream in room.streams[1:]:
        stream.take(heard[: heard.rfind(b"\n") + 1], 3000)
    room.finish()
    assert len(room.reference.faults) == faults
    assert room.lost() == lost
    assert room.faulty() == []


# Latencies


def test_latencies_are_of_others_messages_in_the_sample() -> None:
    room = Room([0, 1, 1])
    room.give_all()
    found = room.latencies.histogram.percentiles([0, 100])
    assert found == pytest.approx([2000, 2000], rel=0.01)


def test_what_was_held_back_counts_from_when_it_came() -> None:
    room = Room([0])
    room.streams[4].take(room.lines[0][:5], 1500)
    room.streams[4].take(room.lines[0][5:], 2000)
    room.reference.grow(room.lines[0])
    assert room.latencies.histogram.percentiles([0, 100]) == pytest.approx([1000, 1000], rel=0.01)
