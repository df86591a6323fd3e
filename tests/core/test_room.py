from collections.abc import Callable, Iterator

import pytest

from simple_chat.core.codec import CRLF
from simple_chat.core.codes import Code
from simple_chat.core.commands import Msg
from simple_chat.core.delivery import FLUSH_BYTES
from simple_chat.core.room import BATCH_BYTES, Room
from simple_chat.errors import CommandError


class Reader:
    """A subscriber that records what is written to it; it joins if it is given a name."""

    def __init__(self, room: Room, name: str | None = None) -> None:
        self.writes: list[bytes] = []
        self.subscriber = room.connect(self.writes.append)
        if name is not None:
            room.join(self.subscriber, name)

    def read(self) -> list[str]:
        """Return the lines written since the last read."""
        data = b"".join(self.writes)
        self.writes.clear()
        return data.decode().splitlines()


def run_turn(room: Room, *readers: Reader, time: float = 0.0) -> None:
    """Broadcast the open batch, then deliver everything pending to the given readers."""
    if batch := room.seal_batch(time):
        room.broadcast(batch)
    for reader in readers:
        while room.delivery.catch_up(reader.subscriber):
            pass


def join_members(room: Room, *names: str) -> list[Reader]:
    """Join members and discard the lines written to them so far."""
    readers = [Reader(room, name) for name in names]
    run_turn(room, *readers)
    for reader in readers:
        reader.read()
    return readers


def fail_write(_data: bytes) -> None:
    raise RuntimeError("connection closed")


def error_code(step: Callable[[], object]) -> str:
    with pytest.raises(CommandError) as raised:
        step()
    return raised.value.code


# The sequence


def test_messages_reach_all_other_members_in_one_order() -> None:
    room = Room()
    ann, bob, cleo = join_members(room, "ann", "bob", "cleo")
    room.post(ann.subscriber, "1")
    room.post(bob.subscriber, "2")
    room.post(ann.subscriber, "3")
    run_turn(room, ann, bob)
    assert ann.read() == ["MSG bob 2"]
    assert bob.read() == ["MSG ann 1", "MSG ann 3"]
    assert cleo.read() == ["MSG ann 1", "MSG bob 2", "MSG ann 3"]


def test_message_is_delivered_once() -> None:
    room = Room()
    ann, bob = join_members(room, "ann", "bob")
    room.post(ann.subscriber, "hi")
    run_turn(room, ann, bob)
    run_turn(room, ann, bob)
    assert (ann.read(), bob.read()) == ([], ["MSG ann hi"])


def test_member_receives_only_lines_between_join_and_leave() -> None:
    room = Room()
    (ann,) = join_members(room, "ann")
    room.post(ann.subscriber, "before")
    bob = Reader(room, "bob")
    room.post(ann.subscriber, "between")
    room.leave(bob.subscriber)
    room.delivery.respond(bob.subscriber, [b"OK LEAVE\n"])
    room.post(ann.subscriber, "after")
    run_turn(room, ann, bob)
    assert bob.read() == ["MSG ann between", "OK LEAVE"]
    assert ann.read() == ["JOINED bob", "LEFT bob"]


def test_former_member_receives_no_lines() -> None:
    room = Room()
    ann, bob = join_members(room, "ann", "bob")
    room.leave(bob.subscriber)
    room.delivery.respond(bob.subscriber, [b"OK LEAVE\n"])
    run_turn(room, ann, bob)
    room.post(ann.subscriber, "hi")
    run_turn(room, ann, bob)
    assert bob.read() == ["OK LEAVE"]


def test_rejoined_member_receives_only_later_lines() -> None:
    room = Room()
    ann, bob = join_members(room, "ann", "bob")
    room.leave(bob.subscriber)
    room.delivery.respond(bob.subscriber, [])
    run_turn(room, ann, bob)
    room.post(ann.subscriber, "missed")
    run_turn(room, ann)
    room.join(bob.subscriber, "Bob")
    room.post(ann.subscriber, "heard")
    run_turn(room, ann, bob)
    assert bob.read() == ["MSG ann heard"]
    assert ann.read() == ["LEFT bob", "JOINED Bob"]


