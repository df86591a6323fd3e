import re
from dataclasses import dataclass
from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_chat.core.codes import Code
from simple_chat.core.conversation import ERRORS_MAX
from simple_chat.core.delivery import FLUSH_BYTES
from simple_chat.core.detect import BYTE_ORDER_MARK, HTTP_RESPONSE
from simple_chat.core.handshake import State
from simple_chat.core.limits import BURST, RATE, Limits
from simple_chat.core.protocol import Err
from simple_chat.core.room import BATCH_BYTES
from simple_chat.core.session import LINES_PER_TURN
from simple_chat.core.text import sanitize
from tests.harness.packets import packets
from tests.harness.sessions import UNLIMITED, RoomHarness, SessionClient


def codes(lines: list[str]) -> list[str]:
    """Return the first two words of each line."""
    return [" ".join(line.split(" ")[:2]) for line in lines]


def add_members(harness: RoomHarness, size: int) -> list[str]:
    """Add members with names of the maximum length; return the names."""
    names = [f"{number:032}" for number in range(size)]
    for name in names:
        harness.room.join(harness.room.connect(bytearray().extend), name)
    return names


# Responses


def test_hello_is_the_first_line() -> None:
    client = SessionClient(RoomHarness(), UNLIMITED)
    assert client.written.startswith(b"HELLO simple_chat/1 Welcome. JOIN <name> ")
    assert client.written.count(b"\n") == 1
    assert client.session.wants_input


@pytest.mark.parametrize(
    ("max_line", "limits"),
    [(4095, ["LIMITS max-line=4095"]), (4096, []), (65536, ["LIMITS max-line=65536"])],
)
def test_limits_follow_hello_where_they_are_not_those_of_the_protocol(
    harness: RoomHarness, max_line: int, limits: list[str]
) -> None:
    client = SessionClient(harness, Limits(max_line=max_line))
    assert client.read()[1:] == limits


def test_hello_is_sent_while_a_line_is_pending(harness: RoomHarness) -> None:
    ann, _ = harness.enter("ann", "bob")
    ann.session.connection_lost()
    client = SessionClient(harness, UNLIMITED)
    harness.rest()
    assert codes(client.read()) == ["HELLO simple_chat/1"]


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("JOIN Ann", ["OK JOIN Ann"]),
        ("WHO", ["OK WHO 0"]),
        ("PING", ["PONG"]),
        ("PING a  b ", ["PONG a  b "]),
        ("ping \x1b]0;x\x07", ["PONG \u241b]0;x\u2407"]),
        ("PASS sesame", ["OK PASS"]),
        ("QUIT", ["BYE quit"]),
    ],
)
def test_command_before_join_is_answered(harness: RoomHarness, line: str, answer: list[str]) -> None:
    client = harness.connect()
    client.send(line)
    harness.rest()
    assert client.read() == answer


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("NICK ann", Code.UNKNOWN_COMMAND),
        ("joın ann", Code.UNKNOWN_COMMAND),  # noqa: RUF001 (the dotless i)
        ("JOIN", Code.BAD_SYNTAX),
        ("WHO ann", Code.BAD_SYNTAX),
        ("JOIN .ann", Code.BAD_NAME),
        ("MSG hi", Code.NOT_JOINED),
        ("MSG", Code.EMPTY_MESSAGE),
        ("LEAVE", Code.NOT_JOINED),
        ("HISTORY", Code.NOT_JOINED),
        ("HISTORY x", Code.BAD_SYNTAX),
        ("x" * 4097, Code.LINE_TOO_LONG),
    ],
)
def test_error_before_join_keeps_the_session_open(harness: RoomHarness, line: str, code: Code) -> None:
    client = harness.connect()
    client.send(line, "PING")
    harness.rest()
    assert client.read() == [str(Err(code, code.advice)), "PONG"]


def test_help_lists_every_command(harness: RoomHarness) -> None:
    client = harness.connect()
    client.send("HELP")
    harness.rest()
    *infos, end = client.read()
    assert end == "OK HELP"
    assert [info.split()[:2] for info in infos] == [
        ["INFO", verb] for verb in ("JOIN", "MSG", "LEAVE", "WHO", "HISTORY", "PING", "QUIT")
    ]


def test_responses_come_in_command_order(harness: RoomHarness) -> None:
    (client,) = harness.enter("ann")
    client.send("PING 1", "JOIN bob", "MSG hi", "WHO", "LEAVE", "LEAVE", "JOIN Bob", "HISTORY", "PING 2")
    harness.rest()
    assert codes(client.read()) == [
        *["PONG 1", "ERR already-joined", "NAMES ann", "OK WHO", "OK LEAVE", "ERR not-joined", "OK JOIN"],
        *["PAST 1970-01-01T00:00:00.000Z", "OK HISTORY", "PONG 2"],
    ]


def test_session_that_has_joined_is_established(harness: RoomHarness) -> None:
    client = harness.connect()
    before = client.session.state
    client.send("JOIN ann")
    harness.rest()
    assert (before, client.session.state) == (State.HANDSHAKE, State.ESTABLISHED)


def test_joins_messages_and_leaves_are_broadcast_in_order(harness: RoomHarness) -> None:
    (bob,) = harness.enter("bob")
    ann = harness.connect()
    ann.send("JOIN Ann", "MSG hi", "LEAVE", "JOIN ann", "QUIT")
    harness.rest()
    assert bob.read() == ["JOINED Ann", "MSG Ann hi", "LEFT Ann", "JOINED ann", "LEFT ann"]


