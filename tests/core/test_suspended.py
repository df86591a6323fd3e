"""What is answered and what waits while a journal can keep nothing, and afterwards."""

import pytest

from simple_chat.core.protocol import Code, Err
from simple_chat.core.room import BATCH_BYTES
from tests.harness.sessions import Guest, House

BUSY = str(Err(Code.BUSY, Code.BUSY.advice))
LONG = "x" * 4_000


@pytest.fixture
def house() -> House:
    return House(journal=True)


def stop_in_mid_batch(house: House, speaker: Guest, *texts: str) -> None:
    """Have a batch on its way that can't be kept."""
    speaker.send(*(f"MSG {text}" for text in texts))
    house.turn()
    house.suspend()
    house.rest()


def fill(house: House, speaker: Guest) -> int:
    """Say as much as the room takes; return how many lines that were."""
    for count in range(BATCH_BYTES):
        speaker.send(f"MSG {count} {LONG}")
        house.rest()
        if speaker.read() == [BUSY]:
            return count
    raise AssertionError("the room takes everything")


def test_nothing_is_handed_out_and_nothing_is_lost(house: House) -> None:
    ann, bob = house.enter("ann", "bob")
    stop_in_mid_batch(house, ann, "1", "2")
    ann.send("MSG 3")
    house.rest()
    assert bob.read() == []
    house.resume()
    house.rest()
    assert bob.read() == ["MSG ann 1", "MSG ann 2", "MSG ann 3"]
    assert ann.read() == []


def test_lines_are_refused_when_the_room_is_full_and_those_before_are_kept(house: House) -> None:
    ann, bob = house.enter("ann", "bob")
    stop_in_mid_batch(house, ann, "first")
    count = fill(house, ann)
    assert BATCH_BYTES // 4_100 <= count <= BATCH_BYTES // 4_000 + 1
    bob.send("MSG no", "MSG no", "PING x")
    house.rest()
    assert bob.read() == [BUSY, BUSY, "PONG x"]
    house.resume()
    house.rest()
    assert bob.read() == ["MSG ann first", *(f"MSG ann {number} {LONG}" for number in range(count))]
    bob.send("MSG again")
    house.rest()
    assert ann.read() == ["MSG bob again"]


def test_nobody_joins(house: House) -> None:
    (ann,) = house.enter("ann")
    house.suspend()
    cleo = house.connect()
    cleo.send(*["JOIN cleo"] * 20, "JOIN ANN", "WHO")
    house.rest()
    taken = str(Err(Code.NAME_TAKEN, Code.NAME_TAKEN.advice))
    assert cleo.read() == [BUSY] * 20 + [taken, "NAMES ann", "OK WHO 1"]  # too often to be a mistake of hers
    house.resume()
    cleo.send("JOIN cleo")
    house.rest()
    assert cleo.read() == ["OK JOIN cleo"]
    assert ann.read() == ["JOINED cleo"]


def test_who_said_nothing_lately_is_answered(house: House) -> None:
    ann, bob = house.enter("ann", "bob")
    stop_in_mid_batch(house, ann, "1")
    bob.send("PING x", "WHO", "HISTORY")
    house.rest()
    assert bob.read() == ["PONG x", "NAMES ann bob", "OK WHO 2", "OK HISTORY 0"]
    house.resume()
    house.rest()
    assert bob.read() == ["MSG ann 1"]


def test_answer_that_waits_already_need_not(house: House) -> None:
    ann, bob = house.enter("ann", "bob")
    ann.send("MSG 1")
    house.turn()
    bob.send("PING x")
    house.turn()
    assert bob.read() == []
    house.suspend()
    house.rest()
    assert bob.read() == ["PONG x"]


def test_pong_waits_for_what_was_said_before_it(house: House) -> None:
    ann, bob = house.enter("ann", "bob")
    stop_in_mid_batch(house, ann, "1")
    bob.send("MSG 2", "PING x")
    ann.send("PING y", "PING z")
    house.rest()
    assert ann.read() == bob.read() == []
    house.resume()
    house.rest()
    assert bob.read() == ["MSG ann 1", "PONG x"]
    assert ann.read() in (["PONG y", "MSG bob 2", "PONG z"], ["PONG y", "PONG z", "MSG bob 2"])


def test_who_joins_before_waits_to_be_in(house: House) -> None:
    (ann,) = house.enter("ann")
    cleo = house.connect()
    cleo.send("JOIN cleo", "WHO")
    house.turn()
    house.suspend()
    house.rest()
    assert cleo.read() == []
    house.resume()
    house.rest()
    assert cleo.read() == ["OK JOIN cleo", "NAMES ann cleo", "OK WHO 2"]
    assert ann.read() == ["JOINED cleo"]


def test_who_leaves_is_told_what_it_misses(house: House) -> None:
    ann, bob, cleo = house.enter("ann", "bob", "cleo")
    stop_in_mid_batch(house, ann, "1", "2")
    cleo.send("MSG 3")
    house.rest()
    bob.send("LEAVE", "PING x")
    house.rest()
    assert bob.read() == ["GAP 3", "OK LEAVE", "PONG x"]
    house.resume()
    house.rest()
    assert bob.read() == []
    assert ann.read() == ["MSG cleo 3", "LEFT bob"]
    bob.send("JOIN bob")
    ann.send("MSG 4")
    house.rest()
    assert bob.read() == ["OK JOIN bob", "MSG ann 4"]


def test_leaving_waits_for_what_one_said_oneself(house: House) -> None:
    ann, bob = house.enter("ann", "bob")
    stop_in_mid_batch(house, ann, "1")
    bob.send("MSG 2")
    house.rest()
    ann.send("QUIT")
    house.rest()
    assert ann.read() == []
    house.resume()
    house.rest()
    assert ann.read()[-1] == "BYE quit"
    assert bob.read() == ["MSG ann 1", "LEFT ann"]


def test_leaving_goes_on_however_full_the_room_is(house: House) -> None:
    ann, bob, cleo = house.enter("ann", "bob", "cleo")
    stop_in_mid_batch(house, ann, "1")
    fill(house, ann)
    bob.send("QUIT")
    cleo.session.lost()
    house.rest()
    assert bob.read()[1:] == ["BYE quit"]
    house.resume()
    house.rest()
    assert ann.read() == ["LEFT cleo", "LEFT bob"]


def test_slow_reader_misses_nothing(house: House) -> None:
    ann, bob = house.enter("ann", "bob")
    bob.block()
    ann.send("MSG 1")
    house.rest()
    stop_in_mid_batch(house, ann, "2")
    bob.unblock()
    bob.send("PING x")
    house.rest()
    assert bob.read() == ["MSG ann 1", "PONG x"]
    house.resume()
    house.rest()
    assert bob.read() == ["MSG ann 2"]


def test_member_is_told_at_once(house: House) -> None:
    ann, stranger = house.enter("ann")[0], house.connect()
    for guest in (ann, stranger):
        guest.session.tell("the disk is full")
    assert ann.read() == ["INFO the disk is full"]
    assert stranger.read() == []
    ann.feed(b"\r\n")
    house.rest()
    ann.session.tell("it is not")
    assert ann.written.endswith(b"INFO it is not\r\n")