def test_former_member_is_not_written_the_batch_in_which_it_left() -> None:
    room = Room()
    ann, bob = join_members(room, "ann", "bob")
    room.leave(ann.subscriber)
    room.post(bob.subscriber, "missed")
    run_turn(room)
    assert ann.read() == []


def test_former_member_that_joins_again_within_a_turn_gets_no_line_before() -> None:
    room = Room(presence_limit=0)
    ann, bob = join_members(room, "ann", "bob")
    room.leave(ann.subscriber)
    run_turn(room, ann)
    room.post(bob.subscriber, "missed")
    room.join(ann.subscriber, "ann")
    run_turn(room, ann)
    assert ann.read() == []


def test_nothing_is_written_to_who_is_owed_nothing() -> None:
    room = Room()
    (ann,) = join_members(room, "ann")
    room.delivery.block(ann.subscriber)
    room.delivery.unblock(ann.subscriber)
    run_turn(room, ann)
    assert ann.writes == []


def test_answer_overtakes_no_own_message_unless_it_may() -> None:
    room = Room()
    (ann,) = join_members(room, "ann")
    room.post(ann.subscriber, "1")
    room.suspend([])
    room.delivery.respond(ann.subscriber, [b"PONG\n"])
    room.delivery.catch_up(ann.subscriber)
    assert ann.read() == []


def test_answer_overtakes_the_very_first_line_while_nothing_can_be_released() -> None:
    room = Room(presence_limit=0)
    ann, bob = Reader(room, "ann"), Reader(room, "bob")
    room.post(ann.subscriber, "1")
    room.suspend([ann.subscriber, bob.subscriber])
    room.delivery.respond(bob.subscriber, [b"OK WHO 2\n"], barrier=False)
    room.delivery.catch_up(bob.subscriber)
    assert bob.read() == ["OK WHO 2"]


def test_rejoin_within_one_turn_skips_lines_in_between() -> None:
    room = Room(presence_limit=0)
    ann, bob = join_members(room, "ann", "bob")
    room.leave(bob.subscriber)
    room.post(ann.subscriber, "missed")
    room.join(bob.subscriber, "bob")
    room.post(ann.subscriber, "heard")
    run_turn(room, ann, bob)
    assert bob.read() == ["MSG ann heard"]


def test_member_that_joins_unannounced_within_a_turn_gets_no_line_before() -> None:
    room = Room(presence_limit=0)
    (ann,) = join_members(room, "ann")
    room.post(ann.subscriber, "missed")
    bob = Reader(room, "bob")
    room.post(ann.subscriber, "heard")
    run_turn(room, bob)
    assert bob.read() == ["MSG ann heard"]


def test_members_are_written_the_same_bytes_object() -> None:
    room = Room()
    ann, bob, cleo = join_members(room, "ann", "bob", "cleo")
    room.post(ann.subscriber, "1")
    room.post(ann.subscriber, "2")
    run_turn(room, ann)
    (write_to_bob,), (write_to_cleo,) = bob.writes, cleo.writes
    assert write_to_bob is write_to_cleo


def test_crlf_is_written_only_to_crlf_subscribers() -> None:
    room = Room()
    ann, bob, cleo = join_members(room, "ann", "bob", "cleo")
    for reader in (ann, bob):
        room.delivery.use_rendering(reader.subscriber, CRLF)
    room.post(ann.subscriber, "1")
    room.post(cleo.subscriber, "2")
    run_turn(room, ann, cleo)
    assert ann.writes == [b"MSG cleo 2\r\n"]
    assert bob.writes == [b"MSG ann 1\r\nMSG cleo 2\r\n"]
    assert cleo.writes == [b"MSG ann 1\n"]


