from collections.abc import Callable, Iterator

import pytest

from simple_chat.core.codec import CRLF
from simple_chat.core.codes import Code
from simple_chat.core.delivery import FLUSH_BYTES
from simple_chat.core.room import BATCH_BYTES, Room
from simple_chat.errors import CommandError


class Reader:
    """A member, and what was written to it."""

    def __init__(self, room: Room, name: str | None = None) -> None:
        self.writes: list[bytes] = []
        self.subscriber = room.connect(self.writes.append)
        if name is not None:
            room.join(self.subscriber, name)

    def read(self) -> list[str]:
        """The lines written since the last read."""
        data = b"".join(self.writes)
        self.writes.clear()
        return data.decode().splitlines()


def turn(room: Room, *readers: Reader, time: float = 0.0) -> None:
    """Hand out what was taken, and give some readers all that is due to them."""
    if batch := room.seal_batch(time):
        room.broadcast(batch)
    for reader in readers:
        while room.delivery.catch_up(reader.subscriber):
            pass


def enter(room: Room, *names: str) -> list[Reader]:
    """Let some join, who have read all up to here."""
    readers = [Reader(room, name) for name in names]
    turn(room, *readers)
    for reader in readers:
        reader.read()
    return readers


def fail(_data: bytes) -> None:
    raise RuntimeError("the connection is going down")


def refusal(step: Callable[[], object]) -> str:
    with pytest.raises(CommandError) as refused:
        step()
    return refused.value.code


# The sequence


def test_everybody_else_gets_what_is_said_in_one_order() -> None:
    room = Room()
    ann, bob, cleo = enter(room, "ann", "bob", "cleo")
    room.post(ann.subscriber, "1")
    room.post(bob.subscriber, "2")
    room.post(ann.subscriber, "3")
    turn(room, ann, bob)
    assert ann.read() == ["MSG bob 2"]
    assert bob.read() == ["MSG ann 1", "MSG ann 3"]
    assert cleo.read() == ["MSG ann 1", "MSG bob 2", "MSG ann 3"]


def test_nothing_is_sent_twice() -> None:
    room = Room()
    ann, bob = enter(room, "ann", "bob")
    room.post(ann.subscriber, "hi")
    turn(room, ann, bob)
    turn(room, ann, bob)
    assert (ann.read(), bob.read()) == ([], ["MSG ann hi"])


def test_member_gets_what_comes_between_its_join_and_its_leaving() -> None:
    room = Room()
    (ann,) = enter(room, "ann")
    room.post(ann.subscriber, "before")
    bob = Reader(room, "bob")
    room.post(ann.subscriber, "between")
    room.leave(bob.subscriber)
    room.delivery.respond(bob.subscriber, [b"OK LEAVE\n"])
    room.post(ann.subscriber, "after")
    turn(room, ann, bob)
    assert bob.read() == ["MSG ann between", "OK LEAVE"]
    assert ann.read() == ["JOINED bob", "LEFT bob"]


def test_who_left_gets_nothing_more() -> None:
    room = Room()
    ann, bob = enter(room, "ann", "bob")
    room.leave(bob.subscriber)
    room.delivery.respond(bob.subscriber, [b"OK LEAVE\n"])
    turn(room, ann, bob)
    room.post(ann.subscriber, "hi")
    turn(room, ann, bob)
    assert bob.read() == ["OK LEAVE"]


def test_who_comes_again_gets_what_is_said_from_then_on() -> None:
    room = Room()
    ann, bob = enter(room, "ann", "bob")
    room.leave(bob.subscriber)
    room.delivery.respond(bob.subscriber, [])
    turn(room, ann, bob)
    room.post(ann.subscriber, "missed")
    turn(room, ann)
    room.join(bob.subscriber, "Bob")
    room.post(ann.subscriber, "heard")
    turn(room, ann, bob)
    assert bob.read() == ["MSG ann heard"]
    assert ann.read() == ["LEFT bob", "JOINED Bob"]


def test_who_comes_again_within_a_turn_gets_nothing_from_in_between() -> None:
    room = Room(presence_limit=0)
    ann, bob = enter(room, "ann", "bob")
    room.leave(bob.subscriber)
    room.post(ann.subscriber, "missed")
    room.join(bob.subscriber, "bob")
    room.post(ann.subscriber, "heard")
    turn(room, ann, bob)
    assert bob.read() == ["MSG ann heard"]


