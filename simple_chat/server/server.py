"""The server's life: it listens, gives everybody their turn, and ends in order."""

import asyncio
import contextlib
import logging
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from simple_chat.address import DEFAULT_HOST, DEFAULT_PORT, show_address
from simple_chat.cluster.config import ClusterConfig
from simple_chat.cluster.replicated import ReplicatedRoom
from simple_chat.core.backlog import Batch
from simple_chat.core.limits import Limits
from simple_chat.core.protocol import Code
from simple_chat.core.room import Room
from simple_chat.errors import ConfigError
from simple_chat.journal.base import Journal, Policy
from simple_chat.journal.memory import MemoryJournal
from simple_chat.server.acceptor import Door
from simple_chat.server.admission import network_of
from simple_chat.server.config import Settings
from simple_chat.server.connection import LINGER, Connection
from simple_chat.server.watchdog import Watch

if TYPE_CHECKING:
    from simple_chat.cluster.replicator import Replicator
    from simple_chat.server.auth import Password

logger = logging.getLogger(__name__)


class _Sizes(TypedDict):
    """What a room can be made with."""

    backlog: int
    history: int
    presence_limit: int


_CUT_TAKES = 1.0  # seconds, at most, until the event loop has told of connections that were cut
_TICK = 1.0  # seconds from one look around to the next
_NEWCOMERS_A_TURN = 16  # some milliseconds of nothing but nonsense
_SENT_AWAY_AT_ONCE = 32  # newcomers, before everybody else has their turn again


