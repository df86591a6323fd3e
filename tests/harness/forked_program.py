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
        stdout: PIPE for a pipe; None for that of this process.

    Attributes:
        pid: the process.
        stdout: to read from, if it is a pipe.
        stderr: to read from.
        returncode: its exit status, after `poll` or `wait`; None while it runs.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        stdout: int | None = None,
    ) -> None:
        self.returncode: int | None = None
        self.stdout: FileIO | None
        self.stdout, output = _pipe() if stdout == PIPE else (None, os.dup(1))
        self.stderr, errors = _pipe()
        self._status, status = _pipe()
        request = {
            "module": module,
            "arguments": arguments,
            "environment": {**environment},
            "directory": str(Path.cwd()),
        }
        with _ONE_AT_A_TIME:
            _fork_server().ask(request, [output, errors, status])
            self.pid = int(self._status.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stderr.close()
        if self.stdout is not None:
            self.stdout.close()
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


def _pipe() -> tuple[FileIO, int]:
    """Return the reader of a pipe, and the descriptor of its writer."""
    reader, writer = os.pipe()
    return FileIO(reader), writer


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