def test_members_share_the_bytes_of_a_batch() -> None:
    room = Room()
    ann, bob, cleo = enter(room, "ann", "bob", "cleo")
    room.post(ann.subscriber, "1")
    room.post(ann.subscriber, "2")
    turn(room, ann)
    (write_to_bob,), (write_to_cleo,) = bob.writes, cleo.writes
    assert write_to_bob is write_to_cleo


def test_crlf_goes_to_those_who_speak_it() -> None:
    room = Room()
    ann, bob, cleo = enter(room, "ann", "bob", "cleo")
    for reader in (ann, bob):
        room.delivery.use_rendering(reader.subscriber, CRLF)
    room.post(ann.subscriber, "1")
    room.post(cleo.subscriber, "2")
    turn(room, ann, cleo)
    assert ann.writes == [b"MSG cleo 2\r\n"]
    assert bob.writes == [b"MSG ann 1\r\nMSG cleo 2\r\n"]
    assert cleo.writes == [b"MSG ann 1\n"]


def test_quiet_turn_closes_no_batch() -> None:
    assert Room().seal_batch(0.0) is None


def test_lines_are_numbered_from_zero_on() -> None:
    room = Room()
    assert room.sequence.end == 0
    ann = Reader(room, "ann")
    room.post(ann.subscriber, "hi")
    assert room.sequence.end == 2
    batch = room.seal_batch(3.5)
    assert batch is not None
    assert (batch.first, batch.end, batch.time) == (0, 2, 3.5)
    room.broadcast(batch)
    assert room.sequence.end == 2


def test_room_is_full_when_its_open_batch_is() -> None:
    room = Room()
    (ann,) = enter(room, "ann")
    while not room.batch_full:
        assert room.sequence.end < 100
        room.post(ann.subscriber, "x" * 1_000)
    turn(room, ann)
    assert room.sequence.end > BATCH_BYTES // 1_100
    assert not room.batch_full


# Names


def test_name_has_one_holder_whatever_its_case() -> None:
    room = Room()
    enter(room, "Ann")
    other = room.connect(fail)
    assert refusal(lambda: room.join(other, "aNN")) == Code.NAME_TAKEN
    assert room.names() == ("Ann",)


def test_name_is_free_at_once() -> None:
    room = Room()
    ann, bob = enter(room, "ann", "bob")
    room.leave(ann.subscriber)
    other = Reader(room, "ANN")
    turn(room, bob, other)
    assert room.names() == ("bob", "ANN")
    assert bob.read() == ["LEFT ann", "JOINED ANN"]


def test_names_are_as_typed_and_in_the_order_of_joining() -> None:
    room = Room()
    assert room.names() == ()
    _, ann = enter(room, "Zoe", "ann")
    assert room.names() == room.names() == ("Zoe", "ann")
    room.leave(ann.subscriber)
    assert room.names() == ("Zoe",)


def test_member_cannot_join_twice() -> None:
    room = Room()
    (ann,) = enter(room, "ann")
    assert refusal(lambda: room.join(ann.subscriber, "ann")) == Code.ALREADY_JOINED
    assert refusal(lambda: room.join(ann.subscriber, "bob")) == Code.ALREADY_JOINED


def test_stranger_can_neither_speak_nor_leave() -> None:
    room = Room()
    stranger = room.connect(fail)
    assert refusal(lambda: room.post(stranger, "hi")) == Code.NOT_JOINED
    assert refusal(lambda: room.leave(stranger)) == Code.NOT_JOINED
    assert refusal(lambda: room.member_of(stranger)) == Code.NOT_JOINED
    assert room.sequence.end == 0


# Presence


def test_coming_and_going_is_told_up_to_the_limit() -> None:
    room = Room(presence_limit=2)
    (ann,) = enter(room, "ann")
    bob = Reader(room, "bob")
    turn(room, ann, bob)
    room.leave(bob.subscriber)
    turn(room, ann)
    assert ann.read() == ["JOINED bob", "LEFT bob"]


