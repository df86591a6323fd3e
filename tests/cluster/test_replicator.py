"""The replicator with a stream that does what a test wants, at the moment that it wants."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from simple_chat.cluster import replicator
from simple_chat.cluster.entry import Entry, decode_entry
from simple_chat.cluster.nodes import Nodes
from simple_chat.cluster.replicated import ReplicatedRoom
from simple_chat.cluster.replicator import Replicator
from simple_chat.core.moderation import Order
from simple_chat.core.room import Room

LEASE = 10.0  # seconds
MINUTE = 60_000_000  # microseconds


class Stream:
    """A stream in this process; entries come when they are published, and from `deliver`.

    Attributes:
        starts: how often entries were read from a position on.
        position: of the last entry that was delivered.
        snapshot: the newest one.
        on_publish: called with each entry instead of its delivery; None to deliver it.
        on_snapshot: called when the newest snapshot is asked for.
    """

    max_size = 2**20

    def __init__(self) -> None:
        self.starts = 0
        self.position = 0
        self.bytes_read = 0
        self.on_publish: Callable[[int, bytes], None] | None = None
        self.on_snapshot: Callable[[], None] = lambda: None
        self.snapshot: bytes | None = None
        self._last = 0
        self._time = 0
        self._on_entry: Callable[[Entry], None] | None = None

    async def publish(self, _: str, data: bytes) -> int:
        self._last += 1
        if self.on_publish is None:
            self.deliver(self._last, data)
        else:
            self.on_publish(self._last, data)
        return self._last

    def deliver(self, position: int, data: bytes, *, later: int = 0) -> None:
        """Deliver an entry, which was stored some microseconds after the one before."""
        self._time += later
        self._last = max(self._last, position)
        if self._on_entry is not None:
            self.position = position
            self._on_entry(decode_entry(position, self._time, data))

    async def last_snapshot(self) -> bytes | None:
        self.on_snapshot()
        return self.snapshot

    async def bounds(self) -> tuple[int, int]:
        return 1, self._last

    async def publish_snapshot(self, snapshot: bytes) -> None:
        self.snapshot = snapshot

    async def ensure(self) -> None:
        """Exist."""

    async def consume(
        self, start: int, on_entry: Callable[[Entry], None], on_gap: Callable[[], None]
    ) -> None:
        self.starts += 1
        self.position = start - 1
        self._on_entry, self.report_gap = on_entry, on_gap

    async def stop(self) -> None:
        self._on_entry = None

    async def wait_for(self, _: int) -> bool:
        return True

    def resubscribe(self) -> None:
        """Miss nothing."""

    async def close(self) -> None:
        """Hold nothing."""


class Host:
    """A server that notes what it is told.

    Attributes:
        evictions: how often its connections were aborted.
    """

    def __init__(self) -> None:
        self.evictions = 0
        self._progress = asyncio.Event()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds that comes of a commit."""
        async with asyncio.timeout(10.0):
            while not holds():
                self._progress.clear()
                await self._progress.wait()

    def on_commit(self) -> None:
        self._progress.set()

    def on_unavailable(self, _: str) -> None:
        self._progress.set()

    def on_recovered(self, _: str) -> None:
        self._progress.set()

    def on_evicted(self) -> None:
        self.evictions += 1

    def on_order(self, order: Order) -> None:
        """Ignore orders."""


@asynccontextmanager
async def started(stream: Stream, host: Host) -> AsyncIterator[Replicator]:
    nodes = Nodes(lease=LEASE, heartbeat=LEASE / 3)
    running = Replicator(stream, ReplicatedRoom(Room(), nodes), 0.01)  # type: ignore[arg-type]
    await running.start(host, host)
    try:
        yield running
    finally:
        await running.close()


def let_the_lease_run_out(stream: Stream, position: int) -> int:
    """Let other servers be heard for a long time; return the next position."""
    for number in range(1, 9):
        stream.deliver(position, b"other %d\n" % number, later=MINUTE)
        position += 1
    return position


async def test_what_is_read_while_entries_are_missing_is_not_applied() -> None:
    stream, host = Stream(), Host()
    async with started(stream, host) as running:

        def go_on_reading() -> None:
            stream.on_snapshot = lambda: None
            let_the_lease_run_out(stream, stream.position + 1)

        await host.until(lambda: stream.snapshot is not None and not running.busy)
        stream.on_snapshot = go_on_reading
        old = running.room.node
        stream.report_gap()
        await host.until(lambda: running.room.node not in {"", old} and not running.busy)
        await host.until(lambda: not running.problem)
        assert host.evictions == 1


async def test_entry_of_an_evicted_server_that_is_stored_late_is_no_gap(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream, host = Stream(), Host()
    async with started(stream, host) as running:
        await host.until(lambda: not running.busy)
        monkeypatch.setattr(replicator, "UNAVAILABLE_TIMEOUT", 0.0)  # the machine was paused for longer

        def evict(position: int, data: bytes) -> None:
            def read_all() -> None:
                following = let_the_lease_run_out(stream, position)
                stream.deliver(following, data)

            stream.on_publish = None
            asyncio.get_running_loop().call_soon(read_all)

        old = running.room.node
        stream.on_publish = evict
        await host.until(lambda: running.room.node not in {"", old} and not running.busy)
        assert (stream.starts, host.evictions) == (1, 1)
