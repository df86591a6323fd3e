import json
from collections.abc import Iterable
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_chat.cluster.nodes import HEARTBEAT_INTERVAL, LEASE, Nodes

SECOND = 1_000_000
START = 1_700_000_000 * SECOND


class Heartbeat(NamedTuple):
    """An entry of the stream.

    Attributes:
        after: microseconds since the one before, which may be negative.
        node: who published it.
        number: of the entry.
    """

    after: int
    node: str
    number: int


@pytest.fixture
def nodes() -> Nodes:
    return started()


def started(lease: float = LEASE, heartbeat: float = HEARTBEAT_INTERVAL) -> Nodes:
    nodes = Nodes(lease=lease, heartbeat=heartbeat)
    nodes.expire(START)
    return nodes


def members(nodes: Nodes) -> list[str]:
    return [node for node, _, _ in nodes.snapshot()["nodes"]]


def pass_time(nodes: Nodes, seconds: float, step: float = HEARTBEAT_INTERVAL) -> list[str]:
    """Pass time in steps, as when others publish; return the servers that expired."""
    dead = []
    time = nodes.snapshot()["time"]
    stop = time + round(seconds * SECOND)
    while time < stop:
        time = min(time + round(step * SECOND), stop)
        dead += nodes.expire(time)
    return dead


def apply(nodes: Nodes, heartbeats: Iterable[Heartbeat]) -> list[tuple[list[str], bool]]:
    """Return, for each entry, the servers that expired before it and whether it is valid."""
    time = nodes.snapshot()["time"]
    results = []
    for after, node, number in heartbeats:
        time += after
        results.append((nodes.expire(time), nodes.record_heartbeat(node, number)))
    return results


def test_first_entry_makes_a_member(nodes: Nodes) -> None:
    assert "a" not in nodes
    assert nodes.record_heartbeat("a", 1)
    assert "a" in nodes
    assert "b" not in nodes


