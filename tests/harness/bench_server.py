"""A chat server that makes the mistakes it is told to."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

Deliver = Callable[[int, int, bytes], bytes | None]
"""Given the number of a message, that of who gets it (the observer's is 0, that of client n is n + 1) and the
line, returns what is written; None ends the connection."""


class FakeServer(asyncio.Protocol):
    """One connection to it. Whoever says QUIT throws out client 1.

    Args:
        connections: all, by their number.
        deliver: makes the mistakes.
        said: all texts so far, but for start marks.
    """

    def __init__(self, connections: "dict[int, FakeServer]", deliver: Deliver, said: list[bytes]) -> None:
        self._all = connections
        self._deliver = deliver
        self._said = said
        self._torn = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        *lines, self._torn = (self._torn + data).split(b"\n")
        for line in lines:
            verb, _, argument = line.partition(b" ")
            if verb == b"JOIN":
                self._all[int(argument[4:], 16)] = self  # its name ends with its number
            elif verb == b"QUIT":
                self._all[2].transport.write(b"BYE\n")
                self._all[2].transport.close()
            elif argument.startswith(b"@"):
                self._said.append(argument)
                self._tell(argument, self._deliver)
            else:
                self._tell(argument, lambda _number, _to, line: line)

    def _tell(self, text: bytes, deliver: Deliver) -> None:
        for number, other in self._all.items():
            if other is not self:
                written = deliver(len(self._said) - 1, number, b"MSG name " + text + b"\n")
                if written is None:
                    other.transport.close()
                elif not other.transport.is_closing():
                    other.transport.write(written)


@asynccontextmanager
async def fake_server(deliver: Deliver) -> AsyncIterator[int]:
    """Run it, and return its port."""
    connections: dict[int, FakeServer] = {}
    said: list[bytes] = []
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: FakeServer(connections, deliver, said), "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        for each in connections.values():
            each.transport.close()
        listener.close()
        await listener.wait_closed()