def test_seal_batch_returns_none_without_lines() -> None:
    assert Room().seal_batch(0.0) is None


def test_sequence_numbers_start_at_zero() -> None:
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


def test_batch_full_is_set_at_the_batch_size_and_cleared_by_sealing() -> None:
    room = Room()
    (ann,) = join_members(room, "ann")
    while not room.batch_full:
        assert room.sequence.end < 100
        room.post(ann.subscriber, "x" * 1_000)
    run_turn(room, ann)
    assert room.sequence.end > BATCH_BYTES // 1_100
    assert not room.batch_full


def test_full_batch_refuses_messages_only_while_nothing_can_be_released() -> None:
    room = Room()
    (ann,) = join_members(room, "ann")
    room.append_message(ann.subscriber, b"x" * (BATCH_BYTES - 1) + b"\n")
    full = [room.batch_full]
    assert room.submit(ann.subscriber, Msg("taken"))
    run_turn(room)
    room.append_message(ann.subscriber, b"x" * (BATCH_BYTES - 1) + b"\n")
    room.suspend([])
    assert [*full, room.batch_full] == [True, False]
    assert error_code(lambda: room.post(ann.subscriber, "refused")) == Code.BUSY


# Names


def test_names_are_unique_ignoring_case() -> None:
    room = Room()
    join_members(room, "Ann")
    other = room.connect(fail_write)
    assert error_code(lambda: room.join(other, "aNN")) == Code.NAME_TAKEN
    assert room.names() == ("Ann",)


def test_name_is_available_immediately_after_leave() -> None:
    room = Room()
    ann, bob = join_members(room, "ann", "bob")
    room.leave(ann.subscriber)
    other = Reader(room, "ANN")
    run_turn(room, bob, other)
    assert room.names() == ("bob", "ANN")
    assert bob.read() == ["LEFT ann", "JOINED ANN"]


def test_names_keep_their_case_and_join_order() -> None:
    room = Room()
    assert room.names() == ()
    _, ann = join_members(room, "Zoe", "ann")
    assert room.names() == room.names() == ("Zoe", "ann")
    room.leave(ann.subscriber)
    assert room.names() == ("Zoe",)


def test_member_cannot_join_twice() -> None:
    room = Room()
    (ann,) = join_members(room, "ann")
    assert error_code(lambda: room.join(ann.subscriber, "ann")) == Code.ALREADY_JOINED
    assert error_code(lambda: room.join(ann.subscriber, "bob")) == Code.ALREADY_JOINED


def test_non_member_cannot_post_or_leave() -> None:
    room = Room()
    outsider = room.connect(fail_write)
    assert error_code(lambda: room.post(outsider, "hi")) == Code.NOT_JOINED
    assert error_code(lambda: room.leave(outsider)) == Code.NOT_JOINED
    assert error_code(lambda: room.member_of(outsider)) == Code.NOT_JOINED
    assert room.sequence.end == 0


# Presence


def test_presence_is_broadcast_up_to_the_limit() -> None:
    room = Room(presence_limit=2)
    (ann,) = join_members(room, "ann")
    bob = Reader(room, "bob")
    run_turn(room, ann, bob)
    room.leave(bob.subscriber)
    run_turn(room, ann)
    assert ann.read() == ["JOINED bob", "LEFT bob"]


def test_presence_is_not_broadcast_above_the_limit() -> None:
    room = Room(presence_limit=2)
    ann, bob = join_members(room, "ann", "bob")
    cleo = Reader(room, "cleo")
    run_turn(room, ann, bob, cleo)
    assert room.names() == ("ann", "bob", "cleo")
    room.leave(cleo.subscriber)
    run_turn(room, ann, bob)
    assert (ann.read(), bob.read(), cleo.read()) == ([], [], [])


