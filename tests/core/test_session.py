import re
from dataclasses import dataclass
from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_chat.core.detect import BYTE_ORDER_MARK, HTTP_RESPONSE
from simple_chat.core.limits import BURST, RATE, Limits
from simple_chat.core.protocol import Code, Err
from simple_chat.core.room import BATCH_BYTES, FLUSH_BYTES
from simple_chat.core.session import ERRORS_MAX, LINES_A_TURN
from simple_chat.core.text import sanitize
from tests.harness.packets import packets
from tests.harness.sessions import UNLIMITED, Guest, House


def codes(lines: list[str]) -> list[str]:
    """The first two words of each line."""
    return [" ".join(line.split(" ")[:2]) for line in lines]


def crowd(house: House, size: int) -> list[str]:
    """Fill the room with members whose names are as long as they may be."""
    names = [f"{number:032}" for number in range(size)]
    for name in names:
        house.room.join(house.room.connect(bytearray().extend), name)
    return names


# What is answered


def test_greeting_is_the_first_line() -> None:
    guest = Guest(House(), UNLIMITED)
    assert guest.written.startswith(b"HELLO simple_chat/1 ")
    assert guest.written.count(b"\n") == 1
    assert guest.session.wants_input


def test_newcomer_is_greeted_while_a_line_waits_to_be_handed_out(house: House) -> None:
    ann, _ = house.enter("ann", "bob")
    ann.session.lost()
    guest = Guest(house, UNLIMITED)
    house.rest()
    assert codes(guest.read()) == ["HELLO simple_chat/1"]


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
def test_stranger_is_answered(house: House, line: str, answer: list[str]) -> None:
    guest = house.connect()
    guest.send(line)
    house.rest()
    assert guest.read() == answer


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
def test_stranger_is_refused_and_may_go_on(house: House, line: str, code: Code) -> None:
    guest = house.connect()
    guest.send(line, "PING")
    house.rest()
    assert guest.read() == [str(Err(code, code.advice)), "PONG"]


def test_help_lists_every_verb_of_the_room(house: House) -> None:
    guest = house.connect()
    guest.send("HELP")
    house.rest()
    *infos, end = guest.read()
    assert end == "OK HELP"
    assert [info.split()[:2] for info in infos] == [
        ["INFO", verb] for verb in ("JOIN", "MSG", "LEAVE", "WHO", "HISTORY", "PING", "QUIT")
    ]


def test_conversation_is_answered_in_order(house: House) -> None:
    (guest,) = house.enter("ann")
    guest.send("PING 1", "JOIN bob", "MSG hi", "WHO", "LEAVE", "LEAVE", "JOIN Bob", "HISTORY", "PING 2")
    house.rest()
    assert codes(guest.read()) == [
        *["PONG 1", "ERR already-joined", "NAMES ann", "OK WHO", "OK LEAVE", "ERR not-joined", "OK JOIN"],
        *["PAST 1970-01-01T00:00:00.000Z", "OK HISTORY", "PONG 2"],
    ]


def test_others_see_each_step(house: House) -> None:
    (bob,) = house.enter("bob")
    ann = house.connect()
    ann.send("JOIN Ann", "MSG hi", "LEAVE", "JOIN ann", "QUIT")
    house.rest()
    assert bob.read() == ["JOINED Ann", "MSG Ann hi", "LEFT Ann", "JOINED ann", "LEFT ann"]


def test_taken_name_is_refused_whatever_its_case(house: House) -> None:
    house.enter("Ann")
    guest = house.connect()
    guest.send("JOIN aNN", "JOIN bob")
    house.rest()
    assert codes(guest.read()) == ["ERR name-taken", "OK JOIN"]


def test_nothing_of_the_room_comes_outside_of_a_stay(house: House) -> None:
    ann, bob = house.enter("ann", "bob")
    guest = house.connect()
    ann.send("MSG before", "PING")
    guest.send("JOIN guest", "LEAVE", "PING")
    bob.send("MSG after")
    house.rest()
    assert guest.read() == ["OK JOIN guest", "MSG bob after", "OK LEAVE", "PONG"]


def test_own_lines_do_not_come_back(house: House) -> None:
    ann, bob = house.enter("ann", "bob")
    ann.send("MSG 1", "MSG 2", "PING")
    house.rest()
    assert ann.read() == ["PONG"]
    assert bob.read() == ["MSG ann 1", "MSG ann 2"]