def test_coming_and_going_beyond_the_limit_is_not_told() -> None:
    room = Room(presence_limit=2)
    ann, bob = enter(room, "ann", "bob")
    cleo = Reader(room, "cleo")
    turn(room, ann, bob, cleo)
    assert room.names() == ("ann", "bob", "cleo")
    room.leave(cleo.subscriber)
    turn(room, ann, bob)
    assert (ann.read(), bob.read(), cleo.read()) == ([], [], [])


def test_going_is_told_again_below_the_limit() -> None:
    room = Room(presence_limit=2)
    ann, bob, cleo = enter(room, "ann", "bob", "cleo")
    room.leave(ann.subscriber)
    room.leave(bob.subscriber)
    turn(room, cleo)
    assert cleo.read() == ["LEFT bob"]


def test_what_is_said_is_sent_beyond_the_limit() -> None:
    room = Room(presence_limit=0)
    ann, bob = enter(room, "ann", "bob")
    room.post(ann.subscriber, "hi")
    turn(room, ann)
    assert bob.read() == ["MSG ann hi"]


# Slow readers


def test_blocked_member_is_not_written_to_and_catches_up() -> None:
    room = Room()
    ann, bob = enter(room, "ann", "bob")
    room.delivery.block(bob.subscriber)
    for text in ("1", "2"):
        room.post(ann.subscriber, text)
        turn(room, ann, bob)
    assert bob.read() == []
    room.delivery.unblock(bob.subscriber)
    turn(room, bob)
    assert bob.read() == ["MSG ann 1", "MSG ann 2"]
    room.post(ann.subscriber, "3")
    turn(room, ann)
    assert bob.read() == ["MSG ann 3"]


def test_catching_up_comes_piece_by_piece() -> None:
    room = Room()
    ann, bob = enter(room, "ann", "bob")
    room.delivery.block(bob.subscriber)
    for _ in range(10):
        room.post(ann.subscriber, "x" * 20_000)
        turn(room, ann)
    room.delivery.unblock(bob.subscriber)
    turn(room, bob)
    assert len(b"".join(bob.writes)) > 200_000
    assert max(map(len, bob.writes)) < FLUSH_BYTES + 20_100


def test_blocking_within_a_write_stops_the_pieces() -> None:
    room = Room()
    (ann,) = enter(room, "ann")
    writes: list[bytes] = []

    def write_and_block(data: bytes) -> None:
        writes.append(data)
        room.delivery.block(bob)

    bob = room.connect(write_and_block)
    room.join(bob, "bob")
    for _ in range(3):
        room.post(ann.subscriber, "x" * FLUSH_BYTES)
        turn(room, ann)
    assert not room.delivery.catch_up(bob)
    assert not room.delivery.catch_up(bob)
    room.post(ann.subscriber, "y")
    turn(room, ann)
    assert len(writes) == 1


def test_gap_counts_the_lines_of_others_that_were_lost() -> None:
    room = Room(backlog=1)  # only the last batch is kept
    ann, bob = enter(room, "ann", "bob")
    room.delivery.block(bob.subscriber)
    room.post(ann.subscriber, "lost 1")
    room.post(bob.subscriber, "own, lost")
    turn(room, ann)
    room.post(ann.subscriber, "lost 2")
    turn(room, ann)
    room.post(bob.subscriber, "own, kept")
    room.post(ann.subscriber, "kept")
    turn(room, ann)
    room.post(bob.subscriber, "own, open")
    room.delivery.unblock(bob.subscriber)
    room.delivery.catch_up(bob.subscriber)
    assert bob.read() == ["GAP 2", "MSG ann kept"]
    room.post(ann.subscriber, "next")
    turn(room, ann, bob)
    assert bob.read() == ["MSG ann next"]


def test_loss_of_own_lines_only_is_no_gap() -> None:
    room = Room(backlog=1)
    ann, bob = enter(room, "ann", "bob")
    room.delivery.block(bob.subscriber)
    room.post(bob.subscriber, "own")
    turn(room, ann)
    room.post(ann.subscriber, "kept")
    turn(room, ann)
    room.delivery.unblock(bob.subscriber)
    turn(room, bob)
    assert bob.read() == ["MSG ann kept"]


