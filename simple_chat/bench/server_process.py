"""The server under load: a running one, or one of this project started for the run."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import cast

from simple_chat.bench.affinity import pin_apart
from simple_chat.bench.clients import raise_file_limit
from simple_chat.bench.errors import LoadError

_TIMEOUT = 20.0  # seconds for the start, and for the end
_OPTIONS = ("--host", "127.0.0.1", "--port", "0", "--rate", "0")


@dataclass(frozen=True, slots=True)
class Target:
    """The server under load.

    Attributes:
        host: its name or address.
        port: its TCP port.
        pid: its process, if its CPU time and memory are to be measured.
    """

    host: str
    port: int
    pid: int | None = None


@asynccontextmanager
async def run_server(clients: int) -> AsyncIterator[Target]:
    """Run a server on a free port, on processors of its own, for the length of the block.

    Args:
        clients: number of clients that its limit of open files must allow.

    Raises:
        LoadError: it does not start.
    """
    raise_file_limit(clients)
    command = (sys.executable, "-m", "simple_chat.server", *_OPTIONS)
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    log = cast("asyncio.StreamReader", process.stderr)
    try:
        host, port = await _read_address(log)
        drain = asyncio.ensure_future(log.read())  # a full pipe would block the server
        try:
            with pin_apart(process.pid):
                yield Target(host, port, process.pid)
        finally:
            drain.cancel()
    finally:
        await _stop(process)


async def _read_address(log: asyncio.StreamReader) -> tuple[str, int]:
    """Return the address in the first line of the log, which otherwise is the reason of a failed start."""
    try:
        async with asyncio.timeout(_TIMEOUT):
            line = (await log.readline()).decode(errors="replace").strip()
    except TimeoutError as error:
        raise LoadError(f"the server did not start within {_TIMEOUT:g} s") from error
    listening = re.search(r"listening on (\S+):(\d+)$", line)
    if not listening:
        raise LoadError(f"the server did not start: {line}")
    return listening[1], int(listening[2])


async def _stop(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):  # it has ended
        process.terminate()
    try:
        async with asyncio.timeout(_TIMEOUT):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
