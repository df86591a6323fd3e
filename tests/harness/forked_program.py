"""Python programs that start at once: `tests.harness.fork_server` forks them.

All else is as with ``python -m MODULE``: arguments, environment, directory, descriptors, signals and the end.
"""

import atexit
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from io import FileIO
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen, TimeoutExpired
from threading import Lock
from typing import Self, cast

_ROOT = Path(__file__).parents[2]
_ONE_AT_A_TIME = Lock()


class ForkedProgram:
    """A program, with what `Popen` has of methods and attributes.

    Args:
        module: the module to run.
        arguments: of its command line.
        environment: its variables.
        stdin: a descriptor; PIPE for a pipe.
        stdout: the same; None for that of this process.
        stderr: a descriptor; PIPE for a pipe.
        has_terminal: whether its stdin is a terminal, to control it.

    Attributes:
        pid: the process.
        stdin: to write to, if it is a pipe.
        stdout: to read from, if it is a pipe.
        stderr: the same.
        returncode: its exit status, after `poll` or `wait`; None while it runs.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        stdin: int = DEVNULL,
        stdout: int | None = None,
        stderr: int = PIPE,
        has_terminal: bool = False,
    ) -> None:
        self.returncode: int | None = None
        self.stdin, input_ = _to(stdin)
        self.stdout, output = _from(1 if stdout is None else stdout)
        self.stderr, errors = _from(stderr)
        reader, status = os.pipe()
        self._status = FileIO(reader)
        request = {
            "module": module,
            "arguments": arguments,
            "environment": {**environment},
            "directory": str(Path.cwd()),
            "has_terminal": has_terminal,
        }
        with _ONE_AT_A_TIME:
            _fork_server().ask(request, [status, input_, output, errors])
            self.pid = int(self._status.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        self.wait()
        self._status.close()

    def poll(self) -> int | None:
        """Return the exit status; None while it runs."""
        try:
            return self.wait(0)
        except TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; return the exit status, or minus the number of the signal that ended it.

        Args:
            timeout: seconds; None for no limit.

        Raises:
            TimeoutExpired: it still runs.
        """
        if self.returncode is None:
            if not select.select([self._status], [], [], timeout)[0]:
                raise TimeoutExpired(f"process {self.pid}", cast("float", timeout))
            self.returncode = os.waitstatus_to_exitcode(int(self._status.readline()))
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def _to(where: int) -> tuple[FileIO | None, int]:
    """Return the writer of a pipe to stdin, if it is one, and the descriptor of stdin."""
    if where == PIPE:
        reader, writer = os.pipe()
        return FileIO(writer, "w"), reader
    return None, os.open(os.devnull, os.O_RDONLY) if where == DEVNULL else os.dup(where)


def _from(where: int) -> tuple[FileIO | None, int]:
    """Return the reader of a pipe from an output, if it is one, and the descriptor of the output."""
    if where == PIPE:
        reader, writer = os.pipe()
        return FileIO(reader), writer
    return None, os.dup(where)


class _ForkServer:
    """The process that forks; it ends with this one."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "tests.harness.fork_server", str(theirs.fileno())]
            self._process = Popen(command, stdin=DEVNULL, pass_fds=[theirs.fileno()], cwd=_ROOT)
        atexit.register(self._end)

    def ask(self, request: object, descriptors: Sequence[int]) -> None:
        """Send a request, and the descriptors of the program, which are closed here."""
        try:
            socket.send_fds(self._requests, [b"\n"], descriptors)
            self._requests.sendall(f"{json.dumps(request)}\n".encode())
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _end(self) -> None:
        self._requests.close()
        self._process.wait()


@cache
def _fork_server() -> _ForkServer:
    return _ForkServer()
