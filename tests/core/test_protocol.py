from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_chat.core.codes import Code
from simple_chat.core.commands import (
    Command,
    Help,
    History,
    Join,
    Leave,
    Msg,
    Pass,
    Ping,
    Quit,
    Who,
    parse_command,
)
from simple_chat.core.protocol import (
    Bye,
    Err,
    Event,
    Gap,
    Hello,
    HistoryMessage,
    Info,
    Joined,
    Left,
    Message,
    Names,
    Ok,
    Pong,
    ServerLimits,
    encode,
    encode_past,
    parse_event,
    timestamp,
)
from simple_chat.core.text import sanitize
from simple_chat.errors import CommandError
from tests.harness.texts import CHARACTERS

# Commands


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("JOIN ann", Join("ann")),
        ("join Ann", Join("Ann")),
        ("MSG hi", Msg("hi")),
        ("MsG  two spaces, one is text ", Msg(" two spaces, one is text ")),
        ("MSG  ", Msg(" ")),
        ("MSG \t", Msg("\t")),
        ("MSG JOIN bob", Msg("JOIN bob")),
        ("MSG \x1b[2J", Msg("\u241b[2J")),
        ("MSG a\u202eb", Msg("a\ufffdb")),
        ("LEAVE", Leave()),
        ("leave", Leave()),
        ("WHO", Who()),
        ("HISTORY", History()),
        ("HISTORY 0", History(0)),
        ("HISTORY 7", History(7)),
        ("HISTORY 007", History(7)),
        ("HISTORY 999999999999999999", History(10**18 - 1)),
        ("HISTORY " + "9" * 4_000, History()),  # exceeds any history: return all of it
        ("PING", Ping()),
        ("PING ", Ping()),
        ("PING a b  c ", Ping("a b  c ")),
        ("PING \x1b", Ping("\u241b")),
        ("HELP", Help()),
        ("PASS open sesame ", Pass("open sesame ")),
        ("PASS \x1b", Pass("\x1b")),
        ("QUIT", Quit()),
        ("qUIt", Quit()),
    ],
)
def test_valid_line_is_parsed_as_a_command(line: str, command: Command) -> None:
    assert parse_command(line) == command


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        (
            Code.UNKNOWN_COMMAND,
            [
                *[
                    "NICK ann",
                    "MSGhi",
                    "MSG\thi",
                    " MSG hi",
                    "\tWHO",
                    " ",
                    "/quit",
                    "GET / HTTP/1.1",
                    "WHO\r",
                ],
                *["joın ann", "hıstory", "pıng", "quıt", "JOİN ann", "ＷＨＯ", "\ufeffJOIN ann", "WHO\x00"],  # noqa: RUF001
                *["HELLO", "OK", "JOINED ann", "PONG"],
            ],
        ),
        (
            Code.BAD_SYNTAX,
            [
                *["JOIN", "JOIN ", "PASS", "PASS "],
                *["LEAVE now", "WHO ann", "HELP me", "QUIT now", "LEAVE  ", "WHO  "],
                *["HISTORY all", "HISTORY -1", "HISTORY +1", "HISTORY 1.5", "HISTORY 1 2", "HISTORY  1"],
                *["HISTORY 1 ", "HISTORY 0x1", "HISTORY 1_0", "HISTORY ²", "HISTORY ١", "HISTORY １"],  # noqa: RUF001
            ],
        ),
        (Code.BAD_NAME, ["JOIN a b", "JOIN  ann", "JOIN .a", "JOIN ä", "JOIN a\r", "JOIN " + "x" * 33]),
        (Code.EMPTY_MESSAGE, ["MSG", "MSG ", "msg"]),
    ],
)
def test_invalid_line_is_rejected_with_its_code(code: Code, lines: list[str]) -> None:
    for line in lines:
        with pytest.raises(CommandError) as raised:
            parse_command(line)
        assert raised.value.code == code, line


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (Join("ann"), "JOIN ann"),
        (Msg(" hi "), "MSG  hi "),
        (Leave(), "LEAVE"),
        (Who(), "WHO"),
        (History(), "HISTORY"),
        (History(0), "HISTORY 0"),
        (Ping(), "PING"),
        (Ping("a b"), "PING a b"),
        (Help(), "HELP"),
        (Pass("sesame"), "PASS sesame"),
        (Quit(), "QUIT"),
    ],
)
def test_command_is_its_line(command: Command, line: str) -> None:
    assert str(command) == line


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}", fullmatch=True)
words = st.text(CHARACTERS.filter("\n".__ne__), min_size=1, max_size=20)
commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(Join, names),
    st.builds(Msg, words.map(sanitize)),
    st.builds(History, st.none() | st.integers(0, 10**18 - 1)),
    st.builds(Ping, st.just("") | words.map(sanitize)),
    st.builds(Pass, words),
    st.sampled_from([Leave(), Who(), Help(), Quit()]),
)


