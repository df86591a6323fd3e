"""Correct deliveries pass however they are split, and every planted fault is found."""

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simple_chat.bench import message
from simple_chat.bench.latency import LatencyRecorder
from simple_chat.bench.verify import ClientStream, Reference

SENDERS = 3
CLIENTS = 5


class Scenario:
    """A reference, the clients' streams, and the lines that each should receive.

    Args:
        senders: the sender of each message.
    """

    def __init__(self, senders: list[int]) -> None:
        self.reference = Reference(SENDERS)
        self.latencies = LatencyRecorder()
        self.latencies.start(0)
        self.streams = [
            ClientStream(self.reference, number if number < SENDERS else None, self.latencies)
            for number in range(CLIENTS)
        ]
        self.senders = senders
        self.lines: list[bytes] = []
        for number, sender in enumerate(senders):
            text = message.compose(1000, sender, number, 40).encode()
            self.reference.expect(sender, text)
            self.lines.append(b"MSG name%d %s\n" % (sender, text))

    def lines_for(self, client: int) -> list[bytes]:
        sent = zip(self.lines, self.senders, strict=True)
        return [line for line, sender in sent if sender != client]

    def feed_all(self) -> None:
        self.reference.feed(b"".join(self.lines))
        for client, stream in enumerate(self.streams):
            stream.feed(b"".join(self.lines_for(client)), 3000)

    def finish(self) -> None:
        self.reference.finish()
        for stream in self.streams:
            stream.finish()

    def lost(self) -> int:
        received = sum(stream.messages() for stream in self.streams)
        return len(self.lines) * CLIENTS - received - self.reference.messages_before(self.reference.end)

    def faulty(self) -> list[int]:
        return [client for client, stream in enumerate(self.streams) if stream.fault]

    def assert_correct(self) -> None:
        self.finish()
        assert self.reference.faults == []
        assert [stream.fault for stream in self.streams] == [None] * CLIENTS
        assert all(stream.at_end for stream in self.streams)
        assert self.reference.complete
        assert self.lost() == 0


MESSAGES = [
    pytest.param([], id="nothing"),
    pytest.param([0], id="one"),
    pytest.param([0, 0, 0], id="one sender"),
    pytest.param([0, 1, 2, 0, 1, 2], id="in turn"),
    pytest.param([0, 0, 1, 1, 0, 2, 2, 2], id="in bursts"),
]


@pytest.mark.parametrize("senders", MESSAGES)
def test_expected_lines_are_correct(senders: list[int]) -> None:
    scenario = Scenario(senders)
    scenario.feed_all()
    scenario.assert_correct()


@pytest.mark.parametrize("senders", MESSAGES)
def test_client_may_be_ahead_of_the_observer(senders: list[int]) -> None:
    scenario = Scenario(senders)
    for client, stream in enumerate(scenario.streams):
        stream.feed(b"".join(scenario.lines_for(client)), 3000)
    scenario.reference.feed(b"".join(scenario.lines))
    scenario.assert_correct()


