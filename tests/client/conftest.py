"""Tests with an event loop run in both loops, and must log no warnings."""

import random
import socket
from collections.abc import AsyncIterator, Iterator

import pytest

from simple_chat.client import chat as chat_module
from tests.client.pipe_client import joined_peer
from tests.harness.peer import Peer
from tests.harness.programs import ServerProcess, run_server_process
from tests.server.conftest import nothing_is_logged_as_wrong, pytest_asyncio_loop_factories

__all__ = ["nothing_is_logged_as_wrong", "pytest_asyncio_loop_factories"]


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    """A server process for the tests of a module; its room is empty when a test begins."""
    with run_server_process() as server:
        yield server


@pytest.fixture
async def ann(server: ServerProcess) -> AsyncIterator[Peer]:
    """A member of the room of `server`."""
    async with joined_peer(server, "ann") as peer:
        yield peer


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