@given(commands)
def test_command_round_trips_through_its_line(command: Command) -> None:
    assert parse_command(str(command)) == command


@given(words)
def test_any_line_is_parsed_or_rejected_as_a_command(line: str) -> None:
    try:
        command = parse_command(line)
    except CommandError:
        return
    assert parse_command(str(command)) == command


def test_repr_of_pass_omits_the_secret() -> None:
    assert "sesame" not in repr(Pass("sesame"))


# Events


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Hello("Welcome."), "HELLO simple_chat/1 Welcome."),
        (ServerLimits(65536), "LIMITS max-line=65536"),
        (Ok("LEAVE"), "OK LEAVE"),
        (Ok("JOIN", "Ann"), "OK JOIN Ann"),
        (Message("Ann", " hi "), "MSG Ann  hi "),
        (Joined("Ann"), "JOINED Ann"),
        (Left("Ann"), "LEFT Ann"),
        (Names(("Ann", "bob")), "NAMES Ann bob"),
        (
            HistoryMessage(datetime(2024, 2, 29, tzinfo=UTC), "Ann", "hi"),
            "PAST 2024-02-29T00:00:00.000Z Ann hi",
        ),
        (Pong(), "PONG"),
        (Pong("a b"), "PONG a b"),
        (Info("read me"), "INFO read me"),
        (Gap(3), "GAP 3"),
        (Bye("quit"), "BYE quit"),
    ],
)
def test_event_is_encoded_as_its_line(event: Event, line: str) -> None:
    assert str(event) == line
    assert encode(event) == line.encode() + b"\n"


@pytest.mark.parametrize("code", Code)
def test_error_contains_its_code_and_advice(code: Code) -> None:
    assert code.advice
    assert str(Err(code, code.advice)) == f"ERR {code} {code.advice}"


def test_error_codes_match_the_specification() -> None:
    assert {str(code) for code in Code} <= {
        *["unknown-command", "bad-syntax", "bad-name", "name-taken", "already-joined", "not-joined"],
        *["empty-message", "line-too-long", "not-utf8", "incomplete-line", "auth-required", "auth-failed"],
        *["too-many-connections", "too-many-errors", "join-timeout", "not-chat", "busy"],
        *["kicked", "banned"],
    }


def test_encode_keeps_event_order() -> None:
    assert encode(Joined("ann"), Message("ann", "ü"), Ping("1")) == "JOINED ann\nMSG ann ü\nPING 1\n".encode()
    assert encode() == b""


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (datetime(2024, 2, 29, 23, 59, 59, 999_999, UTC), "2024-02-29T23:59:59.999Z"),
        (datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=2))), "2023-12-31T22:00:00.000Z"),
    ],
)
def test_timestamp_is_rfc_3339_in_utc_to_the_millisecond(time: datetime, text: str) -> None:
    assert timestamp(time) == text


def test_encode_past_turns_a_message_into_a_history_line() -> None:
    past = HistoryMessage(datetime.fromtimestamp(1.5, UTC), "ann", "MSG hi")
    assert encode_past(1.5, encode(Message("ann", "MSG hi"))) == encode(past)
    assert str(past) == "PAST 1970-01-01T00:00:01.500Z ann MSG hi"


