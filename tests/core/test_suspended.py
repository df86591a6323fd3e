"""Responses and delivery while the journal is unavailable, and after it has recovered."""

import pytest

from simple_chat.core.codes import Code
from simple_chat.core.protocol import Err
from simple_chat.core.room import BATCH_BYTES
from tests.harness.sessions import RoomHarness, SessionClient

BUSY = str(Err(Code.BUSY, Code.BUSY.advice))
LONG = "x" * 4_000


@pytest.fixture
def harness() -> RoomHarness:
    return RoomHarness(journal=True)


def suspend_with_batch_in_flight(harness: RoomHarness, author: SessionClient, *texts: str) -> None:
    """Post messages, and suspend the journal while their batch is in flight."""
    author.send(*(f"MSG {text}" for text in texts))
    harness.turn()
    harness.suspend()
    harness.rest()


def fill_batch(harness: RoomHarness, author: SessionClient) -> int:
    """Post messages until one is rejected as busy; return how many were accepted."""
    for count in range(BATCH_BYTES):
        author.send(f"MSG {count} {LONG}")
        harness.rest()
        if author.read() == [BUSY]:
            return count
    raise AssertionError("no message was rejected")


def test_messages_are_held_while_suspended_and_delivered_after_resume(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    suspend_with_batch_in_flight(harness, ann, "1", "2")
    ann.send("MSG 3")
    harness.rest()
    assert bob.read() == []
    harness.resume()
    harness.rest()
    assert bob.read() == ["MSG ann 1", "MSG ann 2", "MSG ann 3"]
    assert ann.read() == []


def test_messages_are_rejected_when_the_batch_is_full_and_earlier_ones_are_delivered(
    harness: RoomHarness,
) -> None:
    ann, bob = harness.enter("ann", "bob")
    suspend_with_batch_in_flight(harness, ann, "first")
    count = fill_batch(harness, ann)
    assert BATCH_BYTES // 4_100 <= count <= BATCH_BYTES // 4_000 + 1
    bob.send("MSG no", "MSG no", "PING x")
    harness.rest()
    assert bob.read() == [BUSY, BUSY, "PONG x"]
    harness.resume()
    harness.rest()
    assert bob.read() == ["MSG ann first", *(f"MSG ann {number} {LONG}" for number in range(count))]
    bob.send("MSG again")
    harness.rest()
    assert ann.read() == ["MSG bob again"]


def test_join_is_rejected_while_suspended(harness: RoomHarness) -> None:
    (ann,) = harness.enter("ann")
    suspend_with_batch_in_flight(harness, ann, "1")
    cleo = harness.connect()
    cleo.send(*["JOIN cleo"] * 20, "JOIN ANN", "WHO")
    harness.rest()
    taken = str(Err(Code.NAME_TAKEN, Code.NAME_TAKEN.advice))
    assert cleo.read() == [BUSY] * 20 + [
        taken,
        "NAMES ann",
        "OK WHO 1",
    ]  # more than the error limit: busy does not count
    harness.resume()
    cleo.send("JOIN cleo")
    harness.rest()
    assert cleo.read() == ["OK JOIN cleo"]
    assert ann.read() == ["JOINED cleo"]


def test_member_without_pending_messages_is_answered_while_suspended(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    suspend_with_batch_in_flight(harness, ann, "1")
    bob.send("PING x", "WHO", "HISTORY")
    harness.rest()
    assert bob.read() == ["PONG x", "NAMES ann bob", "OK WHO 2", "OK HISTORY 0"]
    harness.resume()
    harness.rest()
    assert bob.read() == ["MSG ann 1"]


@pytest.mark.parametrize("question", ["WHO", "HISTORY"])
def test_question_is_answered_before_own_messages_are_released(harness: RoomHarness, question: str) -> None:
    ann, _ = harness.enter("ann", "bob")
    suspend_with_batch_in_flight(harness, ann, "1")
    ann.send(question)
    harness.rest()
    assert ann.read()[-1].startswith(f"OK {question} ")


def test_pending_response_is_sent_on_suspend(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    ann.send("MSG 1")
    harness.turn()
    bob.send("PING x")
    harness.turn()
    assert bob.read() == []
    harness.suspend()
    harness.rest()
    assert bob.read() == ["PONG x"]


def test_pong_waits_for_own_earlier_messages(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    suspend_with_batch_in_flight(harness, ann, "1")
    bob.send("MSG 2", "PING x")
    ann.send("PING y", "PING z")
    harness.rest()
    assert ann.read() == bob.read() == []
    harness.resume()
    harness.rest()
    assert bob.read() == ["MSG ann 1", "PONG x"]
    assert ann.read() in (["PONG y", "MSG bob 2", "PONG z"], ["PONG y", "PONG z", "MSG bob 2"])


def test_join_before_suspend_is_confirmed_after_resume(harness: RoomHarness) -> None:
    (ann,) = harness.enter("ann")
    cleo = harness.connect()
    cleo.send("JOIN cleo", "WHO")
    harness.turn()
    harness.suspend()
    harness.rest()
    assert cleo.read() == []
    harness.resume()
    harness.rest()
    assert cleo.read() == ["OK JOIN cleo", "NAMES ann cleo", "OK WHO 2"]
    assert ann.read() == ["JOINED cleo"]


def test_leave_while_suspended_reports_missed_lines_as_gap(harness: RoomHarness) -> None:
    ann, bob, cleo = harness.enter("ann", "bob", "cleo")
    suspend_with_batch_in_flight(harness, ann, "1", "2")
    cleo.send("MSG 3")
    harness.rest()
    bob.send("LEAVE", "PING x")
    harness.rest()
    assert bob.read() == ["GAP 3", "OK LEAVE", "PONG x"]
    harness.resume()
    harness.rest()
    assert bob.read() == []
    assert ann.read() == ["MSG cleo 3", "LEFT bob"]
    bob.send("JOIN bob")
    ann.send("MSG 4")
    harness.rest()
    assert bob.read() == ["OK JOIN bob", "MSG ann 4"]


def test_quit_waits_for_own_earlier_messages(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    suspend_with_batch_in_flight(harness, ann, "1")
    bob.send("MSG 2")
    harness.rest()
    ann.send("QUIT")
    harness.rest()
    assert ann.read() == []
    harness.resume()
    harness.rest()
    assert ann.read()[-1] == "BYE quit"
    assert bob.read() == ["MSG ann 1", "LEFT ann"]


def test_leave_succeeds_when_the_batch_is_full(harness: RoomHarness) -> None:
    ann, bob, cleo = harness.enter("ann", "bob", "cleo")
    suspend_with_batch_in_flight(harness, ann, "1")
    fill_batch(harness, ann)
    bob.send("QUIT")
    cleo.session.connection_lost()
    harness.rest()
    assert bob.read()[1:] == ["BYE quit"]
    harness.resume()
    harness.rest()
    assert ann.read() == ["LEFT cleo", "LEFT bob"]


def test_slow_reader_receives_all_messages_across_a_suspension(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    bob.block()
    ann.send("MSG 1")
    harness.rest()
    suspend_with_batch_in_flight(harness, ann, "2")
    bob.unblock()
    bob.send("PING x")
    harness.rest()
    assert bob.read() == ["MSG ann 1", "PONG x"]
    harness.resume()
    harness.rest()
    assert bob.read() == ["MSG ann 2"]


def test_notify_reaches_members_immediately(harness: RoomHarness) -> None:
    ann, outsider = harness.enter("ann")[0], harness.connect()
    for client in (ann, outsider):
        client.session.notify("the disk is full")
    assert ann.read() == ["INFO the disk is full"]
    assert outsider.read() == []
    ann.feed(b"\r\n")
    harness.rest()
    ann.session.notify("it is not")
    assert ann.written.endswith(b"INFO it is not\r\n")