def test_pong_comes_behind_every_line_before_its_ping(house: House) -> None:
    ann, bob = house.enter("ann", "bob")
    ann.send("MSG before")
    bob.send("PING mark")
    house.turn()
    ann.send("MSG after")
    house.rest()
    assert bob.read() == ["MSG ann before", "PONG mark", "MSG ann after"]


def test_who_is_answered_in_lines_of_names(house: House) -> None:
    house.enter(*(f"n{number}" for number in range(20)))
    guest = house.connect()
    guest.send("WHO")
    house.rest()
    *lines, end = guest.read()
    assert [len(line.split()) - 1 for line in lines] == [16, 4]
    assert " ".join(line.removeprefix("NAMES ") for line in lines) == " ".join(house.room.names())
    assert end == "OK WHO 20"


def test_who_over_many_names_comes_in_pieces() -> None:
    house = House(presence_limit=0)
    names = crowd(house, 5_000)
    guest = house.connect()
    guest.send("WHO")
    house.turn()
    assert len(guest.written) < 3 * FLUSH_BYTES
    assert not guest.session.wants_input
    guest.block()
    house.rest()
    assert guest.read()[-1] != "OK WHO 5000"
    guest.unblock()
    house.rest()
    assert guest.read()[-1] == "OK WHO 5000"
    assert re.findall(rb"\d{32}", guest.written) == [name.encode() for name in names]
    assert guest.session.wants_input


def test_history_tells_what_was_said_and_when(house: House) -> None:
    ann, bob = house.enter("ann", "bob")
    house.time = 1.25
    ann.send("MSG 1")
    house.rest()
    house.time = 2.5
    bob.send("MSG  2 ", "HISTORY", "HISTORY 1", "HISTORY 0")
    house.rest()
    first, second = "PAST 1970-01-01T00:00:01.250Z ann 1", "PAST 1970-01-01T00:00:02.500Z bob  2 "
    assert bob.read() == [
        *["MSG ann 1", first, second, "OK HISTORY 2"],
        *[second, "OK HISTORY 1", "OK HISTORY 0"],
    ]


def test_history_counts_what_was_sent_not_what_the_backlog_let_go() -> None:
    house = House(backlog=12 * FLUSH_BYTES)
    ann, bob = house.enter("ann", "bob")
    for _ in range(30):
        ann.send("MSG " + "x" * 4_000)
        house.rest()
    bob.read()
    bob.send("HISTORY")
    house.turn()
    bob.block()
    first_piece = bob.read()
    for _ in range(30):
        ann.send("MSG " + "y" * 4_000)
        house.rest()
    bob.unblock()
    house.rest()
    end, *later = bob.read()
    past = [line for line in first_piece if line.startswith("PAST")]
    assert 0 < len(past) < 20
    assert end == f"OK HISTORY {len(past)}"
    assert later[0].startswith("GAP ")


# What the lines are made of


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
def test_nobody_can_smuggle_a_line(house: House, sent: bytes, seen: list[str]) -> None:
    ann, bob = house.enter("ann", "bob")
    ann.feed(sent)
    house.rest()
    lines = bob.written.decode().split("\n")[-1 - len(seen) :]
    assert lines == [*seen, ""]
    assert len(bob.read()) == len(seen)
    assert not ann.session.over


def test_clean_text_arrives_byte_for_byte(house: House) -> None:
    text = " 👩‍👩‍👧‍👦 ❤️ \t e\u0301 Grüße "
    ann, bob = house.enter("ann", "bob")
    ann.send(f"MSG {text}")
    house.rest()
    assert bob.read() == [f"MSG ann {text}"]


def test_telnet_requests_are_refused_in_the_next_turn(house: House) -> None:
    guest = house.connect()
    before = len(guest.written)
    guest.feed(b"PI\xff\xfd\x01\xff\xfb\x1f")
    house.rest()
    assert guest.written[before:] == b"\xff\xfc\x01\xff\xfe\x1f"
    guest.feed(b"NG\n")
    house.rest()
    assert guest.written.endswith(b"\x1fPONG\n")