def test_left_is_broadcast_again_at_the_limit() -> None:
    room = Room(presence_limit=2)
    ann, bob, cleo = join_members(room, "ann", "bob", "cleo")
    room.leave(ann.subscriber)
    room.leave(bob.subscriber)
    run_turn(room, cleo)
    assert cleo.read() == ["LEFT bob"]


def test_messages_are_broadcast_above_the_presence_limit() -> None:
    room = Room(presence_limit=0)
    ann, bob = join_members(room, "ann", "bob")
    room.post(ann.subscriber, "hi")
    run_turn(room, ann)
    assert bob.read() == ["MSG ann hi"]


# Slow readers


def test_blocked_member_is_not_written_to_and_catches_up_when_unblocked() -> None:
    room = Room()
    ann, bob = join_members(room, "ann", "bob")
    room.delivery.block(bob.subscriber)
    for text in ("1", "2"):
        room.post(ann.subscriber, text)
        run_turn(room, ann, bob)
    assert bob.read() == []
    room.delivery.unblock(bob.subscriber)
    run_turn(room, bob)
    assert bob.read() == ["MSG ann 1", "MSG ann 2"]
    room.post(ann.subscriber, "3")
    run_turn(room, ann)
    assert bob.read() == ["MSG ann 3"]


def test_catch_up_writes_bounded_chunks() -> None:
    room = Room()
    ann, bob = join_members(room, "ann", "bob")
    room.delivery.block(bob.subscriber)
    for _ in range(10):
        room.post(ann.subscriber, "x" * 20_000)
        run_turn(room, ann)
    room.delivery.unblock(bob.subscriber)
    run_turn(room, bob)
    assert len(b"".join(bob.writes)) > 200_000
    assert max(map(len, bob.writes)) < FLUSH_BYTES + 20_100


def test_block_during_a_write_stops_catch_up() -> None:
    room = Room()
    (ann,) = join_members(room, "ann")
    writes: list[bytes] = []

    def write_and_block(data: bytes) -> None:
        writes.append(data)
        room.delivery.block(bob)

    bob = room.connect(write_and_block)
    room.join(bob, "bob")
    for _ in range(3):
        room.post(ann.subscriber, "x" * FLUSH_BYTES)
        run_turn(room, ann)
    assert not room.delivery.catch_up(bob)
    assert not room.delivery.catch_up(bob)
    room.post(ann.subscriber, "y")
    run_turn(room, ann)
    assert len(writes) == 1


def test_gap_counts_lost_lines_of_other_members() -> None:
    room = Room(backlog=1)  # only the last batch is kept
    ann, bob = join_members(room, "ann", "bob")
    room.delivery.block(bob.subscriber)
    room.post(ann.subscriber, "lost 1")
    room.post(bob.subscriber, "own, lost")
    run_turn(room, ann)
    room.post(ann.subscriber, "lost 2")
    run_turn(room, ann)
    room.post(bob.subscriber, "own, kept")
    room.post(ann.subscriber, "kept")
    run_turn(room, ann)
    room.post(bob.subscriber, "own, open")
    room.delivery.unblock(bob.subscriber)
    room.delivery.catch_up(bob.subscriber)
    assert bob.read() == ["GAP 2", "MSG ann kept"]
    room.post(ann.subscriber, "next")
    run_turn(room, ann, bob)
    assert bob.read() == ["MSG ann next"]


def test_lost_own_lines_cause_no_gap() -> None:
    room = Room(backlog=1)
    ann, bob = join_members(room, "ann", "bob")
    room.delivery.block(bob.subscriber)
    room.post(bob.subscriber, "own")
    run_turn(room, ann)
    room.post(ann.subscriber, "kept")
    run_turn(room, ann)
    room.delivery.unblock(bob.subscriber)
    run_turn(room, bob)
    assert bob.read() == ["MSG ann kept"]


