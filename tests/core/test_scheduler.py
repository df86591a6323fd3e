"""Whose turn it is, tried with sessions that stand in their turn like those of a server."""

import pytest

from simple_chat.core.codes import Code
from simple_chat.core.limits import Limits
from simple_chat.core.room import BATCH_BYTES
from simple_chat.core.scheduler import PRE_JOIN_PER_TURN, BatchCommitter, Scheduler
from simple_chat.core.session import LINES_PER_TURN
from tests.harness.sessions import ManualSink, RoomHarness, SessionClient

LONG = "x" * 4_000


class WatchedScheduler:
    """A scheduler around a harness's room, and what it asked for.

    Attributes:
        wakes: how often it asked for a turn.
        failures: of which client, and with what.
    """

    def __init__(self, harness: RoomHarness, *, journal: bool = False) -> None:
        self.wakes = 0
        self.failures: list[tuple[SessionClient, Exception]] = []
        self.sink = ManualSink(harness.room, immediate=not journal)
        self.scheduler = Scheduler[SessionClient](
            harness.room,
            harness.room,
            BatchCommitter(harness.room, self.sink, lambda: 0.0),
            harness.clients,
            wake=self._wake,
            on_failure=lambda client, error: self.failures.append((client, error)),
        )

    def _wake(self) -> None:
        self.wakes += 1


