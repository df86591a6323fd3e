"""What waits for the log, and what is on its way to it."""

import pytest

from simple_chat.cluster.outbox import Outbox, Proposal
from simple_chat.core.codec import LF
from simple_chat.core.commands import Join, Msg, Ping
from simple_chat.core.delivery import Subscriber
from simple_chat.core.room import BATCH_BYTES

ANN, BOB = (Subscriber(ident, bytearray().extend, LF) for ident in range(2))


def message(author: Subscriber, size: int = 10) -> Proposal:
    return Proposal(b"x" * (size - 1) + b"\n", author, Msg(""), None)


def ping(author: Subscriber) -> Proposal:
    return Proposal(b"", author, Ping(), None)


def question(author: Subscriber) -> Proposal:
    return Proposal(b"", author, Join(""), None, immediate_when_down=True)


@pytest.fixture
def outbox() -> Outbox:
    return Outbox()


def test_new_one_has_nothing(outbox: Outbox) -> None:
    assert (outbox.empty, outbox.full, outbox.in_flight) == (True, False, False)
    assert not outbox.has_messages(ANN)
    assert (outbox.land(), outbox.take_immediate()) == ([], [])


def test_author_has_messages_until_they_have_landed(outbox: Outbox) -> None:
    outbox.add(message(ANN))
    outbox.add(ping(BOB))
    has = [(outbox.has_messages(ANN), outbox.has_messages(BOB))]
    launched = outbox.launch()
    has.append((outbox.has_messages(ANN), outbox.has_messages(BOB)))
    assert (outbox.empty, outbox.in_flight) == (True, True)
    assert outbox.land() == launched == [message(ANN), ping(BOB)]
    has.append((outbox.has_messages(ANN), outbox.has_messages(BOB)))
    assert has == [(True, False), (True, False), (False, False)]
    assert not outbox.in_flight


def test_it_is_full_from_the_size_of_a_batch_on(outbox: Outbox) -> None:
    outbox.add(message(ANN, BATCH_BYTES - 1))
    full = [outbox.full]
    outbox.add(message(BOB, 1))
    full.append(outbox.full)
    assert outbox.launch() == [message(ANN, BATCH_BYTES - 1), message(BOB, 1)]
    assert [*full, outbox.full] == [False, True, False]


def test_what_fills_a_batch_is_launched_and_the_rest_waits(outbox: Outbox) -> None:
    half = message(ANN, BATCH_BYTES // 2)
    for proposal in (half, half, half, message(BOB, BATCH_BYTES // 2)):
        outbox.add(proposal)
    assert outbox.launch() == [half, half]
    assert outbox.full
    assert outbox.land() == [half, half]
    assert outbox.launch() == [half, message(BOB, BATCH_BYTES // 2)]
    assert (outbox.empty, outbox.full) == (True, False)
    assert outbox.has_messages(BOB)


def test_immediate_ones_are_taken_unless_a_message_of_the_same_member_waits(outbox: Outbox) -> None:
    for proposal in (message(ANN), question(ANN), question(BOB), ping(BOB)):
        outbox.add(proposal)
    assert outbox.take_immediate() == [question(BOB)]
    assert outbox.launch() == [message(ANN), question(ANN), ping(BOB)]
    outbox.add(question(ANN))
    assert outbox.take_immediate() == []
    outbox.land()
    assert outbox.take_immediate() == [question(ANN)]
    assert outbox.empty


def test_taken_ones_make_room(outbox: Outbox) -> None:
    taken = Proposal(b"x" * BATCH_BYTES, BOB, Join(""), None, immediate_when_down=True)
    outbox.add(taken)
    assert outbox.full
    assert outbox.take_immediate() == [taken]
    outbox.add(message(ANN, BATCH_BYTES - 1))
    assert not outbox.full
