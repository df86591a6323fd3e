"""What is counted is what happened."""

import math

from hypothesis import given
from hypothesis import strategies as st

from simple_chat.core.codes import Code
from simple_chat.core.counters import Counters, End, Histogram
from simple_chat.core.room import BATCH_BYTES
from tests.harness.sessions import RoomHarness, SessionClient


def lines_written(*clients: SessionClient) -> int:
    """Return how many lines of the room clients have got, since they connected."""
    verbs = [line.split()[0] for client in clients for line in client.written.decode().splitlines()]
    return sum(verb in {"JOINED", "MSG", "LEFT"} for verb in verbs)


def test_ends_are_named_as_the_metrics_have_them() -> None:
    assert [*End] == ["quit", "lost", "stalled", "shutdown", "evicted", "failed"]


def test_new_room_has_counted_nothing() -> None:
    counters = Counters()
    for name in Counters.__slots__:
        value = getattr(counters, name)
        assert value.count == 0 if isinstance(value, Histogram) else not value, name


# Histograms


def test_value_counts_for_the_first_bound_that_it_is_not_above() -> None:
    histogram = Histogram((1, 2.5))
    for value in (0, 1, 1.1, 2.5, 2.6, 1e9):
        histogram.observe(value)
    assert list(histogram.cumulative()) == [(1, 2), (2.5, 4), (math.inf, 6)]
    assert (histogram.count, histogram.sum) == (6, 0 + 1 + 1.1 + 2.5 + 2.6 + 1e9)


def test_empty_histogram_has_all_its_bounds() -> None:
    assert list(Histogram((1,)).cumulative()) == [(1, 0), (math.inf, 0)]


@given(st.lists(st.integers(0, 100)))
def test_last_bound_has_all_values(values: list[int]) -> None:
    histogram = Histogram((10, 20, 50))
    for value in values:
        histogram.observe(value)
    assert list(histogram.cumulative())[-1] == (math.inf, len(values))
    assert histogram.sum == sum(values)


# Lines and batches


def test_line_counts_once_in_the_room_and_once_for_each_who_gets_it(harness: RoomHarness) -> None:
    clients = harness.enter("ann", "bob", "cleo")
    counters = harness.room.counters
    assert (counters.room_lines, counters.deliveries) == (3, lines_written(*clients))
    clients[0].send("MSG 1", "MSG 2")
    clients[1].send("MSG 3")
    harness.rest()
    assert (counters.room_lines, counters.messages) == (6, 3)
    assert counters.deliveries == lines_written(*clients) == 3 + 1 + 2 + 3


def test_batch_is_observed_with_its_lines_and_bytes(harness: RoomHarness) -> None:
    ann, _bob = harness.enter("ann", "bob")
    before = harness.room.counters.batch_lines.count
    ann.send("MSG 1", "MSG 23")
    harness.rest()
    counters = harness.room.counters
    assert counters.batch_lines.count == counters.batch_bytes.count == before + 1
    assert counters.batch_lines.sum == counters.room_lines
    assert counters.batch_bytes.sum == len("JOINED ann\nJOINED bob\n") + len("MSG ann 1\nMSG ann 23\n")


def test_lines_of_clients_are_those_that_were_executed(harness: RoomHarness) -> None:
    client = harness.connect()
    client.feed(b"PING\n\nFOO\r\nJOIN ann\nMSG not complete")
    harness.rest()
    assert harness.room.counters.lines == 4
    assert harness.room.counters.received_bytes == len(b"PING\n\nFOO\r\nJOIN ann\nMSG not complete")


def test_lines_caught_up_with_are_deliveries_and_those_lost_are_not() -> None:
    harness = RoomHarness(backlog=BATCH_BYTES)
    ann, bob = harness.enter("ann", "bob")
    bob.block()
    for _ in range(100):
        ann.send(f"MSG {'x' * 1000}")
        harness.rest()
    bob.unblock()
    harness.rest()
    gap, *rest = bob.read()
    counters = harness.room.counters
    assert (counters.gaps, counters.gap_lines) == (1, int(gap.split()[1]))
    assert counters.gap_lines + len(rest) == 100
    assert counters.deliveries == lines_written(ann, bob)


def test_lines_that_who_left_during_an_outage_does_not_get_are_a_gap() -> None:
    harness = RoomHarness(journal=True)
    ann, bob = harness.enter("ann", "bob")
    ann.send("MSG 1", "MSG 2")
    harness.turn()
    harness.suspend()
    harness.rest()
    bob.send("LEAVE")
    harness.rest()
    assert bob.read() == ["GAP 2", "OK LEAVE"]
    assert (harness.room.counters.gaps, harness.room.counters.gap_lines) == (1, 2)


def test_member_whose_connection_is_closing_counts_as_written_to(harness: RoomHarness) -> None:
    ann, bob, _eve = harness.enter("ann", "bob", "eve")
    before = harness.room.counters.deliveries

    def fail(_data: bytes) -> None:
        raise RuntimeError("the connection is closing")

    bob.session.subscriber.write = fail
    ann.send("MSG 1")
    harness.rest()
    assert harness.room.counters.deliveries == before + 2


# Bytes


def test_bytes_gathered_in_a_turn_count_once(harness: RoomHarness) -> None:
    client = harness.connect()
    client.feed(b"\xff\xfb\x01PING\nHELP\nFOO\n")  # and a telnet option, which is refused
    harness.rest()
    client.close()
    harness.rest()
    assert b"\xff\xfe\x01" in client.written
    assert harness.room.counters.sent_bytes == len(client.written)


# Refusals


def test_refused_lines_count_by_code(harness: RoomHarness) -> None:
    (ann,) = harness.enter("ann")
    ann.send("FOO", "MSG", "FOO", "JOIN ben")
    harness.rest()
    assert harness.room.counters.refusals == {
        Code.UNKNOWN_COMMAND: 2,
        Code.EMPTY_MESSAGE: 1,
        Code.ALREADY_JOINED: 1,
    }


def test_code_that_ends_a_connection_counts_once(harness: RoomHarness) -> None:
    client = harness.connect()
    client.feed(b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03")  # TLS
    client.session.disconnect(Code.JOIN_TIMEOUT)
    harness.rest()
    assert harness.room.counters.refusals[Code.NOT_CHAT] == 1
    assert harness.room.counters.refusals[Code.JOIN_TIMEOUT] == 0


# Time


def test_broadcast_is_timed_only_with_a_clock(harness: RoomHarness) -> None:
    ann, _bob = harness.enter("ann", "bob")
    fanout = harness.room.counters.fanout_seconds
    assert fanout.count == 0
    harness.room.clock = iter((10.0, 10.25)).__next__
    ann.send("MSG 1")
    harness.rest()
    assert (fanout.count, fanout.sum) == (1, 0.25)
