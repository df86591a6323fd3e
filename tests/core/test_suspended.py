"""What is answered and what waits while a journal can keep nothing, and afterwards."""

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


def stop_in_mid_batch(harness: RoomHarness, speaker: SessionClient, *texts: str) -> None:
    """Have a batch on its way that can't be kept."""
    speaker.send(*(f"MSG {text}" for text in texts))
    harness.turn()
    harness.suspend()
    harness.rest()


def fill(harness: RoomHarness, speaker: SessionClient) -> int:
    """Say as much as the room takes; return how many lines that were."""
    for count in range(BATCH_BYTES):
        speaker.send(f"MSG {count} {LONG}")
        harness.rest()
        if speaker.read() == [BUSY]:
            return count
    raise AssertionError("the room takes everything")


def test_nothing_is_handed_out_and_nothing_is_lost(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    stop_in_mid_batch(harness, ann, "1", "2")
    ann.send("MSG 3")
    harness.rest()
    assert bob.read() == []
    harness.resume()
    harness.rest()
    assert bob.read() == ["MSG ann 1", "MSG ann 2", "MSG ann 3"]
    assert ann.read() == []


def test_lines_are_refused_when_the_room_is_full_and_those_before_are_kept(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    stop_in_mid_batch(harness, ann, "first")
    count = fill(harness, ann)
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


def test_nobody_joins(harness: RoomHarness) -> None:
    (ann,) = harness.enter("ann")
    stop_in_mid_batch(harness, ann, "1")
    cleo = harness.connect()
    cleo.send(*["JOIN cleo"] * 20, "JOIN ANN", "WHO")
    harness.rest()
    taken = str(Err(Code.NAME_TAKEN, Code.NAME_TAKEN.advice))
    assert cleo.read() == [BUSY] * 20 + [taken, "NAMES ann", "OK WHO 1"]  # too often to be a mistake of hers
    harness.resume()
    cleo.send("JOIN cleo")
    harness.rest()
    assert cleo.read() == ["OK JOIN cleo"]
    assert ann.read() == ["JOINED cleo"]


def test_who_said_nothing_lately_is_answered(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    stop_in_mid_batch(harness, ann, "1")
    bob.send("PING x", "WHO", "HISTORY")
    harness.rest()
    assert bob.read() == ["PONG x", "NAMES ann bob", "OK WHO 2", "OK HISTORY 0"]
    harness.resume()
    harness.rest()
    assert bob.read() == ["MSG ann 1"]


def test_answer_that_waits_already_need_not(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    ann.send("MSG 1")
    harness.turn()
    bob.send("PING x")
    harness.turn()
    assert bob.read() == []
    harness.suspend()
    harness.rest()
    assert bob.read() == ["PONG x"]


def test_pong_waits_for_what_was_said_before_it(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    stop_in_mid_batch(harness, ann, "1")
    bob.send("MSG 2", "PING x")
    ann.send("PING y", "PING z")
    harness.rest()
    assert ann.read() == bob.read() == []
    harness.resume()
    harness.rest()
    assert bob.read() == ["MSG ann 1", "PONG x"]
    assert ann.read() in (["PONG y", "MSG bob 2", "PONG z"], ["PONG y", "PONG z", "MSG bob 2"])


def test_who_joins_before_waits_to_be_in(harness: RoomHarness) -> None:
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


def test_who_leaves_is_told_what_it_misses(harness: RoomHarness) -> None:
    ann, bob, cleo = harness.enter("ann", "bob", "cleo")
    stop_in_mid_batch(harness, ann, "1", "2")
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


def test_leaving_waits_for_what_one_said_oneself(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    stop_in_mid_batch(harness, ann, "1")
    bob.send("MSG 2")
    harness.rest()
    ann.send("QUIT")
    harness.rest()
    assert ann.read() == []
    harness.resume()
    harness.rest()
    assert ann.read()[-1] == "BYE quit"
    assert bob.read() == ["MSG ann 1", "LEFT ann"]


def test_leaving_goes_on_however_full_the_room_is(harness: RoomHarness) -> None:
    ann, bob, cleo = harness.enter("ann", "bob", "cleo")
    stop_in_mid_batch(harness, ann, "1")
    fill(harness, ann)
    bob.send("QUIT")
    cleo.session.connection_lost()
    harness.rest()
    assert bob.read()[1:] == ["BYE quit"]
    harness.resume()
    harness.rest()
    assert ann.read() == ["LEFT cleo", "LEFT bob"]


def test_slow_reader_misses_nothing(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    bob.block()
    ann.send("MSG 1")
    harness.rest()
    stop_in_mid_batch(harness, ann, "2")
    bob.unblock()
    bob.send("PING x")
    harness.rest()
    assert bob.read() == ["MSG ann 1", "PONG x"]
    harness.resume()
    harness.rest()
    assert bob.read() == ["MSG ann 2"]


def test_member_is_told_at_once(harness: RoomHarness) -> None:
    ann, stranger = harness.enter("ann")[0], harness.connect()
    for client in (ann, stranger):
        client.session.notify("the disk is full")
    assert ann.read() == ["INFO the disk is full"]
    assert stranger.read() == []
    ann.feed(b"\r\n")
    harness.rest()
    ann.session.notify("it is not")
    assert ann.written.endswith(b"INFO it is not\r\n")