def test_taken_name_is_rejected_ignoring_case(harness: RoomHarness) -> None:
    harness.enter("Ann")
    client = harness.connect()
    client.send("JOIN aNN", "JOIN bob")
    harness.rest()
    assert codes(client.read()) == ["ERR name-taken", "OK JOIN"]


def test_no_broadcast_arrives_before_join_or_after_leave(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    (client,) = harness.enter("client")
    client.send("LEAVE")
    harness.rest()
    for each in (ann, bob, client):
        each.read()
    ann.send("MSG before", "PING")
    client.send("JOIN client", "LEAVE", "PING")
    bob.send("MSG after")
    harness.rest()
    assert client.read() == ["OK JOIN client", "MSG bob after", "OK LEAVE", "PONG"]


def test_own_messages_are_not_echoed(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    ann.send("MSG 1", "MSG 2", "PING")
    harness.rest()
    assert ann.read() == ["PONG"]
    assert bob.read() == ["MSG ann 1", "MSG ann 2"]


def test_pong_follows_every_line_before_its_ping(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    ann.send("MSG before")
    bob.send("PING mark")
    harness.turn()
    ann.send("MSG after")
    harness.rest()
    assert bob.read() == ["MSG ann before", "PONG mark", "MSG ann after"]


def test_who_splits_names_over_several_lines(harness: RoomHarness) -> None:
    harness.enter(*(f"n{number}" for number in range(20)))
    client = harness.connect()
    client.send("WHO")
    harness.rest()
    *lines, end = client.read()
    assert [len(line.split()) - 1 for line in lines] == [16, 4]
    assert " ".join(line.removeprefix("NAMES ") for line in lines) == " ".join(harness.room.names())
    assert end == "OK WHO 20"


def test_long_who_response_is_written_in_chunks() -> None:
    harness = RoomHarness(presence_limit=0)
    names = add_members(harness, 5_000)
    client = harness.connect()
    client.send("WHO")
    harness.turn()
    assert len(client.written) < 3 * FLUSH_BYTES
    assert not client.session.wants_input
    client.block()
    harness.rest()
    assert client.read()[-1] != "OK WHO 5000"
    client.unblock()
    harness.rest()
    assert client.read()[-1] == "OK WHO 5000"
    assert re.findall(rb"\d{32}", client.written) == [name.encode() for name in names]
    assert client.session.wants_input


def test_history_contains_messages_with_timestamps(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    harness.time = 1.25
    ann.send("MSG 1")
    harness.rest()
    harness.time = 2.5
    bob.send("MSG  2 ", "HISTORY", "HISTORY 1", "HISTORY 0")
    harness.rest()
    first, second = "PAST 1970-01-01T00:00:01.250Z ann 1", "PAST 1970-01-01T00:00:02.500Z bob  2 "
    assert bob.read() == [
        *["MSG ann 1", first, second, "OK HISTORY 2"],
        *[second, "OK HISTORY 1", "OK HISTORY 0"],
    ]


def test_history_count_excludes_messages_evicted_while_sending() -> None:
    harness = RoomHarness(backlog=12 * FLUSH_BYTES)
    ann, bob = harness.enter("ann", "bob")
    for _ in range(30):
        ann.send("MSG " + "x" * 4_000)
        harness.rest()
    bob.read()
    bob.send("HISTORY")
    harness.turn()
    bob.block()
    first_piece = bob.read()
    for _ in range(30):
        ann.send("MSG " + "y" * 4_000)
        harness.rest()
    bob.unblock()
    harness.rest()
    end, *later = bob.read()
    past = [line for line in first_piece if line.startswith("PAST")]
    assert 0 < len(past) < 20
    assert end == f"OK HISTORY {len(past)}"
    assert later[0].startswith("GAP ")


# Line encoding and sanitizing


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        (b"MSG hi\rQUIT\n", ["MSG ann hi\u240dQUIT"]),
        (b"MSG hi\r\r\n", ["MSG ann hi\u240d"]),
        (b"MSG hi\x00MSG bob x\n", ["MSG ann hi\u2400MSG bob x"]),
        (b"MSG hi\x0b\x0c\x1c\x1d\x1eMSG\n", ["MSG ann hi\u240b\u240c\u241c\u241d\u241eMSG"]),
        ("MSG hi\x85MSG bob x\n".encode(), ["MSG ann hi\ufffdMSG bob x"]),
        ("MSG hi\u2028LEFT bob\u2029\n".encode(), ["MSG ann hi\ufffdLEFT bob\ufffd"]),
        (b"MSG \x1b[2J\x1b]0;title\x07\n", ["MSG ann \u241b[2J\u241b]0;title\u2407"]),
        (b"MSG " + b"x" * 4093 + b" MSG bob x\n", []),
        (b"\xff\xfd\x01MSG h\xff\xfb\x03i\n", ["MSG ann hi"]),
        (b"MSG a\xff\xff\nMSG \xc3\nMSG b\n", ["MSG ann b"]),
        (b"JOIN bob\nMSG I am bob\n", ["MSG ann I am bob"]),
    ],
)
def test_message_cannot_inject_a_line(harness: RoomHarness, sent: bytes, seen: list[str]) -> None:
    ann, bob = harness.enter("ann", "bob")
    ann.feed(sent)
    harness.rest()
    lines = bob.written.decode().split("\n")[-1 - len(seen) :]
    assert lines == [*seen, ""]
    assert len(bob.read()) == len(seen)
    assert not ann.session.finished


def test_clean_text_is_delivered_unchanged(harness: RoomHarness) -> None:
    text = " 👩‍👩‍👧‍👦 ❤️ \t e\u0301 Grüße "
    ann, bob = harness.enter("ann", "bob")
    ann.send(f"MSG {text}")
    harness.rest()
    assert bob.read() == [f"MSG ann {text}"]


def test_telnet_requests_are_refused(harness: RoomHarness) -> None:
    client = harness.connect()
    before = len(client.written)
    client.feed(b"PI\xff\xfd\x01\xff\xfb\x1f")
    harness.rest()
    assert client.written[before:] == b"\xff\xfc\x01\xff\xfe\x1f"
    client.feed(b"NG\n")
    harness.rest()
    assert client.written.endswith(b"\x1fPONG\n")


def test_blocked_client_gets_telnet_refusals_once_it_reads_again(harness: RoomHarness) -> None:
    client = harness.connect()
    before = len(client.written)
    client.block()
    client.feed(b"\xff\xfd\x03")
    harness.rest()
    assert len(client.written) == before
    client.unblock()
    harness.rest()
    assert client.written[before:] == b"\xff\xfc\x03"


def test_output_uses_crlf_after_the_first_crlf_received(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    before = len(bob.written)
    bob.feed(b"PING 1\nPING 2\r\nPING 3\n")
    ann.send("MSG hi")
    harness.rest()
    ann.send("MSG again")
    harness.rest()
    assert bob.written[before:] == b"PONG 1\nPONG 2\r\nPONG 3\r\nMSG ann hi\r\nMSG ann again\r\n"
    assert b"\r" not in ann.written


def test_lines_owed_before_the_answer_to_the_first_crlf_use_it_too(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    before = len(bob.written)
    bob.block()
    ann.send("MSG hi")
    harness.rest()
    bob.unblock()
    bob.feed(b"PING\r\n")
    harness.rest()
    assert bob.written[before:] == b"MSG ann hi\r\nPONG\r\n"


def test_broadcasts_use_crlf_for_a_crlf_client(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    bob.feed(b"\r\n")
    harness.rest()
    ann.send("MSG hi")
    harness.rest()
    assert bob.written.endswith(b"\nMSG ann hi\r\n")


def test_line_of_maximum_length_is_accepted_and_a_longer_one_is_rejected_once(harness: RoomHarness) -> None:
    client = harness.connect(Limits(max_line=10, rate=0))
    client.feed(b"PING 12345\r\n" + b"PING 123456\n" + b"x" * 100)
    harness.rest()
    client.feed(b"PING 1")
    client.feed(b"\nPING 2\n")
    harness.rest()
    assert codes(client.read()) == ["PONG 12345", "ERR line-too-long", "ERR line-too-long", "PONG 2"]


def test_invalid_utf8_is_rejected(harness: RoomHarness) -> None:
    client = harness.connect()
    client.feed(b"MSG \xe4\nPING\n")
    harness.rest()
    assert codes(client.read()) == ["ERR not-utf8", "PONG"]


# Turns and backpressure


def test_lines_per_turn_are_limited(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    ann.send(*(f"MSG {number}" for number in range(LINES_PER_TURN + 1)))
    harness.turn()
    assert len(bob.read()) == LINES_PER_TURN
    harness.turn()
    assert bob.read() == [f"MSG ann {LINES_PER_TURN}"]


PONG_SIZE = 128
LONG_PING = "PING " + "x" * (PONG_SIZE - len("PONG \n"))


def test_answers_of_one_turn_are_limited(harness: RoomHarness) -> None:
    (ann,) = harness.enter("ann")
    count = FLUSH_BYTES // PONG_SIZE
    ann.send(*[LONG_PING] * (count + 1))
    harness.turn()
    assert len(ann.read()) == count
    harness.rest()
    assert len(ann.read()) == 1


def test_lines_in_packets_of_their_own_count_toward_the_rate(harness: RoomHarness) -> None:
    harness.time = 1000.0
    client = harness.connect(Limits(rate=1, burst=3))
    for number in range(5):
        client.send(f"PING {number}")
        harness.rest()
    assert client.read() == ["PONG 0", "PONG 1", "PONG 2"]


def test_lines_of_a_turn_that_ends_early_count_toward_the_rate(harness: RoomHarness) -> None:
    count = FLUSH_BYTES // PONG_SIZE + 10
    harness.time = 1000.0
    (ann,) = harness.enter("ann", limits=Limits(rate=1, burst=count))
    harness.time = 2000.0
    ann.send(*[LONG_PING] * (count + 10))
    harness.rest()
    assert len(ann.read()) == count


def test_reading_pauses_while_too_much_input_is_buffered(harness: RoomHarness) -> None:
    (ann,) = harness.enter("ann")
    wants = []
    for count in (13_000, 1_000):
        ann.feed(b"PING\n" * count)
        wants.append(ann.session.wants_input)
    harness.rest()
    assert [*wants, ann.session.wants_input] == [True, False, True]


def test_reading_pauses_as_soon_as_64_kib_are_held(harness: RoomHarness) -> None:
    (ann,) = harness.enter("ann")
    wanted: list[bool] = []
    for data in (b"PING xy\n", b"PING xy\n" * 8190, b"PING x\n", b"\n"):
        ann.session.receive(data)
        wanted.append(ann.session.wants_input)
    assert wanted == [True, True, True, False]


def test_full_batch_defers_lines_to_the_next_turn(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    ann.send(*["MSG " + "x" * 4_000] * 20)
    harness.turn()
    first = len(bob.read())
    assert BATCH_BYTES // 4_100 < first < 20
    harness.rest()
    assert first + len(bob.read()) == 20


def test_reading_pauses_while_blocked_with_a_pending_response(harness: RoomHarness) -> None:
    (client,) = harness.enter("ann")
    client.block()
    client.send("PING 1", "PING 2")
    harness.rest()
    assert client.read() == []
    assert not client.session.wants_input
    client.unblock()
    harness.rest()
    assert client.read() == ["PONG 1", "PONG 2"]
    assert client.session.wants_input


def test_blocked_client_can_post_messages(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    ann.block()
    ann.send("MSG 1", "MSG 2")
    harness.rest()
    assert bob.read() == ["MSG ann 1", "MSG ann 2"]
    assert ann.session.wants_input


def test_slow_reader_receives_gap_before_its_response() -> None:
    harness = RoomHarness(backlog=1)
    ann, bob = harness.enter("ann", "bob")
    bob.block()
    for number in range(3):
        ann.send(f"MSG {number}")
        harness.rest()
    bob.send("PING")
    harness.rest()
    bob.unblock()
    harness.rest()
    assert bob.read() == ["GAP 2", "MSG ann 2", "PONG"]


# Closing


def test_bye_follows_all_earlier_lines_after_quit(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    ann.send("MSG 1")
    bob.send("MSG 2", "PING", "QUIT", "MSG never", "PING never")
    harness.rest()
    assert bob.read() == ["MSG ann 1", "PONG", "BYE quit"]
    assert bob.session.finished
    assert ann.read() == ["MSG bob 2", "LEFT bob"]


def test_name_is_available_immediately_after_quit(harness: RoomHarness) -> None:
    (ann,) = harness.enter("ann")
    other = harness.connect()
    ann.send("QUIT")
    other.send("JOIN ann")
    harness.rest()
    assert other.read() == ["OK JOIN ann"]


def test_quitting_member_receives_no_later_lines(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    ann.send("QUIT")
    bob.send("MSG hi")
    harness.rest()
    assert ann.read() == ["BYE quit"]


def test_eof_quits_after_every_complete_line(harness: RoomHarness) -> None:
    (bob,) = harness.enter("bob")
    bot = harness.connect()
    bot.send("JOIN bot", "MSG hi")
    bot.close()
    harness.rest()
    assert bot.read() == ["OK JOIN bot", "BYE quit"]
    assert bot.session.finished
    assert bob.read() == ["JOINED bot", "MSG bot hi", "LEFT bot"]


def test_incomplete_last_line_is_rejected(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    ann.feed(b"MSG whole\nMSG hal")
    ann.close()
    harness.rest()
    assert codes(ann.read()) == ["ERR incomplete-line", "BYE quit"]
    assert bob.read() == ["MSG ann whole", "LEFT ann"]


def test_eof_before_join_is_answered_with_bye(harness: RoomHarness) -> None:
    client = harness.connect()
    client.close()
    harness.rest()
    assert client.read() == ["BYE quit"]
    assert client.session.finished


def test_bye_is_deferred_until_the_client_is_unblocked(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    bob.block()
    ann.send("MSG hi")
    bob.send("QUIT")
    harness.rest()
    assert (bob.read(), bob.session.finished) == ([], False)
    assert bob.session.wants_input  # further input is discarded
    bob.unblock()
    harness.rest()
    assert (bob.read(), bob.session.finished) == (["MSG ann hi", "BYE quit"], True)


def test_shutdown_sends_bye_after_all_accepted_lines(harness: RoomHarness) -> None:
    ann, bob, cleo = harness.enter("ann", "bob", "cleo")
    cleo.block()
    ann.send("MSG last")
    harness.turn()
    harness.room.closed = True
    for client in (ann, bob, cleo):
        client.send("MSG late", "PING late")
        client.end("shutdown")
    harness.rest()
    assert ann.read() == ["BYE shutdown"]
    assert bob.read() == ["MSG ann last", "BYE shutdown"]
    assert cleo.read() == []
    cleo.unblock()
    harness.rest()
    assert cleo.read() == ["MSG ann last", "BYE shutdown"]
    assert all(client.session.finished for client in (ann, bob, cleo))


def test_shutdown_completes_a_long_response() -> None:
    harness = RoomHarness(presence_limit=0)
    add_members(harness, 5_000)
    client = harness.connect()
    client.send("WHO")
    harness.turn()
    client.end("shutdown")
    harness.rest()
    assert client.read()[-2:] == ["OK WHO 5000", "BYE shutdown"]


def test_bye_gives_the_first_close_reason(harness: RoomHarness) -> None:
    client = harness.connect()
    client.end("stalled")
    client.end("shutdown")
    harness.rest()
    assert client.read() == ["BYE stalled"]


def test_bye_is_sent_once_and_later_input_is_discarded(harness: RoomHarness) -> None:
    client = harness.connect()
    client.send("QUIT")
    harness.rest()
    client.end("shutdown")
    client.feed(b"PING\n\xff\xfd\x01")
    harness.rest()
    assert client.read() == ["BYE quit"]


def test_eof_after_quit_schedules_no_more_turns(harness: RoomHarness) -> None:
    client = harness.connect()
    client.send("QUIT")
    harness.rest()
    client.close()
    harness.rest()
    assert client.read() == ["BYE quit"]
    assert client.session.finished


def test_nothing_is_sent_after_bye(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    ann.end("stalled")
    harness.rest()
    bob.send("MSG hi")
    harness.rest()
    assert ann.read() == ["BYE stalled"]


def test_lost_connection_of_a_member_is_broadcast_as_left(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    ann.session.connection_lost()
    harness.turn()
    assert bob.read() == ["LEFT ann"]
    assert ann.read() == []


def test_lost_connection_before_join_broadcasts_nothing(harness: RoomHarness) -> None:
    (bob,) = harness.enter("bob")
    harness.connect().session.connection_lost()
    harness.turn()
    assert bob.read() == []


# Fragmentation

_TELNET_REFUSAL = re.compile(rb"\xff[\xfc\xfe].", re.DOTALL)

conversation = st.lists(
    st.one_of(
        st.sampled_from(
            [b"JOIN ann", b"JOIN", b"MSG hi", "MSG ä€😀".encode(), b"MSG", b"LEAVE", b"WHO", b"HELP"]
        ),
        st.sampled_from(
            [b"HISTORY", b"HISTORY 1", b"PING", b"PING 1", b"PASS x", b"QUIT", b"nonsense", b" "]
        ),
        st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"\r\n", b"\r", b"\xc3", b"\xff\xff", b"\xff"]),
        st.sampled_from([b"\xff\xfd\x01", b"\xff\xfb\n", b"\xff\xf1", b"\xff\xfa\x18\n\xff\xff\xff\xf0"]),
        st.integers(14, 18).map(lambda size: b"PING ".ljust(size, b"x")),
    ),
    max_size=40,
).map(b"".join)


def transcript(*cut: bytes, close: bool) -> bytes:
    """Return a single session's output without telnet refusals, which may precede responses."""
    harness = RoomHarness()
    client = harness.connect(Limits(max_line=16, rate=0))
    for packet in cut:
        client.feed(packet)
        harness.rest()
    if close:
        client.close()
        harness.rest()
    return _TELNET_REFUSAL.sub(b"", client.written)


@given(packets(conversation), st.booleans())
def test_output_is_independent_of_packet_boundaries(cut: list[bytes], close: bool) -> None:  # noqa: FBT001
    assert transcript(*cut, close=close) == transcript(b"".join(cut), close=close)


@given(conversation)
def test_output_is_the_same_for_single_byte_packets(stream: bytes) -> None:
    assert transcript(*(stream[at : at + 1] for at in range(len(stream))), close=True) == transcript(
        stream, close=True
    )


def test_empty_lines_are_ignored_but_count_toward_the_turn_limit(harness: RoomHarness) -> None:
    client = harness.connect()
    client.feed(b"\n\r\n" * LINES_PER_TURN + b"PING\n")
    harness.turn()
    assert client.read() == []
    harness.rest()
    assert client.read() == ["PONG"]


# Errors before the join

HTTP_REQUEST_LINES = [
    *["GET / HTTP/1.1", "POST /x HTTP/1.1", "HEAD / HTTP/1.0", "OPTIONS * HTTP/1.1", "CONNECT a:1 HTTP/1.1"],
    *["PRI * HTTP/2.0", "FOO / HTTP/1.1", "JOIN / HTTP/1.1", "patch / HTTP/1.1"],
]
HTTP_STATUS = "HTTP/1.1 400 Bad Request"


def test_session_is_closed_after_too_many_errors_before_join(harness: RoomHarness) -> None:
    client = harness.connect()
    for number in range(ERRORS_MAX):
        client.send(f"rubbish {number}", f"PING {number}", "")
    harness.rest()
    answers = codes(client.read())
    assert answers == [f"{each}" for n in range(ERRORS_MAX) for each in ("ERR unknown-command", f"PONG {n}")]
    client.send("more rubbish", "JOIN ann", "MSG never")
    harness.rest()
    code = Code.TOO_MANY_ERRORS
    assert client.read() == [str(Err(code, code.advice)), "BYE too-many-errors"]
    assert client.session.finished
    assert client.session.disconnect_code is code
    assert harness.room.names() == ()


def test_every_kind_of_error_counts_toward_the_limit(harness: RoomHarness) -> None:
    (_,) = harness.enter("taken")
    client = harness.connect(Limits(max_line=16, rate=0))
    client.feed(
        b"NICK\nJOIN\nJOIN .\nJOIN taken\nMSG\nMSG hi\nLEAVE\nHISTORY\n\xc3\nWHO is\n"
        + b"x" * 17
        + b"\nPING\n"
    )
    harness.rest()
    *errors, last, bye = client.read()
    assert [error.split()[0] for error in errors] == ["ERR"] * ERRORS_MAX
    assert codes([last]) == ["ERR too-many-errors"]
    assert bye == "BYE too-many-errors"


def test_incomplete_last_line_counts_toward_the_error_limit(harness: RoomHarness) -> None:
    client = harness.connect()
    client.feed(b"x\n" * ERRORS_MAX + b"x")
    client.close()
    harness.rest()
    assert codes(client.read())[ERRORS_MAX:] == ["ERR too-many-errors", "BYE too-many-errors"]


def test_errors_are_unlimited_after_the_first_join(harness: RoomHarness) -> None:
    client = harness.connect()
    client.send(*["rubbish"] * ERRORS_MAX, "JOIN ann", *["rubbish"] * 50, "LEAVE", *["rubbish"] * 50, "PING")
    harness.rest()
    answers = codes(client.read())
    assert answers.count("ERR unknown-command") == ERRORS_MAX + 100
    assert answers[-1] == "PONG"
    assert not client.session.pre_join


def test_disconnect_reports_only_the_first_reason(harness: RoomHarness) -> None:
    client = harness.connect()
    client.session.disconnect(Code.JOIN_TIMEOUT)
    client.session.disconnect(Code.TOO_MANY_CONNECTIONS)
    client.end("shutdown")
    client.send("JOIN ann", "PING")
    harness.rest()
    code = Code.JOIN_TIMEOUT
    assert client.read() == [str(Err(code, code.advice)), "BYE join-timeout"]
    assert client.session.disconnect_code is code
    assert harness.room.names() == ()


# Protocol detection


@pytest.mark.parametrize("request_", HTTP_REQUEST_LINES)
def test_http_request_is_rejected_and_not_executed(harness: RoomHarness, request_: str) -> None:
    client, byte_by_byte = harness.connect(), harness.connect()
    data = f"{request_}\r\nJOIN mallory\r\n\r\nJOIN mallory\nMSG spam\n".encode()
    client.feed(data)
    for at in range(len(data)):
        byte_by_byte.feed(data[at : at + 1])
        harness.rest()
    whole = client.read()
    assert whole[0] == HTTP_STATUS
    assert codes(whole[-2:]) == ["ERR not-chat", "BYE not-chat"]
    assert byte_by_byte.read() == whole
    assert client.session.finished
    assert client.session.disconnect_code is Code.NOT_CHAT
    assert harness.room.names() == ()


def test_http_request_receives_an_http_response(harness: RoomHarness) -> None:
    client = harness.connect()
    before = len(client.written)
    client.feed(b"GET / HTTP/1.1\r\n\r\n")
    harness.rest()
    head, _, body = client.written[before:].partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"\nConnection: close" in head
    assert body.startswith(b"ERR not-chat ")


def test_http_client_that_negotiates_receives_one_http_response(harness: RoomHarness) -> None:
    client = harness.connect()
    client.feed(b"\xff\xfd\x03GET / HTTP/1.1\r\n")
    harness.rest()
    harness.schedule(client)
    harness.rest()
    assert client.written.count(HTTP_RESPONSE) == 1


def test_tls_client_hello_is_rejected(harness: RoomHarness) -> None:
    hello = b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\nJOIN mallory\n"
    client, byte_by_byte = harness.connect(), harness.connect()
    client.feed(hello)
    for at in range(len(hello)):
        byte_by_byte.feed(hello[at : at + 1])
    harness.rest()
    assert codes(client.read()) == codes(byte_by_byte.read()) == ["ERR not-chat", "BYE not-chat"]
    assert harness.room.names() == ()


@pytest.mark.parametrize(
    "line", ["GETTING", "GET / HTTP", "PINGx", "HEADER", "PUT", "POST\t/", "GET", "P", "\x16"]
)
def test_line_resembling_an_http_request_is_parsed_as_a_command(harness: RoomHarness, line: str) -> None:
    client = harness.connect()
    client.send(line, "PING", "HELP")
    harness.rest()
    answers = codes(client.read())
    assert answers[:2] == ["ERR unknown-command", "PONG"]
    assert answers[-1] == "OK HELP"


def test_protocol_is_detected_from_the_first_bytes_only(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    ann.feed(b"GET / HTTP/1.1\n\x16\x03\x01\nMSG GET /\n")
    harness.rest()
    assert codes(ann.read()) == ["ERR unknown-command"] * 2
    assert bob.read() == ["MSG ann GET /"]


@pytest.mark.parametrize("cut", [[3], [1, 3], [2, 3], [1, 2, 3], [1, 4], [2, 9]])
def test_leading_byte_order_mark_is_removed(harness: RoomHarness, cut: list[int]) -> None:
    client = harness.connect()
    data = BYTE_ORDER_MARK + b"JOIN ann\n"
    for start, stop in zip([0, *cut], [*cut, None], strict=True):
        client.feed(data[start:stop])
        harness.rest()
    assert client.read() == ["OK JOIN ann"]


def test_later_byte_order_mark_is_kept_as_text(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    ann.send("MSG \ufeffhi", "\ufeffMSG hi")
    harness.rest()
    assert bob.read() == ["MSG ann \ufeffhi"]
    assert codes(ann.read()) == ["ERR unknown-command"]
    client = harness.connect()
    client.send("\ufeff\ufeffPING")
    harness.rest()
    assert codes(client.read()) == ["ERR unknown-command"]


@pytest.mark.parametrize("start", [b"G", b"GE", b"GET", b"\xef", b"\xef\xbb", b"\x16"])
def test_eof_during_protocol_detection_is_an_incomplete_line(harness: RoomHarness, start: bytes) -> None:
    client = harness.connect()
    client.feed(start)
    client.close()
    harness.rest()
    assert codes(client.read()) == ["ERR incomplete-line", "BYE quit"]


# Rate limit

LOW_RATE = Limits(rate=2, burst=5)


def advance(harness: RoomHarness, seconds: float, *clients: SessionClient) -> None:
    """Advance the clock and run another turn for the throttled clients."""
    harness.time += seconds
    for client in clients:
        harness.schedule(client)
    harness.rest()


def test_burst_is_processed_immediately_and_the_rest_at_the_rate(harness: RoomHarness) -> None:
    (witness,) = harness.enter("witness")
    ann = harness.connect(LOW_RATE)
    ann.send("JOIN ann", *(f"MSG {number}" for number in range(8)))
    harness.rest()
    assert witness.read() == ["JOINED ann", *(f"MSG ann {number}" for number in range(4))]
    assert (ann.session.throttled, ann.session.wants_input) == (True, False)
    seen = []
    for _ in range(5):
        advance(harness, 0.25, ann)
        seen.append(witness.read())
    assert seen == [[], ["MSG ann 4"], [], ["MSG ann 5"], []]
    advance(harness, 0.75, ann)
    assert witness.read() == ["MSG ann 6", "MSG ann 7"]
    assert (ann.session.throttled, ann.session.wants_input) == (False, True)


def test_every_line_counts_toward_the_rate_and_is_answered_in_order(harness: RoomHarness) -> None:
    client = harness.connect(LOW_RATE)
    client.send(*(f"PING {number}" for number in range(7)), "rubbish", "WHO", "")
    client.send("PING last")
    answers = []
    for _ in range(8):
        advance(harness, 0.5, client)
        answers.append(codes(client.read()))
    first = [f"PONG {number}" for number in range(5)]
    single = [["PONG 5"], ["PONG 6"], ["ERR unknown-command"], ["OK WHO"], [], ["PONG last"], []]
    assert answers == [first, *single]


def test_partial_line_does_not_count_toward_the_rate(harness: RoomHarness) -> None:
    client = harness.connect(Limits(rate=1, burst=2))
    client.feed(b"PING 1\nPI")
    for byte in b"NG 2":
        client.feed(bytes([byte]))
        harness.rest()
    client.feed(b"\nPING 3\n")
    harness.rest()
    assert client.read() == ["PONG 1", "PONG 2"]
    advance(harness, 1.0, client)
    assert client.read() == ["PONG 3"]


def test_eof_is_processed_after_all_throttled_lines(harness: RoomHarness) -> None:
    (witness,) = harness.enter("witness")
    bot = harness.connect(LOW_RATE)
    bot.send("JOIN bot", *(f"MSG {number}" for number in range(20)))
    bot.close()
    harness.rest()
    seen = [len(witness.read())]
    while not bot.session.finished:
        advance(harness, 1.0, bot)
        seen.append(len(witness.read()))
    assert seen == [5, *[2] * 8, 1]  # JOINED, 20 lines and LEFT
    assert harness.time == 8.0 + 1.0
    assert bot.read() == ["OK JOIN bot", "BYE quit"]


def test_throttled_lines_are_all_delivered_in_order(harness: RoomHarness) -> None:
    (witness,) = harness.enter("witness")
    bot = harness.connect(Limits())
    bot.send("JOIN bot", *(f"MSG {number}" for number in range(1000)), "PING")
    bot.close()
    harness.rest()
    seen = witness.read()
    assert len(seen) == BURST
    while not bot.session.finished:
        advance(harness, 0.5, bot)
        seen += witness.read()
    assert seen == ["JOINED bot", *(f"MSG bot {number}" for number in range(1000)), "LEFT bot"]
    assert harness.time == (1 + 1000 + 1 - BURST) / RATE + 0.4  # whole halves of a second
    assert bot.read() == ["OK JOIN bot", "PONG", "BYE quit"]


def test_throttled_client_does_not_delay_others(harness: RoomHarness) -> None:
    (witness,) = harness.enter("witness")
    flooder, other = harness.connect(LOW_RATE), harness.connect(LOW_RATE)
    flooder.send("JOIN flooder", *["MSG flood"] * 1000)
    harness.rest()
    witness.read()
    other.send("JOIN other", "MSG hi", "PING")
    harness.rest()
    assert other.read() == ["OK JOIN other", "PONG"]
    assert witness.read() == ["JOINED other", "MSG other hi"]


def test_rate_zero_disables_throttling(harness: RoomHarness) -> None:
    (witness,) = harness.enter("witness")
    bot = harness.connect(Limits(rate=0, burst=1))
    bot.send("JOIN bot", *["MSG hi"] * 5000)
    harness.rest()
    assert len(witness.read()) == 5001
    assert not bot.session.throttled


def test_client_is_throttled_no_more_when_the_limit_is_lifted(harness: RoomHarness) -> None:
    (witness,) = harness.enter("witness")
    limits = Limits(rate=2, burst=5)
    ann = harness.connect(limits)
    ann.send("JOIN ann", *(f"MSG {number}" for number in range(300)))
    harness.rest()
    assert ann.session.throttled
    limits.change(limits.max_line, 0, 5)
    advance(harness, 0.0, ann)
    assert witness.read() == ["JOINED ann", *(f"MSG ann {number}" for number in range(300))]
    assert (ann.session.throttled, ann.session.wants_input) == (False, True)
    limits.change(limits.max_line, 2, 5)
    harness.time += 60.0
    ann.send(*(f"MSG {number}" for number in range(9)))
    harness.rest()
    assert len(witness.read()) == 5


def test_closed_session_discards_throttled_lines(harness: RoomHarness) -> None:
    (witness,) = harness.enter("witness")
    ann = harness.connect(LOW_RATE)
    ann.send("JOIN ann", *["MSG flood"] * 20)
    harness.rest()
    witness.read()
    ann.end("shutdown")
    advance(harness, 60.0, ann)
    assert ann.read() == ["OK JOIN ann", "BYE shutdown"]
    assert witness.read() == ["LEFT ann"]
    assert ann.session.finished
    assert not ann.session.throttled


# Random input

VERBS = {
    "LIMITS",
    "HELLO",
    "OK",
    "ERR",
    "MSG",
    "JOINED",
    "LEFT",
    "NAMES",
    "PAST",
    "PONG",
    "INFO",
    "GAP",
    "BYE",
}
_REQUESTS = [b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.0\n\nJOIN x\n", b"\x16\x03\x01", b"\xef\xbb\xbfPING\n"]

any_input = st.one_of(
    conversation,
    st.binary(max_size=30),
    st.sampled_from(_REQUESTS),
    st.tuples(st.sampled_from(_REQUESTS), conversation).map(b"".join),
    st.tuples(st.just(b"JOIN ann\n"), conversation).map(b"".join),
    st.just(b"MSG \x1b[2J\x85\xc2\x85\xe2\x80\xae\n" * 3),
    st.sampled_from([b"PASS sesame\n", b"PASS x\n" * 4, b"MSG \xe2\x80\xa8LEFT bob\n"]),
)


@dataclass(frozen=True)
class Step:
    """Input from a client, the time until the next step, and whether the client is writable."""

    data: bytes
    milliseconds: int
    writable: bool


scenarios = st.lists(st.builds(Step, any_input, st.integers(0, 3000), st.booleans()), max_size=12)


def lines_of(written: bytes) -> list[str]:
    """Return the lines written, without telnet refusals and HTTP responses."""
    text = _TELNET_REFUSAL.sub(b"", written).replace(HTTP_RESPONSE, b"").decode()
    *lines, torn = text.replace("\r\n", "\n").split("\n")
    assert torn == ""
    return lines


def check_lines(lines: list[str]) -> None:
    """Check that all lines are sanitized and valid server output."""
    assert [line for line in lines if sanitize(line) != line] == []
    if HTTP_STATUS in lines:
        start = lines.index(HTTP_STATUS)
        head = HTTP_RESPONSE.decode().split("\n")[:-1]
        assert lines[start : start + len(head)] == head
        del lines[start : start + len(head)]
    assert {line.split(" ")[0] for line in lines} <= VERBS
    assert {line.split(" ")[1] for line in lines if line.startswith("ERR ")} <= set(Code)
    assert [line for line in lines[:-1] if line.startswith("BYE")] == []


def run_scenario(harness: RoomHarness, client: SessionClient, scenario: list[Step]) -> None:
    """Run all steps, close the client, and advance the clock until its session has finished."""
    for step in scenario:
        (client.unblock if step.writable else client.block)()
        client.feed(step.data)
        advance(harness, step.milliseconds / 1000, client)
        answer_password_checks(harness, client)
    client.unblock()
    client.close()
    for _ in range(1000):
        advance(harness, 1.0, client)
        answer_password_checks(harness, client)
        if client.session.finished:
            return
    raise AssertionError("the session did not finish")


def answer_password_checks(harness: RoomHarness, client: SessionClient) -> None:
    """Answer every pending password check."""
    while client.session.secret is not None:
        client.session.on_password_checked(accepted=client.session.secret == "sesame")
        harness.schedule(client)
        harness.rest()


@given(scenarios, st.integers(0, 30), st.integers(1, 30), st.booleans())
def test_any_input_yields_sanitized_lines_and_one_final_bye(
    scenario: list[Step],
    rate: int,
    burst: int,
    locked: bool,  # noqa: FBT001
) -> None:
    harness = RoomHarness()
    (witness,) = harness.enter("witness")
    client = harness.connect(Limits(max_line=32, rate=rate, burst=burst), auth_required=locked)
    run_scenario(harness, client, scenario)
    lines = lines_of(bytes(client.written))
    check_lines(lines)
    assert lines[0].startswith("HELLO ")
    assert lines[-1].startswith("BYE ")
    broadcasts = lines_of(bytes(witness.written))
    check_lines(broadcasts)
    lines_before_join = list(takewhile(lambda line: not line.startswith("OK JOIN "), lines))
    assert len([line for line in lines_before_join if line.startswith("ERR ")]) <= ERRORS_MAX + 1
    if rate:
        assert len(broadcasts) - 2 <= max(rate, burst) + harness.time * rate + 2
    assert harness.room.names() == ("witness",)


def test_unexpected_password_result_is_ignored(harness: RoomHarness) -> None:
    (ann,) = harness.enter("ann")
    ann.session.on_password_checked(accepted=False)
    harness.rest()
    assert ann.read() == []
    assert not ann.session.finished


# What operators see


def test_executed_lines_are_counted(harness: RoomHarness) -> None:
    client = harness.connect()
    assert (client.session.executed, client.session.throttled) == (0, False)
    client.send("JOIN ann", "", "MSG hi", "rubbish")
    harness.rest()
    client.send("PING")
    harness.rest()
    assert client.session.executed == 5


def test_end_has_a_code_and_says_why_where_that_is_not_all(harness: RoomHarness) -> None:
    ann, ben, cleo = harness.enter("ann", "ben", "cleo")
    assert (ann.session.disconnect_code, ann.session.disconnect_text) == (None, "")
    ann.session.disconnect(Code.KICKED, "flooding")
    ben.session.disconnect(Code.JOIN_TIMEOUT)
    cleo.session.start_close(b"BYE quit\n")
    ends = [(client.session.disconnect_code, client.session.disconnect_text) for client in (ann, ben, cleo)]
    assert ends == [(Code.KICKED, "flooding"), (Code.JOIN_TIMEOUT, ""), (None, "")]
