import json
from collections.abc import Iterable
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_chat.cluster.nodes import HEARTBEAT_INTERVAL, LEASE, Nodes

SECOND = 1_000_000
START = 1_700_000_000 * SECOND


class Beat(NamedTuple):
    """A message in the log.

    Attributes:
        after: microseconds since the one before, which may be fewer than none.
        node: who sent it.
        number: of the message.
    """

    after: int
    node: str
    number: int


@pytest.fixture
def nodes() -> Nodes:
    nodes = Nodes()
    nodes.advance(START)
    return nodes


def there(nodes: Nodes) -> list[str]:
    return [node for node, _, _ in nodes.save()["nodes"]]


def pass_time(nodes: Nodes, seconds: float, step: float = HEARTBEAT_INTERVAL) -> list[str]:
    """Let time go by in steps, in which others write; tell who died."""
    dead = []
    time = nodes.save()["time"]
    stop = time + round(seconds * SECOND)
    while time < stop:
        time = min(time + round(step * SECOND), stop)
        dead += nodes.advance(time)
    return dead


def follow(nodes: Nodes, beats: Iterable[Beat]) -> list[tuple[list[str], bool]]:
    """Tell what became of each message."""
    time = nodes.save()["time"]
    told = []
    for after, node, number in beats:
        time += after
        told.append((nodes.advance(time), nodes.hear(node, number)))
    return told


def test_first_message_introduces(nodes: Nodes) -> None:
    assert "a" not in nodes
    assert nodes.hear("a", 1)
    assert "a" in nodes
    assert "b" not in nodes


@pytest.mark.parametrize(
    ("numbers", "counts"),
    [
        ([1, 2, 3], [True, True, True]),
        ([1, 1], [True, False]),
        ([1, 2, 2, 3], [True, True, False, True]),
        ([1, 2, 1, 3], [True, True, False, True]),
        ([1, 5, 4, 6], [True, True, False, True]),
        ([2], [False]),
        ([2, 3, 1, 2], [False, False, True, True]),
        ([0, -1, 1], [False, False, True]),
    ],
)
def test_message_counts_once_and_behind_the_first(
    nodes: Nodes, numbers: list[int], counts: list[bool]
) -> None:
    assert [nodes.hear("a", number) for number in numbers] == counts


def test_each_has_numbers_of_its_own(nodes: Nodes) -> None:
    assert nodes.hear("a", 1)
    assert nodes.hear("a", 2)
    assert not nodes.hear("b", 2)
    assert nodes.hear("b", 1)


def test_first_is_who_is_there_for_the_longest_time(nodes: Nodes) -> None:
    firsts = [nodes.first]
    for node in ("b", "a", "c"):
        nodes.hear(node, 1)
    nodes.hear("a", 2)
    firsts.append(nodes.first)
    nodes.remove("b")
    firsts.append(nodes.first)
    assert firsts == [None, "b", "a"]
    assert "b" not in nodes


def test_who_left_is_a_stranger(nodes: Nodes) -> None:
    nodes.hear("a", 1)
    nodes.remove("a")
    assert not nodes.hear("a", 2)
    assert pass_time(nodes, 2 * LEASE) == []


# Who is dead


@pytest.mark.parametrize(
    ("seconds", "dead"), [(LEASE - 1, []), (LEASE, []), (LEASE + 1e-6, ["a"]), (LEASE + 1, ["a"])]
)
def test_who_is_silent_for_longer_than_the_lease_is_dead(
    nodes: Nodes, seconds: float, dead: list[str]
) -> None:
    nodes.hear("a", 1)
    assert pass_time(nodes, seconds) == dead
    assert ("a" in nodes) == (not dead)


def test_who_is_dead_stays_so(nodes: Nodes) -> None:
    nodes.hear("a", 1)
    assert pass_time(nodes, LEASE + 1) == ["a"]
    assert not nodes.hear("a", 2)
    assert pass_time(nodes, 2 * LEASE) == []


