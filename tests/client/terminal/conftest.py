import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.harness.line_socket import FakeServer, LineSocket, connect
from tests.harness.programs import ServerProcess
from tests.harness.screen import CLIENT, Screen


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("SIMPLE_CHAT_") or name == "NO_COLOR"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def fake_server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@pytest.fixture
def start() -> Iterator[Callable[..., Screen]]:
    """Starts clients with the options it is called with, each on a terminal of its own."""
    with ExitStack() as screens:
        yield lambda *options: screens.enter_context(Screen(*CLIENT, *options))


@pytest.fixture
def join(server: ServerProcess, start: Callable[..., Screen]) -> Callable[..., Screen]:
    """Starts clients that join under a name, and waits for the prompt."""

    def join(name: str, *options: str) -> Screen:
        screen = start("--port", server.port, "--username", name, "--history", "0", *options)
        screen.wait_for(f"{name}>")
        return screen

    return join


@pytest.fixture
def member(server: ServerProcess) -> Iterator[Callable[[str], LineSocket]]:
    """Lets members join that need no terminal."""
    with ExitStack() as sockets:

        def join(name: str) -> LineSocket:
            connection = sockets.enter_context(connect(server.port))
            connection.join(name)
            return connection

        yield join
