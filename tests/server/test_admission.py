from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_chat.core.counters import Counters
from simple_chat.core.network import Network, network_of
from simple_chat.server.admission import Admission, Slot

REFUSED = 48

HOSTS = ["", "127.0.0.1", "192.0.2.1", "192.0.2.2", "::ffff:192.0.2.1", "2001:db8::1", "2001:db8::2"]


def enter(admission: Admission, network: Network | None) -> Slot:
    """Come in, or be told that there is no room."""
    slot = admission.acquire(network)
    assert slot.admitted or not admission.answers_no_more
    return slot


def closed_unanswered(admission: Admission) -> bool:
    """Return whether one more connection is refused without an answer."""
    slot = admission.acquire(None)
    unanswered = not slot.admitted and admission.answers_no_more
    admission.release(slot)
    return unanswered


def test_connections_of_one_network_are_limited() -> None:
    admission = Admission(max_clients=100, max_per_ip=3, counters=Counters())
    assert [enter(admission, network_of("192.0.2.1")).admitted for _ in range(5)] == [True] * 3 + [False] * 2
    assert enter(admission, network_of("192.0.2.2")).admitted


def test_a_network_is_counted_by_whatever_address_it_comes() -> None:
    admission = Admission(max_clients=100, max_per_ip=2, counters=Counters())
    hosts = ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8:0:1::1", "192.0.2.1", "::ffff:192.0.2.1"]
    admitted = [enter(admission, network_of(host)).admitted for host in hosts]
    assert admitted == [True, True, False, True, True, True]
    assert not enter(admission, network_of("::ffff:192.0.2.1")).admitted


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1", ""])
def test_loopback_is_limited_in_total_only(host: str) -> None:
    admission = Admission(max_clients=10, max_per_ip=1, counters=Counters())
    admitted = [enter(admission, network_of(host)).admitted for _ in range(12)]
    assert admitted == [True] * 10 + [False] * 2


def test_connections_are_limited_in_total() -> None:
    admission = Admission(max_clients=3, max_per_ip=2, counters=Counters())
    hosts = ["192.0.2.1", "", "2001:db8::", "192.0.2.2", ""]
    assert [enter(admission, network_of(each)).admitted for each in hosts] == [True] * 3 + [False] * 2


def test_changed_limits_are_for_connections_to_come() -> None:
    admission = Admission(max_clients=3, max_per_ip=2, counters=Counters())
    inside = [
        enter(admission, network_of("192.0.2.1")),
        enter(admission, network_of("192.0.2.1")),
        enter(admission, None),
    ]
    admission.change_limits(2, 1, source="")
    assert not enter(admission, None).admitted
    admission.release(inside.pop(0))
    admission.release(inside.pop(0))
    assert [enter(admission, network_of("192.0.2.1")).admitted for _ in range(2)] == [True, False]
    admission.change_limits(9, 9, source="")
    assert [enter(admission, network_of("192.0.2.1")).admitted for _ in range(2)] == [True, True]


def test_refused_connections_have_a_limit_of_their_own() -> None:
    admission = Admission(max_clients=1, max_per_ip=1, counters=Counters())
    inside = enter(admission, None)
    refused = [enter(admission, network_of(f"192.0.2.{number}")) for number in range(REFUSED)]
    assert not any(slot.admitted for slot in refused)
    assert closed_unanswered(admission)
    admission.release(refused.pop())
    assert not enter(admission, None).admitted
    assert closed_unanswered(admission)
    admission.release(inside)
    assert enter(admission, None).admitted  # though there are still as many to be told


def test_refused_connection_does_not_count_for_its_network() -> None:
    admission = Admission(max_clients=10, max_per_ip=1, counters=Counters())
    inside = enter(admission, network_of("192.0.2.1"))
    refused = enter(admission, network_of("192.0.2.1"))
    admission.release(inside)
    assert enter(admission, network_of("192.0.2.1")).admitted
    admission.release(refused)
    assert not enter(admission, network_of("192.0.2.1")).admitted


def test_slots_of_networks_without_connections_are_dropped() -> None:
    admission = Admission(max_clients=1000, max_per_ip=2, counters=Counters())
    slots = [enter(admission, network_of(f"192.0.2.{number // 2}")) for number in range(200)]
    for slot in slots:
        admission.release(slot)
    assert not admission._slots


steps = st.lists(st.tuples(st.sampled_from(HOSTS), st.booleans(), st.integers(0, 100)), max_size=80)


@given(st.integers(1, 8), st.integers(1, 4), steps)
def test_count_is_right_whoever_connects_and_ends(
    max_clients: int, max_per_ip: int, steps: list[tuple[str, bool, int]]
) -> None:
    admission = Admission(max_clients, max_per_ip, counters=Counters())
    inside: list[tuple[Network | None, Slot]] = []
    refused: list[Slot] = []
    for host, comes, which in steps:
        if comes:
            network = network_of(host)
            same = Counter(each for each, _ in inside)[network]
            room = len(inside) < max_clients and (network is None or same < max_per_ip)
            slot = admission.acquire(network)
            if slot.admitted:
                assert room
                inside.append((network, slot))
            else:
                assert not room
                refused.append(slot)
                assert admission.answers_no_more == (len(refused) > REFUSED)
        elif inside and (which % 2 or not refused):
            admission.release(inside.pop(which % len(inside))[1])
        elif refused:
            admission.release(refused.pop())


@pytest.mark.parametrize(
    ("max_clients", "ban", "refusal"),
    [
        (1, "", "full: 1 of 1 connections (--max-clients, from ulimit -n 65)"),
        (9, "", "1 connections from its address already (--max-per-ip)"),
        (1, "ban: ann 192.0.2.1 -", "ban: ann 192.0.2.1 -"),
    ],
)
def test_refusal_names_what_is_reached_and_its_value(max_clients: int, ban: str, refusal: str) -> None:
    source = "--max-clients, from ulimit -n 65"
    admission = Admission(max_clients, max_per_ip=1, counters=Counters(), source=source)
    enter(admission, network_of("192.0.2.1"))
    assert admission.acquire(network_of("192.0.2.1"), ban=ban).refusal == refusal
    assert (admission.admitted, admission.refused) == (1, 1)
