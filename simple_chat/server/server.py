"""The server's life: it starts, listens, and shuts down in order."""

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

from simple_chat.address import DEFAULT_HOST, DEFAULT_PORT, format_address
from simple_chat.core.room import Room
from simple_chat.core.scheduler import BatchCommitter
from simple_chat.errors import ConfigError
from simple_chat.journal.base import Journal, Policy
from simple_chat.journal.memory import MemoryJournal
from simple_chat.server.acceptor import Acceptor
from simple_chat.server.admission import Slot, network_of
from simple_chat.server.config import Settings
from simple_chat.server.connection import Connection
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
        for batch in self._journal.recovered:
            room.restore(batch)
        self._acceptor = Acceptor(self._make_connection, settings, tls)
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

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Every TCP host and port that it listens on."""
        return self._acceptor.addresses

    @property
    def address(self) -> tuple[str, int]:
        """The host and port that it listens on; the first if there are more."""
        return self.addresses[0]

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
        """Listen on one more TCP address.

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

    def start(self) -> None:
        """Check the configuration against the addresses, and begin to watch connections.

        Raises:
            ConfigError: a password would cross a network in clear text.
        """
        exposed = [format_address(*each) for each in self.addresses if network_of(each[0]) is not None]
        if exposed and self._authenticator is not None and self.tls is None and not self.settings.insecure:
            raise ConfigError(f"on {exposed[0]} a password needs TLS (or --insecure)")
        if exposed and self._authenticator is None and not self._demands_certificates:
            logger.warning("no password: anybody who reaches %s can join", " or ".join(exposed))
        self._hub.start()

    @property
    def _demands_certificates(self) -> bool:
        return self.tls is not None and self.tls.verify_mode == ssl.CERT_REQUIRED

    async def close(self) -> None:
        """Take no more lines, drain and close all connections, and abort those left at the deadline.

        Raises:
            JournalError: the journal could not keep all lines.
        """
        deadline = asyncio.get_running_loop().time() + self.settings.drain
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
        self._hub.stop()
        if self._authenticator is not None:
            self._authenticator.close()
        if self._replicator is not None:
            await self._replicator.close()
        await self._journal.close(self.room.sequence.end)

    def abort_all(self) -> None:
        """Abort all connections, whatever is still to be written."""
        self._hub.abort_all()


@contextlib.asynccontextmanager
async def serve(
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    *,
    unix: str | None = None,
    tls: ssl.SSLContext | None = None,
    password: str | None = None,
    settings: Settings | None = None,
) -> AsyncIterator[Server]:
    """Run a server for the length of an ``async with`` block; leaving it shuts the server down in order.

    Args:
        host: name or address to listen on.
        port: TCP port to listen on; 0 for a free one, which `Server.address` has.
        unix: path of a Unix socket to listen on as well.
        tls: for the TCP port, as `simple_chat.tls.server_context` makes it; None for plain text.
        password: argon2 hash of the password that clients need, as ``hash-password`` makes it; None for none.
        settings: everything else that can be set.

    Raises:
        ListenError: it can't listen where it should.
        ConfigError: the password can't be used, or would cross a network in clear text.
        JournalError: the journal can't be used, or the cluster can't be reached; or at the end: lines are
            lost that the journal could not keep.
    """
    server = await _make_server(settings or Settings(), tls, _make_authenticator(password))
    try:
        await server.open()
        await server.listen(host, port)
        if unix is not None:
            server.listen_unix(unix)
        server.start()
        for address in server.addresses:
            logger.info("listening on %s", format_address(*address))
        if unix is not None:
            logger.info("listening on unix:%s", unix)
        yield server
    finally:
        await server.close()


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
    journal, replicator = await _open_journal(settings), await _open_replicator(settings, room)
    return Server(
        settings, room, tls=tls, authenticator=authenticator, journal=journal, replicator=replicator
    )


# What not every server needs is imported when it is, for it may not be installed.


def _make_authenticator(password: str | None) -> "Authenticator | None":
    if password is None:
        return None
    from simple_chat.server.auth import Authenticator  # noqa: PLC0415

    return Authenticator(password)


async def _open_replicator(settings: Settings, room: Room) -> "Replicator | None":
    if settings.cluster is None:
        return None
    from simple_chat.cluster.config import ClusterConfig  # noqa: PLC0415
    from simple_chat.cluster.replicator import Replicator  # noqa: PLC0415

    config = ClusterConfig(
        servers=settings.cluster,
        room=settings.cluster_room,
        replicas=settings.cluster_replicas,
        creds=settings.cluster_creds,
        ca=settings.cluster_ca,
        lease=settings.cluster_lease,
        heartbeat=settings.cluster_heartbeat,
    )
    return await Replicator.open(config, room, history=settings.history, max_line=settings.max_line)


async def _open_journal(settings: Settings) -> Journal | None:
    if settings.journal is None:
        return None
    from simple_chat.journal.file import FileJournal  # noqa: PLC0415

    policy = Policy(
        sync=settings.sync,
        segment_bytes=settings.journal_segment,
        retention=settings.journal_keep,
        recover_bytes=settings.backlog,
    )
    return await FileJournal.open(Path(settings.journal), policy)
