"""A fault-injecting proxy: splits, delays, resets and half-closes connections at random.

Each connection and direction has its own random generator, so that a seed has the same effect on the same
bytes, independent of other connections.
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

_BUFFER = 4096  # bytes per read; small, to keep little data in flight when a fault occurs


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Probabilities and sizes of faults.

    Attributes:
        split: maximum size of a chunk in bytes; all data is split into chunks.
        delayed: share of the chunks that are delayed.
        delay: maximum delay of a chunk, in seconds.
        reset: share of the chunks that are lost by a connection reset.
        ended_up: share of the chunks to the server that are lost by a half-close of that direction.
        ended_down: the same for chunks to the client, of which there are many more.
    """

    split: int = 64
    delayed: float = 0.05
    delay: float = 0.01
    reset: float = 0.002
    ended_up: float = 0.02
    ended_down: float = 0.001


class Hit(Enum):
    """A fault that the proxy injected into a connection."""

    CLIENT_RESET = auto()  # the server sees an EOF
    SERVER_RESET = auto()  # the client sees an EOF
    BOTH_RESET = auto()
    DOWNSTREAM_CLOSED = auto()  # the client sees an EOF from the server
    UPSTREAM_CLOSED = auto()


_RESETS = (Hit.CLIENT_RESET, Hit.SERVER_RESET, Hit.BOTH_RESET)


class _ResetError(Exception):
    """Raised to reset a connection."""


class Link:
    """One connection through the proxy.

    Attributes:
        hit: the fault injected into it; at most one.
        forwarded: all bytes forwarded to the server.
    """

    def __init__(self, proxy: "Proxy", client: socket.socket, server: socket.socket) -> None:
        self.hit: Hit | None = None
        self.forwarded = bytearray()
        self._proxy = proxy
        self._client = client
        self._server = server

    async def run(self, seed: str) -> None:
        """Forward bytes in both directions until both have ended."""
        both = [self._client, self._server]
        to_reset = both  # if an endpoint resets the connection
        try:
            async with asyncio.TaskGroup() as group:
                for source, sink in permutations(both):
                    rng = random.Random(f"{seed} {'up' if sink is self._server else 'down'}")
                    group.create_task(self._forward(source, sink, rng))
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

    async def _forward(self, source: socket.socket, sink: socket.socket, rng: random.Random) -> None:
        loop, faults = asyncio.get_running_loop(), self._proxy.faults
        upwards = sink is self._server
        ended = False
        while data := await loop.sock_recv(source, _BUFFER):
            while data and not ended:
                size = rng.randint(1, faults.split)
                chunk, data = data[:size], data[size:]
                if rng.random() < faults.delayed:
                    await asyncio.sleep(rng.uniform(0, faults.delay))
                if self._inject(rng, faults.reset):
                    self.hit = rng.choice(_RESETS)
                    raise _ResetError
                if self._inject(rng, faults.ended_up if upwards else faults.ended_down):
                    self.hit = Hit.UPSTREAM_CLOSED if upwards else Hit.DOWNSTREAM_CLOSED
                    ended = True
                    sink.shutdown(socket.SHUT_WR)
                    break
                if upwards:
                    self.forwarded += chunk
                await loop.sock_sendall(sink, chunk)
        if not ended:
            sink.shutdown(socket.SHUT_WR)

    def _inject(self, rng: random.Random, share: float) -> bool:
        drawn = rng.random() < share  # always drawn: later draws must not depend on the state
        if not drawn or self.hit is not None or self._proxy.faults_disabled:
            return False
        self._proxy.hits += 1
        return True


class Proxy:
    """A proxy between clients and a server; use `fault_proxy` to run one.

    Attributes:
        faults: the faults to inject.
        faults_disabled: whether to stop injecting resets and half-closes.
        hits: number of connections reset or half-closed.
    """

    def __init__(self, faults: Faults, seed: int) -> None:
        self.faults = faults
        self.faults_disabled = False
        self.hits = 0
        self._seed = seed
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._listener.setblocking(False)  # noqa: FBT003 - the signature is the socket's
        self._links: dict[int, asyncio.Future[Link]] = {}  # keyed by the client's port

    @property
    def address(self) -> tuple[str, int]:
        """The address that clients connect to."""
        host, port = self._listener.getsockname()
        return host, port

    async def link_of(self, peer: Peer) -> Link:
        """Wait until a peer is connected to the server; return its link."""
        port = peer.transport.get_extra_info("sockname")[1]
        async with asyncio.timeout(DEADLINE):
            link = await self._link_future(port)
        del self._links[port]
        return link

    async def accept(self, server: tuple[str, int]) -> None:
        """Accept connections and forward them to a server, until cancelled."""
        loop = asyncio.get_running_loop()
        number = 0
        with self._listener:
            async with asyncio.TaskGroup() as group:
                while True:
                    client, (_, port) = await loop.sock_accept(self._listener)
                    group.create_task(
                        self._forward_connection(client, port, server, f"{self._seed} {number}")
                    )
                    number += 1

    async def _forward_connection(
        self, client: socket.socket, port: int, address: tuple[str, int], seed: str
    ) -> None:
        server = socket.socket()
        for sock in (client, server):
            sock.setblocking(False)  # noqa: FBT003
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # send each chunk as a packet
        with client, server:
            async with asyncio.timeout(DEADLINE):
                await asyncio.get_running_loop().sock_connect(server, address)
            link = Link(self, client, server)
            self._link_future(port).set_result(link)
            await link.run(seed)

    def _link_future(self, port: int) -> asyncio.Future[Link]:
        return self._links.setdefault(port, asyncio.get_running_loop().create_future())


@contextlib.asynccontextmanager
async def fault_proxy(server: tuple[str, int], faults: Faults, seed: int) -> AsyncIterator[Proxy]:
    """Run a fault-injecting proxy.

    Args:
        server: the address it connects to.
        faults: the faults to inject.
        seed: of the random generators.
    """
    proxy = Proxy(faults, seed)
    accepting = asyncio.create_task(proxy.accept(server))
    try:
        yield proxy
    finally:
        accepting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await accepting
