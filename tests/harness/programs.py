"""The programs that end-to-end tests run: the server, and those that people connect with."""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import StringIO
from itertools import count
from subprocess import PIPE, CompletedProcess, Popen, run
from typing import Self

import pexpect
import pytest
from pexpect.fdpexpect import fdspawn

from tests.harness.forked_program import ForkedProgram

DEADLINE = 10.0
"""Seconds after which a test stops waiting for a program."""

_PLAIN_SERVER = (sys.executable, "-m", "simple_chat.server")
_SERVER = _PLAIN_SERVER
"""What tests replace to start a server in another way; unless they do, it is forked, which is sooner done."""


def find_program(name: str) -> str:
    """Return the path of a program; skip the test without it, but fail in CI on Linux."""
    path = shutil.which(name)
    if path is None:
        required = os.environ.get("CI") == "true" and sys.platform == "linux"
        give_up = pytest.fail if required else pytest.skip
        give_up(f"{name} is not installed")
    return path


class Terminal:
    """A program on a terminal, that is connected to the server and prints its lines."""

    def __init__(self, command: str, *arguments: str) -> None:
        self.child = pexpect.spawn(
            command,
            [*arguments],
            echo=False,
            encoding="utf-8",
            timeout=DEADLINE,
            maxread=65536,
        )
        self.child.delaybeforesend = None
        self.child.ptyproc.delayafterclose = 0.01  # type: ignore[attr-defined] # seconds
        self._numbers = count()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.child.close()

    def type(self, *lines: str) -> None:
        for line in lines:
            self.child.sendline(line)

    def wait_for(self, line: str) -> list[str]:
        """Read up to a line, and return the lines before it."""
        self.child.expect_exact(f"{line}\r\n")
        return str(self.child.before).split("\r\n")[:-1]

    def barrier(self) -> list[str]:
        """Wait until the server has carried out what was typed; return the lines since the last call."""
        token = f"barrier-{next(self._numbers)}"
        self.type(f"PING {token}")
        return self.wait_for(f"PONG {token}")


class ServerProcess:
    """A server in a process of its own.

    Attributes:
        process: the process.
        log: its stderr.
        host: where it listens.
        port: the same.
        status: the exit status that is expected of it.
    """

    status = 0

    def __init__(self, process: Popen[bytes] | ForkedProgram, terminals: ExitStack) -> None:
        assert process.stderr is not None
        self.process = process
        self.log = fdspawn(process.stderr, encoding="utf-8", timeout=DEADLINE)
        self.log.logfile_read = self._logged = StringIO()
        self.log.expect(r"listening on (\S+):(\d+)[\"}]*\n")
        found = self.log.match
        assert isinstance(found, re.Match)
        self.host, self.port = found[1], found[2]
        self._terminals = terminals

    @property
    def metrics_address(self) -> tuple[str, int]:
        """Where it answers for metrics and health."""
        found = re.search(r"metrics at http://(.+):(\d+)/metrics\n", self._logged.getvalue())
        assert found
        return found[1], int(found[2])

    def nc(self, *where: str) -> Terminal:
        """Connect nc, and read its HELLO.

        Args:
            where: nc's arguments; the server's TCP address without any.
        """
        arguments = where or (self.host, self.port)
        terminal = self._terminals.enter_context(Terminal(find_program("nc.openbsd"), *arguments))
        terminal.child.expect("HELLO simple_chat/1 .*\r\n")
        return terminal

    def join(self, name: str, *where: str) -> Terminal:
        """Connect nc and join."""
        terminal = self.nc(*where)
        terminal.type(f"JOIN {name}")
        assert terminal.barrier() == [f"OK JOIN {name}"]
        return terminal

    def pipe(self, data: bytes, *options: str) -> bytes:
        """Send data by ``nc -N``, as a script does, and return nc's output when it has ended."""
        command = [find_program("nc.openbsd"), "-N", *options, self.host, self.port]
        return run(command, input=data, stdout=PIPE, timeout=DEADLINE, check=True).stdout

    def stop(self) -> str:
        """Stop the server if it still runs, check its exit status, and return everything it has logged."""
        self.process.terminate()
        return self.wait()

    def wait(self) -> str:
        """Wait for the end, check the exit status, and return everything that the server has logged."""
        assert self.process.wait(DEADLINE) == self.status
        self.log.expect(pexpect.EOF)
        assert "Traceback" not in self._logged.getvalue()
        return self._logged.getvalue()


@contextmanager
def run_server_process(*options: str, **variables: str) -> Iterator[ServerProcess]:
    """Run a server without a rate limit on a free port, and check its exit status at the end.

    Args:
        options: of its command line.
        variables: of its environment.
    """
    with _start("--port", "0", "--rate", "0", *options, variables=variables) as process:
        try:
            with ExitStack() as terminals:
                server = ServerProcess(process, terminals)
                yield server
            server.stop()
        finally:
            process.kill()


def run_server_to_exit(*options: str, **variables: str) -> CompletedProcess[str]:
    """Run a server that is expected to exit by itself."""
    return _run_to_exit(_start(*options, variables=variables, stdout=PIPE))


def run_module_to_exit(module: str, *arguments: str) -> CompletedProcess[str]:
    """Run ``python -m MODULE``, which is expected to exit by itself."""
    return _run_to_exit(ForkedProgram(module, arguments, os.environ, stdout=PIPE))


def _run_to_exit(process: Popen[bytes] | ForkedProgram) -> CompletedProcess[str]:
    """Return what a program writes, which is less than a pipe holds."""
    with process:
        try:
            status = process.wait(DEADLINE)
            assert process.stdout is not None
            assert process.stderr is not None
            output, errors = process.stdout.read().decode(), process.stderr.read().decode()
            return CompletedProcess((), status, output, errors)
        finally:
            process.kill()


def _start(
    *options: str, variables: dict[str, str], stdout: int | None = None
) -> Popen[bytes] | ForkedProgram:
    """Start a server."""
    environment = _environment(variables)
    if _SERVER is _PLAIN_SERVER:
        return ForkedProgram("simple_chat.server", options, environment, stdout=stdout)
    return Popen([*_SERVER, *options], env=environment, stdout=stdout, stderr=PIPE)


def _environment(variables: dict[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SIMPLE_CHAT_")}
    return inherited | variables
