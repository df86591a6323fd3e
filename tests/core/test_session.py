import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_chat.limits import Limits
from simple_chat.protocol import Code, Err
from simple_chat.room import BATCH, PIECE
from simple_chat.session import LINES_A_TURN
from tests.core.house import UNLIMITED, Guest, House
from tests.core.streams import packets


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
    assert len(guest.written) < 3 * PIECE
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
    house = House(backlog=12 * PIECE)
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
    assert BATCH // 4_100 < first < 20
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
