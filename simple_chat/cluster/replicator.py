"""The journal of a server that shares its room: what is said goes into the log, and is handed out from there.

One message is on its way while the next one gathers in the room. It is sent until it is read back, so that
nothing is lost, and has a number, so that nothing is doubled.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Protocol, Self, TypeVar

from simple_chat.cluster.config import ClusterConfig
from simple_chat.cluster.entry import Entry
from simple_chat.cluster.nodes import HEARTBEAT_INTERVAL
from simple_chat.cluster.replicated import Message, ReplicatedRoom
from simple_chat.cluster.stream import AWAY, START_TIMEOUT, Log, say, stop
from simple_chat.core.room import BATCH_BYTES
from simple_chat.errors import JournalError
from simple_chat.journal.base import JournalHost

logger = logging.getLogger(__name__)

_PATIENCE = 2.0  # seconds that a message may take until the house is told
_RETRY = 0.2  # seconds from one try to the next
_HEAD = 1024  # bytes that an entry's first line and NATS's headers take at the most, and more
_TABLE = 60.0  # seconds from one table to the next
_TABLE_BYTES = 64 * 1024 * 1024  # of the log, after which one is due in any case

_Answer = TypeVar("_Answer")


class Host(JournalHost, Protocol):
    """The server, as a replicator sees it."""

    def on_journal_lost(self) -> None:
        """End every connection: the log goes on without those who are here."""


class Replicator:
    """A log that several servers share.

    Args:
        log: connected.
        room: the room that the log is of.
    """

    _host: Host

    def __init__(self, log: Log, room: ReplicatedRoom) -> None:
        self._log = log
        self._room = room
        self._message: Message | None = None  # on its way
        self._news = asyncio.Event()  # there is one
        self._back = asyncio.Event()  # it was read back, or never will be
        self._ended = asyncio.Event()
        self._flush_is_due = False
        self._lost = False
        self._started = False
        self._failing = False
        self._trouble = ""
        self._table_due = 0.0  # by the event loop's clock
        self._table_due_at = 0  # bytes read
        self._sending: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, where: ClusterConfig, room: ReplicatedRoom, *, max_line: int) -> Self:
        """Connect to the log.

        Args:
            where: where it is.
            room: the room that it is of.
            max_line: bytes that a line of a client may have.

        Raises:
            JournalError: it can't be used.
        """
        log = await Log.open(where)
        if (
            log.max_size < BATCH_BYTES + 3 * max_line + _HEAD
        ):  # a control character is three bytes in the room
            await log.close()
            raise JournalError(f"NATS takes {log.max_size} bytes at a time: too few for lines of {max_line}")
        return cls(log, room)

    # What the house asks for

    @property
    def busy(self) -> bool:
        """Whether a message is on its way, or none can be."""
        return self._message is not None or not self._room.node

    async def start(self, host: Host) -> None:
        """Learn who is in the room, and join the other servers."""
        self._host = host
        await self._load()
        self._sending = asyncio.create_task(self._send())
        self._begin()
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await self._back.wait()
        except TimeoutError:
            raise JournalError("the log takes nothing from this server") from None
        self._started = True

    def collect(self) -> None:
        """Put what members did into the log."""
        self._put(self._room.propose())

    async def finish(self) -> None:
        """Leave the other servers, behind all that was said here."""
        if not (self._started and self._room.node):  # it is not among them yet, or not any more
            return
        self._room.end_here()
        if not self.busy:
            self.collect()
        await self._ended.wait()

    async def close(self) -> None:
        """End."""
        if self._sending is not None:
            await stop(self._sending)
        await self._log.close()

    # What it does for that

    async def _load(self) -> None:
        """Take over the newest table, and read from there to the log's end.

        Raises:
            JournalError: nobody tells who is there.
        """
        is_whole = False
        while not is_whole:  # else entries went away just when they were to be read
            self._lost = False
            table, first, last = await self._find_table()
            start = self._room.load(table, last if first > 1 else 0)
            await self._log.follow(max(start, first, 1), self._apply, self._lose)
            is_whole = await self._log.wait_for(last)

    async def _find_table(self) -> tuple[bytes | None, int, int]:
        """Get the newest table, and the positions of the log's first and last entry.

        If the log has lost its beginning and there is no table, nobody is there: else one would come.

        Raises:
            JournalError: there are other servers, and none comes.
        """
        ends = set[int]()
        for _ in range(round(1.5 * _TABLE)):
            table = await _retry(self._log.last_table)
            first, last = await _retry(self._log.bounds)
            if table is not None or first <= 1:
                return table, first, last
            ends.add(last)
            logger.warning("waiting for another server to say who is in the room")
            await asyncio.sleep(1)
        if len(ends) > 1:
            raise JournalError("no other server says who is in the room: their logs tell why")
        return None, first, last

    def _begin(self) -> None:
        """Be a new server among the others."""
        self._back.set()
        self._room.begin(secrets.token_hex(8))
        self._put(self._room.propose(beat=True))

    def _put(self, message: Message | None) -> None:
        if message is not None:
            self._message = message
            self._back = asyncio.Event()
            self._news.set()

    async def _send(self) -> None:
        """Put messages into the log, one after another; and a beat, if there is none for a while."""
        while not self._ended.is_set():  # nobody counts what comes behind the end
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_INTERVAL):
                    await self._news.wait()
            if self._message is None:
                self._put(self._room.propose(beat=True))
            self._news.clear()
            if self._message is not None:
                await self._deliver(self._message)
            if self._lost:
                await self._start_over()
            else:
                await self._keep_table()

    async def _deliver(self, message: Message) -> None:
        """Send a message until it is read back, or never will be."""
        back = self._back
        self._trouble = "what is put into it does not come back"
        late = asyncio.get_running_loop().call_later(_PATIENCE, self._fail)
        try:
            while not (back.is_set() or self._lost):
                await self._try(message, back)
        finally:
            late.cancel()

    async def _try(self, message: Message, back: asyncio.Event) -> None:
        try:
            position = await self._log.append(message)
        except AWAY as error:
            self._trouble = say(error)
            await asyncio.sleep(_RETRY)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await back.wait()
            return
        if self._room.waits and position <= self._log.position:  # where something else was: another log
            self._lose()
        self._log.renew()

    def _fail(self) -> None:
        self._flush()  # nobody waits for what is there already, and it may be all that is missed
        if not self._failing and (self._lost or self._message is not None):
            self._failing = True
            logger.error("the log is away: %s", self._trouble)
            self._host.on_journal_unavailable(
                "The other servers can't be reached: what you say waits, or is refused."
            )

    def _apply(self, entry: Entry) -> None:
        self._room.apply(entry)
        if self._room.expelled:
            logger.error("the other servers took this one for dead: it cuts all connections and begins anew")
            self._host.on_journal_lost()
            self._begin()
        is_back = self._failing and not self._room.waits
        if self._room.brims or is_back:  # nobody has a turn before all know that
            self._flush()
        elif not self._flush_is_due:
            self._flush_is_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Hand out what all entries brought that were there at once."""
        self._flush_is_due = False
        self._room.flush()
        if self._message is None:
            self._host.on_journal_ready()
        elif not self._room.waits:
            self._go_on()

    def _go_on(self) -> None:
        self._message = None
        self._back.set()
        if self._room.closed:
            self._ended.set()
        if self._failing:
            self._failing = False
            logger.info("the log is back")
            self._host.on_journal_recovered("The other servers can be reached again.")
        self._host.on_journal_ready()

    def _lose(self) -> None:
        """Know that entries are missing."""
        self._lost = True
        self._back.set()
        self._news.set()

    async def _start_over(self) -> None:
        """Go on without knowing what happened meanwhile, and so without those who are here."""
        self._trouble = "a part of it is lost, and so all connections are cut"
        self._room.expel()
        self._host.on_journal_lost()
        self._fail()
        try:
            await self._log.make()
            await self._load()
        except JournalError as error:
            self._lost = True
            logger.error("%s", error)  # noqa: TRY400 - no traceback says more
            await asyncio.sleep(1)
        else:
            self._begin()

    async def _keep_table(self) -> None:
        """Put into the log who is in the room, from time to time, if that is this server's task."""
        now = asyncio.get_running_loop().time()
        due = now >= self._table_due or self._log.size >= self._table_due_at
        if not due or not self._room.keeps_table:
            return
        self._table_due, self._table_due_at = now + _TABLE, self._log.size + _TABLE_BYTES
        table = self._room.table()
        if len(table) > self._log.max_size:
            logger.error("there are too many in the room for NATS's max_payload: no server can join any more")
            return
        try:
            await self._log.keep_table(table)
        except AWAY as error:
            logger.warning("who is in the room can't be put into the log: %s", say(error))


async def _retry(ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """Ask the log until there is an answer."""
    while True:
        try:
            return await ask()
        except AWAY:
            await asyncio.sleep(_RETRY)
