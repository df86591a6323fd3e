"""The server's life: it starts, listens, and shuts down in order."""

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING

from simple_chat.address import DEFAULT_HOST, DEFAULT_PORT, format_address, parse_addresses
from simple_chat.core.room import Room
from simple_chat.core.scheduler import BatchCommitter
from simple_chat.errors import ConfigError, ListenError
from simple_chat.journal.base import Journal
from simple_chat.journal.memory import MemoryJournal
from simple_chat.server import optional
from simple_chat.server.acceptor import Acceptor
from simple_chat.server.admission import Slot, network_of
from simple_chat.server.config import Settings
from simple_chat.server.connection import Connection
from simple_chat.server.health import HealthListener, health_pages
from simple_chat.server.hub import Hub

if TYPE_CHECKING:
    from simple_chat.cluster.replicator import Replicator
    from simple_chat.server.auth import Authenticator

logger = logging.getLogger(__name__)

_ABORT_TIMEOUT = 1.0  # seconds until the event loop must have reported the end of aborted connections


class Server:
    """A server of one room. `serve` makes one that listens.

    Args:
        settings: how it is set up.
        room: the room.
        tls: for TCP connections; None for plain text.
        authenticator: checks passwords, if clients need one.
        journal: what the room's lines are written to.
        replicator: what decides the order of the room's lines, if other servers have it too; instead of a
            journal.

    Attributes:
        settings: how it was set up.
        room: the room.
    """

    def __init__(
        self,
        settings: Settings,
        room: Room,
        *,
        tls: ssl.SSLContext | None = None,
        authenticator: "Authenticator | None" = None,
        journal: Journal | None = None,
        replicator: "Replicator | None" = None,
    ) -> None:
        self.settings = settings
        self.room = room
        self._authenticator = authenticator
        self._replicator = replicator
        self._journal = journal or MemoryJournal()
        self._health: HealthListener | None = None
        self._phase = "starting"  # empty once it has, until it ends
        for batch in self._journal.recovered:
            room.restore(batch)
        self._acceptor = Acceptor(self._make_connection, settings, tls, room.counters)
        self._hub = Hub(
            settings,
            room,
            room if replicator is None else replicator.room,
            replicator or BatchCommitter(room, self._journal, time.time),
            authenticator=authenticator,
            release_slot=self._acceptor.release,
        )
        self._hub.watches_closing = tls is not None

    def _make_connection(self, slot: Slot) -> Connection:
        return Connection(self._hub, slot)

    @property
    def tls(self) -> ssl.SSLContext | None:
        """For TCP connections from now on; None for plain text."""
        return self._acceptor.tls

    @tls.setter
    def tls(self, tls: ssl.SSLContext | None) -> None:
        self._acceptor.tls = tls
        self._hub.watches_closing = tls is not None

    def replace_password(self, encoded: str) -> None:
        """Check passwords against another argon2 hash from now on; members stay.

        Raises:
            ConfigError: it is not one, or the server was started without a password.
        """
        if self._authenticator is None:
            raise ConfigError("a server that was started without a password can't be given one")
        self._authenticator.replace_hash(encoded)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Every TCP host and port that it listens on."""
        return self._acceptor.addresses

    @property
    def address(self) -> tuple[str, int]:
        """The TCP host and port that it listens on; the first if there are more.

        Raises:
            ListenError: it listens on a Unix socket only.
        """
        if not self.addresses:
            raise ListenError("the server has no TCP address: it listens on a Unix socket only")
        return self.addresses[0]

    @property
    def metrics_address(self) -> tuple[str, int]:
        """The TCP host and port of metrics and health; the first if there are more.

        Raises:
            ListenError: it has none.
        """
        if self._health is None:
            raise ListenError("the server has no address for metrics")
        return self._health.addresses[0]

    def readiness(self) -> str:
        """Return why the room takes no lines now; an empty text if it does."""
        if self._phase:
            return self._phase
        if problem := self._journal.problem:
            return f"the journal fails: {problem}"
        if self._replicator is not None and (problem := self._replicator.problem):
            return f"the cluster is unavailable: {problem}"
        return ""

    async def open(self) -> None:
        """Start the journal, or join the other servers.

        Raises:
            JournalError: that is not possible.
        """
        if self._replicator is not None:
            await self._replicator.start(self._hub)
        else:
            self._journal.start(self._hub)

    async def listen(self, host: str, port: int) -> None:
        """Listen on one more TCP address, or on all addresses of a name that this machine has.

        Raises:
            ListenError: it is in use, or no address of this machine.
        """
        await self._acceptor.listen(host, port)

    def listen_unix(self, path: str) -> None:
        """Listen on one more Unix socket.

        Raises:
            ListenError: another server listens there, or the path can't be used.
        """
        self._acceptor.listen_unix(path)

    async def listen_metrics(self, address: str) -> None:
        """Answer for metrics and health on a TCP address, until everything else is closed.

        Args:
            address: PORT or HOST:PORT.

        Raises:
            ConfigError: prometheus-client is not installed.
            ListenError: the address is none, in use, or not one of this machine.
        """
        page = optional.make_metrics_page(
            self._hub,
            journal=None if self.settings.journal is None else self._journal,
            replicator=self._replicator,
            max_clients=lambda: self._acceptor.max_clients,
            readiness=self.readiness,
            tls=lambda: self.tls,
        )
        self._health = HealthListener({"/metrics": page, **health_pages(self.readiness)})
        await self._health.listen(address)
        self.room.clock = time.perf_counter

    def start(self) -> None:
        """Check the configuration against the addresses, and begin to watch connections.

        Raises:
            ConfigError: a password would cross a network in clear text, or what is for TCP has no address.
        """
        if not self.addresses and (self.tls is not None or self.settings.reuse_port):
            raise ConfigError(
                "TLS and --reuse-port are for TCP, and --unix alone is not: add --host or --port"
            )
        exposed = [format_address(*each) for each in self.addresses if network_of(each[0]) is not None]
        if exposed and self._authenticator is not None and self.tls is None and not self.settings.insecure:
            raise ConfigError(f"on {exposed[0]} a password needs TLS (or --insecure)")
        if exposed and self._authenticator is None and not self._demands_certificates:
            logger.warning("no password: anybody who reaches %s can join", " or ".join(exposed))
        self._hub.start()
        self._phase = ""

    @property
    def _demands_certificates(self) -> bool:
        return self.tls is not None and self.tls.verify_mode == ssl.CERT_REQUIRED

    async def close(self) -> None:
        """Take no more lines, drain and close all connections, and abort those left at the deadline.

        Raises:
            JournalError: the journal could not keep all lines.
        """
        self._phase = "draining"
        async with contextlib.AsyncExitStack() as stack:  # everything is closed, whatever fails before
            if self._health is not None:
                stack.push_async_callback(self._health.close)
            stack.push_async_callback(self._close_journal)
            if self._replicator is not None:
                stack.push_async_callback(self._replicator.close)
            if self._authenticator is not None:
                stack.callback(self._authenticator.close)
            stack.callback(self._hub.stop)
            await self._disconnect_all(asyncio.get_running_loop().time() + self.settings.drain)

    async def _close_journal(self) -> None:
        await self._journal.close(self.room.sequence.end)

    async def _disconnect_all(self, deadline: float) -> None:
        """Stop listening, drain and close all connections, and abort those left at the deadline."""
        await self._acceptor.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                if self._replicator is not None:
                    await self._replicator.leave()
                self._hub.close_all()
                await self._hub.wait_until_empty()
        self.room.closed = True
        self.abort_all()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ABORT_TIMEOUT):
                await self._hub.wait_until_empty()

    def abort_all(self) -> None:
        """Abort all connections, whatever is still to be written."""
        self._hub.abort_all()


@contextlib.asynccontextmanager
async def serve(  # noqa: PLR0913 - what a server is made of
    host: str | Sequence[str] | None = None,
    port: int | None = None,
    *,
    unix: str | None = None,
    tls: ssl.SSLContext | None = None,
    password: str | None = None,
    metrics: str | int | None = None,
    settings: Settings | None = None,
) -> AsyncIterator[Server]:
    """Run a server for the length of an ``async with`` block; leaving it shuts the server down in order.

    Without `host` and `port` it listens on 127.0.0.1:8090, or with `unix` on the Unix socket only.

    Args:
        host: name or address to listen on, such as ``"0.0.0.0"``, ``"::1"`` or ``"[::1]:8091"``; or several,
            as a list or separated by commas. None for 127.0.0.1.
        port: TCP port where `host` has none, 0 for a free one, which `Server.address` has. None for 8090.
        unix: path of a Unix socket to listen on.
        tls: for the TCP port, as `simple_chat.tls.server_context` makes it; None for plain text.
        password: argon2 hash of the password that clients need, as ``hash-password`` makes it; None for none.
        metrics: TCP port, or ``"HOST:PORT"``, for metrics and health over HTTP, of 127.0.0.1 unless it has a
            host; 0 as a port is a free one, which `Server.metrics_address` has. None for none.
        settings: everything else that can be set.

    Raises:
        ListenError: it can't listen where it should.
        ConfigError: the password can't be used, or would cross a network in clear text; or there is no TCP
            address for `tls`; or a package is not installed.
        JournalError: the journal can't be used, or the cluster can't be reached; or at the end: lines are
            lost that the journal could not keep.
    """
    addresses = _tcp_addresses(host, port, unix)
    server = await _make_server(settings or Settings(), tls, optional.make_authenticator(password))
    try:
        if metrics is not None:
            await server.listen_metrics(str(metrics))
        await server.open()
        await _listen(server, addresses, unix)
        yield server
    finally:
        await server.close()


async def _listen(server: Server, addresses: Iterable[tuple[str, int]], unix: str | None) -> None:
    for host, port in addresses:
        await server.listen(host, port)
    if unix is not None:
        server.listen_unix(unix)
    server.start()
    for address in server.addresses:
        logger.info("listening on %s", format_address(*address))
    if unix is not None:
        logger.info("listening on unix:%s", unix)


def _tcp_addresses(
    host: str | Sequence[str] | None, port: int | None, unix: str | None
) -> list[tuple[str, int]]:
    """Return where to listen beside the Unix socket.

    Raises:
        ListenError: a host is no address.
    """
    if host is None and port is None and unix is not None:
        return []
    try:
        return parse_addresses(DEFAULT_HOST if host is None else host, DEFAULT_PORT if port is None else port)
    except ValueError as error:
        raise ListenError(f"can't listen: {error}") from error


async def _make_server(
    settings: Settings, tls: ssl.SSLContext | None, authenticator: "Authenticator | None"
) -> Server:
    """Return a server with the journal or the replicator that the settings ask for.

    Raises:
        ConfigError: they ask for both.
    """
    if settings.journal is not None and settings.cluster is not None:
        raise ConfigError("a journal and a cluster exclude each other: in a cluster NATS stores the messages")
    room = Room(backlog=settings.backlog, history=settings.history, presence_limit=settings.presence_limit)
    journal, replicator = (
        await optional.open_journal(settings),
        await optional.open_replicator(settings, room),
    )
    return Server(
        settings, room, tls=tls, authenticator=authenticator, journal=journal, replicator=replicator
    )