def test_lines_behind_a_gap_are_complete() -> None:
    room = Room(backlog=2_000)
    ann, bob = enter(room, "ann", "bob")
    room.delivery.block(bob.subscriber)
    for number in range(10):
        room.post(ann.subscriber, str(number))
        turn(room, ann)
    room.delivery.unblock(bob.subscriber)
    turn(room, bob)
    gap, *lines = bob.read()
    lost = int(gap.removeprefix("GAP "))
    assert 0 < lost < 10
    assert lines == [f"MSG ann {number}" for number in range(lost, 10)]


def test_answer_keeps_its_place_among_lost_lines() -> None:
    room = Room(backlog=1)
    ann, bob = enter(room, "ann", "bob")
    room.delivery.block(bob.subscriber)
    for number in range(3):
        room.post(ann.subscriber, str(number))
        turn(room, ann)
    room.delivery.respond(bob.subscriber, [b"PONG\n"])
    for number in range(3, 5):
        room.post(ann.subscriber, str(number))
        turn(room, ann)
    room.delivery.unblock(bob.subscriber)
    turn(room, bob)
    assert bob.read() == ["GAP 3", "PONG", "GAP 1", "MSG ann 4"]


def test_leaving_a_gap_behind_does_not_follow_into_the_next_stay() -> None:
    room = Room(backlog=1)
    ann, bob = enter(room, "ann", "bob")
    room.delivery.block(bob.subscriber)
    room.leave(bob.subscriber)
    room.delivery.respond(bob.subscriber, [b"OK LEAVE\n"])
    for text in ("1", "2"):
        room.post(ann.subscriber, text)
        turn(room, ann)
    room.delivery.unblock(bob.subscriber)
    turn(room, bob)
    assert bob.read() == ["OK LEAVE"]
    room.join(bob.subscriber, "bob")
    turn(room, ann, bob)
    room.post(ann.subscriber, "3")
    turn(room, ann, bob)
    assert bob.read() == ["MSG ann 3"]


# Writes that fail


def test_failing_write_delays_nobody_else() -> None:
    room = Room()
    ann, bob, cleo = enter(room, "ann", "bob", "cleo")
    bob.subscriber.write = fail
    room.post(ann.subscriber, "hi")
    turn(room, ann)
    assert cleo.read() == ["MSG ann hi"]
    assert bob.subscriber.blocked


def test_failing_write_ends_the_catching_up() -> None:
    room = Room()
    ann, bob = enter(room, "ann", "bob")
    room.delivery.block(bob.subscriber)
    room.post(ann.subscriber, "x" * FLUSH_BYTES)
    turn(room, ann)
    bob.subscriber.write = fail
    room.delivery.unblock(bob.subscriber)
    assert not room.delivery.catch_up(bob.subscriber)
    assert bob.subscriber.blocked


# Answers


def test_answer_comes_behind_the_lines_before_it() -> None:
    room = Room()
    ann, bob = enter(room, "ann", "bob")
    room.post(ann.subscriber, "before")
    room.delivery.respond(bob.subscriber, [b"PONG 1\n"])
    room.post(ann.subscriber, "after")
    room.delivery.catch_up(bob.subscriber)
    assert bob.read() == []
    turn(room, ann, bob)
    assert bob.read() == ["MSG ann before", "PONG 1", "MSG ann after"]


def test_stranger_is_answered_at_once_and_told_nothing_else() -> None:
    room = Room()
    (ann,) = enter(room, "ann")
    stranger = Reader(room)
    room.post(ann.subscriber, "hi")
    room.delivery.respond(stranger.subscriber, [b"1\n"])
    room.delivery.catch_up(stranger.subscriber)
    assert stranger.read() == ["1"]
    turn(room, ann, stranger)
    room.post(ann.subscriber, "hi")
    turn(room, ann, stranger)
    assert stranger.read() == []