def test_lines_after_a_gap_are_complete() -> None:
    room = Room(backlog=2_000)
    ann, bob = join_members(room, "ann", "bob")
    room.delivery.block(bob.subscriber)
    for number in range(10):
        room.post(ann.subscriber, str(number))
        run_turn(room, ann)
    room.delivery.unblock(bob.subscriber)
    run_turn(room, bob)
    gap, *lines = bob.read()
    lost = int(gap.removeprefix("GAP "))
    assert 0 < lost < 10
    assert lines == [f"MSG ann {number}" for number in range(lost, 10)]


def test_response_splits_a_gap_at_its_position() -> None:
    room = Room(backlog=1)
    ann, bob = join_members(room, "ann", "bob")
    room.delivery.block(bob.subscriber)
    for number in range(3):
        room.post(ann.subscriber, str(number))
        run_turn(room, ann)
    room.delivery.respond(bob.subscriber, [b"PONG\n"])
    for number in range(3, 5):
        room.post(ann.subscriber, str(number))
        run_turn(room, ann)
    room.delivery.unblock(bob.subscriber)
    run_turn(room, bob)
    assert bob.read() == ["GAP 3", "PONG", "GAP 1", "MSG ann 4"]


def test_gap_is_not_carried_over_to_the_next_join() -> None:
    room = Room(backlog=1)
    ann, bob = join_members(room, "ann", "bob")
    room.delivery.block(bob.subscriber)
    room.leave(bob.subscriber)
    room.delivery.respond(bob.subscriber, [b"OK LEAVE\n"])
    for text in ("1", "2"):
        room.post(ann.subscriber, text)
        run_turn(room, ann)
    room.delivery.unblock(bob.subscriber)
    run_turn(room, bob)
    assert bob.read() == ["OK LEAVE"]
    room.join(bob.subscriber, "bob")
    run_turn(room, ann, bob)
    room.post(ann.subscriber, "3")
    run_turn(room, ann, bob)
    assert bob.read() == ["MSG ann 3"]


# Writes that fail_write


def test_failed_write_does_not_affect_other_members() -> None:
    room = Room()
    ann, bob, cleo = join_members(room, "ann", "bob", "cleo")
    bob.subscriber.write = fail_write
    room.post(ann.subscriber, "hi")
    run_turn(room, ann)
    assert cleo.read() == ["MSG ann hi"]
    assert bob.subscriber.blocked


def test_failed_write_stops_catch_up() -> None:
    room = Room()
    ann, bob = join_members(room, "ann", "bob")
    room.delivery.block(bob.subscriber)
    room.post(ann.subscriber, "x" * FLUSH_BYTES)
    run_turn(room, ann)
    bob.subscriber.write = fail_write
    room.delivery.unblock(bob.subscriber)
    assert not room.delivery.catch_up(bob.subscriber)
    assert bob.subscriber.blocked


# Responses


def test_response_follows_earlier_lines() -> None:
    room = Room()
    ann, bob = join_members(room, "ann", "bob")
    room.post(ann.subscriber, "before")
    room.delivery.respond(bob.subscriber, [b"PONG 1\n"])
    room.post(ann.subscriber, "after")
    room.delivery.catch_up(bob.subscriber)
    assert bob.read() == []
    run_turn(room, ann, bob)
    assert bob.read() == ["MSG ann before", "PONG 1", "MSG ann after"]


def test_non_member_receives_responses_immediately_and_no_broadcasts() -> None:
    room = Room()
    (ann,) = join_members(room, "ann")
    outsider = Reader(room)
    room.post(ann.subscriber, "hi")
    room.delivery.respond(outsider.subscriber, [b"1\n"])
    room.delivery.catch_up(outsider.subscriber)
    assert outsider.read() == ["1"]
    run_turn(room, ann, outsider)
    room.post(ann.subscriber, "hi")
    run_turn(room, ann, outsider)
    assert outsider.read() == []


def test_response_is_consumed_only_while_writable() -> None:
    room = Room()
    (ann,) = join_members(room, "ann")
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
    run_turn(room, ann)
    assert taken == [0, 1, 2]
    assert ann.subscriber.response is None


