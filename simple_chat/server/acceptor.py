"""Accept connections: enforce the connection limits, then start each connection, with TLS if configured."""

import asyncio
import logging
import resource
import socket
import ssl
import sys
from collections.abc import Callable
from functools import partial

from simple_chat.address import host_of
from simple_chat.core.network import network_of
from simple_chat.core.room import Room
from simple_chat.errors import describe_error
from simple_chat.server import listeners
from simple_chat.server.admission import MAX_CLIENTS_OPTION, Admission, Slot
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
        make_connection: makes the protocol of a connection that has a slot, from an address.
        settings: of the server.
        tls: for TCP connections; None for plain text.
        room: whose bans are enforced, and whose counters count what is accepted and what is not.

    Attributes:
        admission: how many connections there are, and may be.
        tls: for TCP connections from now on. Unix sockets are always plain text.
    """

    def __init__(
        self,
        make_connection: Callable[[Slot, str], Connection],
        settings: Settings,
        tls: ssl.SSLContext | None,
        room: Room,
    ) -> None:
        self.tls = tls
        self._bans = room.bans
        self._make_connection = make_connection
        self._settings = settings
        max_clients, source = _limit_clients(settings.max_clients)
        self.admission = Admission(max_clients, settings.max_per_ip, room.counters, source=source)
        self._listeners: list[listeners.Listener] = []
        self._starting: dict[asyncio.Task[None], bool] = {}  # and whether it takes a TLS handshake

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """The TCP host and port of every listener."""
        sockets = (listener.sock for listener in self._listeners)
        return [sock.getsockname()[:2] for sock in sockets if sock.family != socket.AF_UNIX]

    @property
    def endpoints(self) -> list[str]:
        """Where every listener is, Unix sockets too."""
        return [listeners.endpoint_of(listener.sock) for listener in self._listeners]

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

    def reconfigure(self, settings: Settings) -> None:
        """Accept connections by other settings from now on."""
        self._settings = settings
        max_clients, source = _limit_clients(settings.max_clients)
        self.admission.change_limits(max_clients, settings.max_per_ip, source=source)
        for listener in self._listeners:
            listener.change_stall_timeout(settings.stall_timeout)

    def listen_unix(self, path: str) -> None:
        """Listen on one more Unix socket.

        Raises:
            ListenError: another server listens there, or the path can't be used.
        """
        self._listeners.append(listeners.listen_unix(self._on_accept, path))

    def listen_on(self, sock: socket.socket) -> None:
        """Listen on one more socket, that somebody else has bound.

        Raises:
            ListenError: it does not listen, or is of another kind.
        """
        stall_timeout = self._settings.stall_timeout
        self._listeners.append(listeners.listen_on(self._on_accept, sock, stall_timeout=stall_timeout))

    def release(self, connection: Connection) -> None:
        """Release the slot of a connection, if it still has one."""
        if connection.slot is not None:
            self.admission.release(connection.slot)
            connection.slot = None

    async def close(self) -> None:
        """Stop listening, cancel all TLS handshakes, and wait until every other connection has started."""
        while self._listeners:
            self._listeners.pop().close()
        # The others need no time; uvloop would not report the end of a connection that is cancelled there.
        for task in [task for task, takes_handshake in self._starting.items() if takes_handshake]:
            task.cancel()
        await asyncio.gather(*self._starting, return_exceptions=True)

    def _on_accept(self, sock: socket.socket, address: str) -> None:
        host = host_of(address)
        ban = self._bans.of_host(host)
        slot = self.admission.acquire(network_of(host), ban="" if ban is None else f"ban: {ban}")
        if not slot.admitted and self.admission.answers_no_more:
            self._log("refused", address, "connection from %s closed: %s", slot.refusal)
            self.admission.release(slot)
            sock.close()
            return
        tls = None if sock.family == socket.AF_UNIX else self.tls
        connection = self._make_connection(slot, address)
        starting = asyncio.create_task(self._start_connection(connection, sock, tls))
        self._starting[starting] = tls is not None
        starting.add_done_callback(partial(self._on_started, connection, sock))

    async def _start_connection(
        self, connection: Connection, sock: socket.socket, tls: ssl.SSLContext | None
    ) -> None:
        """Attach a connection to its socket; over TLS this includes the handshake."""
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(
                lambda: connection, sock, ssl=tls, **({} if tls is None else self._tls_timeouts())
            )
        except OSError as error:
            # uvloop's error is empty when the client disconnects during the handshake.
            reason = describe_error(error) or "the client disconnected"
            self._log("handshake-failed", connection.address, "handshake with %s failed: %s", reason)
            self._discard(connection, sock)

    def _on_started(self, connection: Connection, sock: socket.socket, starting: asyncio.Task[None]) -> None:
        del self._starting[starting]
        if not starting.cancelled() and starting.exception() is None:
            return
        self._discard(connection, sock)
        if not starting.cancelled():
            logger.error("a connection could not be started", exc_info=starting.exception())

    @staticmethod
    def _log(event: str, address: str, message: str, reason: str) -> None:
        """Log what became of a connection that has no number yet."""
        logger.info(
            message, address or "a Unix socket", reason, extra={"event": event, "address": address or "unix"}
        )

    def _discard(self, connection: Connection, sock: socket.socket) -> None:
        sock.close()
        self.release(connection)

    def _tls_timeouts(self) -> dict[str, float]:
        # The shutdown includes flushing the write buffer, which may take as long as a drain.
        return {
            "ssl_handshake_timeout": HANDSHAKE_TIMEOUT,
            "ssl_shutdown_timeout": max(self._settings.drain, _MIN_FLUSH_TIMEOUT),
        }


def _limit_clients(requested: int | None) -> tuple[int, str]:
    """Return how many clients can be admitted, as far as there are file descriptors, and what limits them."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        soft = sys.maxsize
    available = max(soft - _RESERVED_DESCRIPTORS, 1)
    if requested is not None and requested <= available:
        return requested, f"--{MAX_CLIENTS_OPTION}"
    if requested is not None:
        logger.warning(
            "%d clients need more than %d file descriptors: limited to %d", requested, soft, available
        )
    return available, f"--{MAX_CLIENTS_OPTION}, from ulimit -n {soft}"
