"""What operators order, as entries of the log: without a network."""

import pytest

from simple_chat.cluster.entry import Entry
from simple_chat.cluster.nodes import Nodes
from simple_chat.cluster.replicated import ReplicatedRoom
from simple_chat.cluster.snapshot import Snapshot, decode_snapshot, encode_snapshot
from simple_chat.core.bans import Ban
from simple_chat.core.moderation import AddBan, Kick, Order, RemoveBan, encode_order
from simple_chat.core.room import Room

SPAM = AddBan(Ban("ann", None, None, "spam"))


@pytest.fixture
def replica() -> ReplicatedRoom:
    """A server that is alone, and has read all of the log."""
    replica = ReplicatedRoom(Room(), Nodes())
    replica.restore(None, 0)
    replica.begin("a")
    return replica


def publish(replica: ReplicatedRoom, position: int) -> list[bytes]:
    """Have a server publish what it proposed, and read it back; return the lines."""
    message = replica.next_message(heartbeat=True)
    assert message is not None
    _, *lines = message.data.splitlines(keepends=True)
    replica.apply(Entry(position, position, "a", position, tuple(lines)))
    return lines


@pytest.mark.parametrize("order", [Kick("ann", "be nice"), SPAM, RemoveBan("ann")])
def test_order_is_carried_out_when_it_is_read_back(replica: ReplicatedRoom, order: Order) -> None:
    replica.propose(order)
    assert replica.take_orders() == []
    assert publish(replica, 1) == [encode_order(order)]
    assert replica.take_orders() == [order]
    assert replica.take_orders() == []


def test_bans_of_this_and_of_other_servers_are_in_force(replica: ReplicatedRoom) -> None:
    replica.propose(SPAM)
    publish(replica, 1)
    replica.apply(Entry(2, 2, "b", 1, (b"BAN ben 192.0.2.7 -\n", b"KICK cleo\n")))
    assert [str(ban) for ban in replica.room.bans] == ["ann - - spam", "ben 192.0.2.7 -"]
    assert len(replica.take_orders()) == 3
    replica.apply(Entry(3, 3, "b", 2, (b"UNBAN ann\n",)))
    assert [str(ban) for ban in replica.room.bans] == ["ben 192.0.2.7 -"]


def test_order_behind_the_end_is_carried_out_by_nobody_else(replica: ReplicatedRoom) -> None:
    publish(replica, 1)
    replica.propose_end()
    replica.propose(SPAM)
    assert publish(replica, 2) == [b"END\n"]
    assert replica.next_message() is None


def test_bans_are_in_the_snapshot_and_restored_from_it(replica: ReplicatedRoom) -> None:
    replica.propose(SPAM)
    publish(replica, 1)
    other = ReplicatedRoom(Room(), Nodes())
    other.room.bans.add(Ban("old", None))
    other.restore(replica.snapshot(), 1)
    assert [*other.room.bans] == [SPAM.ban]


def test_snapshot_of_a_server_that_knew_no_bans_has_none() -> None:
    snapshot = Snapshot(3, [], Nodes().snapshot(), {})
    assert decode_snapshot(encode_snapshot(snapshot)).bans == []


def test_bans_that_the_log_has_lost_are_proposed_again(replica: ReplicatedRoom) -> None:
    replica.propose(SPAM)
    publish(replica, 1)
    replica.evict()
    replica.restore(None, 0)
    replica.begin("a")
    assert publish(replica, 1) == [b"BAN ann - - spam\n"]
    assert [*replica.room.bans] == [SPAM.ban]


def test_bans_of_a_snapshot_that_is_too_old_for_the_rest_are_kept(replica: ReplicatedRoom) -> None:
    replica.propose(SPAM)
    publish(replica, 1)
    other = ReplicatedRoom(Room(), Nodes())
    other.restore_bans(replica.snapshot())
    other.restore(None, 9)
    other.begin("b")
    assert [*other.room.bans] == [SPAM.ban]
    message = other.next_message()
    assert message is not None
    assert message.data.endswith(b"BAN ann - - spam\n")