def test_line_ends_are_crlf_from_the_first_crlf_on(house: House) -> None:
    ann, bob = house.enter("ann", "bob")
    before = len(bob.written)
    bob.feed(b"PING 1\nPING 2\r\nPING 3\n")
    ann.send("MSG hi")
    house.rest()
    ann.send("MSG again")
    house.rest()
    assert bob.written[before:] == b"PONG 1\nPONG 2\r\nPONG 3\r\nMSG ann hi\r\nMSG ann again\r\n"
    assert b"\r" not in ann.written


def test_listener_who_speaks_crlf_is_written_crlf(house: House) -> None:
    ann, bob = house.enter("ann", "bob")
    bob.feed(b"\r\n")
    house.rest()
    ann.send("MSG hi")
    house.rest()
    assert bob.written.endswith(b"\nMSG ann hi\r\n")


def test_longest_line_is_taken_and_a_longer_one_is_refused_once(house: House) -> None:
    guest = house.connect(Limits(max_line=10, rate=0))
    guest.feed(b"PING 12345\r\n" + b"PING 123456\n" + b"x" * 100)
    house.rest()
    guest.feed(b"PING 1")
    guest.feed(b"\nPING 2\n")
    house.rest()
    assert codes(guest.read()) == ["PONG 12345", "ERR line-too-long", "ERR line-too-long", "PONG 2"]


def test_bytes_that_are_not_utf8_are_refused(house: House) -> None:
    guest = house.connect()
    guest.feed(b"MSG \xe4\nPING\n")
    house.rest()
    assert codes(guest.read()) == ["ERR not-utf8", "PONG"]


# Turns and backpressure


def test_one_turn_takes_so_many_lines_and_no_more(house: House) -> None:
    ann, bob = house.enter("ann", "bob")
    ann.send(*(f"MSG {number}" for number in range(LINES_A_TURN + 1)))
    house.turn()
    assert len(bob.read()) == LINES_A_TURN
    house.turn()
    assert bob.read() == [f"MSG ann {LINES_A_TURN}"]


def test_guest_is_not_read_from_while_plenty_of_it_waits(house: House) -> None:
    (ann,) = house.enter("ann")
    wants = []
    for count in (13_000, 1_000):
        ann.feed(b"PING\n" * count)
        wants.append(ann.session.wants_input)
    house.rest()
    assert [*wants, ann.session.wants_input] == [True, False, True]


def test_full_room_leaves_lines_for_the_next_turn(house: House) -> None:
    ann, bob = house.enter("ann", "bob")
    ann.send(*["MSG " + "x" * 4_000] * 20)
    house.turn()
    first = len(bob.read())
    assert BATCH_BYTES // 4_100 < first < 20
    house.rest()
    assert first + len(bob.read()) == 20


def test_blocked_guest_with_an_answer_pending_is_not_read_from(house: House) -> None:
    (guest,) = house.enter("ann")
    guest.block()
    guest.send("PING 1", "PING 2")
    house.rest()
    assert guest.read() == []
    assert not guest.session.wants_input
    guest.unblock()
    house.rest()
    assert guest.read() == ["PONG 1", "PONG 2"]
    assert guest.session.wants_input


def test_blocked_guest_may_speak_until_it_asks(house: House) -> None:
    ann, bob = house.enter("ann", "bob")
    ann.block()
    ann.send("MSG 1", "MSG 2")
    house.rest()
    assert bob.read() == ["MSG ann 1", "MSG ann 2"]
    assert ann.session.wants_input


def test_slow_reader_gets_gap_and_then_its_answer() -> None:
    house = House(backlog=1)
    ann, bob = house.enter("ann", "bob")
    bob.block()
    for number in range(3):
        ann.send(f"MSG {number}")
        house.rest()
    bob.send("PING")
    house.rest()
    bob.unblock()
    house.rest()
    assert bob.read() == ["GAP 2", "MSG ann 2", "PONG"]


# The end


def test_quit_says_bye_behind_everything_before_it(house: House) -> None:
    ann, bob = house.enter("ann", "bob")
    ann.send("MSG 1")
    bob.send("MSG 2", "PING", "QUIT", "MSG never", "PING never")
    house.rest()
    assert bob.read() == ["MSG ann 1", "PONG", "BYE quit"]
    assert bob.session.over
    assert ann.read() == ["MSG bob 2", "LEFT bob"]


