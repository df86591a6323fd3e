"""What a client has missed, found in the history by what it saw."""

from datetime import UTC, datetime, timedelta

import pytest

from simple_chat.client.history_position import MISSED_MAX, HistoryPosition
from simple_chat.core.protocol import HistoryMessage, Message

START = datetime(2030, 1, 2, tzinfo=UTC)


def past(*texts: str, name: str = "ben", first: int = 0) -> list[HistoryMessage]:
    """Return messages of the history, a second after each other."""
    return [
        HistoryMessage(START + timedelta(seconds=first + index), name, text)
        for index, text in enumerate(texts)
    ]


def joined(history: list[HistoryMessage], *seen: str) -> HistoryPosition:
    """Return the position of ann, who joined when there was a history, and has seen messages since."""
    position = HistoryPosition("ann")
    position.on_join()
    position.on_history(history[-1:])
    for text in seen:
        position.on_message(Message("ben", text))
    position.on_join()
    return position


def texts(messages: list[HistoryMessage]) -> list[str]:
    return [message.text for message in messages]


@pytest.mark.parametrize(
    ("before", "seen", "history", "missed"),
    [
        ([], [], [], []),
        ([], [], ["a"], ["a"]),
        (["a"], [], ["a"], []),
        (["a"], [], ["a", "b"], ["b"]),
        (["a", "b"], ["c", "d"], ["a", "b", "c", "d", "e", "f"], ["e", "f"]),
        (["a"], ["a"], ["a", "a", "a"], ["a"]),
        (["a"], ["b", "c"], ["a", "b", "e"], ["e"]),  # the crash lost c
        (["a"], ["b", "e"], ["a", "b", "c", "d", "e", "f"], ["f"]),  # there was a GAP
    ],
)
def test_missed_messages_are_those_behind_what_was_seen(
    before: list[str], seen: list[str], history: list[str], missed: list[str]
) -> None:
    found, complete = joined(past(*before), *seen).on_history(past(*history))
    assert (texts(found), complete) == (missed, True)


def test_known_end_of_the_history_is_found_though_the_clock_was_set_back() -> None:
    history = [*past("a", first=100), *past("b", "c")]
    found, complete = joined(history[:1]).on_history(history)
    assert (texts(found), complete) == (["b", "c"], True)


def test_own_messages_are_never_missed() -> None:
    history = [*past("a"), *past("mine", name="Ann", first=1), *past("b", first=2)]
    found, _ = joined(history[:1]).on_history(history)
    assert texts(found) == ["b"]


def test_messages_that_arrived_since_the_join_are_not_missed() -> None:
    position = joined(past("a"), "b")
    for text in ("d", "e"):
        position.on_message(Message("ben", text))
    found, complete = position.on_history(past("a", "b", "c", "d", "e"))
    assert (texts(found), complete) == (["c"], True)
    position.on_message(Message("ben", "f"))
    position.on_join()
    found, complete = position.on_history(past("d", "e", "f", "g", first=3))
    assert (texts(found), complete) == (["g"], True)


def test_history_that_does_not_reach_back_is_not_complete() -> None:
    many = past(*map(str, range(MISSED_MAX)), first=10)
    for position in (joined(past("a")), joined(past("a"), "b"), joined([])):
        found, complete = position.on_history(many)
        assert (found, complete) == (many, False)


def test_history_of_a_server_that_began_anew_is_not_complete() -> None:
    found, complete = joined(past("a"), "b").on_history(past("new", first=60))
    assert (texts(found), complete) == (["new"], False)
    assert joined(past("a"), "b").on_history([]) == ([], False)


def test_nothing_is_missed_where_nothing_was_known() -> None:
    position = HistoryPosition("ann")
    position.on_join()
    position.on_no_history()
    assert not position.known
    position.on_join()
    assert position.on_history(past("a")) == ([], False)
    assert position.known


def test_messages_seen_before_any_answer_are_a_position_too() -> None:
    position = HistoryPosition("ann")
    position.on_join()
    position.on_no_history()
    position.on_message(Message("ben", "a"))
    assert position.known
    position.on_join()
    found, complete = position.on_history(past("x", "a", "b"))
    assert (texts(found), complete) == (["b"], True)


def test_answer_that_does_not_come_changes_nothing_unless_messages_came() -> None:
    position = joined(past("a"), "b")
    position.on_no_history()
    position.on_join()
    position.on_message(Message("ben", "d"))
    position.on_no_history()
    position.on_join()
    found, complete = position.on_history(past("a", "b", "c", "d", "e"))
    assert (texts(found), complete) == (["e"], True)
