"""Events, names and history as text, JSON and for the terminal."""

import json
import re
from datetime import UTC, datetime, timedelta, timezone

import pytest

from simple_chat.client.events import (
    ChatEvent,
    Disconnected,
    Gap,
    Joined,
    Left,
    Message,
    Missed,
    Notice,
    Reconnected,
    Refused,
)
from simple_chat.client.formatting import JsonFormatter, PlainFormatter, TerminalFormatter
from simple_chat.core.protocol import HistoryMessage

TIME = "\x1b[2m03:04\x1b[0m"
NOW = datetime(2030, 1, 2, 3, 4, 5, 678_900, timezone(timedelta(hours=-1)))
PAST = HistoryMessage(datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC), "ben", "hello Ann")

DESCRIPTIONS: list[tuple[ChatEvent, str]] = [
    (Joined("ben"), "ben joined"),
    (Left("ben"), "ben left"),
    (Gap(7), "7 lines are missing here: they came faster than they were read"),
    (Notice("be kind"), "be kind"),
    (Refused("busy", "not now", 1, ("hello",)), "'hello' was refused: busy: not now"),
    (Refused("busy", "not now", 1, ("a", "b")), "1 of 'a', 'b' was refused: busy: not now"),
    (Missed(1, complete=True), "missed meanwhile: 1 message"),
    (Missed(100, complete=False), "missed meanwhile: 100 messages, perhaps more"),
    (Disconnected("connection lost", 1.25), "connection lost; next try in 1.2 s, Enter tries now"),
    (Disconnected("connection lost", 0.0), "connection lost; next try at once"),
    (Reconnected(), "back in the room"),
    (Reconnected("[::1]:8091"), "back in the room, now at [::1]:8091"),
]


@pytest.mark.parametrize(("event", "text"), DESCRIPTIONS)
def test_plain_event_begins_with_an_asterisk(event: ChatEvent, text: str) -> None:
    assert PlainFormatter().event(event, NOW) == f"* {text}"


@pytest.mark.parametrize(("event", "text"), DESCRIPTIONS)
def test_terminal_event_is_dim_and_has_the_time(event: ChatEvent, text: str) -> None:
    assert TerminalFormatter("ann", color=False).event(event, NOW) == f"03:04 * {text}"
    assert TerminalFormatter("ann", color=True).event(event, NOW) == f"\x1b[2m03:04 * {text}\x1b[0m"


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
        (
            Refused("busy", "not now", 1, ("a", "b")),
            {"event": "refused", "code": "busy", "advice": "not now", "count": 1, "messages": ["a", "b"]},
        ),
        (Missed(3, complete=False), {"event": "missed", "count": 3, "complete": False}),
        (Reconnected("[::1]:8091"), {"event": "reconnected", "server": "[::1]:8091"}),
    ],
)
def test_json_event_is_one_object(event: ChatEvent, values: dict[str, object]) -> None:
    line = JsonFormatter().event(event, NOW)
    assert "\n" not in line
    assert json.loads(line) == {"time": "2030-01-02T04:04:05.678Z", **values}


@pytest.mark.parametrize(
    "formatter", [PlainFormatter(), JsonFormatter(), TerminalFormatter("ann", color=True)]
)
def test_missed_message_looks_like_one_of_the_history(
    formatter: PlainFormatter | JsonFormatter | TerminalFormatter,
) -> None:
    assert formatter.event(PAST, NOW) == formatter.history_message(PAST)


def test_input_error_has_the_number_of_the_line() -> None:
    assert PlainFormatter().input_error(3, "there is no 'x\x1b'", NOW) == "* line 3: there is no 'x\u241b'"
    assert json.loads(JsonFormatter().input_error(3, "no", NOW)) == {
        "event": "error",
        "time": "2030-01-02T04:04:05.678Z",
        "line": 3,
        "text": "no",
    }


def test_plain_message_has_no_asterisk() -> None:
    assert PlainFormatter().event(Message("ben", "hello: you"), NOW) == "ben: hello: you"


def test_plain_names_and_history_are_lines() -> None:
    assert PlainFormatter().names(["ann", "ben"]) == "* 2 here: ann, ben"
    assert PlainFormatter().history_message(PAST) == "2030-01-02T03:04:05.000Z ben: hello Ann"


def test_json_names_and_history_are_objects() -> None:
    assert json.loads(JsonFormatter().names(["ann", "ben"])) == {"event": "names", "names": ["ann", "ben"]}
    assert json.loads(JsonFormatter().history_message(PAST)) == {
        "event": "past",
        "time": "2030-01-02T03:04:05.000Z",
        "name": "ben",
        "text": "hello Ann",
    }