def test_answer_is_taken_only_as_it_can_be_written() -> None:
    room = Room()
    (ann,) = enter(room, "ann")
    taken: list[int] = []

    def pieces() -> Iterator[bytes]:
        for number in range(3):
            taken.append(number)
            yield b"x" * FLUSH_BYTES

    room.delivery.respond(ann.subscriber, pieces())
    assert room.delivery.catch_up(ann.subscriber)
    assert taken == [0]
    room.delivery.block(ann.subscriber)
    assert not room.delivery.catch_up(ann.subscriber)
    assert taken == [0]
    room.delivery.unblock(ann.subscriber)
    turn(room, ann)
    assert taken == [0, 1, 2]
    assert ann.subscriber.response is None


def test_long_answer_is_not_interrupted() -> None:
    room = Room()
    ann, bob = enter(room, "ann", "bob")
    room.delivery.respond(bob.subscriber, iter([b"1" * FLUSH_BYTES + b"\n", b"2\n"]))
    room.delivery.catch_up(bob.subscriber)
    room.post(ann.subscriber, "hi")
    turn(room, ann, bob)
    assert bob.read() == ["1" * FLUSH_BYTES, "2", "MSG ann hi"]


# History


def say_all(room: Room, speaker: Reader, *texts: str) -> None:
    """Say each in a batch of its own."""
    for number, text in enumerate(texts):
        room.post(speaker.subscriber, text)
        turn(room, speaker, time=float(number))


@pytest.mark.parametrize(
    ("limit", "texts"), [(None, "abc"), (0, ""), (1, "c"), (2, "bc"), (3, "abc"), (9, "abc")]
)
def test_history_is_the_last_messages_oldest_first(limit: int | None, texts: str) -> None:
    room = Room()
    (ann,) = enter(room, "ann")
    say_all(room, ann, *"abc")
    times = {text: float(time) for time, text in enumerate("abc")}
    assert list(room.history(limit)) == [(times[text], f"MSG ann {text}\n".encode()) for text in texts]


def test_history_leaves_comings_and_goings_out() -> None:
    room = Room()
    (ann,) = enter(room, "ann")
    say_all(room, ann, "1")
    (bob,) = enter(room, "bob")
    say_all(room, bob, "2")
    room.leave(bob.subscriber)
    turn(room, ann)
    assert [line for _, line in room.history(None)] == [b"MSG ann 1\n", b"MSG bob 2\n"]


def test_history_reaches_back_as_far_as_is_set() -> None:
    room = Room(history=2)
    (ann,) = enter(room, "ann")
    say_all(room, ann, *"abc")
    assert [line for _, line in room.history(None)] == [b"MSG ann b\n", b"MSG ann c\n"]


def test_history_of_none_is_empty() -> None:
    room = Room(history=0)
    (ann,) = enter(room, "ann")
    say_all(room, ann, "a")
    assert list(room.history(None)) == []


def test_history_ends_where_it_was_asked_for() -> None:
    room = Room()
    (ann,) = enter(room, "ann")
    say_all(room, ann, "a")
    history = room.history(None)
    say_all(room, ann, "b")
    assert [line for _, line in history] == [b"MSG ann a\n"]


def test_history_passes_over_what_the_backlog_let_go() -> None:
    room = Room(backlog=1)
    (ann,) = enter(room, "ann")
    say_all(room, ann, "a", "b")
    history = room.history(None)
    assert [line for _, line in room.history(None)] == [b"MSG ann b\n"]
    say_all(room, ann, "c")
    assert list(history) == []


# The end


def test_closed_room_takes_no_line() -> None:
    room = Room()
    ann, bob = enter(room, "ann", "bob")
    room.post(ann.subscriber, "last")
    room.closed = True
    room.post(ann.subscriber, "late")
    room.leave(bob.subscriber)
    turn(room, ann)
    turn(room, ann)
    assert ann.read() == []
    assert room.names() == ("ann",)


def test_what_was_taken_before_the_room_closed_is_handed_out() -> None:
    room = Room()
    ann, bob = enter(room, "ann", "bob")
    room.post(ann.subscriber, "last")
    room.closed = True
    turn(room, ann)
    assert bob.read() == ["MSG ann last"]


def test_line_that_a_closed_room_did_not_take_is_no_history() -> None:
    room = Room()
    (ann,) = enter(room, "ann")
    say_all(room, ann, "last")
    room.closed = True
    say_all(room, ann, "late")
    assert [line for _, line in room.history(1)] == [b"MSG ann last\n"]
