"""A program in a tmux of its own: a terminal that reflows its rows when the window is resized."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Self

from tests.harness.programs import find_program
from tests.harness.screen import DEADLINE

_POLL_INTERVAL = 0.02  # seconds


class TmuxWindow:
    """A window of tmux that runs a program.

    Args:
        directory: for the socket.
        columns: the width of the window.
        command: the program and its arguments.
    """

    rows = 24

    def __init__(self, directory: Path, columns: int, *command: str) -> None:
        self._tmux = (find_program("tmux"), "-S", str(directory / "tmux"), "-f", os.devnull)
        self._columns = columns
        self._command = command

    def __enter__(self) -> Self:
        size = ("-x", str(self._columns), "-y", str(self.rows))
        options = ("set", "-g", "status", "off", ";", "set", "-g", "default-terminal", "screen-256color")
        self._run(*options, ";", "new-session", "-d", *size, *self._command)
        return self

    def __exit__(self, *_: object) -> None:
        self._run("kill-server")

    def press(self, keys: str) -> None:
        """Type a text without Enter."""
        self._run("send-keys", "-l", keys)

    def resize(self, *widths: int) -> None:
        """Give the window one width after another, in columns."""
        for columns in widths:
            self._run("resize-window", "-x", str(columns), "-y", str(self.rows))

    def shown(self) -> list[str]:
        """Return all rows with tmux's history, up to the last that is not empty."""
        return self._run("capture-pane", "-p", "-S", "-").rstrip("\n").split("\n")

    def wait_for(self, *rows: str) -> None:
        """Wait until these are the last rows."""
        self.wait_until(lambda: self.shown()[-len(rows) :] == [*rows])

    def wait_until(self, predicate: Callable[[], bool]) -> None:
        """Wait until a predicate is true."""
        deadline = monotonic() + DEADLINE
        while not predicate():
            assert monotonic() < deadline, f"not seen before the deadline: {self.shown()}"
            sleep(_POLL_INTERVAL)

    def _run(self, *command: str) -> str:
        environment = {name: value for name, value in os.environ.items() if name != "TMUX"}
        return subprocess.run(
            [*self._tmux, *command],
            check=True,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            env={**environment, "LC_ALL": "C.UTF-8"},
        ).stdout
