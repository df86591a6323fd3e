"""Rotation of the servers, and delays between attempts."""

import random

import pytest

from simple_chat.client.connection import Address
from simple_chat.client.endpoints import EndpointPool

LONG = 3600.0
"""Seconds, the uptime of a stable connection."""


@pytest.fixture(autouse=True)
def _longest_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every random delay its maximum."""
    monkeypatch.setattr(random, "uniform", lambda _low, high: high)


def pool_of(number: int) -> EndpointPool:
    """Return a pool of servers with the ports 1, 2 and so on."""
    return EndpointPool([Address("127.0.0.1", 1 + each) for each in range(number)])


def attempts(pool: EndpointPool, number: int) -> list[tuple[int, float]]:
    """Return the port of each next attempt, and the seconds before it."""
    found: list[tuple[int, float]] = []
    for _ in range(number):
        delay = pool.next_delay()
        found.append((pool.address.port, delay))
    return found


def test_delays_of_one_server_double_up_to_a_minute() -> None:
    pool = pool_of(1)
    assert pool.address.port == 1
    for seconds in (0.0, LONG):
        pool.on_disconnect(seconds)
        assert attempts(pool, 8) == [(1, most) for most in (1, 2, 4, 8, 16, 32, 60, 60)]


def test_all_other_servers_are_tried_before_the_first_delay() -> None:
    pool = pool_of(3)
    pool.on_disconnect(LONG)
    assert attempts(pool, 7) == [(2, 0), (3, 0), (1, 1), (2, 0), (3, 0), (1, 2), (2, 0)]


def test_stable_connection_starts_a_new_row_without_delay() -> None:
    pool = pool_of(3)
    pool.on_disconnect(LONG)
    assert attempts(pool, 2) == [(2, 0), (3, 0)]
    pool.on_disconnect(LONG)
    assert attempts(pool, 3) == [(1, 0), (2, 0), (3, 1)]


def test_short_connections_do_not_start_a_new_row() -> None:
    pool = pool_of(2)
    found: list[tuple[int, float]] = []
    for _ in range(4):
        pool.on_disconnect(0.0)
        found += attempts(pool, 1)
    assert found == [(2, 0), (1, 1), (2, 0), (1, 1)]
