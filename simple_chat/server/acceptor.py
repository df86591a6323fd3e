"""Accept connections: enforce the connection limits, then start each connection, with TLS if configured."""

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

_RESERVED_DESCRIPTORS = 64
"""File descriptors for listeners, files, and refused connections that still read their error."""

_MIN_FLUSH_TIMEOUT = 1.0
"""Seconds that a TLS connection has at least to flush its last bytes."""


class Acceptor:
    """The listeners of a server, and the connections that are still in their handshake.

    Args:
        make_connection: makes the protocol of a connection that has a slot.
        settings: of the server.
        tls: for TCP connections; None for plain text.

    Attributes:
        tls: for TCP connections from now on. Unix sockets are always plain text.
    """

    def __init__(
        self, make_connection: Callable[[Slot], Connection], settings: Settings, tls: ssl.SSLContext | None
    ) -> None:
        self.tls = tls
        self._make_connection = make_connection
        self._settings = settings
        self._admission = Admission(_limit_clients(settings.max_clients), settings.max_per_ip)
        self._listeners: list[listeners.Listener] = []
        self._handshaking: set[asyncio.Task[None]] = set()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """The TCP host and port of every listener."""
        sockets = (listener.sock for listener in self._listeners)
        return [sock.getsockname()[:2] for sock in sockets if sock.family != socket.AF_UNIX]

    async def listen(self, host: str, port: int) -> None:
        """Listen on one more TCP address; nothing happens if it does already.

        Raises:
            ListenError: the address is in use, or not one of this machine.
        """
        self._listeners += await listeners.listen_tcp(
            self._on_accept,
            host,
            port,
            listening=self.addresses,
            stall_timeout=self._settings.stall_timeout,
            reuse_port=self._settings.reuse_port,
        )

    def listen_unix(self, path: str) -> None:
        """Listen on one more Unix socket.

        Raises:
            ListenError: another server listens there, or the path can't be used.
        """
        self._listeners.append(listeners.listen_unix(self._on_accept, path))

    def release(self, connection: Connection) -> None:
        """Release the slot of a connection, if it still has one."""
        if connection.slot is not None:
            self._admission.release(connection.slot)
            connection.slot = None

    async def close(self) -> None:
        """Stop listening, and cancel all handshakes."""
        while self._listeners:
            self._listeners.pop().close()
        for handshake in self._handshaking:
            handshake.cancel()
        await asyncio.gather(*self._handshaking, return_exceptions=True)

    def _on_accept(self, sock: socket.socket, host: str) -> None:
        slot = self._admission.acquire(network_of(host))
        if slot is None:
            logger.info("connection from %s closed: too many connections", host or "a Unix socket")
            sock.close()
            return
        handshake = asyncio.create_task(self._start_connection(self._make_connection(slot), sock))
        self._handshaking.add(handshake)
        handshake.add_done_callback(self._handshaking.discard)

    async def _start_connection(self, connection: Connection, sock: socket.socket) -> None:
        """Attach a connection to its socket; over TLS this includes the handshake."""
        tls = None if sock.family == socket.AF_UNIX else self.tls
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                lambda: connection, sock, ssl=tls, **({} if tls is None else self._tls_timeouts())
            )
        except OSError as error:
            # uvloop's error is empty when the client disconnects during the handshake.
            logger.info("handshake failed: %s", describe_error(error) or "the client disconnected")
            sock.close()
            self.release(connection)
        except BaseException:
            self.release(connection)
            raise

    def _tls_timeouts(self) -> dict[str, float]:
        # The shutdown includes flushing the write buffer, which may take as long as a drain.
        return {
            "ssl_handshake_timeout": HANDSHAKE_TIMEOUT,
            "ssl_shutdown_timeout": max(self._settings.drain, _MIN_FLUSH_TIMEOUT),
        }


def _limit_clients(requested: int | None) -> int:
    """Return how many clients can be admitted, as far as there are file descriptors for them."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        soft = sys.maxsize
    available = max(soft - _RESERVED_DESCRIPTORS, 1)
    if requested is None:
        return available
    if requested > available:
        logger.warning(
            "%d clients need more than %d file descriptors: limited to %d", requested, soft, available
        )
    return min(requested, available)
