import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from simple_chat.client.events import (
    ChatEvent,
    Disconnected,
    Gap,
    Joined,
    Left,
    Message,
    Notice,
    Reconnected,
)
from simple_chat.client.formatting import JsonView, PlainView, TerminalView
from simple_chat.core.protocol import HistoryMessage

NOW = datetime(2030, 1, 2, 3, 4, 5, 678_900, timezone(timedelta(hours=-1)))
PAST = HistoryMessage(datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC), "ben", "hello Ann")

TOLD: list[tuple[ChatEvent, str]] = [
    (Joined("ben"), "ben joined"),
    (Left("ben"), "ben left"),
    (Gap(7), "7 lines are missing here: they came faster than they were read"),
    (Notice("be kind"), "be kind"),
    (Disconnected("connection lost", 1.25), "connection lost; next try in 1.2 s"),
    (Disconnected("connection lost", 0.0), "connection lost; next try at once"),
    (Reconnected(), "back in the room"),
    (Reconnected("[::1]:8091"), "back in the room, now at [::1]:8091"),
]


@pytest.mark.parametrize(("event", "told"), TOLD)
def test_pipe_is_told_events_behind_an_asterisk(event: ChatEvent, told: str) -> None:
    assert PlainView().event(event, NOW) == f"* {told}"


@pytest.mark.parametrize(("event", "told"), TOLD)
def test_people_are_told_events_dim_and_with_the_time(event: ChatEvent, told: str) -> None:
    assert TerminalView("ann", colour=False).event(event, NOW) == f"03:04 * {told}"
    assert TerminalView("ann", colour=True).event(event, NOW) == f"\x1b[2m03:04 * {told}\x1b[0m"


@pytest.mark.parametrize(
    ("event", "values"),
    [
        (Message("ben", 'a "b" ü'), {"event": "message", "name": "ben", "text": 'a "b" ü'}),
        (Joined("ben"), {"event": "joined", "name": "ben"}),
        (Left("ben"), {"event": "left", "name": "ben"}),
        (Gap(7), {"event": "gap", "count": 7}),
        (Notice("be kind"), {"event": "notice", "text": "be kind"}),
        (Disconnected("lost", 1.25), {"event": "disconnected", "reason": "lost", "retry_in": 1.25}),
        (Reconnected(), {"event": "reconnected"}),
        (Reconnected("[::1]:8091"), {"event": "reconnected", "server": "[::1]:8091"}),
    ],
)
def test_program_gets_an_object_an_event(event: ChatEvent, values: dict[str, object]) -> None:
    line = JsonView().event(event, NOW)
    assert "\n" not in line
    assert json.loads(line) == {"time": "2030-01-02T04:04:05.678Z", **values}


def test_pipe_gets_messages_bare() -> None:
    assert PlainView().event(Message("ben", "hello: you"), NOW) == "ben: hello: you"


def test_pipe_gets_names_and_the_past_as_lines() -> None:
    assert PlainView().names(["ann", "ben"]) == "* 2 here: ann, ben"
    assert PlainView().past(PAST) == "2030-01-02T03:04:05.000Z ben: hello Ann"


def test_program_gets_names_and_the_past_as_objects() -> None:
    assert json.loads(JsonView().names(["ann", "ben"])) == {"event": "names", "names": ["ann", "ben"]}
    assert json.loads(JsonView().past(PAST)) == {
        "event": "past",
        "time": "2030-01-02T03:04:05.000Z",
        "name": "ben",
        "text": "hello Ann",
    }


def test_program_gets_text_as_it_is_and_not_as_escapes() -> None:
    assert "日本語" in JsonView().event(Message("ben", "日本語"), NOW)


def test_without_colour_no_escape_sequence_is_used() -> None:
    view = TerminalView("ann", colour=False)
    local = f"{PAST.time.astimezone():%Y-%m-%d %H:%M}"
    assert view.event(Message("ben", "hello Ann"), NOW) == "03:04 ben: hello Ann"
    assert view.past(PAST) == f"{local} ben: hello Ann"
    assert view.names(["ann", "ben"]) == "* 2 here: ann, ben"
    assert view.hint("no") == "* no"
    assert view.typed("> who") == "> who"


def test_with_colour_time_name_and_mention_stand_out() -> None:
    view = TerminalView("ann", colour=True)
    local = f"{PAST.time.astimezone():%Y-%m-%d %H:%M}"
    said = "\x1b[36mben\x1b[0m: hello \x1b[1;7mAnn\x1b[0m"
    assert view.event(Message("ben", "hello Ann"), NOW) == f"\x1b[2m03:04\x1b[0m {said}"
    assert view.past(PAST) == f"\x1b[2m{local}\x1b[0m {said}"
    assert view.names(["ben"]) == "* 1 here: \x1b[36mben\x1b[0m"
    assert view.hint("no") == "\x1b[33m* no\x1b[0m"
    assert view.typed("> who") == "\x1b[1m> who\x1b[0m"


def test_name_has_one_colour_whatever_its_case_and_names_have_six() -> None:
    view = TerminalView("ann", colour=True)
    shown = [view.names([name]).partition(": ")[2] for name in ("Ben", "bEN")]
    assert shown == ["\x1b[36mBen\x1b[0m", "\x1b[36mbEN\x1b[0m"]
    colours = {view.names([f"name-{number}"]).partition("m")[0] for number in range(100)}
    assert colours == {f"* 1 here: \x1b[{colour}" for colour in range(31, 37)}


@pytest.mark.parametrize("text", ["a.b", "hi a.b!", "A.B: hi", "(a.b)", "@a.b", "a.b, a.b", "to a.b."])
def test_mention_is_highlighted(text: str) -> None:
    shown = TerminalView("a.b", colour=True).event(Message("ben", text), NOW)
    assert shown.count("\x1b[1;7m") == text.lower().count("a.b")


@pytest.mark.parametrize("text", ["aab", "xa.b", "a.bc", "a.b-c", "c-a.b", "c.a.b", "ab", "a.b_"])
def test_other_word_with_the_name_in_it_is_no_mention(text: str) -> None:
    assert "\x1b[1;7m" not in TerminalView("a.b", colour=True).event(Message("ben", text), NOW)


def test_what_the_user_typed_or_pasted_is_made_harmless() -> None:
    view = TerminalView("ann", colour=False)
    assert view.typed("> \x1b[2J\x9b\u202e") == "> ␛[2J\ufffd\ufffd"
    assert view.hint("not sent: \x1b[2J") == "* not sent: ␛[2J"
