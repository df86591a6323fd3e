"""Tests with an event loop run in both loops, and must log no warnings."""

import random
import socket
from collections.abc import Iterator

import pytest

from simple_chat.client import chat as chat_module
from tests.server.conftest import nothing_is_logged_as_wrong, pytest_asyncio_loop_factories

__all__ = ["nothing_is_logged_as_wrong", "pytest_asyncio_loop_factories"]


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that refuses connections: it is bound, and nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.fixture
def jitter(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """The bounds of all random delays so far; each delay is 0."""
    drawn: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return 0.0

    monkeypatch.setattr(random, "uniform", uniform)
    return drawn


@pytest.fixture
def long_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every random delay longer than any test."""
    monkeypatch.setattr(random, "uniform", lambda _low, _high: 3600.0)


@pytest.fixture
def short_bye_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a chat hardly wait for BYE."""
    monkeypatch.setattr(chat_module, "_BYE_TIMEOUT", 0.05)