def test_json_text_is_not_escaped_to_ascii() -> None:
    assert "日本語" in JsonFormatter().event(Message("ben", "日本語"), NOW)


def test_terminal_without_color_has_no_escape_sequences() -> None:
    formatter = TerminalFormatter("ann", color=False)
    local = f"{PAST.time.astimezone():%Y-%m-%d %H:%M}"
    assert formatter.event(Message("ben", "hello Ann"), NOW) == "03:04 ben: hello Ann"
    assert formatter.history_message(PAST) == f"{local} ben: hello Ann"
    assert formatter.names(["ann", "ben"], NOW) == "03:04 * 2 here: ann, ben"
    assert formatter.hint("no", NOW) == "03:04 * no"
    assert formatter.input_line("who", NOW) == "03:04 > who"
    assert formatter.day_change(NOW) == "03:04 * day changed to 2030-01-02"


def test_terminal_color_marks_time_name_and_mention() -> None:
    formatter = TerminalFormatter("ann", color=True)
    local = f"{PAST.time.astimezone():%Y-%m-%d %H:%M}"
    formatted = "\x1b[36mben\x1b[0m: hello \x1b[1;7mAnn\x1b[0m"
    assert formatter.event(Message("ben", "hello Ann"), NOW) == f"{TIME} {formatted}"
    assert formatter.history_message(PAST) == f"\x1b[2m{local}\x1b[0m {formatted}"
    assert formatter.names(["ben"], NOW) == f"{TIME} * 1 here: \x1b[36mben\x1b[0m"
    assert formatter.hint("no", NOW) == f"{TIME} \x1b[33m* no\x1b[0m"
    assert formatter.input_line("who", NOW) == f"{TIME} \x1b[1m> who\x1b[0m"
    assert formatter.day_change(NOW) == "\x1b[2m03:04 * day changed to 2030-01-02\x1b[0m"


@pytest.mark.parametrize(
    ("names", "members"),
    [
        (["ann"], "1 here: ann"),
        ([f"n{number}" for number in range(10)], "10 here: n0, n1, n2, n3, n4, n5, n6, n7, n8, n9"),
        ([f"n{number}" for number in range(11)], "11 here, who lists them"),
    ],
)
def test_joining_is_one_line_that_says_where_and_who(names: list[str], members: str) -> None:
    line = TerminalFormatter("ann", color=False).connected("unix:\x1b", names, NOW)
    assert line == f"03:04 * connected to unix:␛; {members}; help lists commands"


def test_color_of_a_name_ignores_case_and_is_one_of_six() -> None:
    formatter = TerminalFormatter("ann", color=True)
    shown = [formatter.names([name], NOW).partition(": ")[2] for name in ("Ben", "bEN")]
    assert shown == ["\x1b[36mBen\x1b[0m", "\x1b[36mbEN\x1b[0m"]
    many = formatter.names([f"name-{number}" for number in range(100)], NOW)
    assert set(re.findall(r"\x1b\[(\d+)mname", many)) == {str(color) for color in range(31, 37)}


@pytest.mark.parametrize("text", ["a.b", "hi a.b!", "A.B: hi", "(a.b)", "@a.b", "a.b, a.b", "to a.b."])
def test_mention_is_highlighted(text: str) -> None:
    shown = TerminalFormatter("a.b", color=True).event(Message("ben", text), NOW)
    assert shown.count("\x1b[1;7m") == text.lower().count("a.b")
    assert TerminalFormatter("a.b", color=False).mentions(text)


@pytest.mark.parametrize("text", ["aab", "xa.b", "a.bc", "a.b-c", "c-a.b", "c.a.b", "ab", "a.b_"])
def test_word_that_contains_the_name_is_no_mention(text: str) -> None:
    assert "\x1b[1;7m" not in TerminalFormatter("a.b", color=True).event(Message("ben", text), NOW)
    assert not TerminalFormatter("a.b", color=False).mentions(text)


def test_input_and_hints_are_sanitized() -> None:
    formatter = TerminalFormatter("ann", color=False)
    assert formatter.input_line("\x1b[2J\x9b\u202e", NOW) == "03:04 > ␛[2J\ufffd\ufffd"
    assert formatter.hint("not sent: \x1b[2J", NOW) == "03:04 * not sent: ␛[2J"