class Server:
    """A room and those connected to it. `serve` makes one that listens.

    Args:
        settings: how it is set up.
        tls: how to talk TLS; None for plain text.
        password: what clients have to know, if anything.
        room: the room; None for an empty one of this server's own.
        journal: makes batches durable; None to keep them in memory only.
        replicator: orders and replicates the lines of a room that several servers share; then there is no
            journal.

    Attributes:
        room: the room.
        settings: how it was set up.
        limits: what each connection may do.
        locked: whether there is a password.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        tls: ssl.SSLContext | None = None,
        password: "Password | None" = None,
        room: Room | None = None,
        journal: Journal | None = None,
        replicator: "Replicator | None" = None,
    ) -> None:
        self.settings = settings
        self.limits = Limits(settings.max_line, settings.rate, settings.burst)
        self.locked = password is not None
        self.room = room or Room(**_sizes(settings))
        self._journal = journal or MemoryJournal()
        self._replicator = replicator
        self._journal_fails = False
        for batch in self._journal.recovered:
            self.room.recall(batch)
        self._password = password
        self._door = Door(partial(Connection, self), settings, tls)
        self._connections: set[Connection] = set()
        self._checks: dict[Connection, asyncio.Task[None]] = {}  # of passwords
        # For their turn, first come first; but who is in the room before all who are not.
        self._waiting: dict[Connection, None] = {}
        self._newcomers: dict[Connection, None] = {}
        self._awaiting: dict[Connection, None] = {}  # the next batch, to be settled then
        self._turn_is_due = False
        self._watch = Watch(settings.join_timeout, settings.stall_timeout)
        self._tick: asyncio.TimerHandle | None = None
        self._change = asyncio.Event()  # a connection is gone

    @property
    def tls(self) -> ssl.SSLContext | None:
        """How to talk TLS to those who connect by TCP from now on; None for plain text."""
        return self._door.tls

    @tls.setter
    def tls(self, tls: ssl.SSLContext | None) -> None:
        self._door.tls = tls

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Every TCP host and port that it listens on."""
        return self._door.addresses

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
        elif connection.place is None or not connection.place.admitted:
            self._refuse(connection, Code.TOO_MANY_CONNECTIONS)
        else:
            self._watch.arrive(connection, asyncio.get_running_loop().time())

    def remove(self, connection: Connection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)
        self._waiting.pop(connection, None)
        self._newcomers.pop(connection, None)
        self._awaiting.pop(connection, None)
        self._watch.forget(connection)
        if check := self._checks.pop(connection, None):
            check.cancel()
        self._door.leave(connection)
        self._call_for_turn()  # to tell the others
        self._change.set()

    def watch(self, connection: Connection) -> None:
        """Look after a connection that is held up."""
        self._watch.hold_up(connection)

    def check(self, connection: Connection) -> None:
        """Have a connection's password checked, if that is not under way."""
        if self._password is not None and connection not in self._checks:
            checking = self._check(connection, self._password)
            self._checks[connection] = asyncio.create_task(checking)

    async def _check(self, connection: Connection, password: "Password") -> None:
        right = await password.check(connection.session.secret or "")
        del self._checks[connection]
        connection.session.judge(right=right)
        self.schedule(connection)

    def _refuse(self, connection: Connection, code: Code) -> None:
        connection.session.refuse(code)
        self.schedule(connection)

    def schedule(self, connection: Connection) -> None:
        """Give a connection its turn soon."""
        (self._newcomers if connection.session.newcomer else self._waiting)[connection] = None
        self._call_for_turn()

    def _call_for_turn(self) -> None:
        """Have a turn soon; or, when the room is full, as soon as the journal can take some of it."""
        if not self._turn_is_due and not (self.room.full and self._sink.busy):
            self._turn_is_due = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        """Take the lines of all who wait, hand them out as one batch, then write what else is due."""
        self._turn_is_due = False
        now = asyncio.get_running_loop().time()
        waiting, self._waiting = deque(self._waiting), {}
        waiting += self._some_newcomers()
        served: list[Connection] = []
        while waiting and not self.room.full:
            connection = waiting.popleft()
            served.append(connection)
            self._guard(connection, partial(connection.session.take, now))
        self._collect()
        for connection in chain(waiting, served):  # whoever found the batch full comes first next time
            if self._guard(connection, connection.settle):
                self.schedule(connection)
            if self._waits_for_journal(connection):
                self._awaiting[connection] = None
        if self._waiting or self._newcomers:
            self._call_for_turn()

    def _waits_for_journal(self, connection: Connection) -> bool:
        session = connection.session
        return (session.deferred or self.room.awaits(session.member)) and connection in self._connections

    def _some_newcomers(self) -> list[Connection]:
        """Take as many newcomers as may have a turn, so that a crowd of them delays nobody in the room."""
        some = list(islice(self._newcomers, _NEWCOMERS_A_TURN))
        for connection in some:
            del self._newcomers[connection]
        if self._newcomers:
            self._call_for_turn()
        return some

    @property
    def _sink(self) -> "Journal | Replicator":
        return self._replicator or self._journal

    def _collect(self) -> None:
        """Submit what was taken, unless the sink is busy."""
        if self._sink.busy:
            if self._journal_fails:
                self._suspend()
        elif self._replicator is not None:
            self._replicator.collect()
        elif batch := self.room.close_batch(time.time()):
            self._journal.submit(batch)

    # For the journal

    def broadcast(self, batch: Batch) -> None:
        """Hand out a batch."""
        self.room.hand_out(batch)

    def on_journal_ready(self) -> None:
        """Go on after something was kept."""
        awaiting, self._awaiting = self._awaiting, {}
        for connection in awaiting:
            session = connection.session
            if session.deferred or self.room.only_spoke(session.member):
                self._awaiting[connection] = None
            elif not (session.member.steady and session.dry):
                self.schedule(connection)
        self._call_for_turn()

    def on_journal_unavailable(self, text: str) -> None:
        """Let members know, and go on with what needs no journal."""
        self._journal_fails = True
        self._tell(text)
        if self._sink.busy:
            self._suspend()

    def on_journal_recovered(self, text: str) -> None:
        """Let members know."""
        self._journal_fails = self.room.suspended = False
        self._tell(text)

    def on_journal_lost(self) -> None:
        """Cut everybody: others were told that they left, and they can't know what of theirs was heard."""
        for connection in self._connections:
            connection.session.forsake()
        self.cut()

    def _suspend(self) -> None:
        """Let nobody wait for the journal who need not."""
        if self.room.suspended:
            return
        self.room.suspend([connection.session.member for connection in self._connections])
        for connection in self._connections:
            self.schedule(connection)

    def _tell(self, text: str) -> None:
        for connection in self._connections:
            connection.session.tell(text)

    def _guard(self, connection: Connection, step: Callable[[], bool | None]) -> bool:
        """Take a step for one connection; if that fails, the others go on without it."""
        try:
            return bool(step())
        except Exception:
            logger.exception("%s failed and is cut", connection)
            connection.abort()
            return False

    # Who overstays

    def _look_around(self) -> None:
        """Find those of whom no event tells, once a second."""
        loop = asyncio.get_running_loop()
        self._tick = loop.call_later(_TICK, self._look_around)
        self._send_away(self._watch.overdue(loop.time()))
        for connection in self._watch.gone():
            connection.abort()
        for connection in self._watch.stalled(loop.time()):
            logger.info("%s takes nothing and is cut", connection)
            connection.abort()
        if self.tls is not None:
            self._bury_the_forgotten(loop.time())

    def _send_away(self, overdue: list[Connection]) -> None:
        """Refuse those who should have joined by now: some at a time, for there may be thousands."""
        for connection in overdue[:_SENT_AWAY_AT_ONCE]:
            if connection.session.newcomer:
                self._refuse(connection, Code.JOIN_TIMEOUT)
        if rest := overdue[_SENT_AWAY_AT_ONCE:]:
            asyncio.get_running_loop().call_soon(self._send_away, rest)

    def _bury_the_forgotten(self, now: float) -> None:
        """Let go of connections that closed, but of whose end the event loop never told.

        That can happen over TLS: https://github.com/python/cpython/issues/118950.
        """
        for connection in self._connections:
            if connection.transport.is_closing():
                self._watch.close(connection, now)
        for connection in self._watch.forgotten(now - max(self.settings.drain, LINGER) - _TICK):
            if not connection.lost:  # else it goes once its last lines are carried out
                connection.bury()

    # Its life

    async def open(self) -> None:
        """Have the journal go on, which may take a while where it is kept for several servers.

        Raises:
            JournalError: it can't.
        """
        self._journal.start(self)
        if self._replicator is not None:
            await self._replicator.start(self)

    async def listen(self, host: str, port: int) -> None:
        """Listen on a TCP address as well.

        Raises:
            ListenError: it is taken, or no address of this machine.
        """
        await self._door.listen(host, port)

    def listen_unix(self, path: str) -> None:
        """Listen on a Unix socket as well.

        Raises:
            ListenError: another server listens there, or the path can't be used.
        """
        self._door.listen_unix(path)

    def start(self) -> None:
        """Begin to look after those who are connected.

        Raises:
            ConfigError: a password would cross a network in clear text.
        """
        far = [show_address(*each) for each in self.addresses if network_of(each[0]) is not None]
        if far and self.locked and self.tls is None and not self.settings.insecure:
            raise ConfigError(f"on {far[0]} a password needs TLS (or --insecure)")
        if far and not self.locked and (self.tls is None or self.tls.verify_mode != ssl.CERT_REQUIRED):
            logger.warning("whoever reaches %s can join: there is no password", " or ".join(far))
        self._look_around()

    async def close(self) -> None:
        """Take no more lines, let everybody have what was said and a BYE, and cut who takes too long."""
        deadline = asyncio.get_running_loop().time() + self.settings.drain
        await self._door.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                if self._replicator is not None:
                    await self._replicator.finish()
                self.room.closed = True
                for connection in self._connections:
                    self._dismiss(connection)
                await self._wait_until_empty()
        self.room.closed = True
        self.cut()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CUT_TAKES):
                await self._wait_until_empty()
        if self._tick is not None:
            self._tick.cancel()
        if self._password is not None:
            self._password.close()
        await self._sink.close()

    def cut(self) -> None:
        """End every connection at once."""
        for connection in self._connections:
            connection.abort()

    def _dismiss(self, connection: Connection) -> None:
        connection.session.end("shutdown")
        self.schedule(connection)

    async def _wait_until_empty(self) -> None:
        while self._connections:
            self._change.clear()
            await self._change.wait()


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
    """Run a server for the length of an ``async with`` block; leaving it ends the server in order.

    Args:
        host: name or address to listen on.
        port: TCP port to listen on; 0 for a free one, which `Server.address` tells.
        unix: path of a Unix socket to listen on as well.
        tls: how to talk TLS on the TCP port, as `simple_chat.server.tls.server_context` makes it; None for
            plain text.
        password: argon2 hash of the password that clients need, as ``hash-password`` makes it; None to let
            in everybody.
        settings: what else can be set.

    Raises:
        ListenError: it can't listen where it should.
        ConfigError: the password can't be used, or would cross a network in clear text.
        JournalError: the journal can't be used, or the cluster can't be reached.
    """
    settings = settings or Settings()
    checker = _password(password)
    server = await _server(settings, tls, checker)
    try:
        await server.open()
        await server.listen(host, port)
        if unix is not None:
            server.listen_unix(unix)
        server.start()
        for address in server.addresses:
            logger.info("listening on %s", show_address(*address))
        if unix is not None:
            logger.info("listening on unix:%s", unix)
        yield server
    finally:
        await server.close()