def test_name_of_who_quits_is_free_at_once(house: House) -> None:
    (ann,) = house.enter("ann")
    other = house.connect()
    ann.send("QUIT")
    other.send("JOIN ann")
    house.rest()
    assert other.read() == ["OK JOIN ann"]


def test_who_quits_gets_nothing_from_behind_its_leaving(house: House) -> None:
    ann, bob = house.enter("ann", "bob")
    ann.send("QUIT")
    bob.send("MSG hi")
    house.rest()
    assert ann.read() == ["BYE quit"]


def test_end_of_input_is_a_quit_behind_every_complete_line(house: House) -> None:
    (bob,) = house.enter("bob")
    bot = house.connect()
    bot.send("JOIN bot", "MSG hi")
    bot.close()
    house.rest()
    assert bot.read() == ["OK JOIN bot", "BYE quit"]
    assert bot.session.over
    assert bob.read() == ["JOINED bot", "MSG bot hi", "LEFT bot"]


def test_incomplete_last_line_is_not_carried_out(house: House) -> None:
    ann, bob = house.enter("ann", "bob")
    ann.feed(b"MSG whole\nMSG hal")
    ann.close()
    house.rest()
    assert codes(ann.read()) == ["ERR incomplete-line", "BYE quit"]
    assert bob.read() == ["MSG ann whole", "LEFT ann"]


def test_stranger_who_closes_gets_a_bye(house: House) -> None:
    guest = house.connect()
    guest.close()
    house.rest()
    assert guest.read() == ["BYE quit"]
    assert guest.session.over


def test_bye_waits_for_a_blocked_guest(house: House) -> None:
    ann, bob = house.enter("ann", "bob")
    bob.block()
    ann.send("MSG hi")
    bob.send("QUIT")
    house.rest()
    assert (bob.read(), bob.session.over) == ([], False)
    assert bob.session.wants_input  # what still comes is thrown away
    bob.unblock()
    house.rest()
    assert (bob.read(), bob.session.over) == (["MSG ann hi", "BYE quit"], True)


def test_shutdown_says_bye_behind_everything_that_was_taken(house: House) -> None:
    ann, bob, cleo = house.enter("ann", "bob", "cleo")
    cleo.block()
    ann.send("MSG last")
    house.turn()
    house.room.closed = True
    for guest in (ann, bob, cleo):
        guest.send("MSG late", "PING late")
        guest.end("shutdown")
    house.rest()
    assert ann.read() == ["BYE shutdown"]
    assert bob.read() == ["MSG ann last", "BYE shutdown"]
    assert cleo.read() == []
    cleo.unblock()
    house.rest()
    assert cleo.read() == ["MSG ann last", "BYE shutdown"]
    assert all(guest.session.over for guest in (ann, bob, cleo))


def test_shutdown_lets_a_long_answer_finish() -> None:
    house = House(presence_limit=0)
    crowd(house, 5_000)
    guest = house.connect()
    guest.send("WHO")
    house.turn()
    guest.end("shutdown")
    house.rest()
    assert guest.read()[-2:] == ["OK WHO 5000", "BYE shutdown"]


def test_bye_is_for_the_first_reason(house: House) -> None:
    guest = house.connect()
    guest.end("stalled")
    guest.end("shutdown")
    house.rest()
    assert guest.read() == ["BYE stalled"]


def test_bye_is_said_once_and_what_comes_behind_it_is_thrown_away(house: House) -> None:
    guest = house.connect()
    guest.send("QUIT")
    house.rest()
    guest.end("shutdown")
    guest.feed(b"PING\n\xff\xfd\x01")
    house.rest()
    assert guest.read() == ["BYE quit"]


def test_who_quit_and_closes_then_asks_for_no_more_turns(house: House) -> None:
    guest = house.connect()
    guest.send("QUIT")
    house.rest()
    guest.close()
    house.rest()
    assert guest.read() == ["BYE quit"]
    assert guest.session.over


def test_nothing_comes_behind_the_bye(house: House) -> None:
    ann, bob = house.enter("ann", "bob")
    ann.end("stalled")
    house.rest()
    bob.send("MSG hi")
    house.rest()
    assert ann.read() == ["BYE stalled"]


def test_lost_member_has_left(house: House) -> None:
    ann, bob = house.enter("ann", "bob")
    ann.session.lost()
    house.turn()
    assert bob.read() == ["LEFT ann"]
    assert ann.read() == []


