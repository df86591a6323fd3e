"""A server of this project to put under load, if nobody named one."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import cast

from simple_chat.bench.clients import allow_files
from simple_chat.bench.errors import LoadError
from simple_chat.bench.processors import apart

_PATIENCE = 20.0  # seconds that it may take to start, and to end


@dataclass(frozen=True, slots=True)
class Target:
    """The server under load.

    Attributes:
        host: its name or address.
        port: its TCP port.
        pid: its process, if its cost is to be measured.
    """

    host: str
    port: int
    pid: int | None = None


@asynccontextmanager
async def own_server(clients: int) -> AsyncIterator[Target]:
    """Run a server on a free port of this machine.

    Args:
        clients: how many will come: it inherits a limit of open files that is high enough.

    Raises:
        LoadError: it does not start.
    """
    allow_files(clients)
    command = [
        sys.executable,
        "-m",
        "simple_chat.server",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--rate",
        "0",
    ]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    log = cast("asyncio.StreamReader", process.stderr)  # it is a pipe
    try:
        host, port = await _listening(log)
        rest = asyncio.ensure_future(log.read())  # a full pipe would hold the server up
        try:
            with apart(process.pid):
                yield Target(host, port, process.pid)
        finally:
            rest.cancel()
    finally:
        await _end(process)


async def _listening(log: asyncio.StreamReader) -> tuple[str, int]:
    """Wait until it listens; the first line of its log tells where, or why not."""
    try:
        async with asyncio.timeout(_PATIENCE):
            line = (await log.readline()).decode(errors="replace").strip()
    except TimeoutError as error:
        raise LoadError("the server does not start") from error
    listening = re.search(r"listening on (\S+):(\d+)$", line)
    if not listening:
        raise LoadError(f"the server does not start: {line}")
    return listening[1], int(listening[2])


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):  # it ended by itself
        process.terminate()
    try:
        async with asyncio.timeout(_PATIENCE):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
