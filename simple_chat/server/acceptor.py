"""The door: where connections come in, are counted, and over TLS show who they are."""

import asyncio
import logging
import resource
import socket
import ssl
import sys
from collections.abc import Callable

from simple_chat.errors import describe_error
from simple_chat.server import listeners
from simple_chat.server.admission import Admission, Slot, network_of
from simple_chat.server.config import Settings
from simple_chat.server.connection import Connection
from simple_chat.tls import HANDSHAKE_TIMEOUT

logger = logging.getLogger(__name__)

_DESCRIPTORS_KEPT_BACK = 64
"""For listeners and files, and for those who are told that there is no room."""


class Door:
    """The door.

    Args:
        make: makes what handles a connection, which has its place.
        settings: of the server.
        tls: how to talk TLS; None for plain text.

    Attributes:
        tls: the same, for those who come from now on. Unix sockets are always plain.
    """

    def __init__(
        self, make: Callable[[Slot], Connection], settings: Settings, tls: ssl.SSLContext | None
    ) -> None:
        self.tls = tls
        self._make = make
        self._settings = settings
        self._admission = Admission(_max_clients(settings.max_clients), settings.max_per_ip)
        self._listeners: list[listeners.Listener] = []
        self._arriving: set[asyncio.Task[None]] = set()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Every TCP host and port that is listened on."""
        sockets = (listener.sock for listener in self._listeners)
        return [sock.getsockname()[:2] for sock in sockets if sock.family != socket.AF_UNIX]

    async def listen(self, host: str, port: int) -> None:
        """Listen on a TCP address as well.

        Raises:
            ListenError: it is taken, or no address of this machine.
        """
        self._listeners += await listeners.tcp(
            self._take_in,
            host,
            port,
            stall_timeout=self._settings.stall_timeout,
            reuse_port=self._settings.reuse_port,
        )

    def listen_unix(self, path: str) -> None:
        """Listen on a Unix socket as well.

        Raises:
            ListenError: another server listens there, or the path can't be used.
        """
        self._listeners.append(listeners.unix(self._take_in, path))

    def leave(self, connection: Connection) -> None:
        """Take back that a connection was counted."""
        if connection.place is not None:
            self._admission.leave(connection.place)
            connection.place = None

    async def close(self) -> None:
        """Stop listening, and give up those who are not in yet."""
        while self._listeners:
            self._listeners.pop().close()
        for each in self._arriving:
            each.cancel()
        await asyncio.gather(*self._arriving, return_exceptions=True)

    def _take_in(self, sock: socket.socket, host: str) -> None:
        place = self._admission.enter(network_of(host))
        if place is None:
            logger.info("a connection from %s is closed: there are too many", host or "a Unix socket")
            sock.close()
            return
        arriving = asyncio.create_task(self._open(self._make(place), sock))
        self._arriving.add(arriving)
        arriving.add_done_callback(self._arriving.discard)

    async def _open(self, connection: Connection, sock: socket.socket) -> None:
        """Begin a connection, which over TLS takes as long as the client's handshake."""
        tls = None if sock.family == socket.AF_UNIX else self.tls
        # At the end TLS flushes what is still to be written, for which it needs as long as a drain.
        flush = max(self._settings.drain, 1.0)
        patience = (
            {} if tls is None else {"ssl_handshake_timeout": HANDSHAKE_TIMEOUT, "ssl_shutdown_timeout": flush}
        )
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: connection, sock, ssl=tls, **patience)
        except OSError as error:
            # Some loops say nothing of a client that goes in the middle of a handshake.
            logger.info(
                "a connection failed before it began: %s", describe_error(error) or "the client is gone"
            )
            sock.close()
            self.leave(connection)
        except BaseException:
            self.leave(connection)
            raise


def _max_clients(wanted: int | None) -> int:
    """How many connections there may be."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        soft = sys.maxsize
    possible = max(soft - _DESCRIPTORS_KEPT_BACK, 1)
    if wanted is not None and wanted > possible:
        logger.warning("%d file descriptors are enough for %d clients, not for %d", soft, possible, wanted)
    return possible if wanted is None else min(wanted, possible)