def test_lost_stranger_has_not_left(house: House) -> None:
    (bob,) = house.enter("bob")
    house.connect().session.lost()
    house.turn()
    assert bob.read() == []


# However it is cut

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


def talk(*cut: bytes, close: bool) -> bytes:
    """What a lone session writes, but for telnet refusals, which may overtake answers."""
    house = House()
    guest = house.connect(Limits(max_line=16, rate=0))
    for packet in cut:
        guest.feed(packet)
        house.rest()
    if close:
        guest.close()
        house.rest()
    return _TELNET_REFUSAL.sub(b"", guest.written)


@given(packets(conversation), st.booleans())
def test_packets_make_no_difference(cut: list[bytes], close: bool) -> None:  # noqa: FBT001
    assert talk(*cut, close=close) == talk(b"".join(cut), close=close)


@given(conversation)
def test_single_bytes_make_no_difference(stream: bytes) -> None:
    assert talk(*(stream[at : at + 1] for at in range(len(stream))), close=True) == talk(stream, close=True)


def test_empty_lines_are_ignored_and_count_for_the_turn(house: House) -> None:
    guest = house.connect()
    guest.feed(b"\n\r\n" * LINES_A_TURN + b"PING\n")
    house.turn()
    assert guest.read() == []
    house.rest()
    assert guest.read() == ["PONG"]


# What a client may do before it joins

FOREIGN = [
    *["GET / HTTP/1.1", "POST /x HTTP/1.1", "HEAD / HTTP/1.0", "OPTIONS * HTTP/1.1", "CONNECT a:1 HTTP/1.1"],
    *["PRI * HTTP/2.0", "FOO / HTTP/1.1", "JOIN / HTTP/1.1", "patch / HTTP/1.1"],
]
HTTP_STATUS = "HTTP/1.1 400 Bad Request"


def test_so_many_errors_are_answered_before_a_join_and_one_more_is_the_end(house: House) -> None:
    guest = house.connect()
    for number in range(ERRORS_MAX):
        guest.send(f"rubbish {number}", f"PING {number}", "")
    house.rest()
    answers = codes(guest.read())
    assert answers == [f"{each}" for n in range(ERRORS_MAX) for each in ("ERR unknown-command", f"PONG {n}")]
    guest.send("more rubbish", "JOIN ann", "MSG never")
    house.rest()
    code = Code.TOO_MANY_ERRORS
    assert guest.read() == [str(Err(code, code.advice)), "BYE too-many-errors"]
    assert guest.session.over
    assert guest.session.refused is code
    assert house.room.names() == ()


def test_errors_of_every_kind_are_counted(house: House) -> None:
    (_,) = house.enter("taken")
    guest = house.connect(Limits(max_line=16, rate=0))
    guest.feed(
        b"NICK\nJOIN\nJOIN .\nJOIN taken\nMSG\nMSG hi\nLEAVE\nHISTORY\n\xc3\nWHO is\n"
        + b"x" * 17
        + b"\nPING\n"
    )
    house.rest()
    *errors, last, bye = guest.read()
    assert [error.split()[0] for error in errors] == ["ERR"] * ERRORS_MAX
    assert codes([last]) == ["ERR too-many-errors"]
    assert bye == "BYE too-many-errors"


def test_an_incomplete_last_line_may_be_one_error_too_many(house: House) -> None:
    guest = house.connect()
    guest.feed(b"x\n" * ERRORS_MAX + b"x")
    guest.close()
    house.rest()
    assert codes(guest.read())[ERRORS_MAX:] == ["ERR too-many-errors", "BYE too-many-errors"]


def test_who_joined_once_may_be_wrong_as_often_as_it_likes(house: House) -> None:
    guest = house.connect()
    guest.send(*["rubbish"] * ERRORS_MAX, "JOIN ann", *["rubbish"] * 50, "LEAVE", *["rubbish"] * 50, "PING")
    house.rest()
    answers = codes(guest.read())
    assert answers.count("ERR unknown-command") == ERRORS_MAX + 100
    assert answers[-1] == "PONG"
    assert not guest.session.newcomer