@settings(max_examples=settings().max_examples // 4)  # each draws some fifty times
@given(st.data())
def test_expected_lines_are_correct_in_any_pieces_and_order(data: st.DataObject) -> None:
    scenario = Scenario(data.draw(st.lists(st.integers(0, SENDERS - 1), max_size=8)))
    feeds: list[Callable[[bytes], None]] = [scenario.reference.feed]
    feeds += [lambda piece, stream=stream: stream.feed(piece, 3000) for stream in scenario.streams]  # type: ignore[misc]
    streams = [b"".join(scenario.lines), *(b"".join(scenario.lines_for(client)) for client in range(CLIENTS))]
    queues = [data.draw(pieces(each)) for each in streams]
    while pending := [number for number, queue in enumerate(queues) if queue]:
        number = data.draw(st.sampled_from(pending))
        feeds[number](queues[number].pop(0))
        if data.draw(st.booleans()):
            scenario.reference.discard_before(min(stream.position for stream in scenario.streams))
    scenario.assert_correct()


def pieces(whole: bytes) -> st.SearchStrategy[list[bytes]]:
    cuts = st.lists(st.integers(0, len(whole)), max_size=6).map(sorted)
    return cuts.map(lambda cuts: [whole[a:b] for a, b in pairwise([0, *cuts, len(whole)]) if a < b])


def test_lines_of_others_and_of_the_server_may_be_between() -> None:
    scenario = Scenario([0, 1])
    foreign = [b"JOINED someone\n", b"MSG someone @0123 hello\n"]
    scenario.lines[1:1] = foreign
    scenario.senders[1:1] = [-1, -1]
    scenario.feed_all()
    assert [stream.messages() for stream in scenario.streams] == [1, 1, 2, 2, 2]
    assert not scenario.faulty()
    assert scenario.reference.faults == []


def test_lines_may_end_in_cr_lf() -> None:
    scenario = Scenario([0, 1, 1])
    scenario.lines = [line.replace(b"\n", b"\r\n") for line in scenario.lines]
    scenario.feed_all()
    scenario.assert_correct()


# Faults of one client

FAULTS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "first lost": lambda lines: lines[1:],
    "middle lost": lambda lines: lines[:2] + lines[3:],
    "first duplicated": lambda lines: [lines[0], *lines],
    "middle duplicated": lambda lines: [*lines[:3], *lines[2:]],
    "last duplicated": lambda lines: [*lines, lines[-1]],
    "swapped": lambda lines: [lines[1], lines[0], *lines[2:]],
    "byte changed": lambda lines: [lines[0], b"X" + lines[1][1:], *lines[2:]],
    "last byte changed": lambda lines: [*lines[:-1], lines[-1][:-2] + b"y\n"],
    "byte missing": lambda lines: [lines[0][:10] + lines[0][11:], *lines[1:]],
    "extra byte": lambda lines: [lines[0], b" ", *lines[1:]],
    "extra line": lambda lines: [lines[0], b"GAP 3\n", *lines[1:]],
    "extra line at the end": lambda lines: [*lines, b"BYE\n"],
    "extra incomplete line at the end": lambda lines: [*lines, b"B"],
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("client", range(CLIENTS))
@pytest.mark.parametrize("bytewise", [False, True], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("ahead", [False, True], ids=["behind the observer", "ahead of the observer"])
def test_fault_is_found_at_the_client_that_has_it(
    fault: Callable[[list[bytes]], list[bytes]],
    client: int,
    bytewise: bool,  # noqa: FBT001 - a parameter
    ahead: bool,  # noqa: FBT001 - a parameter
) -> None:
    scenario = Scenario([0, 1, 2, 0, 0, 1, 2, 2, 1])
    if not ahead:
        scenario.reference.feed(b"".join(scenario.lines))
    for each, stream in enumerate(scenario.streams):
        lines = scenario.lines_for(each)
        received = b"".join(fault(lines) if each == client else lines)
        step = 1 if bytewise else len(received)
        for at in range(0, len(received), step):
            stream.feed(received[at : at + step], 3000)
    if ahead:
        scenario.reference.feed(b"".join(scenario.lines))
    scenario.finish()
    assert scenario.faulty() == [client]
    assert scenario.reference.faults == []


@pytest.mark.parametrize("at", [0, 1, 3])
def test_own_line_sent_back_is_a_fault(at: int) -> None:
    scenario = Scenario([1, 0, 1, 0])
    scenario.reference.feed(b"".join(scenario.lines))
    lines = scenario.lines_for(0)
    lines.insert(at, scenario.lines[1])
    scenario.streams[0].feed(b"".join(lines), 3000)
    scenario.finish()
    assert scenario.faulty() == [0]


def test_missing_last_line_is_lost_but_no_fault() -> None:
    scenario = Scenario([0, 1, 1])
    scenario.reference.feed(b"".join(scenario.lines))
    for client, stream in enumerate(scenario.streams):
        stream.feed(b"".join(scenario.lines_for(client)[: -1 if client == 4 else None]), 3000)
    scenario.finish()
    assert (scenario.faulty(), scenario.lost()) == ([], 1)
    assert not scenario.streams[4].at_end


def test_fault_names_received_and_expected_line() -> None:
    scenario = Scenario([0, 0])
    scenario.reference.feed(b"".join(scenario.lines))
    scenario.streams[4].feed(scenario.lines[0] + b"GAP 1\n", 3000)
    assert (
        scenario.streams[4].fault == f"received b'GAP 1\\n' where the observer received {scenario.lines[1]!r}"
    )


def test_nothing_counts_after_a_fault() -> None:
    scenario = Scenario([0, 0, 0])
    scenario.reference.feed(b"".join(scenario.lines))
    scenario.streams[4].feed(scenario.lines[1] + scenario.lines[2], 3000)
    scenario.streams[4].feed(b"".join(scenario.lines), 3000)
    assert scenario.streams[4].messages() == 0


# Faults of all clients alike


@pytest.mark.parametrize(
    ("fault", "faults", "lost"),
    [
        pytest.param(lambda lines: lines[:-1], 0, CLIENTS, id="last line lost"),
        pytest.param(lambda lines: lines[1:], 1, CLIENTS, id="line lost"),
        pytest.param(lambda lines: [lines[0], *lines], 1, 0, id="line duplicated"),
        pytest.param(lambda lines: [lines[1], lines[0], *lines[2:]], 2, CLIENTS, id="lines swapped"),
        pytest.param(
            lambda lines: [lines[0].replace(b"x", b"xx"), *lines[1:]], 2, CLIENTS, id="text changed"
        ),
        pytest.param(lambda lines: [*lines[:-1], lines[-1][:-1]], 1, CLIENTS, id="line end lost"),
        pytest.param(
            lambda lines: [*lines, lines[0].replace(b"3e800000000", b"3e8000000ff")],
            1,
            0,
            id="unknown sender",
        ),
    ],
)
def test_fault_of_all_clients_is_found(
    fault: Callable[[list[bytes]], list[bytes]], faults: int, lost: int
) -> None:
    scenario = Scenario([0, 0, 0, 0])
    received = b"".join(fault(scenario.lines))
    scenario.reference.feed(received)
    for stream in scenario.streams[1:]:
        stream.feed(received[: received.rfind(b"\n") + 1], 3000)
    scenario.finish()
    assert len(scenario.reference.faults) == faults
    assert scenario.lost() == lost
    assert scenario.faulty() == []


# Latencies


def test_latencies_of_others_messages_are_recorded() -> None:
    scenario = Scenario([0, 1, 1])
    scenario.feed_all()
    percentiles = scenario.latencies.histogram.percentiles([0, 100])
    assert percentiles == pytest.approx([2000, 2000], rel=0.01)


def test_latency_of_held_bytes_ends_when_they_arrived() -> None:
    scenario = Scenario([0])
    scenario.streams[4].feed(scenario.lines[0][:5], 1500)
    scenario.streams[4].feed(scenario.lines[0][5:], 2000)
    scenario.reference.feed(scenario.lines[0])
    assert scenario.latencies.histogram.percentiles([0, 100]) == pytest.approx([1000, 1000], rel=0.01)
