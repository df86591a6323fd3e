import pytest

from simple_chat.core.codes import Code
from simple_chat.core.membership import LOCAL, Member, Membership
from simple_chat.errors import CommandError


def test_name_is_taken_whatever_its_case_until_its_holder_is_removed() -> None:
    membership = Membership()
    ann = Member("Ann")
    membership.add(ann)
    assert membership.is_taken("aNN")
    assert membership.find("ANN") is ann
    with pytest.raises(CommandError) as refused:
        membership.add(Member("ann", "other"))
    assert refused.value.code == Code.NAME_TAKEN
    membership.remove(ann)
    assert not membership.is_taken("Ann")
    assert membership.find("Ann") is None


def test_names_of_this_server_come_first_and_then_in_the_order_of_joining() -> None:
    membership = Membership()
    for member in (Member("zoe", "b"), Member("bob"), Member("eve", "a"), Member("ann", LOCAL)):
        membership.add(member)
    assert membership.names() == ("bob", "ann", "zoe", "eve")
    assert [member.name for member in membership] == ["zoe", "bob", "eve", "ann"]
    assert [member.name for member in membership.of_node("a")] == ["eve"]


def test_presence_is_announced_up_to_the_limit_which_may_change() -> None:
    membership = Membership(presence_limit=1)
    announced = []
    for name, limit in (("ann", 1), ("bob", 1), ("cleo", 3), ("dan", 3)):
        membership.add(Member(name))
        membership.presence_limit = limit
        announced.append(membership.presence_announced)
    assert announced == [True, False, True, False]


def test_cleared_membership_is_empty() -> None:
    membership = Membership()
    membership.add(Member("ann"))
    membership.clear()
    assert (membership.names(), len(membership), membership.is_taken("ann")) == ((), 0, False)


def test_nobody_is_left_once_it_was_cleared() -> None:
    membership = Membership()
    membership.add(Member("ann"))
    before = membership.names()
    membership.clear()
    assert (before, membership.names()) == (("ann",), ())