def test_whoever_is_refused_is_told_once_why(house: House) -> None:
    guest = house.connect()
    guest.session.refuse(Code.JOIN_TIMEOUT)
    guest.session.refuse(Code.TOO_MANY_CONNECTIONS)
    guest.end("shutdown")
    guest.send("JOIN ann", "PING")
    house.rest()
    code = Code.JOIN_TIMEOUT
    assert guest.read() == [str(Err(code, code.advice)), "BYE join-timeout"]
    assert guest.session.refused is code
    assert house.room.names() == ()


# Who knocks at the wrong door


@pytest.mark.parametrize("request_", FOREIGN)
def test_http_is_told_so_and_none_of_it_is_carried_out(house: House, request_: str) -> None:
    guest, byte_by_byte = house.connect(), house.connect()
    data = f"{request_}\r\nJOIN mallory\r\n\r\nJOIN mallory\nMSG spam\n".encode()
    guest.feed(data)
    for at in range(len(data)):
        byte_by_byte.feed(data[at : at + 1])
        house.rest()
    whole = guest.read()
    assert whole[0] == HTTP_STATUS
    assert codes(whole[-2:]) == ["ERR not-chat", "BYE not-chat"]
    assert byte_by_byte.read() == whole
    assert guest.session.over
    assert guest.session.refused is Code.NOT_CHAT
    assert house.room.names() == ()


def test_http_is_answered_as_http_is(house: House) -> None:
    guest = house.connect()
    before = len(guest.written)
    guest.feed(b"GET / HTTP/1.1\r\n\r\n")
    house.rest()
    head, _, body = guest.written[before:].partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"\nConnection: close" in head
    assert body.startswith(b"ERR not-chat ")


def test_a_tls_hello_is_told_so(house: House) -> None:
    hello = b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\nJOIN mallory\n"
    guest, byte_by_byte = house.connect(), house.connect()
    guest.feed(hello)
    for at in range(len(hello)):
        byte_by_byte.feed(hello[at : at + 1])
    house.rest()
    assert codes(guest.read()) == codes(byte_by_byte.read()) == ["ERR not-chat", "BYE not-chat"]
    assert house.room.names() == ()


@pytest.mark.parametrize(
    "line", ["GETTING", "GET / HTTP", "PINGx", "HEADER", "PUT", "POST\t/", "GET", "P", "\x16"]
)
def test_a_line_that_merely_begins_like_a_request_is_a_line(house: House, line: str) -> None:
    guest = house.connect()
    guest.send(line, "PING", "HELP")
    house.rest()
    answers = codes(guest.read())
    assert answers[:2] == ["ERR unknown-command", "PONG"]
    assert answers[-1] == "OK HELP"


def test_only_the_first_bytes_are_looked_at(house: House) -> None:
    ann, bob = house.enter("ann", "bob")
    ann.feed(b"GET / HTTP/1.1\n\x16\x03\x01\nMSG GET /\n")
    house.rest()
    assert codes(ann.read()) == ["ERR unknown-command"] * 2
    assert bob.read() == ["MSG ann GET /"]


@pytest.mark.parametrize("cut", [[3], [1, 3], [2, 3], [1, 2, 3], [1, 4], [2, 9]])
def test_a_byte_order_mark_at_the_start_is_dropped(house: House, cut: list[int]) -> None:
    guest = house.connect()
    data = BYTE_ORDER_MARK + b"JOIN ann\n"
    for start, stop in zip([0, *cut], [*cut, None], strict=True):
        guest.feed(data[start:stop])
        house.rest()
    assert guest.read() == ["OK JOIN ann"]


def test_a_byte_order_mark_anywhere_else_is_text(house: House) -> None:
    ann, bob = house.enter("ann", "bob")
    ann.send("MSG \ufeffhi", "\ufeffMSG hi")
    house.rest()
    assert bob.read() == ["MSG ann \ufeffhi"]
    assert codes(ann.read()) == ["ERR unknown-command"]
    guest = house.connect()
    guest.send("\ufeff\ufeffPING")
    house.rest()
    assert codes(guest.read()) == ["ERR unknown-command"]


@pytest.mark.parametrize("start", [b"G", b"GE", b"GET", b"\xef", b"\xef\xbb", b"\x16"])
def test_whoever_ends_before_it_is_known_said_half_a_line(house: House, start: bytes) -> None:
    guest = house.connect()
    guest.feed(start)
    guest.close()
    house.rest()
    assert codes(guest.read()) == ["ERR incomplete-line", "BYE quit"]


# How many lines a second

