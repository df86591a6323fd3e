"""The replicator: it publishes what members do to the stream, and applies what it reads from there.

One message is in flight while the next one gathers in the room. It is published until it is read back, so
that nothing is lost, and has a number, so that nothing is applied twice.
"""

import asyncio
import contextlib
import logging
import secrets
from typing import Self

from simple_chat.cluster.base import Moderator, ReplicatorHost
from simple_chat.cluster.config import ClusterConfig
from simple_chat.cluster.connection import RETRY_INTERVAL, UNAVAILABLE, cancel, describe_nats_error, retry
from simple_chat.cluster.entry import Entry
from simple_chat.cluster.nodes import Nodes
from simple_chat.cluster.replicated import Message, ReplicatedRoom
from simple_chat.cluster.snapshot import position_after
from simple_chat.cluster.stream import START_TIMEOUT, LogStream
from simple_chat.core.counters import SLOW_SECONDS, Histogram
from simple_chat.core.moderation import Order
from simple_chat.core.room import BATCH_BYTES, Room
from simple_chat.errors import JournalError

logger = logging.getLogger(__name__)

UNAVAILABLE_TIMEOUT = 2.0
"""Seconds that a message may be in flight until members are told that the cluster is unavailable."""

SNAPSHOT_INTERVAL = 60.0
"""Seconds from one snapshot to the next."""

_HEAD = 1024  # bytes that an entry's first line and NATS's headers take at the most, and more
_SNAPSHOT_BYTES = 64 * 1024 * 1024  # of the stream, after which a snapshot is due in any case


