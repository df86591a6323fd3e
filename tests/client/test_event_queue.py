"""Unread events: bounded, and what is dropped is counted in its place."""

import pytest

from simple_chat.client import event_queue as event_queue_module
from simple_chat.client.event_queue import EVENT_SIZE, EventQueue
from simple_chat.client.events import ChatEvent, Gap, Joined, Left, Message, Notice, Refused


def take_all(queue: EventQueue) -> list[ChatEvent]:
    return [queue.get() for _ in range(len(queue))]


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> EventQueue:
    """A queue for three events without a text."""
    monkeypatch.setattr(event_queue_module, "MAX_SIZE", 3 * EVENT_SIZE)
    return EventQueue()


def test_events_come_in_order_and_none_is_left(three: EventQueue) -> None:
    events: list[ChatEvent] = [Joined("ben"), Left("ben"), Joined("cleo")]
    for event in events:
        three.put(event)
    assert take_all(three) == events
    assert not three
    with pytest.raises(IndexError):
        three.get()


def test_oldest_events_make_room_and_a_gap_counts_them(three: EventQueue) -> None:
    names = [f"ben{number}" for number in range(10)]
    for name in names:
        three.put(Joined(name))
    assert len(three) == 4
    assert take_all(three) == [Gap(7), *map(Joined, names[-3:])]
    three.put(Left("ben9"))
    assert take_all(three) == [Left("ben9")]


def test_gap_of_the_server_counts_with_its_lines(three: EventQueue) -> None:
    for event in (Gap(40), Joined("a"), Joined("b"), Joined("c"), Joined("d")):
        three.put(event)
    assert take_all(three) == [Gap(41), Joined("b"), Joined("c"), Joined("d")]


@pytest.mark.parametrize(
    "long",
    [
        Message("ben", EVENT_SIZE * "x"),
        Notice(EVENT_SIZE * "x"),
        Refused("busy", "later", 1, (EVENT_SIZE * "x",)),
    ],
)
def test_texts_count_too(long: ChatEvent, three: EventQueue) -> None:
    for event in (Joined("a"), Joined("b"), long):
        three.put(event)
    assert take_all(three) == [Gap(1), Joined("b"), long]
