import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.harness.line_socket import FakeServer, LineSocket, connect
from tests.harness.programs import ServerProcess
from tests.harness.screen import Screen


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("SIMPLE_CHAT_") or name == "NO_COLOR"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("XTERM_VERSION", "XTerm(379)")  # pyte cuts rows, as xterm does
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def fake_server() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


RUN_CLIENT = """
import sys
from simple_chat.client.__main__ import main
sys.exit(main())
"""
"""The client, as a script that a test may prepend lines to."""


@pytest.fixture
def start() -> Iterator[Callable[..., Screen]]:
    """Starts clients with the given options, each on a terminal of its own, that retry quickly."""
    with ExitStack() as screens:
        yield lambda *options: screens.enter_context(
            Screen("tests.harness.quick_client", *options, forked=True)
        )


def connected(port: str, *names: str) -> str:
    """Return the line that a client shows when it has joined."""
    return f"* connected to 127.0.0.1:{port}; {len(names)} here: {', '.join(names)}; help lists commands"


@pytest.fixture
def join(server: ServerProcess, start: Callable[..., Screen]) -> Callable[..., Screen]:
    """Starts clients that join under a name, and waits for their prompt."""

    def join(name: str, *options: str) -> Screen:
        screen = start("--port", server.port, "--username", name, "--history", "0", *options)
        screen.wait_for(f"{name}>")
        return screen

    return join


@pytest.fixture
def member(server: ServerProcess) -> Iterator[Callable[[str], LineSocket]]:
    """Lets members without a terminal join."""
    with ExitStack() as sockets:

        def join(name: str) -> LineSocket:
            connection = sockets.enter_context(connect(server.port))
            connection.join(name)
            return connection

        yield join
