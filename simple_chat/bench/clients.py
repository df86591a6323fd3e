"""The connections of the load generator: an observer, the clients, and the sender of sync markers.

Protocols without streams or tasks: thousands of connections must cost this process less than the server.
"""

import asyncio
import resource
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import cast

from simple_chat.address import format_address
from simple_chat.bench.dialect import Dialect
from simple_chat.bench.errors import LoadError
from simple_chat.bench.sync_marker import SyncBuffer, SyncMarker
from simple_chat.errors import describe_error

SETUP_TIMEOUT = 20.0
"""Seconds without a connection opened or a client joined after which a run fails."""

_CONNECT_BATCH = 20  # connections opened concurrently: fewer than a server's listen backlog
_MARKER_INTERVAL = 0.2  # seconds
_POLL_INTERVAL = 0.02  # seconds
_RESERVED_FILES = 64  # descriptors beside those of the clients

OnData = Callable[[bytes], object]
"""Called with received bytes."""

OnProgress = Callable[[float], None]
"""Called with the fraction of the work that is done."""


def raise_file_limit(clients: int) -> None:
    """Raise the soft limit of open files for a number of clients; a server started later inherits it.

    Raises:
        LoadError: the hard limit is too low.
    """
    needed = clients + _RESERVED_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise LoadError(
            f"{needed} open files are needed, but the hard limit is {hard}: raise it (ulimit -Hn)"
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


class Connection(asyncio.Protocol):
    """One connection; its bytes go to its sync buffer until `redirect`.

    Args:
        label: its name in fault messages.
        login: bytes to send once connected.
        marker_prefix: how sync markers begin.

    Attributes:
        label: the same.
        login: the same.
        transport: for writing, once connected.
        sync: what arrived before `redirect`.
        closed: whether the connection was lost.
    """

    transport: asyncio.Transport

    def __init__(self, label: str, login: bytes, marker_prefix: str) -> None:
        self.label = label
        self.login = login
        self.sync = SyncBuffer(marker_prefix)
        self.closed = False
        self._on_data: OnData = self.sync.feed

    def redirect(self, on_data: OnData, data: bytes) -> None:
        """Send received bytes elsewhere from now on.

        Args:
            on_data: called with them.
            data: the first ones, already received.
        """
        self._on_data = on_data
        if data:
            on_data(data)

    def close(self) -> None:
        """Close the connection, if it was opened."""
        if hasattr(self, "transport"):
            self.transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Log in."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self.login)

    def data_received(self, data: bytes) -> None:
        """Pass received bytes on."""
        self._on_data(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the signature is asyncio's
        """Note the loss."""
        self.closed = True


class ClientPool:
    """All connections to the server.

    Args:
        clients: number of clients.
        dialect: the server's protocol.

    Attributes:
        observer: only receives; it connects first, because servers tend to write to it first.
        clients: the clients.
        marker_sender: sends the sync markers, and nothing else.
        all: all of them, in the order in which they connect.
    """

    def __init__(self, clients: int, dialect: Dialect) -> None:
        tag = secrets.token_hex(2)
        self._marker = SyncMarker(tag)
        self._dialect = dialect
        labels = ["observer", *(f"client {number}" for number in range(clients)), "marker sender"]
        self.all = [
            # 9 bytes: as long as IRC servers allow names to be
            Connection(label, dialect.encode_login(f"b{tag[1:]}{number:x}"), self._marker.prefix)
            for number, label in enumerate(labels)
        ]
        self.observer, *self.clients, self.marker_sender = self.all

    async def connect(self, host: str, port: int, on_progress: OnProgress) -> None:
        """Open all connections and log in, a few at a time.

        Raises:
            LoadError: the server does not accept them.
        """
        loop = asyncio.get_running_loop()
        try:
            for first in range(0, len(self.all), _CONNECT_BATCH):
                batch = self.all[first : first + _CONNECT_BATCH]
                async with asyncio.timeout(SETUP_TIMEOUT):
                    await asyncio.gather(
                        *(loop.create_connection(lambda each=each: each, host, port) for each in batch)  # type: ignore[misc]
                    )
                on_progress(first / len(self.all))
        except (OSError, UnicodeError) as error:
            reason = "no answer" if isinstance(error, TimeoutError) else describe_error(error)
            raise LoadError(f"can't connect to {format_address(host, port)}: {reason}") from error

    async def synchronize(self, on_progress: OnProgress) -> list[bytes]:
        """Wait until everybody is in the room and received the last sync marker.

        Returns:
            What the observer and each client received behind that marker.

        Raises:
            LoadError: a connection was lost, or could not join.
        """
        receivers = self.all[:-1]
        next_marker_at = 0.0
        for missing in _poll_missing(receivers, lambda each: each.sync.synced):
            if time.monotonic() >= next_marker_at:
                self._send_marker()
                next_marker_at = time.monotonic() + _MARKER_INTERVAL
            on_progress(1 - missing / len(receivers))
            await asyncio.sleep(_POLL_INTERVAL)
        for _ in _poll_missing(receivers, lambda each: each.sync.data_after(self._marker.last) is not None):
            await asyncio.sleep(_POLL_INTERVAL)
        return [each.sync.data_after(self._marker.last) or b"" for each in receivers]

    def _send_marker(self) -> None:
        """Send the next marker, after another join of all who have not received one."""
        if self._dialect.join:
            for each in self.all:
                if not each.sync.synced:
                    each.transport.write(self._dialect.join.encode())
        self.marker_sender.transport.write(self._dialect.encode_message(self._marker.next()))

    @contextmanager
    def closing(self) -> Iterator[None]:
        """Close all connections at the end of the block."""
        try:
            yield
        finally:
            for each in self.all:
                each.close()


def _poll_missing(connections: Iterable[Connection], is_ready: Callable[[Connection], bool]) -> Iterator[int]:
    """Yield the number of connections that are not ready, until all are.

    Raises:
        LoadError: a connection was lost, or none became ready for too long.
    """
    missing = list(connections)
    last_progress = time.monotonic()
    while still := [each for each in missing if not is_ready(each)]:
        if len(still) < len(missing):
            last_progress = time.monotonic()
        lost = next((each for each in still if each.closed), None)
        if lost or time.monotonic() > last_progress + SETUP_TIMEOUT:
            example, what = (lost, "was disconnected") if lost else (still[0], "could not join the room")
            raise LoadError(f"{example.label} {what}; the server's last line: {example.sync.last_line!r}")
        missing = still
        yield len(still)