# Parsing events


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ("HELLO simple_chat/1", Hello("")),
        ("HELLO simple_chat/1 Welcome, you.", Hello("Welcome, you.")),
        ("LIMITS max-line=65536", ServerLimits(65536)),
        ("LIMITS rate=20 max-line=64 new", ServerLimits(64)),
        ("OK LEAVE", Ok("LEAVE")),
        ("OK JOIN Ann", Ok("JOIN", "Ann")),
        ("ERR busy", Err("busy")),
        ("ERR newer-code do this", Err("newer-code", "do this")),
        ("MSG ann  two ", Message("ann", " two ")),
        ("JOINED Ann", Joined("Ann")),
        ("LEFT Ann", Left("Ann")),
        ("NAMES ann Bob", Names(("ann", "Bob"))),
        (
            "PAST 2024-02-29T01:02:03.004Z ann hi",
            HistoryMessage(datetime(2024, 2, 29, 1, 2, 3, 4_000, UTC), "ann", "hi"),
        ),
        ("PONG", Pong()),
        ("PONG a b", Pong("a b")),
        ("INFO ", Info("")),
        ("GAP 12", Gap(12)),
        ("GAP " + "9" * 18, Gap(10**18 - 1)),
        ("BYE quit", Bye("quit")),
        ("MSG ann \x1b[2J\u202e", Message("ann", "\u241b[2J\ufffd")),
        ("INFO \x1b", Info("\u241b")),
        ("ERR busy \x07", Err("busy", "\u2407")),
    ],
)
def test_valid_line_is_parsed_as_an_event(line: str, event: Event) -> None:
    assert parse_event(line) == event


@pytest.mark.parametrize(
    "line",
    ["", "LIMITS", "LIMITS rate=20", "TOPIC tea", "msg ann hi", " MSG ann hi", "MSG\tann hi", "JOIN ann"],
)
def test_unknown_event_is_ignored(line: str) -> None:
    assert parse_event(line) is None


@pytest.mark.parametrize(
    "line",
    [
        *["HELLO", "HELLO simple_chat/2 Welcome.", "OK", "ERR", "ERR "],
        *[
            "MSG",
            "MSG ann",
            "MSG ann ",
            "MSG \x1b hi",
            "JOINED",
            "JOINED a b",
            "LEFT ä",
            "NAMES",
            "NAMES a  b",
        ],
        *[
            "PAST",
            "PAST now ann hi",
            "PAST 2024-02-29T01:02:03.004Z ann",
            "PAST 2023-02-29T01:02:03.004Z ann hi",
        ],
        *["PAST 0001-01-01T00:00:00.000+23:59 ann hi"],
        *["LIMITS max-line", "LIMITS max-line=", "LIMITS max-line=-1", "LIMITS max-line=many"],
        *["GAP", "GAP -1", "GAP many", "GAP ²", "GAP " + "9" * 19],
    ],
)
def test_malformed_event_is_rejected(line: str) -> None:
    with pytest.raises(CommandError) as raised:
        parse_event(line)
    assert raised.value.code == Code.BAD_SYNTAX


texts = words.map(sanitize)
times = st.datetimes(min_value=datetime(2, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001 (hypothesis adds it)
    lambda time: time.replace(microsecond=time.microsecond // 1_000 * 1_000)
)
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(Hello, texts),
    st.builds(ServerLimits, st.integers(0, 10**18 - 1)),
    st.builds(Ok, st.sampled_from(["JOIN", "WHO"]), names),
    st.builds(Err, st.sampled_from(Code), texts),
    st.builds(Message, names, texts),
    st.builds(Joined, names),
    st.builds(Left, names),
    st.builds(Names, st.lists(names, min_size=1).map(tuple)),
    st.builds(HistoryMessage, times, names, texts),
    st.builds(Pong, st.just("") | texts),
    st.builds(Info, texts),
    st.builds(Gap, st.integers(1, 10**18 - 1)),
    st.builds(Bye, texts),
)


@given(events)
def test_event_round_trips_through_its_line(event: Event) -> None:
    assert parse_event(str(event)) == event


@given(st.sampled_from(["HELLO", "MSG", "NAMES", "PAST", "GAP", "OK", "ERR"]), words)
def test_any_line_is_parsed_or_rejected_as_an_event(verb: str, argument: str) -> None:
    try:
        event = parse_event(f"{verb} {argument}")
    except CommandError:
        return
    assert event is not None