def test_long_response_is_not_interleaved_with_messages() -> None:
    room = Room()
    ann, bob = join_members(room, "ann", "bob")
    room.delivery.respond(bob.subscriber, iter([b"1" * FLUSH_BYTES + b"\n", b"2\n"]))
    room.delivery.catch_up(bob.subscriber)
    room.post(ann.subscriber, "hi")
    run_turn(room, ann, bob)
    assert bob.read() == ["1" * FLUSH_BYTES, "2", "MSG ann hi"]


# History


def post_each(room: Room, author: Reader, *texts: str) -> None:
    """Post each text in a batch of its own, at 0, 1, 2, ... seconds."""
    for number, text in enumerate(texts):
        room.post(author.subscriber, text)
        run_turn(room, author, time=float(number))


@pytest.mark.parametrize(
    ("limit", "texts"), [(None, "abc"), (0, ""), (1, "c"), (2, "bc"), (3, "abc"), (9, "abc")]
)
def test_history_returns_the_last_messages_oldest_first(limit: int | None, texts: str) -> None:
    room = Room()
    (ann,) = join_members(room, "ann")
    post_each(room, ann, *"abc")
    times = {text: float(time) for time, text in enumerate("abc")}
    assert list(room.history(limit)) == [(times[text], f"MSG ann {text}\n".encode()) for text in texts]


def test_history_excludes_presence() -> None:
    room = Room()
    (ann,) = join_members(room, "ann")
    post_each(room, ann, "1")
    (bob,) = join_members(room, "bob")
    post_each(room, bob, "2")
    room.leave(bob.subscriber)
    run_turn(room, ann)
    assert [line for _, line in room.history(None)] == [b"MSG ann 1\n", b"MSG bob 2\n"]


def test_history_is_limited_to_the_configured_size() -> None:
    room = Room(history=2)
    (ann,) = join_members(room, "ann")
    post_each(room, ann, *"abc")
    assert [line for _, line in room.history(None)] == [b"MSG ann b\n", b"MSG ann c\n"]


def test_history_of_size_zero_is_empty() -> None:
    room = Room(history=0)
    (ann,) = join_members(room, "ann")
    post_each(room, ann, "a")
    assert list(room.history(None)) == []


def test_history_excludes_messages_after_the_request() -> None:
    room = Room()
    (ann,) = join_members(room, "ann")
    post_each(room, ann, "a")
    history = room.history(None)
    post_each(room, ann, "b")
    assert [line for _, line in history] == [b"MSG ann a\n"]


def test_history_skips_messages_evicted_from_the_backlog() -> None:
    room = Room(backlog=1)
    (ann,) = join_members(room, "ann")
    post_each(room, ann, "a", "b")
    history = room.history(None)
    assert [line for _, line in room.history(None)] == [b"MSG ann b\n"]
    post_each(room, ann, "c")
    assert list(history) == []


# Shutdown


def test_closed_room_ignores_new_lines() -> None:
    room = Room()
    ann, bob = join_members(room, "ann", "bob")
    room.post(ann.subscriber, "last")
    room.closed = True
    room.post(ann.subscriber, "late")
    room.leave(bob.subscriber)
    run_turn(room, ann)
    run_turn(room, ann)
    assert ann.read() == []
    assert room.names() == ("ann",)


def test_lines_posted_before_close_are_broadcast() -> None:
    room = Room()
    ann, bob = join_members(room, "ann", "bob")
    room.post(ann.subscriber, "last")
    room.closed = True
    run_turn(room, ann)
    assert bob.read() == ["MSG ann last"]


def test_lines_ignored_by_a_closed_room_are_not_in_history() -> None:
    room = Room()
    (ann,) = join_members(room, "ann")
    post_each(room, ann, "last")
    room.closed = True
    post_each(room, ann, "late")
    assert [line for _, line in room.history(1)] == [b"MSG ann last\n"]