class Replicator:
    """Replicates a room over several servers. It is the `simple_chat.core.scheduler.Committer` of each.

    Args:
        stream: connected.
        room: the room.
        heartbeat: seconds without an entry after which this server publishes a heartbeat.

    Attributes:
        room: the same.
        commit_seconds: how long each message took from here to the stream and back.
    """

    _host: ReplicatorHost
    _moderator: Moderator

    def __init__(self, stream: LogStream, room: ReplicatedRoom, heartbeat: float) -> None:
        self.room = room
        self._stream = stream
        self._heartbeat = heartbeat
        self._message: Message | None = None  # in flight
        self._message_since = 0.0  # by the event loop's clock
        self.commit_seconds = Histogram(SLOW_SECONDS)
        self._enqueued = asyncio.Event()  # there is one
        self._read_back = asyncio.Event()  # it was, or never will be
        self._ended = asyncio.Event()
        self._flush_requested = False
        self._has_gap = False
        self._started = False
        self._unavailable = False
        self._last_error = ""
        self._snapshot_due = 0.0  # by the event loop's clock
        self._snapshot_due_at = 0  # bytes read
        self._publishing: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, config: ClusterConfig, room: Room, *, max_line: int) -> Self:
        """Connect to the stream.

        Args:
            config: where it is.
            room: of this server, with nobody in it.
            max_line: bytes that a line of a client may have.

        Raises:
            JournalError: it can't be used.
        """
        stream = await LogStream.open(config)
        if stream.max_size < BATCH_BYTES + 3 * max_line + _HEAD:  # a control picture has three bytes
            await stream.close()
            raise JournalError(
                f"NATS takes {stream.max_size} bytes at a time: too few for lines of {max_line}"
            )
        nodes = Nodes(lease=config.lease, heartbeat=config.heartbeat)
        return cls(stream, ReplicatedRoom(room, nodes), config.heartbeat)

    # What the server asks for

    @property
    def busy(self) -> bool:
        """Whether a message is in flight, or none can be."""
        return self._message is not None or not self.room.node

    @property
    def problem(self) -> str:
        """Why nothing can be committed now; empty if all is well."""
        return self._last_error if self._unavailable else ""

    async def start(self, host: ReplicatorHost, moderator: Moderator) -> None:
        """Learn who is in the room, and join the other servers.

        Args:
            host: is told of commits and outages.
            moderator: carries out orders.

        Raises:
            JournalError: that is not possible.
        """
        self._host, self._moderator = host, moderator
        await self._restore()
        self._publishing = asyncio.create_task(self._publish())
        self._join_as_new_node()
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await self._read_back.wait()
        except TimeoutError:
            raise JournalError("nothing that is published to the stream is read back") from None
        self._started = True

    def commit(self) -> None:
        """Publish what members proposed."""
        self._enqueue(self.room.next_message())

    def propose(self, order: Order) -> None:
        """Have all servers carry out an order, in its place in the log."""
        self.room.propose(order)
        if not self.busy:
            self.commit()

    async def leave(self) -> None:
        """Leave the other servers, after everything that members proposed."""
        if not (self._started and self.room.node):  # it has not joined them yet, or was evicted
            return
        self.room.propose_end()
        if not self.busy:
            self.commit()
        await self._ended.wait()

    async def close(self) -> None:
        """Stop, and disconnect."""
        if self._publishing is not None:
            await cancel(self._publishing)
        await self._stream.close()

    # Joining

    async def _restore(self) -> None:
        """Start from the newest snapshot, and apply everything from there to the end of the stream.

        Raises:
            JournalError: there is none, and none comes.
        """
        missing = 0  # position of an entry that was deleted
        complete = False
        while not complete:
            self._has_gap = False
            snapshot, first, last = await self._find_snapshot(missing)
            start = self.room.restore(snapshot, last if first > 1 else 0)
            await self._stream.consume(max(start, first), self._apply, self._on_gap)
            complete = await self._stream.wait_for(last)
            missing = self._stream.position + 1

    async def _find_snapshot(self, missing: int) -> tuple[bytes | None, int, int]:
        """Return the newest snapshot, and the positions of the first and the last entry to read.

        It has to cover what was deleted. If there is none, there are no other servers: one would come.

        Args:
            missing: position of an entry that turned out to be deleted; 0 for none.

        Raises:
            JournalError: there are other servers, and none comes.
        """
        ends = set[int]()
        for _ in range(round(1.5 * SNAPSHOT_INTERVAL)):
            snapshot = await retry(self._stream.last_snapshot)
            first, last = await retry(self._stream.bounds)
            first = max(first, 1, missing + 1 if missing <= last else 0)
            if first <= position_after(snapshot):
                return snapshot, first, last
            ends.add(last)
            logger.warning("waiting for another server's snapshot")
            await asyncio.sleep(1)
        if len(ends) > 1:
            raise JournalError("no other server publishes a snapshot: see their logs")
        if snapshot is not None:
            self.room.restore_bans(snapshot)
        return None, first, last

    def _join_as_new_node(self) -> None:
        self._read_back.set()
        self.room.begin(secrets.token_hex(8))
        self._enqueue(self.room.next_message(heartbeat=True))

    # Publishing

    def _enqueue(self, message: Message | None) -> None:
        if message is not None:
            self._message = message
            self._message_since = asyncio.get_running_loop().time()
            self._read_back = asyncio.Event()
            self._enqueued.set()

    async def _publish(self) -> None:
        """Publish messages one after another, and a heartbeat when there has been none for a while."""
        while not self._ended.is_set():  # what comes after the end counts nowhere
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._heartbeat):
                    await self._enqueued.wait()
            if self._message is None:
                self._enqueue(self.room.next_message(heartbeat=True))
            self._enqueued.clear()
            if self._message is not None:
                await self._publish_until_read_back(self._message)
            if self._has_gap:
                await self._resync()
            else:
                await self._publish_snapshot()

    async def _publish_until_read_back(self, message: Message) -> None:
        """Publish a message again and again until it is read back, or never will be."""
        read_back = self._read_back
        self._last_error = "what is published is not read back"
        timer = asyncio.get_running_loop().call_later(UNAVAILABLE_TIMEOUT, self._on_unavailable)
        try:
            while not (read_back.is_set() or self._has_gap):
                await self._publish_once(message, read_back)
        finally:
            timer.cancel()

    async def _publish_once(self, message: Message, read_back: asyncio.Event) -> None:
        try:
            position = await self._stream.publish(message.ident, message.data)
        except UNAVAILABLE as error:
            self._last_error = describe_nats_error(error)
            await asyncio.sleep(RETRY_INTERVAL)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(UNAVAILABLE_TIMEOUT):
                await read_back.wait()
        if read_back.is_set():  # perhaps together with the timeout, after a pause of the machine
            return
        if self.room.in_flight and position <= self._stream.position:  # where something else was
            self._on_gap()  # it is another stream
        self._stream.resubscribe()

    def _on_unavailable(self) -> None:
        self._flush()  # nobody waits for what was read already, and it may be all that is missing
        if not self._unavailable and (self._has_gap or self._message is not None):
            self._unavailable = True
            logger.error("the cluster is unavailable: %s", self._last_error)
            self._host.on_unavailable(
                "The other servers can't be reached: what you say waits, or is refused."
            )

    # Applying

    def _apply(self, entry: Entry) -> None:
        self.room.apply(entry)
        for order in self.room.take_orders():
            self._moderator.on_order(order)
        if self.room.evicted:
            logger.error("the lease of this server ran out: aborting all connections, joining as a new node")
            self._host.on_evicted()
            self._join_as_new_node()
        recovered = self._unavailable and not self.room.in_flight
        if self.room.flush_due or recovered:  # nobody gets a turn before all know that
            self._flush()
        elif not self._flush_requested:
            self._flush_requested = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        """Deliver what came of all entries that were there at once."""
        self._flush_requested = False
        self.room.flush()
        if self._message is None:
            self._host.on_commit()
        elif not self.room.in_flight:
            self._on_read_back()

    def _on_read_back(self) -> None:
        self._message = None
        self.commit_seconds.observe(asyncio.get_running_loop().time() - self._message_since)
        self._read_back.set()
        if self.room.room.closed:
            self._ended.set()
        if self._unavailable:
            self._unavailable = False
            logger.info("the cluster is available again")
            self._host.on_recovered("The other servers can be reached again.")
        self._host.on_commit()

    def _on_gap(self) -> None:
        """Note that entries are missing."""
        self._has_gap = True
        self._read_back.set()
        self._enqueued.set()

    async def _resync(self) -> None:
        """Start again without knowing what happened meanwhile, and so without the members that are here."""
        self._last_error = "entries of the stream are missing, all connections are aborted"
        self.room.evict()
        self._host.on_evicted()
        self._on_unavailable()
        try:
            await self._stream.stop()  # whatever comes now is behind what is missing
            await self._stream.ensure()
            await self._restore()
        except JournalError as error:
            self._has_gap = True
            logger.error("%s", error)  # noqa: TRY400 - no traceback says more
            await asyncio.sleep(1)
        else:
            self._join_as_new_node()

    async def _publish_snapshot(self) -> None:
        """Publish who is in the room from time to time, if that is this server's task."""
        now = asyncio.get_running_loop().time()
        due = now >= self._snapshot_due or self._stream.bytes_read >= self._snapshot_due_at
        if not due or not self.room.is_snapshotter:
            return
        self._snapshot_due = now + SNAPSHOT_INTERVAL
        self._snapshot_due_at = self._stream.bytes_read + _SNAPSHOT_BYTES
        snapshot = self.room.snapshot()
        if len(snapshot) > self._stream.max_size:
            logger.error(
                "a snapshot of %d bytes is larger than NATS's max_payload: no server can join any more",
                len(snapshot),
            )
            return
        try:
            await self._stream.publish_snapshot(snapshot)
        except UNAVAILABLE as error:
            logger.warning("can't publish a snapshot: %s", describe_nats_error(error))
