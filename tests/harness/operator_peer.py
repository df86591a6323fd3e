"""An operator who talks to the admin socket of a server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from tests.harness.peer import DEADLINE, Peer


class Operator(Peer):
    """A connection to an admin socket."""

    async def order(self, line: str) -> list[str]:
        """Send a command, and return the lines of its answer, with the OK or ERR that ends it."""
        self.send(line)
        answer = [await self.line()]
        while not answer[-1].startswith(("OK ", "ERR ")):
            answer.append(await self.line())
        return answer


@contextlib.asynccontextmanager
async def operator(path: str) -> AsyncIterator[Operator]:
    """Connect an operator for the length of a block."""
    async with asyncio.timeout(DEADLINE):
        _, peer = await asyncio.get_running_loop().create_unix_connection(Operator, path)
    assert await peer.line() == "HELLO simple_chat-admin/1 HELP lists the commands"
    yield peer
    await peer.close()
