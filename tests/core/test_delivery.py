"""Delivery's rules that no conversation shows by itself."""

import pytest

from simple_chat.core.membership import Member
from simple_chat.core.room import Room
from simple_chat.core.session import LINES_PER_TURN
from tests.harness.sessions import RoomHarness


def fail(_data: bytes) -> None:
    raise RuntimeError("the connection is closing")


def test_author_whose_connection_is_closing_is_blocked_and_the_others_get_the_batch(
    harness: RoomHarness,
) -> None:
    ann, bob, eve = harness.enter("ann", "bob", "eve")
    ann.send("MSG 1")
    bob.send("MSG 2")
    ann.session.process_input(0.0)
    ann.session.subscriber.write = fail
    harness.turn()
    assert ann.session.subscriber.blocked
    assert eve.read() == ["MSG ann 1", "MSG bob 2"]


def test_blocked_author_is_not_flushed_until_it_reads_again() -> None:
    harness = RoomHarness(journal=True)
    ann, bob = harness.enter("ann", "bob")
    bob.send("MSG own")
    harness.turn()
    ann.send("MSG 1")
    harness.turn()  # waits for the journal to write the batch before
    delivery, subscriber = harness.room.delivery, bob.session.subscriber
    needed = delivery.needs_flush(subscriber)
    bob.block()
    assert (needed, delivery.needs_flush(subscriber)) == (True, False)
    harness.write_journal()
    harness.rest()
    assert bob.read() == []
    bob.unblock()
    harness.rest()
    assert bob.read() == ["MSG ann 1"]


def test_client_that_has_not_joined_is_read_from_only_once_its_lines_are_executed(
    harness: RoomHarness,
) -> None:
    stranger = harness.connect()
    (ann,) = harness.enter("ann")
    for client in (stranger, ann):
        client.session.receive(b"PING\n" * (LINES_PER_TURN + 1))
        client.session.process_input(0.0)
    wanted = [client.session.wants_input for client in (stranger, ann)]
    for client in (stranger, ann):
        harness.schedule(client)
    harness.rest()
    assert wanted == [False, True]
    assert stranger.session.wants_input


def test_joined_subscribers_are_the_members(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    bob.feed(b"\r\n")  # of another rendering from now on
    harness.connect()
    harness.rest()
    assert harness.room.delivery.joined() == [ann.session.subscriber, bob.session.subscriber]


def test_batch_is_not_rendered_for_a_kind_of_client_that_has_left(harness: RoomHarness) -> None:
    ann, bob = harness.enter("ann", "bob")
    for line in (b"\r\n", b"LEAVE\r\n"):
        bob.feed(line)
        harness.rest()
    assert list(harness.room.delivery._joined) == [ann.session.subscriber.rendering]


def test_client_that_left_during_an_outage_is_owed_nothing_afterwards() -> None:
    harness = RoomHarness(journal=True)
    ann, bob = harness.enter("ann", "bob")
    ann.send("MSG 1")
    harness.turn()
    harness.suspend()
    bob.send("LEAVE")
    harness.rest()
    assert bob.read() == ["GAP 1", "OK LEAVE"]
    ann.send("MSG 2")
    harness.turn()
    assert not harness.room.delivery.needs_flush(bob.session.subscriber)


def test_stranger_waits_for_no_commit() -> None:
    harness = RoomHarness(journal=True)
    (ann,), stranger = harness.enter("ann"), harness.connect()
    ann.send("MSG 1")
    harness.turn()
    assert not harness.room.delivery.needs_flush(stranger.session.subscriber)


def test_answer_that_can_be_written_waits_for_no_commit(harness: RoomHarness) -> None:
    (ann,) = harness.enter("ann")
    delivery, subscriber = harness.room.delivery, ann.session.subscriber
    delivery.respond(subscriber, [b"OK\n"])
    assert not delivery.needs_flush(subscriber)


def test_author_of_one_line_is_owed_nothing_until_it_is_released() -> None:
    harness = RoomHarness(journal=True)
    (ann,) = harness.enter("ann")
    ann.send("MSG 1")
    harness.turn()
    assert harness.room.delivery.only_own_pending(ann.session.subscriber)


def test_author_of_the_next_batch_gets_this_one_as_soon_as_it_is_written() -> None:
    harness = RoomHarness(journal=True)
    ann, bob = harness.enter("ann", "bob")
    ann.send("MSG 1")
    harness.turn()
    bob.send("MSG 2")
    harness.turn()
    harness.write_journal()
    assert bob.read() == ["MSG ann 1"]


def test_author_that_is_gone_is_not_kept(harness: RoomHarness) -> None:
    (ann,) = harness.enter("ann")
    ann.send("MSG 1")
    ann.session.connection_lost()
    harness.rest()
    delivery = harness.room.delivery
    assert not delivery._sealed_authors
    assert not delivery._open_authors


# Members on other servers


def test_members_on_other_servers_are_heard_and_announced(harness: RoomHarness) -> None:
    (ann,) = harness.enter("ann")
    bob = Member("bob", "other")
    harness.room.add_remote(bob)
    harness.room.append_remote_message(b"MSG bob hi\n")
    assert harness.room.names() == ("ann", "bob")
    harness.room.remove_remote(bob)
    harness.rest()
    assert ann.read() == ["JOINED bob", "MSG bob hi", "LEFT bob"]
    assert [line for _, line in harness.room.history(None)] == [b"MSG bob hi\n"]


def test_member_on_another_server_does_not_get_a_name_that_is_taken(harness: RoomHarness) -> None:
    (ann,) = harness.enter("ann")
    harness.room.add_remote(Member("ANN", "other"))
    harness.rest()
    assert harness.room.names() == ("ann",)
    assert ann.read() == []


@pytest.mark.parametrize("closed", [False, True])
def test_closed_room_takes_nothing_of_other_servers(closed: bool) -> None:  # noqa: FBT001 (a parameter)
    room = Room()
    room.closed = closed
    room.add_remote(Member("bob", "other"))
    room.append_remote_message(b"MSG bob hi\n")
    assert (room.seal_batch(0.0) is None) is closed


def test_restored_batch_is_history_of_the_room(harness: RoomHarness) -> None:
    (ann,) = harness.enter("ann")
    ann.send("MSG hi")
    harness.rest()
    room, earlier = Room(), harness.room.sequence.backlog
    room.restore(earlier._batches[-1])
    assert [line for _, line in room.history(None)] == [b"MSG ann hi\n"]