@pytest.mark.parametrize(
    ("numbers", "valid"),
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
def test_entry_is_valid_once_and_after_the_first(nodes: Nodes, numbers: list[int], valid: list[bool]) -> None:
    assert [nodes.record_heartbeat("a", number) for number in numbers] == valid


def test_servers_number_their_entries_independently(nodes: Nodes) -> None:
    assert nodes.record_heartbeat("a", 1)
    assert nodes.record_heartbeat("a", 2)
    assert not nodes.record_heartbeat("b", 2)
    assert nodes.record_heartbeat("b", 1)


def test_oldest_is_the_member_that_joined_first(nodes: Nodes) -> None:
    oldest = [nodes.oldest]
    for node in ("b", "a", "c"):
        nodes.record_heartbeat(node, 1)
    nodes.record_heartbeat("a", 2)
    oldest.append(nodes.oldest)
    nodes.remove("b")
    oldest.append(nodes.oldest)
    assert oldest == [None, "b", "a"]
    assert "b" not in nodes


def test_removed_server_is_no_member_and_does_not_expire(nodes: Nodes) -> None:
    nodes.record_heartbeat("a", 1)
    nodes.remove("a")
    assert not nodes.record_heartbeat("a", 2)
    assert pass_time(nodes, 2 * LEASE) == []


# Expiry


@pytest.mark.parametrize(
    ("seconds", "dead"), [(LEASE - 1, []), (LEASE, []), (LEASE + 1e-6, ["a"]), (LEASE + 1, ["a"])]
)
def test_lease_expires_after_silence(nodes: Nodes, seconds: float, dead: list[str]) -> None:
    nodes.record_heartbeat("a", 1)
    assert pass_time(nodes, seconds) == dead
    assert ("a" in nodes) == (not dead)


@pytest.mark.parametrize(("lease", "heartbeat"), [(3.0, 0.5), (600.0, 60.0)])
def test_lease_and_heartbeat_can_be_set(lease: float, heartbeat: float) -> None:
    nodes = started(lease, heartbeat)
    nodes.record_heartbeat("a", 1)
    assert pass_time(nodes, lease, step=heartbeat) == []
    assert pass_time(nodes, 1e-6) == ["a"]


def test_expired_server_stays_dead(nodes: Nodes) -> None:
    nodes.record_heartbeat("a", 1)
    assert pass_time(nodes, LEASE + 1) == ["a"]
    assert not nodes.record_heartbeat("a", 2)
    assert pass_time(nodes, 2 * LEASE) == []


def test_every_entry_renews_the_lease(nodes: Nodes) -> None:
    nodes.record_heartbeat("a", 1)
    for number in range(2, 6):
        assert pass_time(nodes, LEASE) == []
        assert nodes.record_heartbeat("a", number)
    assert pass_time(nodes, LEASE + 1) == ["a"]


@pytest.mark.parametrize("number", [1, 2])
def test_duplicate_does_not_renew_the_lease(nodes: Nodes, number: int) -> None:
    nodes.record_heartbeat("a", 1)
    nodes.record_heartbeat("a", 2)
    pass_time(nodes, LEASE)
    assert not nodes.record_heartbeat("a", number)
    assert pass_time(nodes, 1) == ["a"]


def test_servers_expire_independently_oldest_first(nodes: Nodes) -> None:
    for node in ("c", "a", "b"):
        nodes.record_heartbeat(node, 1)
    pass_time(nodes, LEASE)
    nodes.record_heartbeat("a", 2)
    assert pass_time(nodes, 1) == ["c", "b"]
    assert members(nodes) == ["a"]
    assert pass_time(nodes, LEASE) == ["a"]


def test_late_server_has_the_whole_lease(nodes: Nodes) -> None:
    nodes.record_heartbeat("a", 1)
    pass_time(nodes, LEASE - 1)
    nodes.record_heartbeat("b", 1)
    assert pass_time(nodes, LEASE) == ["a"]
    assert pass_time(nodes, 1) == ["b"]


@pytest.mark.parametrize("outage", [LEASE + 1, 3_600, 30 * 24 * 3_600])
def test_outage_of_nats_expires_nobody(nodes: Nodes, outage: float) -> None:
    nodes.record_heartbeat("a", 1)
    nodes.record_heartbeat("b", 1)
    assert pass_time(nodes, outage, step=outage) == []
    assert nodes.record_heartbeat("a", 2)
    assert pass_time(nodes, LEASE - HEARTBEAT_INTERVAL - 1) == []  # who returns a moment later is in time
    assert nodes.record_heartbeat("b", 2)


def test_clock_that_goes_back_expires_nobody(nodes: Nodes) -> None:
    nodes.record_heartbeat("a", 1)
    now = nodes.now
    assert nodes.expire(START - 3_600 * SECOND) == []
    assert nodes.now == now
    assert nodes.expire(START) == []
    assert nodes.now - now <= (HEARTBEAT_INTERVAL + 1) * SECOND
    assert pass_time(nodes, LEASE - HEARTBEAT_INTERVAL - 1) == []
    assert pass_time(nodes, HEARTBEAT_INTERVAL + 1 + 1) == ["a"]


# Against a plain model, and snapshots

sequences = st.lists(
    st.builds(
        Heartbeat,
        st.integers(-10 * SECOND, 20 * SECOND) | st.sampled_from([0, 5 * SECOND, 6 * SECOND, 3_600 * SECOND]),
        st.sampled_from("abcd"),
        st.integers(1, 9),
    ),
    max_size=60,
)


@given(sequences)
def test_nodes_agree_with_a_plain_model(heartbeats: list[Heartbeat]) -> None:
    nodes = started()
    now, known = nodes.now, dict[str, tuple[int, int]]()
    for (after, node, number), (dead, valid) in zip(heartbeats, apply(nodes, heartbeats), strict=True):
        now += max(0, min(after, 6 * SECOND))
        expected_dead = [name for name, (_, seen) in known.items() if now - seen > 30 * SECOND]
        for name in expected_dead:
            del known[name]
        expected = number > known[node][0] if node in known else number == 1
        if expected:
            known[node] = (number, now)
        assert (dead, valid) == (expected_dead, expected)
    assert members(nodes) == list(known)
    assert nodes.oldest == next(iter(known), None)
    assert nodes.now == now


@given(sequences, sequences)
def test_restored_snapshot_has_the_same_future(past: list[Heartbeat], future: list[Heartbeat]) -> None:
    nodes, same = started(), Nodes()
    apply(nodes, past)
    same.restore(json.loads(json.dumps(nodes.snapshot())))
    assert apply(same, future) == apply(nodes, future)
    assert same.snapshot() == nodes.snapshot()
    assert (same.now, same.oldest) == (nodes.now, nodes.oldest)


def test_lease_that_ends_at_this_microsecond_has_not_expired() -> None:
    nodes = started(lease=1.0)
    nodes.record_heartbeat("a", 1)
    nodes.expire(START + 1)
    nodes.record_heartbeat("b", 1)
    assert nodes.expire(START + 1 + SECOND) == ["a"]
    assert members(nodes) == ["b"]


def test_restored_server_expires_even_where_others_lived_longer() -> None:
    nodes, other = started(), started()
    nodes.record_heartbeat("a", 1)
    state = nodes.snapshot()
    pass_time(other, 10 * LEASE)
    other.restore(state)
    assert pass_time(other, LEASE + 1) == ["a"]
