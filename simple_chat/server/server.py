"""The server's life: it starts, listens, and shuts down in order."""

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from simple_chat.core.room import Room
from simple_chat.core.scheduler import BatchCommitter
from simple_chat.errors import ConfigError, ListenError
from simple_chat.journal.base import Journal
from simple_chat.journal.memory import MemoryJournal
from simple_chat.server import optional
from simple_chat.server.acceptor import Acceptor
from simple_chat.server.access import check_access, exposed
from simple_chat.server.admin import AdminListener
from simple_chat.server.admission import Admission, Slot
from simple_chat.server.certificate_watch import CertificateWatch
from simple_chat.server.config import Settings
from simple_chat.server.connection import Connection
from simple_chat.server.health import HealthListener, health_pages
from simple_chat.server.hub import Hub
from simple_chat.server.moderation import Moderation

if TYPE_CHECKING:
    from simple_chat.cluster.replicator import Replicator
    from simple_chat.server.admin_execution import Controls
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
        settings: how it is set up now; see `reconfigure`.
        room: the room.
        hub: its connections.
        moderation: what operators can do to them.
        controls: what only the program around it can do; None without one.
        certificate: watches the end of its certificate.
        started: when it was, by the event loop's clock.
    """

    started: float

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
        self.controls: Controls | None = None
        self.certificate = CertificateWatch()
        self._admin: AdminListener | None = None
        self._authenticator = authenticator
        self._replicator = replicator
        self._journal = journal or MemoryJournal()
        self._health: HealthListener | None = None
        self._phase = "starting"  # empty once it has, until it ends
        for batch in self._journal.recovered:
            room.restore(batch)
        self._acceptor = Acceptor(self._make_connection, settings, tls, room)
        self.hub = Hub(
            settings,
            room,
            room if replicator is None else replicator.room,
            replicator or BatchCommitter(room, self._journal, time.time),
            authenticator=authenticator,
            release_slot=self._acceptor.release,
        )
        self.hub.watches_closing = tls is not None
        self.moderation = Moderation(
            self.hub, replicator, None if settings.bans is None else Path(settings.bans)
        )

    def _make_connection(self, slot: Slot, address: str) -> Connection:
        return Connection(self.hub, slot, address)

    @property
    def tls(self) -> ssl.SSLContext | None:
        """For TCP connections from now on; None for plain text."""
        return self._acceptor.tls

    @tls.setter
    def tls(self, tls: ssl.SSLContext | None) -> None:
        self._acceptor.tls = tls
        self.hub.watches_closing = tls is not None
        self.certificate.watch(tls)

    def reconfigure(self, settings: Settings) -> None:
        """Change settings while it runs, all at once; see `Settings.needing_restart`. Nobody is dropped.

        Raises:
            ConfigError: some of them can't change while a server runs. Nothing has changed then.
        """
        if fixed := self.settings.needing_restart(settings):
            raise ConfigError(f"this can't change while a server runs: {', '.join(fixed)}")
        self.settings = settings
        self._acceptor.reconfigure(settings)
        self.hub.reconfigure(settings)

    def replace_password(self, encoded: str) -> None:
        """Check passwords against another argon2 hash from now on; members stay.

        Raises:
            ConfigError: it is not one, or the server was started without a password.
        """
        if self._authenticator is None:
            raise ConfigError("a server that was started without a password can't be given one")
        self._authenticator.replace_hash(encoded)

    @property
    def admission(self) -> Admission:
        """How many connections there are, and may be."""
        return self._acceptor.admission

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Every TCP host and port that it listens on."""
        return self._acceptor.addresses

    @property
    def endpoints(self) -> list[str]:
        """Everything that clients can connect to, as text: addresses and Unix sockets."""
        return self._acceptor.endpoints

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
        """Read the bans, and start the journal or join the other servers.

        Raises:
            ConfigError: the bans can't be read.
            JournalError: the journal or the other servers can't be used.
        """
        self.started = asyncio.get_running_loop().time()
        self.moderation.replace(self.moderation.read_file() or [])
        if self._replicator is not None:
            await self._replicator.start(self.hub, self.moderation)
        else:
            self._journal.start(self.hub)

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

    def listen_on(self, sock: socket.socket) -> None:
        """Listen on one more socket, that somebody else has bound.

        Raises:
            ListenError: it does not listen, or is of another kind.
        """
        self._acceptor.listen_on(sock)

    def listen_admin(self, path: str | None, sockets: Sequence[socket.socket] = ()) -> None:
        """Let operators steer it by a Unix socket.

        Args:
            path: of the socket; None for none.
            sockets: those that somebody else has bound.

        Raises:
            ListenError: another server listens there, or the path can't be used; or a socket is none that
                only some users can connect to.
        """
        self._admin = AdminListener(self)
        if path is not None:
            self._admin.listen(path)
        for sock in sockets:
            self._admin.listen_on(sock)

    async def listen_metrics(self, address: str | None, sockets: Sequence[socket.socket] = ()) -> None:
        """Answer for metrics and health, until everything else is closed.

        Args:
            address: TCP, PORT or HOST:PORT; None for none.
            sockets: those that somebody else has bound.

        Raises:
            ConfigError: prometheus-client is not installed.
            ListenError: the address is none, in use, or not one of this machine; or a socket does not listen.
        """
        page = optional.make_metrics_page(
            self.hub,
            journal=None if self.settings.journal is None else self._journal,
            replicator=self._replicator,
            max_clients=lambda: self.admission.max_clients,
            readiness=self.readiness,
            certificate_end=lambda: self.certificate.end,
        )
        self._health = HealthListener({"/metrics": page, **health_pages(self.readiness)})
        if address is not None:
            await self._health.listen(address)
        for sock in sockets:
            self._health.listen_on(sock)
        self.room.clock = time.perf_counter

    def start(self) -> None:
        """Check the configuration against the addresses, and begin to watch connections.

        Raises:
            ConfigError: a password would cross a network in clear text, or what is for TCP has no address.
        """
        open_to_all = self._authenticator is None and not self._demands_certificates
        check_access(self.settings, self.addresses, self.tls, password_required=self.hub.auth_required)
        if open_to_all and (reachable := exposed(self.addresses)):
            logger.warning("no password: anybody who reaches %s can join", " or ".join(reachable))
        self.certificate.watch(self.tls)
        self.hub.start()
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
            if self._admin is not None:
                stack.push_async_callback(self._admin.close)
            stack.callback(self.hub.stop)
            stack.callback(self.certificate.stop)
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
                self.hub.close_all()
                await self.hub.wait_until_empty()
        self.room.closed = True
        self.abort_all()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ABORT_TIMEOUT):
                await self.hub.wait_until_empty()

    def abort_all(self) -> None:
        """Abort all connections, whatever is still to be written."""
        self.hub.abort_all()