FEW = Limits(rate=2, burst=5)


def wait(house: House, seconds: float, *guests: Guest) -> None:
    """Let time pass, after which those who had to wait have another turn."""
    house.time += seconds
    for guest in guests:
        house.schedule(guest)
    house.rest()


def test_a_burst_is_taken_at_once_and_the_rest_when_it_is_due(house: House) -> None:
    (witness,) = house.enter("witness")
    ann = house.connect(FEW)
    ann.send("JOIN ann", *(f"MSG {number}" for number in range(8)))
    house.rest()
    assert witness.read() == ["JOINED ann", *(f"MSG ann {number}" for number in range(4))]
    assert (ann.session.slowed, ann.session.wants_input) == (True, False)
    seen = []
    for _ in range(5):
        wait(house, 0.25, ann)
        seen.append(witness.read())
    assert seen == [[], ["MSG ann 4"], [], ["MSG ann 5"], []]
    wait(house, 0.75, ann)
    assert witness.read() == ["MSG ann 6", "MSG ann 7"]
    assert (ann.session.slowed, ann.session.wants_input) == (False, True)


def test_every_command_is_a_line_and_is_answered_in_order(house: House) -> None:
    guest = house.connect(FEW)
    guest.send(*(f"PING {number}" for number in range(7)), "rubbish", "WHO", "")
    guest.send("PING last")
    answers = []
    for _ in range(8):
        wait(house, 0.5, guest)
        answers.append(codes(guest.read()))
    first = [f"PONG {number}" for number in range(5)]
    single = [["PONG 5"], ["PONG 6"], ["ERR unknown-command"], ["OK WHO"], [], ["PONG last"], []]
    assert answers == [first, *single]


def test_half_of_a_line_costs_nothing_until_it_is_whole(house: House) -> None:
    guest = house.connect(Limits(rate=1, burst=2))
    guest.feed(b"PING 1\nPI")
    for byte in b"NG 2":
        guest.feed(bytes([byte]))
        house.rest()
    guest.feed(b"\nPING 3\n")
    house.rest()
    assert guest.read() == ["PONG 1", "PONG 2"]
    wait(house, 1.0, guest)
    assert guest.read() == ["PONG 3"]


def test_the_end_of_a_flood_comes_behind_all_its_lines(house: House) -> None:
    (witness,) = house.enter("witness")
    bot = house.connect(FEW)
    bot.send("JOIN bot", *(f"MSG {number}" for number in range(20)))
    bot.close()
    house.rest()
    seen = [len(witness.read())]
    while not bot.session.over:
        wait(house, 1.0, bot)
        seen.append(len(witness.read()))
    assert seen == [5, *[2] * 8, 1]  # JOINED, 20 lines and LEFT
    assert house.time == 8.0 + 1.0
    assert bot.read() == ["OK JOIN bot", "BYE quit"]


def test_a_flood_has_all_its_lines_delivered_in_order(house: House) -> None:
    (witness,) = house.enter("witness")
    bot = house.connect(Limits())
    bot.send("JOIN bot", *(f"MSG {number}" for number in range(1000)), "PING")
    bot.close()
    house.rest()
    seen = witness.read()
    assert len(seen) == BURST
    while not bot.session.over:
        wait(house, 0.5, bot)
        seen += witness.read()
    assert seen == ["JOINED bot", *(f"MSG bot {number}" for number in range(1000)), "LEFT bot"]
    assert house.time == (1 + 1000 + 1 - BURST) / RATE + 0.4  # whole halves of a second
    assert bot.read() == ["OK JOIN bot", "PONG", "BYE quit"]


def test_a_flooder_delays_nobody_else(house: House) -> None:
    (witness,) = house.enter("witness")
    flooder, other = house.connect(FEW), house.connect(FEW)
    flooder.send("JOIN flooder", *["MSG flood"] * 1000)
    house.rest()
    witness.read()
    other.send("JOIN other", "MSG hi", "PING")
    house.rest()
    assert other.read() == ["OK JOIN other", "PONG"]
    assert witness.read() == ["JOINED other", "MSG other hi"]


def test_without_a_rate_everything_is_taken_at_once(house: House) -> None:
    (witness,) = house.enter("witness")
    bot = house.connect(Limits(rate=0, burst=1))
    bot.send("JOIN bot", *["MSG hi"] * 5000)
    house.rest()
    assert len(witness.read()) == 5001
    assert not bot.session.slowed