def _password(encoded: str | None) -> "Password | None":
    if encoded is None:
        return None
    from simple_chat.server.auth import Password  # noqa: PLC0415 - argon2 is not installed everywhere

    return Password(encoded)


async def _server(settings: Settings, tls: ssl.SSLContext | None, password: "Password | None") -> Server:
    """Make a server, with the room and the journal that the settings ask for."""
    if settings.cluster is not None:
        from simple_chat.cluster.replicator import Replicator  # noqa: PLC0415 - not installed everywhere

        log = ClusterConfig(
            servers=settings.cluster,
            room=settings.cluster_room,
            replicas=settings.cluster_replicas,
            creds=settings.cluster_creds,
            ca=settings.cluster_ca,
        )
        room = ReplicatedRoom(**_sizes(settings))
        replicator = await Replicator.open(log, room, max_line=settings.max_line)
        return Server(settings, tls=tls, password=password, room=room, replicator=replicator)
    return Server(settings, tls=tls, password=password, journal=await _file_journal(settings))


def _sizes(settings: Settings) -> _Sizes:
    return {
        "backlog": settings.backlog,
        "history": settings.history,
        "presence_limit": settings.presence_limit,
    }


async def _file_journal(settings: Settings) -> Journal | None:
    if settings.journal is None:
        return None
    from simple_chat.journal.file import FileJournal  # noqa: PLC0415 - most servers don't need it

    policy = Policy(
        sync=settings.sync,
        segment_bytes=settings.journal_segment,
        retention=settings.journal_keep,
        recover_bytes=settings.backlog,
    )
    return await FileJournal.open(Path(settings.journal), policy)
