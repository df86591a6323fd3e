"""A bad network: a proxy that splits, delays, resets and half-closes what goes through it, by chance.

Chance is seeded for each connection and direction by itself, so that the same seed does the same to the same
bytes, whatever the others do.
"""

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import Enum, auto
from itertools import permutations

from tests.harness.peer import DEADLINE, Peer

_BUFFER = 4096  # bytes that are taken at a time: with a fault in each place, much must not be on its way


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What may happen.

    Attributes:
        split: bytes that a piece has at most; whatever comes is cut into pieces.
        delayed: share of the pieces that are late.
        delay: seconds that those are late at most.
        reset: share of the pieces that are lost because the connection is reset.
        ended_up: share of the pieces to the server that are lost because that direction is ended.
        ended_down: the same of those to the client, which are many more.
    """

    split: int = 64
    delayed: float = 0.05
    delay: float = 0.01
    reset: float = 0.002
    ended_up: float = 0.02
    ended_down: float = 0.001


class Hit(Enum):
    """What the proxy did to a connection."""

    CLIENT_RESET = auto()  # the server sees an end in order
    SERVER_RESET = auto()  # the client does
    BOTH_RESET = auto()
    CLIENT_HEARS_NO_MORE = auto()  # it sees the end of what the server says
    SERVER_HEARS_NO_MORE = auto()


_RESETS = (Hit.CLIENT_RESET, Hit.SERVER_RESET, Hit.BOTH_RESET)


class _ResetError(Exception):
    """The proxy resets a connection."""


class Link:
    """One connection through the proxy.

    Attributes:
        hit: what the proxy did to it; at most one thing.
        forwarded: every byte that was given to the kernel for the server.
    """

    def __init__(self, proxy: "Proxy", client: socket.socket, server: socket.socket) -> None:
        self.hit: Hit | None = None
        self.forwarded = bytearray()
        self._proxy = proxy
        self._client = client
        self._server = server

    async def run(self, seed: str) -> None:
        """Carry bytes both ways until both have ended."""
        both = [self._client, self._server]
        to_reset = both  # when somebody else resets it
        try:
            async with asyncio.TaskGroup() as group:
                for source, sink in permutations(both):
                    choice = random.Random(f"{seed} {'up' if sink is self._server else 'down'}")
                    group.create_task(self._carry(source, sink, choice))
        except* _ResetError:
            if self.hit is not Hit.BOTH_RESET:
                to_reset = [self._client if self.hit is Hit.CLIENT_RESET else self._server]
        except* OSError:
            pass
        else:
            to_reset = []
        finally:
            for sock in to_reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            for sock in both:
                sock.close()

    async def _carry(self, source: socket.socket, sink: socket.socket, choice: random.Random) -> None:
        loop, faults = asyncio.get_running_loop(), self._proxy.faults
        upwards = sink is self._server
        ended = False
        while data := await loop.sock_recv(source, _BUFFER):
            while data and not ended:
                size = choice.randint(1, faults.split)
                piece, data = data[:size], data[size:]
                if choice.random() < faults.delayed:
                    await asyncio.sleep(choice.uniform(0, faults.delay))
                if self._happens(choice, faults.reset):
                    self.hit = choice.choice(_RESETS)
                    raise _ResetError
                if self._happens(choice, faults.ended_up if upwards else faults.ended_down):
                    self.hit = Hit.SERVER_HEARS_NO_MORE if upwards else Hit.CLIENT_HEARS_NO_MORE
                    ended = True
                    sink.shutdown(socket.SHUT_WR)
                    break
                if upwards:
                    self.forwarded += piece
                await loop.sock_sendall(sink, piece)
        if not ended:
            sink.shutdown(socket.SHUT_WR)

    def _happens(self, choice: random.Random, share: float) -> bool:
        chance = choice.random() < share  # asked in any case: what comes later stays the same
        if not chance or self.hit is not None or self._proxy.calm:
            return False
        self._proxy.hits += 1
        return True


class Proxy:
    """Between clients and a server; `fault_proxy` runs one.

    Attributes:
        faults: what may happen.
        calm: whether nothing is reset and half-closed any more.
        hits: how many connections were.
    """

    def __init__(self, faults: Faults, seed: int) -> None:
        self.faults = faults
        self.calm = False
        self.hits = 0
        self._seed = seed
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._listener.setblocking(False)  # noqa: FBT003 - the signature is the socket's
        self._links: dict[int, asyncio.Future[Link]] = {}  # by the client's port

    @property
    def address(self) -> tuple[str, int]:
        """Where clients connect to."""
        host, port = self._listener.getsockname()
        return host, port

    async def link_of(self, peer: Peer) -> Link:
        """Wait until a peer's connection has come through."""
        port = peer.transport.get_extra_info("sockname")[1]
        async with asyncio.timeout(DEADLINE):
            link = await self._link(port)
        del self._links[port]
        return link

    async def accept(self, server: tuple[str, int]) -> None:
        """Let connections through to a server until it is cancelled."""
        loop = asyncio.get_running_loop()
        number = 0
        with self._listener:
            async with asyncio.TaskGroup() as group:
                while True:
                    client, (_, port) = await loop.sock_accept(self._listener)
                    group.create_task(self._let_through(client, port, server, f"{self._seed} {number}"))
                    number += 1

    async def _let_through(
        self, client: socket.socket, port: int, address: tuple[str, int], seed: str
    ) -> None:
        server = socket.socket()
        for sock in (client, server):
            sock.setblocking(False)  # noqa: FBT003
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # a piece is a packet
        with client, server:
            async with asyncio.timeout(DEADLINE):
                await asyncio.get_running_loop().sock_connect(server, address)
            link = Link(self, client, server)
            self._link(port).set_result(link)
            await link.run(seed)

    def _link(self, port: int) -> asyncio.Future[Link]:
        return self._links.setdefault(port, asyncio.get_running_loop().create_future())


@contextlib.asynccontextmanager
async def fault_proxy(server: tuple[str, int], faults: Faults, seed: int) -> AsyncIterator[Proxy]:
    """Run a proxy.

    Args:
        server: where it connects to.
        faults: what may happen.
        seed: of what does.
    """
    proxy = Proxy(faults, seed)
    accepting = asyncio.create_task(proxy.accept(server))
    try:
        yield proxy
    finally:
        accepting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await accepting