def test_whoever_is_sent_away_in_a_flood_says_nothing_more(house: House) -> None:
    (witness,) = house.enter("witness")
    ann = house.connect(FEW)
    ann.send("JOIN ann", *["MSG flood"] * 20)
    house.rest()
    witness.read()
    ann.end("shutdown")
    wait(house, 60.0, ann)
    assert ann.read() == ["OK JOIN ann", "BYE shutdown"]
    assert witness.read() == ["LEFT ann"]
    assert ann.session.over
    assert not ann.session.slowed


# Whatever comes, whenever

VERBS = {"HELLO", "OK", "ERR", "MSG", "JOINED", "LEFT", "NAMES", "PAST", "PONG", "INFO", "GAP", "BYE"}
_REQUESTS = [b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.0\n\nJOIN x\n", b"\x16\x03\x01", b"\xef\xbb\xbfPING\n"]

anything = st.one_of(
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
    """Something that happens to a guest, who is written to or not, some time after the last."""

    data: bytes
    milliseconds: int
    takes_bytes: bool


stories = st.lists(st.builds(Step, anything, st.integers(0, 3000), st.booleans()), max_size=12)


def lines_of(written: bytes) -> list[str]:
    """What somebody was written, but for what telnet and HTTP are told."""
    text = _TELNET_REFUSAL.sub(b"", written).replace(HTTP_RESPONSE, b"").decode()
    *lines, torn = text.replace("\r\n", "\n").split("\n")
    assert torn == ""
    return lines


def check_lines(lines: list[str]) -> None:
    """Check that lines are what a server may say, and harmless."""
    assert [line for line in lines if sanitize(line) != line] == []
    if HTTP_STATUS in lines:
        start = lines.index(HTTP_STATUS)
        head = HTTP_RESPONSE.decode().split("\n")[:-1]
        assert lines[start : start + len(head)] == head
        del lines[start : start + len(head)]
    assert {line.split(" ")[0] for line in lines} <= VERBS
    assert {line.split(" ")[1] for line in lines if line.startswith("ERR ")} <= set(Code)
    assert [line for line in lines[:-1] if line.startswith("BYE")] == []


def live(house: House, guest: Guest, story: list[Step]) -> None:
    """Let everything happen to a guest, and then all that still has to, with the time that it takes."""
    for step in story:
        (guest.unblock if step.takes_bytes else guest.block)()
        guest.feed(step.data)
        wait(house, step.milliseconds / 1000, guest)
        judge(house, guest)
    guest.unblock()
    guest.close()
    for _ in range(1000):
        wait(house, 1.0, guest)
        judge(house, guest)
        if guest.session.over:
            return
    raise AssertionError("it does not end")


def judge(house: House, guest: Guest) -> None:
    """Check every password that a guest tries."""
    while guest.session.secret is not None:
        guest.session.judge(right=guest.session.secret == "sesame")
        house.schedule(guest)
        house.rest()


@given(stories, st.integers(0, 30), st.integers(1, 30), st.booleans())
def test_whatever_comes_is_answered_by_harmless_lines_and_one_bye(
    story: list[Step],
    rate: int,
    burst: int,
    locked: bool,  # noqa: FBT001
) -> None:
    house = House()
    (witness,) = house.enter("witness")
    guest = house.connect(Limits(max_line=32, rate=rate, burst=burst), locked=locked)
    live(house, guest, story)
    lines = lines_of(bytes(guest.written))
    check_lines(lines)
    assert lines[0].startswith("HELLO ")
    assert lines[-1].startswith("BYE ")
    said = lines_of(bytes(witness.written))
    check_lines(said)
    errors_at_first = list(takewhile(lambda line: not line.startswith("OK JOIN "), lines))
    assert len([line for line in errors_at_first if line.startswith("ERR ")]) <= ERRORS_MAX + 1
    if rate:
        assert len(said) - 2 <= max(rate, burst) + house.time * rate + 2
    assert house.room.names() == ("witness",)


def test_a_verdict_that_nobody_waits_for_changes_nothing(house: House) -> None:
    (ann,) = house.enter("ann")
    ann.session.judge(right=False)
    house.rest()
    assert ann.read() == []
    assert not ann.session.over
