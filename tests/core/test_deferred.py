"""What a session does whose commands are committed later, as in a cluster."""

import pytest

from simple_chat.core.backlog import BACKLOG
from simple_chat.core.bans import Ban
from simple_chat.core.codes import Code
from simple_chat.core.handshake import State
from simple_chat.core.protocol import Err
from simple_chat.core.room import Room
from simple_chat.core.scheduler import BatchCommitter
from tests.harness.sessions import DeferredSequencer, ManualSink, SessionClient, SessionHarness

TAKEN = str(Err(Code.NAME_TAKEN, Code.NAME_TAKEN.advice))


class DeferredHarness(SessionHarness):
    """A room whose commands are committed one by one."""

    def __init__(self) -> None:
        room = Room(backlog=BACKLOG)
        self.log = DeferredSequencer(room)
        super().__init__(room, self.log, BatchCommitter(room, ManualSink(room, immediate=True), lambda: 0.0))

    def commit(self, number: int = 1) -> None:
        """Commit some commands, and run turns for what comes of them."""
        for _ in range(number):
            self.log.commit()
        self.turn()
        self._scheduler.on_commit()
        while not self._scheduler.idle:
            self.turn()

    def join(self, name: str) -> SessionClient:
        """Connect a client and let it join."""
        client = self.connect()
        client.send(f"JOIN {name}")
        self.turn()
        self.commit()
        assert client.read() == [f"OK JOIN {name}"]
        return client


@pytest.fixture
def harness() -> DeferredHarness:
    return DeferredHarness()


def test_command_is_answered_once_it_is_committed(harness: DeferredHarness) -> None:
    ann = harness.connect()
    ann.send("JOIN ann", "PING x")
    harness.turn()
    assert (ann.session.awaiting_commit, ann.read()) == (True, [])
    assert not ann.session.wants_input
    harness.commit()
    assert ann.read() == ["OK JOIN ann"]
    harness.commit()
    assert ann.read() == ["PONG x"]


def test_command_that_can_not_be_applied_is_refused_once_it_is_committed(harness: DeferredHarness) -> None:
    harness.join("ann")
    other = harness.connect()
    other.send("JOIN ANN")
    harness.turn()
    harness.commit()
    assert other.read() == [TAKEN]
    assert other.session.pre_join


def test_closing_waits_for_the_commit_and_then_for_its_own(harness: DeferredHarness) -> None:
    ann = harness.connect()
    ann.send("JOIN ann")
    harness.turn()
    ann.end("shutdown")
    harness.turn()
    assert ann.session.state is State.CLOSING
    harness.commit()
    assert ann.read() == ["OK JOIN ann"]
    harness.commit()
    assert ann.read() == ["BYE shutdown"]
    assert ann.session.finished


def test_connection_that_is_lost_before_the_commit_leaves_after_it(harness: DeferredHarness) -> None:
    bob, ann = harness.join("bob"), harness.connect()
    ann.send("JOIN ann")
    harness.turn()
    ann.session.connection_lost()
    harness.commit()
    assert bob.read() == ["JOINED ann"]
    harness.commit()
    assert bob.read() == ["LEFT ann"]
    assert harness.room.names() == ("bob",)


def test_connection_that_is_lost_while_it_closes_leaves_once(harness: DeferredHarness) -> None:
    bob, ann = harness.join("bob"), harness.join("ann")
    ann.end("shutdown")
    harness.turn()
    ann.session.connection_lost()
    ann.session.connection_lost()
    harness.commit()
    assert bob.read() == ["JOINED ann", "LEFT ann"]
    assert harness.room.names() == ("bob",)


def test_abandoned_session_waits_for_nothing(harness: DeferredHarness) -> None:
    ann = harness.join("ann")
    ann.send("WHO", "PING x")
    harness.turn()
    waits = [(ann.session.awaiting_commit, not ann.session.input_drained)]
    ann.session.abandon()  # else its connection would wait for the rest to be executed
    waits.append((ann.session.awaiting_commit, not ann.session.input_drained))
    assert waits == [(True, True), (False, False)]
    assert not ann.session.flush()


def test_client_that_is_lost_and_removed_within_a_turn_is_not_waited_for(
    harness: DeferredHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = harness.connect()

    def lose() -> bool:
        ann.session.connection_lost()
        harness._scheduler.remove(ann)
        return False

    monkeypatch.setattr(ann, "flush", lose)
    ann.send("JOIN ann")
    harness.turn()
    assert ann.session.awaiting_commit
    assert not harness._scheduler._awaiting


def test_name_that_is_banned_while_its_join_is_committed_is_refused_right_afterwards() -> None:
    harness = DeferredHarness()
    ann, ben = harness.join("ann"), harness.connect()
    ben.send("JOIN ben")
    harness.turn()
    harness.room.bans.add(Ban("ben", None, None, "spam"))
    harness.commit()
    harness.commit()
    assert ben.read() == ["OK JOIN ben", "ERR banned spam", "BYE banned"]
    assert ann.read() == ["JOINED ben", "LEFT ben"]