def test_turn_is_requested_once_until_it_was_run(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    watched = WatchedScheduler(harness)
    watched.scheduler.schedule(ann)
    watched.scheduler.schedule(bob)
    assert watched.wakes == 1
    watched.scheduler.run_turn(0.0)
    assert (watched.wakes, watched.scheduler.idle) == (1, True)


def test_turn_is_requested_while_the_journal_is_busy_unless_the_batch_is_full(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    watched = WatchedScheduler(harness, journal=True)
    ann.session.receive(b"MSG 1\n")
    watched.scheduler.schedule(ann)
    watched.scheduler.run_turn(0.0)
    watched.scheduler.schedule(bob)
    assert watched.wakes == 2


def test_another_turn_is_requested_for_those_who_have_not_joined_and_were_too_many(
    harness: RoomHarness,
) -> None:
    watched = WatchedScheduler(harness)
    for _ in range(PRE_JOIN_PER_TURN + 1):
        watched.scheduler.schedule(harness.connect())
    watched.scheduler.run_turn(0.0)
    assert (watched.wakes, watched.scheduler.idle) == (2, False)
    watched.scheduler.run_turn(0.0)
    assert (watched.wakes, watched.scheduler.idle) == (2, True)


def test_author_is_given_no_turn_before_its_own_line_is_released(harness: RoomHarness) -> None:
    (ann,) = harness.enter("ann")
    watched = WatchedScheduler(harness, journal=True)
    for text in (b"MSG 1\n", b"MSG 2\n"):
        ann.session.receive(text)
        watched.scheduler.schedule(ann)
        watched.scheduler.run_turn(0.0)
    assert watched.sink.write()
    watched.scheduler.on_commit()
    assert watched.scheduler.idle


def test_full_batch_requests_a_turn_only_once_it_can_be_committed(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    watched = WatchedScheduler(harness, journal=True)
    ann.session.receive(b"MSG 1\n")
    watched.scheduler.schedule(ann)
    watched.scheduler.run_turn(0.0)  # the journal is busy with it
    ann.session.receive(f"MSG {LONG}\n".encode() * (BATCH_BYTES // len(LONG) + 2))
    watched.scheduler.schedule(ann)
    watched.scheduler.run_turn(0.0)
    wakes = watched.wakes
    assert harness.room.batch_full
    watched.scheduler.schedule(bob)
    assert watched.wakes == wakes
    assert watched.sink.write()
    watched.scheduler.on_commit()
    assert watched.wakes == wakes + 1


def test_closed_room_commits_what_gathered_without_a_turn(harness: RoomHarness) -> None:
    (ann,) = harness.enter("ann")
    watched = WatchedScheduler(harness, journal=True)
    for text in (b"MSG 1\n", b"MSG 2\n"):
        ann.session.receive(text)
        watched.scheduler.schedule(ann)
        watched.scheduler.run_turn(0.0)
    harness.room.closed = True
    assert watched.sink.write()
    watched.scheduler.on_commit()
    assert watched.sink.write()
    assert ann.read() == []
    assert harness.room.sequence.open_size == 0


def test_members_come_before_those_who_have_not_joined_and_of_these_come_some(harness: RoomHarness) -> None:
    (ann,) = harness.enter("ann")
    crowd = [harness.connect() for _ in range(PRE_JOIN_PER_TURN + 1)]
    for number, client in enumerate(crowd):
        client.send(f"JOIN user{number}")
    ann.send("MSG first")
    harness.turn()
    assert harness.room.names() == ("ann", *(f"user{number}" for number in range(PRE_JOIN_PER_TURN)))
    harness.turn()
    assert len(harness.room.names()) == len(crowd) + 1
    assert crowd[0].read()[0] == "OK JOIN user0"
    harness.rest()
    assert all("MSG ann first" not in client.read() for client in crowd)


def test_who_found_the_batch_full_comes_first_next_time(harness: RoomHarness) -> None:
    ann, bob, eve = harness.enter("ann", "bob", "eve")
    count = BATCH_BYTES // len(LONG) + 1
    ann.send(*[f"MSG {LONG}"] * count, "MSG behind")
    bob.send("MSG waited")
    harness.turn()
    assert bob.read() == eve.read() == [f"MSG ann {LONG}"] * count
    harness.rest()
    assert ann.read() == ["MSG bob waited"]
    assert bob.read() == ["MSG ann behind"]
    assert eve.read() == ["MSG bob waited", "MSG ann behind"]


def test_one_client_executes_so_many_lines_a_turn(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    ann.send(*["MSG hi"] * (LINES_PER_TURN + 1))
    harness.turn()
    assert len(bob.read()) == LINES_PER_TURN
    harness.turn()
    assert len(bob.read()) == 1


@pytest.mark.parametrize("step", ["receive", "flush"])
def test_failure_of_one_is_reported_and_the_others_go_on(
    harness: RoomHarness, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob, eve = harness.enter("ann", "bob", "eve")
    watched = WatchedScheduler(harness)
    error = RuntimeError("planted")

    def fail(*_: object) -> bool:
        raise error

    if step == "flush":
        monkeypatch.setattr(bob, "flush", fail)
    else:
        monkeypatch.setattr(bob.session._codec, "_data", None)  # which no line can be found in
    for client in (ann, bob):
        if step == "flush" or client is ann:
            client.session.receive(b"MSG hi\n")
        watched.scheduler.schedule(client)
    watched.scheduler.run_turn(0.0)
    assert [client for client, _ in watched.failures] == [bob]
    assert eve.read()[0] == "MSG ann hi"
    assert watched.scheduler.idle or step != "flush"


def test_idle_journal_that_fails_suspends_the_room_with_the_next_batch() -> None:
    harness = RoomHarness(journal=True)
    ann, bob = harness.enter("ann", "bob")
    harness.suspend()
    suspended = [harness.room.delivery.suspended]
    for client in (ann, bob):
        client.send("MSG hi")
        harness.turn()
        suspended.append(harness.room.delivery.suspended)
    assert suspended == [False, False, True]
    harness.resume()
    harness.rest()
    assert (ann.read(), bob.read()) == (["MSG bob hi"], ["MSG ann hi"])


def test_journal_that_fails_with_a_batch_suspends_the_room_at_once_until_it_recovers() -> None:
    harness = RoomHarness(journal=True)
    ann, bob = harness.enter("ann", "bob")
    ann.send("MSG 1")
    harness.turn()
    harness.suspend()
    suspended = [harness.room.delivery.suspended]
    harness.resume()
    for client in (ann, bob):
        client.send("MSG 2")
        harness.turn()
        suspended.append(harness.room.delivery.suspended)
    assert suspended == [True, False, False]


def test_removed_client_gets_no_turn(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    watched = WatchedScheduler(harness)
    ann.session.receive(b"MSG hi\n")
    watched.scheduler.schedule(ann)
    watched.scheduler.remove(ann)
    watched.scheduler.run_turn(0.0)
    assert bob.read() == []


def test_client_that_is_lost_with_an_answer_waiting_is_not_waited_for() -> None:
    harness = RoomHarness(journal=True)
    ann, bob = harness.enter("ann", "bob")
    ann.send("MSG 1", "PING")
    harness.turn()
    ann.session.connection_lost()
    harness.turn()
    harness.write_journal()
    harness.rest()
    assert bob.read() == ["MSG ann 1", "LEFT ann"]


def test_throttled_client_does_not_ask_for_turns(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob", limits=Limits(rate=1, burst=2))
    harness.time = 100.0
    ann.send(*(f"MSG {number}" for number in range(5)))
    harness.rest()
    assert bob.read() == ["MSG ann 0", "MSG ann 1"]
    assert ann.session.throttled
    harness.time = 102.0
    harness.schedule(ann)
    harness.rest()
    assert bob.read() == ["MSG ann 2", "MSG ann 3"]


def test_who_is_kicked_while_it_reads_nothing_leaves_as_soon_as_it_does(harness: RoomHarness) -> None:
    ann, ben = harness.enter("ann", "ben")
    ben.block()
    ben.send("HELP")
    harness.rest()
    for client in (ann, ben):
        client.read()
    watched = WatchedScheduler(harness)
    ben.session.disconnect(Code.KICKED, "flooding")
    harness.room.delivery.unblock(ben.session.subscriber)
    watched.scheduler.schedule(ben)
    while not watched.scheduler.idle:
        watched.scheduler.run_turn(0.0)
    assert ben.read()[-3:] == ["OK HELP", "ERR kicked flooding", "BYE kicked"]
    assert ann.read() == ["LEFT ben"]