def test_every_message_renews_the_lease(nodes: Nodes) -> None:
    nodes.hear("a", 1)
    for number in range(2, 6):
        assert pass_time(nodes, LEASE) == []
        assert nodes.hear("a", number)
    assert pass_time(nodes, LEASE + 1) == ["a"]


@pytest.mark.parametrize("number", [1, 2])
def test_message_that_is_there_again_does_not(nodes: Nodes, number: int) -> None:
    nodes.hear("a", 1)
    nodes.hear("a", 2)
    pass_time(nodes, LEASE)
    assert not nodes.hear("a", number)
    assert pass_time(nodes, 1) == ["a"]


def test_some_die_and_some_don_t(nodes: Nodes) -> None:
    for node in ("c", "a", "b"):
        nodes.hear(node, 1)
    pass_time(nodes, LEASE)
    nodes.hear("a", 2)
    assert pass_time(nodes, 1) == ["c", "b"]  # in the order of their coming
    assert there(nodes) == ["a"]
    assert pass_time(nodes, LEASE) == ["a"]


def test_who_comes_late_has_the_whole_lease(nodes: Nodes) -> None:
    nodes.hear("a", 1)
    pass_time(nodes, LEASE - 1)
    nodes.hear("b", 1)
    assert pass_time(nodes, LEASE) == ["a"]
    assert pass_time(nodes, 1) == ["b"]


@pytest.mark.parametrize("away", [LEASE + 1, 3_600, 30 * 24 * 3_600])
def test_absence_of_the_log_itself_kills_nobody(nodes: Nodes, away: float) -> None:
    nodes.hear("a", 1)
    nodes.hear("b", 1)
    assert pass_time(nodes, away, step=away) == []
    assert nodes.hear("a", 2)
    assert pass_time(nodes, LEASE - HEARTBEAT_INTERVAL - 1) == []  # who comes back a moment later is in time
    assert nodes.hear("b", 2)


def test_time_that_goes_back_kills_nobody(nodes: Nodes) -> None:
    nodes.hear("a", 1)
    now = nodes.now
    assert nodes.advance(START - 3_600 * SECOND) == []
    assert nodes.now == now
    assert nodes.advance(START) == []
    assert nodes.now - now <= (HEARTBEAT_INTERVAL + 1) * SECOND
    assert pass_time(nodes, LEASE - HEARTBEAT_INTERVAL - 1) == []
    assert pass_time(nodes, HEARTBEAT_INTERVAL + 1 + 1) == ["a"]


# Against a plain model, and what is saved

beats = st.builds(
    Beat,
    st.integers(-10 * SECOND, 20 * SECOND) | st.sampled_from([0, 5 * SECOND, 6 * SECOND, 3_600 * SECOND]),
    st.sampled_from("abcd"),
    st.integers(1, 9),
)
lines_of_beats = st.lists(beats, max_size=60)


@given(lines_of_beats)
def test_it_is_as_it_is_told(line: list[Beat]) -> None:
    nodes = Nodes()
    nodes.advance(START)
    now, known = nodes.now, dict[str, tuple[int, int]]()
    for (after, node, number), (dead, counts) in zip(line, follow(nodes, line), strict=True):
        now += max(0, min(after, 6 * SECOND))
        expected_dead = [name for name, (_, seen) in known.items() if now - seen > 30 * SECOND]
        for name in expected_dead:
            del known[name]
        expected = number > known[node][0] if node in known else number == 1
        if expected:
            known[node] = (number, now)
        assert (dead, counts) == (expected_dead, expected)
    assert there(nodes) == list(known)
    assert nodes.first == next(iter(known), None)
    assert nodes.now == now


@given(lines_of_beats, lines_of_beats)
def test_what_was_saved_has_the_same_future(past: list[Beat], future: list[Beat]) -> None:
    nodes = Nodes()
    nodes.advance(START)
    follow(nodes, past)
    same = Nodes.load(json.loads(json.dumps(nodes.save())))
    assert follow(same, future) == follow(nodes, future)
    assert same.save() == nodes.save()
    assert (same.now, same.first) == (nodes.now, nodes.first)
