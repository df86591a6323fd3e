import pytest

from simple_chat.core.bans import Ban, Bans
from simple_chat.core.codes import Code
from simple_chat.core.moderation import (
    AddBan,
    Kick,
    Order,
    RemoveBan,
    apply_order,
    encode_order,
    is_order,
    parse_order,
)
from simple_chat.core.network import parse_network
from tests.harness.sessions import RoomHarness

BANNED = ["ERR banned spam", "BYE banned"]


@pytest.mark.parametrize(
    ("order", "line"),
    [
        (Kick("ann"), b"KICK ann\n"),
        (Kick("ann", "be nice"), b"KICK ann be nice\n"),
        (AddBan(Ban("ann", parse_network("192.0.2.7"), None, "spam")), b"BAN ann 192.0.2.7 - spam\n"),
        (RemoveBan("192.0.2.0/24"), b"UNBAN 192.0.2.0/24\n"),
    ],
)
def test_order_is_encoded_and_parsed(order: Order, line: bytes) -> None:
    assert encode_order(order) == line
    assert is_order(line)
    assert parse_order(line) == order


@pytest.mark.parametrize("line", [b"MSG ann hi\n", b"JOIN ann\n", b"LEAVE ann\n", b"END\n", b""])
def test_what_members_do_is_no_order(line: bytes) -> None:
    assert not is_order(line)


def test_orders_change_the_bans() -> None:
    bans = Bans()
    apply_order(AddBan(Ban("ann", None)), bans)
    assert [*bans] == [Ban("ann", None)]
    apply_order(Kick("ann"), bans)
    assert [*bans] == [Ban("ann", None)]
    apply_order(RemoveBan("ann"), bans)
    assert not [*bans]


def test_join_under_a_banned_name_is_refused_and_ends_the_connection(harness: RoomHarness) -> None:
    ann, ben = harness.connect(), harness.connect()
    harness.room.bans.add(Ban("Ben", None, None, "spam"))
    ann.send("JOIN ann")
    ben.send("JOIN bEN", "JOIN other")
    harness.rest()
    assert ben.read() == BANNED
    assert ben.session.finished
    ann.send("WHO")
    harness.rest()
    assert ann.read() == ["OK JOIN ann", "NAMES ann", "OK WHO 1"]


def test_kicked_member_is_told_why_after_all_that_it_is_owed(harness: RoomHarness) -> None:
    ann, ben = harness.connect(), harness.connect()
    for client, name in ((ann, "ann"), (ben, "ben")):
        client.send(f"JOIN {name}")
        harness.rest()
    ann.send("MSG hi")
    harness.rest()
    ben.session.disconnect(Code.KICKED, "flooding")
    harness.schedule(ben)
    harness.rest()
    assert ben.read() == ["OK JOIN ben", "MSG ann hi", "ERR kicked flooding", "BYE kicked"]
    assert ann.read() == ["OK JOIN ann", "JOINED ben", "LEFT ben"]
