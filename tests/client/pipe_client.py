"""The client as a process with pipes."""

import asyncio
import contextlib
import os
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from tests.harness.forked_process import ForkedProcess
from tests.harness.peer import Peer, connect
from tests.harness.programs import ServerProcess

DEADLINE = 60.0
"""Seconds that a process may run before the test fails. None runs this long when all is well."""

CLIENT = (sys.executable, "-m", "simple_chat.client")
"""The client: without a shell before it, it is forked, which is sooner done."""

EXEC = 'exec "$@"'
"""The shell script that starts the client as users do."""

JOIN_SEND_LEAVE = ["JOINED bot", "MSG bot hi", "LEFT bot"]
"""What others see of a client that joins as bot, sends hi and leaves."""

# Prints the peak memory in KiB at the end. The rusage of a child process would include what the process
# was before exec.
_MEASURE = """
import re, sys
from pathlib import Path
from simple_chat.client.__main__ import main

status = main()
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
sys.exit(status)
"""
MEASURED_CLIENT = (sys.executable, "-c", _MEASURE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The exit status of a process, and its output that was not read before."""

    status: int
    stdout: str = ""
    stderr: str = ""


@contextlib.asynccontextmanager
async def run_process(*command: str, **variables: str) -> AsyncIterator[Process | ForkedProcess]:
    """Run a process in a block with a deadline; it is killed at the end.

    Args:
        command: its arguments.
        variables: its environment, beside the test's without variables that matter.
    """
    ignored = ("SIMPLE_CHAT_", "PYTHONUNBUFFERED")  # unbuffered output would hide a missing flush
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ignored)}
    async with asyncio.timeout(DEADLINE):
        process = await _start(command, inherited | variables)
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()


async def _start(command: Sequence[str], environment: Mapping[str, str]) -> Process | ForkedProcess:
    if tuple(command[: len(CLIENT)]) == CLIENT:
        return await ForkedProcess.start("simple_chat.client", command[len(CLIENT) :], environment)
    return await asyncio.create_subprocess_exec(
        *command, env=environment, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )


def client_command(
    server: ServerProcess, *options: str, script: str | None = None, program: tuple[str, ...] = CLIENT
) -> tuple[str, ...]:
    """Return the command of a client that joins as bot.

    Args:
        server: the server.
        options: more options of the client.
        script: a shell script that runs the client as ``"$@"``, if one is to.
        program: the client.
    """
    shell = () if script is None else ("/bin/sh", "-c", script, "sh")
    return *shell, *program, "--port", server.port, "--username", "bot", *options


async def wait_for_outcome(process: Process | ForkedProcess) -> Outcome:
    """Wait until a process exits."""
    stdout, stderr = (
        cast("asyncio.StreamReader", process.stdout),
        cast("asyncio.StreamReader", process.stderr),
    )
    out, err, status = await asyncio.gather(stdout.read(), stderr.read(), process.wait())
    assert b"Traceback" not in err, err.decode()
    return Outcome(status, out.decode(), err.decode())


async def run(*command: str, data: bytes = b"", **variables: str) -> Outcome:
    """Run a process with data as its whole input, and wait until it exits."""
    async with run_process(*command, **variables) as process:
        write(process, data)
        assert process.stdin is not None
        process.stdin.close()
        return await wait_for_outcome(process)


def write(process: Process | ForkedProcess, data: bytes) -> None:
    """Write to the stdin of a process."""
    assert process.stdin is not None
    process.stdin.write(data)


async def read_line(stream: asyncio.StreamReader | None) -> str:
    """Read a line of the output of a process."""
    assert stream is not None
    return (await stream.readline()).decode()


def assert_error(outcome: Outcome, status: int, message: str) -> None:
    """Check that a process failed with one line on stderr and nothing on stdout."""
    assert (outcome.status, outcome.stdout) == (status, "")
    assert re.fullmatch(f".*{re.escape(message)}.*\n", outcome.stderr)  # a dot matches no line end


@contextlib.asynccontextmanager
async def joined_peer(server: ServerProcess, name: str) -> AsyncIterator[Peer]:
    """Join without the client."""
    peer = await connect((server.host, int(server.port)))
    await peer.line()
    assert await peer.ask(f"JOIN {name}") == [f"OK JOIN {name}"]
    yield peer
    if not peer.closed:
        peer.send("QUIT")
    await peer.rest()
