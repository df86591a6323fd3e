"""The server as a program, for asynchronous tests; `tests.harness.programs` has the one for all others."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.harness.peer import DEADLINE

_ROOT = Path(__file__).parents[2]


class AsyncServerProcess:
    """A server that runs as a program.

    Attributes:
        process: the program.
        address: its TCP address.
        log: what it logged above INFO.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.address = ("", 0)
        self.log: list[str] = []

    async def wait_until_listening(self) -> None:
        """Read the log up to the address."""
        async with asyncio.timeout(DEADLINE):
            while not self.address[1]:
                line = await self._read_line()
                assert line, "\n".join(self.log)
                if match := re.search(r"listening on (127\.0\.0\.1):(\d+)$", line):
                    self.address = (match[1], int(match[2]))

    async def read_log(self) -> None:
        """Read the log to its end."""
        while await self._read_line():
            pass

    async def _read_line(self) -> str:
        assert self.process.stderr
        line = (await self.process.stderr.readline()).decode()
        if line and " INFO " not in line and " more like this: " not in line:
            self.log.append(line.rstrip())
        return line.rstrip("\n")


@asynccontextmanager
async def run_async_server(*options: str) -> AsyncIterator[AsyncServerProcess]:
    """Run a server on a free port for the length of the block; then it is killed, unless it has exited."""
    command = (sys.executable, "-m", "simple_chat.server", "--port", "0", *options)
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE, cwd=_ROOT)
    server = AsyncServerProcess(process)
    try:
        await server.wait_until_listening()
        yield server
    finally:
        if process.returncode is None:
            process.kill()
        await server.read_log()
        await process.wait()
