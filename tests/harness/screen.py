"""A program on a pseudo terminal whose output is drawn by an emulator (pyte)."""

import fcntl
import os
import re
import sys
import termios
from collections.abc import Callable
from select import select
from subprocess import Popen
from time import monotonic
from typing import Self

import pyte
from wcwidth import wcwidth

from tests.harness.forked_program import ForkedProgram

DEADLINE = 20.0
"""Seconds after which a test stops waiting. Nothing waits this long when all is well."""

CLIENT = (sys.executable, "-m", "simple_chat.client")

UP = "\x1b[A"
LEFT = "\x1b[D"
INTERRUPT = "\x03"
END = "\x04"
SEARCH = "\x12"

HARMFUL = re.compile(
    r"\x1b(?!\[[?0-9;]*[A-Za-z])|\x1b\[2?[HJ]\x1b\[H"
    r"|[\x00-\x07\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)
"""What the client never writes: its own output is text, CSI sequences and backspaces."""

_ROWS, _COLUMNS = 24, 80
_SCROLLBACK = 10_000  # rows
_TIME = re.compile(r"(\d{4}-\d\d-\d\d )?\d\d:\d\d ")


def wrapped(line: str, columns: int = _COLUMNS) -> list[str]:
    """Return the rows of a line on the terminal."""
    rows, used = [""], 0
    for char in line:
        if used + wcwidth(char) > columns:
            rows.append("")
            used = 0
        rows[-1] += char
        used += wcwidth(char)
    return [row.rstrip() for row in rows]


def timed(line: str, columns: int = _COLUMNS) -> list[str]:
    """Return the rows of a line behind the time, which `Screen.rows` leaves out."""
    first, *rest = wrapped(f"00:00 {line}", columns)
    return [first.removeprefix("00:00 "), *rest]


def _start(terminal: int, *command: str) -> Popen[bytes]:
    """Start a program that controls a terminal."""
    return Popen(
        command,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - it takes no lock
    )


def _fork(terminal: int, module: str, *arguments: str) -> ForkedProgram:
    """Fork a module that controls a terminal."""
    return ForkedProgram(
        module,
        arguments,
        os.environ,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        has_terminal=True,
    )


class Screen:
    """A terminal that runs a program.

    Args:
        command: the command of the program.
        forked: whether that is a Python module with its arguments, to be forked, which is sooner done.

    Attributes:
        process: the program.
        raw: the whole output so far.
    """

    def __init__(self, *command: str, forked: bool = False) -> None:
        self._terminal, theirs = os.openpty()
        termios.tcsetwinsize(theirs, (_ROWS, _COLUMNS))
        self._modes_at_start = self._modes()
        self.process = _fork(theirs, *command) if forked else _start(theirs, *command)
        os.close(theirs)
        self.raw = bytearray()
        self._drawn = 0  # bytes of `raw`: drawn on demand, because drawing is slow
        self._screen = pyte.HistoryScreen(_COLUMNS, _ROWS, history=_SCROLLBACK)
        self._stream = pyte.ByteStream(self._screen)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self.process:
            try:
                if self.process.poll() is None:
                    self.process.terminate()
                    self._read_all()
                self.hang_up()
                self.process.wait(DEADLINE)
            finally:
                self.process.kill()

    # Input

    def type(self, *lines: str) -> None:
        """Type lines and press Enter after each."""
        self.press(*(f"{line}\r" for line in lines))

    def press(self, *keys: str) -> None:
        """Press keys, or type text without Enter."""
        self.press_bytes("".join(keys).encode())

    def press_bytes(self, keys: bytes) -> None:
        """Press keys, each of which may be any byte."""
        os.write(self._terminal, keys)

    def paste(self, *lines: str) -> None:
        """Paste lines by bracketed paste."""
        self.press("\x1b[200~", "\r".join(lines), "\x1b[201~")

    def resize(self, rows: int, columns: int) -> None:
        """Resize the window."""
        self._draw()
        self._screen.resize(rows, columns)
        termios.tcsetwinsize(self._terminal, (rows, columns))

    def hang_up(self) -> None:
        """Close the terminal."""
        if self._terminal >= 0:
            os.close(self._terminal)
            self._terminal = -1

    # Output

    def rows(self) -> list[str]:
        """Return all rows with the scrollback, up to the last that is not empty, without the times."""
        self._draw()
        columns = range(self._screen.columns)
        scrolled = ["".join(line[x].data for x in columns) for line in self._screen.history.top]
        return [_TIME.sub("", row.rstrip(), count=1) for row in scrolled + self._visible_rows()]

    def _visible_rows(self) -> list[str]:
        return "\n".join(row.rstrip() for row in self._screen.display).rstrip("\n").split("\n")

    def wait_for(self, *rows: str) -> None:
        """Wait until these are the last rows."""
        self.wait_until(lambda: self.rows()[-len(rows) :] == [*rows])

    def wait_until(self, predicate: Callable[[], bool]) -> None:
        """Wait for the output that makes a predicate true."""
        deadline = monotonic() + DEADLINE
        while not predicate():
            assert self._read(deadline), f"not seen before the deadline or the end: {self.rows()[-_ROWS:]}"

    def wait_for_output(self) -> None:
        """Wait for more output."""
        assert self._read(monotonic() + DEADLINE)

    def wait_for_exit(self) -> int:
        """Wait until the program exits, and return its status."""
        self._read_all()
        return self.process.wait(DEADLINE)

    def is_restored(self) -> bool:
        """Return whether the modes of the terminal are those before the program."""
        pasting = re.findall(rb"\x1b\[\?2004([hl])", self.raw)
        return self._modes() == self._modes_at_start and pasting[-1:] != [b"h"]

    def _modes(self) -> list[object]:
        return termios.tcgetattr(self._terminal)

    def _read(self, deadline: float) -> bool:
        """Read more output; return False at its end or the deadline."""
        if self._terminal < 0 or not select([self._terminal], [], [], max(0.0, deadline - monotonic()))[0]:
            return False
        try:
            self.raw += os.read(self._terminal, 65536)
        except OSError:  # the program has closed it
            return False
        return True

    def _read_all(self) -> None:
        """Read the output up to its end or the deadline."""
        deadline = monotonic() + DEADLINE
        while self._read(deadline):
            pass

    def _draw(self) -> None:
        self._stream.feed(bytes(self.raw[self._drawn :]))
        self._drawn = len(self.raw)
