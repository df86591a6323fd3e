"""Which server has its turn, and when."""

import random

import pytest

from simple_chat.client.connection import Address
from simple_chat.client.endpoints import EndpointPool

LONG = 3600.0
"""Seconds that a connection lasts which is lost after all."""


@pytest.fixture(autouse=True)
def _longest_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every delay be as long as it may be."""
    monkeypatch.setattr(random, "uniform", lambda _low, high: high)


def pool_of(number: int) -> EndpointPool:
    """So many servers, whose ports are 1, 2 and so on."""
    return EndpointPool([Address("127.0.0.1", 1 + each) for each in range(number)])


def tries(pool: EndpointPool, number: int) -> list[tuple[int, float]]:
    """The port of each next try, and the seconds before it."""
    found: list[tuple[int, float]] = []
    for _ in range(number):
        delay = pool.next_delay()
        found.append((pool.address.port, delay))
    return found


def test_one_server_is_tried_after_longer_and_longer_delays() -> None:
    pool = pool_of(1)
    assert pool.address.port == 1
    for seconds in (0.0, LONG):
        pool.on_disconnect(seconds)
        assert tries(pool, 8) == [(1, most) for most in (1, 2, 4, 8, 16, 32, 60, 60)]


def test_all_others_are_tried_at_once_before_there_is_a_delay() -> None:
    pool = pool_of(3)
    pool.on_disconnect(LONG)
    assert tries(pool, 7) == [(2, 0), (3, 0), (1, 1), (2, 0), (3, 0), (1, 2), (2, 0)]


def test_after_a_connection_that_lasted_all_others_are_tried_at_once_again() -> None:
    pool = pool_of(3)
    pool.on_disconnect(LONG)
    assert tries(pool, 2) == [(2, 0), (3, 0)]
    pool.on_disconnect(LONG)
    assert tries(pool, 3) == [(1, 0), (2, 0), (3, 1)]


def test_servers_that_let_in_and_drop_are_not_tried_without_a_delay_for_ever() -> None:
    pool = pool_of(2)
    found: list[tuple[int, float]] = []
    for _ in range(4):
        pool.on_disconnect(0.0)
        found += tries(pool, 1)
    assert found == [(2, 0), (1, 1), (2, 0), (1, 1)]
