"""The server's life: it listens, gives everybody their turn, and ends in order."""

import asyncio
import contextlib
import logging
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from itertools import chain

from simple_chat.address import DEFAULT_HOST, DEFAULT_PORT, show_address
from simple_chat.room import Room
from simple_chat.server import listeners
from simple_chat.server.connection import Connection
from simple_chat.server.settings import Settings

logger = logging.getLogger(__name__)

_CUT_TAKES = 1.0  # seconds, at most, until the event loop has told of connections that were cut


class Server:
    """A room and those connected to it. `serve` makes one that listens.

    Attributes:
        room: the room.
        settings: how it was set up.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.room = Room(
            backlog=settings.backlog, history=settings.history, presence_limit=settings.presence_limit
        )
        self._listeners: list[asyncio.Server] = []
        self._connections: set[Connection] = set()
        self._waiting: dict[Connection, None] = {}  # for their turn, first come first
        self._turn_is_due = False
        self._change = asyncio.Event()  # a connection is gone

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Every TCP host and port that it listens on."""
        sockets = chain.from_iterable(listener.sockets for listener in self._listeners)
        return [sock.getsockname()[:2] for sock in sockets if sock.family != socket.AF_UNIX]

    @property
    def address(self) -> tuple[str, int]:
        """The host and port that it listens on; the first if there are more."""
        return self.addresses[0]

    # What connections ask for

    def add(self, connection: Connection) -> None:
        """Take note of a connection."""
        self._connections.add(connection)
        if self.room.closed:
            self._dismiss(connection)

    def remove(self, connection: Connection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)
        self._waiting.pop(connection, None)
        self._call_for_turn()  # to tell the others
        self._change.set()

    def schedule(self, connection: Connection) -> None:
        """Give a connection its turn soon."""
        self._waiting[connection] = None
        self._call_for_turn()

    def _call_for_turn(self) -> None:
        if not self._turn_is_due:
            self._turn_is_due = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Take the lines of all who wait, hand them out as one batch, then write what else is due."""
        self._turn_is_due = False
        waiting, self._waiting = deque(self._waiting), {}
        served: list[Connection] = []
        while waiting and not self.room.full:
            connection = waiting.popleft()
            served.append(connection)
            self._guard(connection, connection.session.take)
        if batch := self.room.close_batch(time.time()):
            self.room.hand_out(batch)
        for connection in chain(waiting, served):  # whoever found the batch full comes first next time
            if self._guard(connection, connection.settle):
                self.schedule(connection)

    def _guard(self, connection: Connection, step: Callable[[], bool | None]) -> bool:
        """Take a step for one connection; if that fails, the others go on without it."""
        try:
            return bool(step())
        except Exception:
            logger.exception("%s failed and is cut", connection)
            connection.abort()
            return False

    # Its life

    async def listen(self, host: str, port: int) -> None:
        """Listen on a TCP address as well.

        Raises:
            ListenError: it is taken, or no address of this machine.
        """
        self._listeners.append(await listeners.tcp(lambda: Connection(self), host, port))

    async def listen_unix(self, path: str) -> None:
        """Listen on a Unix socket as well.

        Raises:
            ListenError: another server listens there, or the path can't be used.
        """
        self._listeners.append(await listeners.unix(lambda: Connection(self), path))

    async def close(self) -> None:
        """Take no more lines, let everybody have what was said and a BYE, and cut who takes too long."""
        for listener in self._listeners:
            listeners.close(listener)
        self.room.closed = True
        for connection in self._connections:
            self._dismiss(connection)
        with contextlib.suppress(TimeoutError):
            await self._wait_until_empty(self.settings.drain)
        self.cut()
        with contextlib.suppress(TimeoutError):
            await self._wait_until_empty(_CUT_TAKES)

    def cut(self) -> None:
        """End every connection at once."""
        for connection in self._connections:
            connection.abort()

    def _dismiss(self, connection: Connection) -> None:
        connection.session.end("shutdown")
        self.schedule(connection)

    async def _wait_until_empty(self, seconds: float) -> None:
        async with asyncio.timeout(seconds):
            while self._connections:
                self._change.clear()
                await self._change.wait()


@contextlib.asynccontextmanager
async def serve(
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    *,
    unix: str | None = None,
    settings: Settings | None = None,
) -> AsyncIterator[Server]:
    """Run a server for the length of an ``async with`` block; leaving it ends the server in order.

    Args:
        host: name or address to listen on.
        port: TCP port to listen on; 0 for a free one, which `Server.address` tells.
        unix: path of a Unix socket to listen on as well.
        settings: what else can be set.

    Raises:
        ListenError: it can't listen where it should.
    """
    server = Server(settings or Settings())
    try:
        await server.listen(host, port)
        if unix is not None:
            await server.listen_unix(unix)
        for address in server.addresses:
            logger.info("listening on %s", show_address(*address))
        if unix is not None:
            logger.info("listening on unix:%s", unix)
        yield server
    finally:
        await server.close()
