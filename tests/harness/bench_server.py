"""A chat server with planted faults, for tests of the load generator."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

Deliver = Callable[[int, int, bytes], bytes | None]
"""Takes a message's number, its receiver (0 is the observer, n + 1 is client n) and its line, and returns the
bytes to write; None closes the receiver's connection."""


class FaultyServer(asyncio.Protocol):
    """One connection of the server. QUIT from anybody disconnects client 1.

    Args:
        connections: all connections, by number.
        deliver: plants the faults.
        texts: all texts so far, without sync markers.
    """

    def __init__(self, connections: "dict[int, FaultyServer]", deliver: Deliver, texts: list[bytes]) -> None:
        self._connections = connections
        self._deliver = deliver
        self._texts = texts
        self._incomplete = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        *lines, self._incomplete = (self._incomplete + data).split(b"\n")
        for line in lines:
            verb, _, argument = line.partition(b" ")
            if verb == b"JOIN":
                self._connections[int(argument[4:], 16)] = self  # its name ends with its number
            elif verb == b"QUIT":
                self._connections[2].transport.write(b"BYE\n")
                self._connections[2].transport.close()
            elif argument.startswith(b"@"):
                self._texts.append(argument)
                self._broadcast(argument, self._deliver)
            else:
                self._broadcast(argument, lambda _number, _to, line: line)

    def _broadcast(self, text: bytes, deliver: Deliver) -> None:
        for number, other in self._connections.items():
            if other is not self:
                written = deliver(len(self._texts) - 1, number, b"MSG name " + text + b"\n")
                if written is None:
                    other.transport.close()
                elif not other.transport.is_closing():
                    other.transport.write(written)


@asynccontextmanager
async def run_faulty_server(deliver: Deliver) -> AsyncIterator[int]:
    """Run the server for the length of the block, and return its port."""
    connections: dict[int, FaultyServer] = {}
    texts: list[bytes] = []
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: FaultyServer(connections, deliver, texts), "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        for each in connections.values():
            each.transport.close()
        listener.close()
        await listener.wait_closed()
