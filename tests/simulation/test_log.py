"""What a cluster demands of its log holds for the simulated one as for a real NATS server."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from itertools import pairwise
from typing import Any, Protocol
from unittest.mock import patch
from uuid import uuid4

import pytest

from simple_chat.cluster import consumer
from simple_chat.cluster import stream as stream_module
from simple_chat.cluster.config import ClusterConfig
from simple_chat.cluster.connection import UNAVAILABLE
from simple_chat.cluster.entry import Entry, encode_entry
from simple_chat.cluster.stream import LogStream
from tests.harness.nats import NatsCluster
from tests.simulation.log import SimulatedLog
from tests.simulation.log_connection import SimulatedConnection
from tests.simulation.loop import new_loop

DEADLINE = 20.0  # seconds, real or virtual
HEARTBEAT = 0.2  # seconds, in which a deleted message is noticed
BOUND = 5.0  # seconds that a call may take while there is no answer


class Nats(Protocol):
    """NATS, as its operator sees it, with the stream of one room."""

    config: ClusterConfig

    async def store(self, ident: str, data: bytes) -> None:
        """Store an entry as a publish does whose answer is lost."""

    async def delete(self, position: int) -> None:
        """Delete one message."""

    async def purge(self, keep: int = 0) -> None:
        """Delete all messages but the last ones."""

    async def remove(self) -> None:
        """Delete the stream."""

    async def deafen(self) -> None:
        """Delete all consumers of the stream."""

    def outage(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Answer nothing meanwhile."""


class Simulated:
    """The simulated NATS."""

    def __init__(self, log: SimulatedLog) -> None:
        self.config = ClusterConfig(servers=("nats://simulated",))
        self._log = log

    async def store(self, ident: str, data: bytes) -> None:
        self._log.store(f"{self.config.room}.log", data, ident)

    async def delete(self, position: int) -> None:
        self._log.delete(position)

    async def purge(self, keep: int = 0) -> None:
        self._log.purge(keep)

    async def remove(self) -> None:
        self._log.remove()

    async def deafen(self) -> None:
        self._log.deafen(None)

    @contextlib.asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        self._log.away = True
        yield
        self._log.away = False


class Real:
    """A real NATS server."""

    def __init__(self, nats: NatsCluster) -> None:
        self.config = ClusterConfig(servers=(nats.url,), room=f"room-{uuid4().hex}", replicas=1)
        self._nats = nats

    async def store(self, ident: str, data: bytes) -> None:
        async with self._nats.client() as client:
            headers = {"Nats-Msg-Id": ident}
            await client.jetstream().publish(f"{self.config.room}.log", data, headers=headers)

    async def delete(self, position: int) -> None:
        async with self._nats.client() as client:
            await client.jetstream().delete_msg(self.config.room, position)

    async def purge(self, keep: int = 0) -> None:
        async with self._nats.client() as client:
            await client.jetstream().purge_stream(self.config.room, keep=keep or None)

    async def remove(self) -> None:
        async with self._nats.client() as client:
            await client.jetstream().delete_stream(self.config.room)

    async def deafen(self) -> None:
        async with self._nats.client() as client:
            for consumer in await client.jetstream().consumers_info(self.config.room):
                await client.jetstream().delete_consumer(self.config.room, consumer.name)

    @contextlib.asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        self._nats.pause(0)
        try:
            yield
        finally:
            self._nats.resume(0)


@pytest.fixture(scope="module")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    """One standalone server for all tests of this module; what pauses it lets it go on."""
    with NatsCluster(tmp_path_factory.mktemp("nats"), servers=1) as cluster:
        yield cluster


Check = Callable[[Nats], Coroutine[Any, Any, None]]


def contract(check: Check) -> Callable[..., None]:
    """Let a check be a test of each kind of NATS."""

    async def within_deadline(nats: Nats) -> None:
        with patch.object(consumer, "HEARTBEAT_INTERVAL", HEARTBEAT):
            async with asyncio.timeout(DEADLINE):
                await check(nats)

    @pytest.mark.parametrize("kind", ["simulated", "real"])
    def test(kind: str, request: pytest.FixtureRequest) -> None:
        if kind == "real":
            server = request.getfixturevalue("nats_server")
            real = Real(server)
            asyncio.run(within_deadline(real))
            server.delete(real.config.room)  # it has room for a few streams only
            return
        loop = new_loop()
        log = SimulatedLog(loop, "test", 1.8e9)
        with patch.object(stream_module, "NatsConnection", lambda config: SimulatedConnection(log, config)):
            loop.run(within_deadline(Simulated(log)))
        assert not loop.errors

    test.__name__ = check.__name__
    return test


class Reader:
    """What a stream delivers.

    Attributes:
        entries: so far.
        gaps: how often it was told that entries are missing.
    """

    def __init__(self, stream: LogStream) -> None:
        self.entries: list[Entry] = []
        self.gaps = 0
        self._stream = stream
        self._gap = asyncio.Event()

    async def consume(self, start: int = 1) -> None:
        await self._stream.consume(start, self.entries.append, self._on_gap)

    def _on_gap(self) -> None:
        self.gaps += 1
        self._gap.set()

    async def gap(self) -> None:
        await self._gap.wait()

    @property
    def numbers(self) -> list[int]:
        return [entry.number for entry in self.entries]


@contextlib.asynccontextmanager
async def opened(nats: Nats) -> AsyncIterator[tuple[LogStream, Reader]]:
    stream = await LogStream.open(nats.config)
    try:
        yield stream, Reader(stream)
    finally:
        await stream.close()


def entry(number: int) -> bytes:
    return encode_entry("node", number, [b"MSG ann %d\n" % number])


async def publish(stream: LogStream, *numbers: int) -> list[int]:
    return [await stream.publish(f"node-{number}", entry(number)) for number in numbers]


# Writing


@contract
async def test_positions_rise_from_1(nats: Nats) -> None:
    async with opened(nats) as (stream, _):
        assert await publish(stream, 1, 2, 3) == [1, 2, 3]


@contract
async def test_entry_that_is_published_again_has_its_position_and_comes_once(nats: Nats) -> None:
    async with opened(nats) as (stream, reader):
        assert await publish(stream, 1, 2, 1, 3, 3) == [1, 2, 1, 3, 3]
        await reader.consume()
        assert await stream.wait_for(3)
        await publish(stream, 2, 4)
        assert await stream.wait_for(4)
        assert reader.numbers == [1, 2, 3, 4]


@contract
async def test_entry_whose_answer_is_lost_is_stored_and_can_be_published_again(nats: Nats) -> None:
    async with opened(nats) as (stream, reader):
        await reader.consume()
        await nats.store("node-1", entry(1))
        assert await publish(stream, 1, 2) == [1, 2]
        assert await stream.wait_for(2)
        assert reader.numbers == [1, 2]


@contract
async def test_message_that_is_no_entry_has_no_node(nats: Nats) -> None:
    async with opened(nats) as (stream, reader):
        await stream.publish("foreign", b"something else")
        await stream.publish_snapshot(b"state")
        await publish(stream, 1)
        await reader.consume()
        assert await stream.wait_for(3)
        assert [(each.position, each.node) for each in reader.entries] == [(1, ""), (2, ""), (3, "node")]


@contract
async def test_newest_snapshot_is_found_until_it_is_deleted(nats: Nats) -> None:
    async with opened(nats) as (stream, _):
        assert await stream.last_snapshot() is None
        for snapshot in (b"old", b"new"):
            await stream.publish_snapshot(snapshot)
            await publish(stream, 1)
        assert await stream.last_snapshot() == b"new"
        await nats.purge()
        assert await stream.last_snapshot() is None


@contract
async def test_entry_may_have_a_megabyte(nats: Nats) -> None:
    async with opened(nats) as (stream, _):
        assert stream.max_size == 1024 * 1024


# Reading


@contract
async def test_entries_come_once_and_in_order_from_a_position_on(nats: Nats) -> None:
    async with opened(nats) as (stream, reader):
        await publish(stream, *range(1, 6))
        await reader.consume(3)
        assert await stream.wait_for(5)
        await publish(stream, *range(6, 11))
        assert await stream.wait_for(10)
        assert stream.position == 10
        assert [each.position for each in reader.entries] == reader.numbers == [*range(3, 11)]
        assert reader.entries[0].lines == (b"MSG ann 3\n",)
        assert all(one.time <= other.time for one, other in pairwise(reader.entries))
        assert stream.bytes_read >= 8 * len(entry(1))


@contract
async def test_wait_lasts_until_the_entry_comes(nats: Nats) -> None:
    async with opened(nats) as (stream, reader):
        await reader.consume()
        waiting = asyncio.create_task(stream.wait_for(2))
        await publish(stream, 1)
        assert await stream.wait_for(1)
        assert not waiting.done()
        await publish(stream, 2)
        assert await waiting
        assert reader.numbers == [1, 2]


@contract
async def test_two_servers_read_the_same_in_one_order(nats: Nats) -> None:
    async with opened(nats) as (near, reader), opened(nats) as (far, other):
        await reader.consume()
        await other.consume()
        await asyncio.gather(publish(near, *range(1, 30)), publish(far, *range(30, 60)))
        assert await near.wait_for(59)
        assert await far.wait_for(59)
        assert reader.entries == other.entries
        assert sorted(reader.numbers) == [*range(1, 60)]


@contract
async def test_bounds_are_those_of_what_is_kept(nats: Nats) -> None:
    async with opened(nats) as (stream, _):
        first, last = await stream.bounds()
        assert (first <= 1, last) == (True, 0)
        await publish(stream, 1, 2, 3)
        assert await stream.bounds() == (1, 3)
        await nats.purge(keep=1)
        assert await stream.bounds() == (3, 3)
        await nats.purge()
        assert await stream.bounds() == (4, 3)
        assert await publish(stream, 4) == [4]


@contract
async def test_reading_anew_begins_where_it_is_told_to(nats: Nats) -> None:
    async with opened(nats) as (stream, reader):
        await publish(stream, 1, 2, 3)
        await reader.consume()
        assert await stream.wait_for(3)
        await reader.consume(2)
        assert await stream.wait_for(3)
        assert reader.numbers == [1, 2, 3, 2, 3]


@contract
async def test_new_consumer_delivers_what_a_deaf_one_missed(nats: Nats) -> None:
    async with opened(nats) as (stream, reader):
        await reader.consume()
        await publish(stream, 1)
        assert await stream.wait_for(1)
        await nats.deafen()
        await publish(stream, 2, 3)
        assert reader.numbers == [1]
        stream.resubscribe()
        assert await stream.wait_for(3)
        assert reader.numbers == [1, 2, 3]


@contract
async def test_closed_stream_delivers_nothing_more(nats: Nats) -> None:
    async with opened(nats) as (far, other):
        async with opened(nats) as (stream, reader):
            await reader.consume()
            await publish(stream, 1)
            assert await stream.wait_for(1)
        await other.consume()
        await publish(far, 2)
        assert await far.wait_for(2)
        assert reader.numbers == [1]


# Gaps


async def check_gap(stream: LogStream, reader: Reader, *before: int) -> None:
    """Check that a gap is reported once, behind some entries, and nothing after it."""
    await reader.gap()
    assert not await stream.wait_for(1000)
    assert (reader.numbers, reader.gaps) == ([*before], 1)


@contract
async def test_start_that_was_deleted_is_a_gap(nats: Nats) -> None:
    async with opened(nats) as (stream, reader):
        await publish(stream, 1, 2, 3)
        await nats.purge(keep=1)
        await reader.consume(2)
        await check_gap(stream, reader)


@contract
async def test_hole_is_a_gap(nats: Nats) -> None:
    async with opened(nats) as (stream, reader):
        await publish(stream, 1, 2, 3, 4)
        await nats.delete(3)
        await reader.consume()
        await check_gap(stream, reader, 1, 2)


@contract
async def test_hole_at_the_end_is_a_gap(nats: Nats) -> None:
    async with opened(nats) as (stream, reader):
        await publish(stream, 1, 2, 3)
        await nats.delete(3)
        await reader.consume()
        assert await stream.wait_for(2)
        await check_gap(stream, reader, 1, 2)


@contract
async def test_purged_stream_is_a_gap_for_who_has_not_read_it(nats: Nats) -> None:
    async with opened(nats) as (stream, reader):
        await publish(stream, 1, 2, 3)
        await nats.purge()
        await reader.consume()
        await check_gap(stream, reader)


@contract
async def test_purged_stream_goes_on_for_who_has_read_it(nats: Nats) -> None:
    async with opened(nats) as (stream, reader):
        await reader.consume()
        await publish(stream, 1, 2)
        assert await stream.wait_for(2)
        await nats.purge()
        await publish(stream, 3)
        assert await stream.wait_for(3)
        assert reader.numbers == [1, 2, 3]


@contract
async def test_stream_that_was_deleted_and_made_anew_is_a_gap(nats: Nats) -> None:
    async with opened(nats) as (stream, reader), opened(nats) as (far, _):
        await publish(stream, 1)
        await reader.consume()
        assert await stream.wait_for(1)
        await nats.remove()
        with pytest.raises(UNAVAILABLE):
            await publish(far, 2)
        await far.ensure()
        assert await publish(far, 3, 4) == [1, 2]
        stream.resubscribe()
        await check_gap(stream, reader, 1)
        await stream.ensure()
        await reader.consume()
        assert await stream.wait_for(2)
        assert reader.numbers == [1, 3, 4]


# Outages


@contract
async def test_calls_fail_soon_while_nats_is_away_and_work_afterwards(nats: Nats) -> None:
    async with opened(nats) as (stream, reader):
        await publish(stream, 1)
        async with nats.outage():
            calls: list[Awaitable[object]] = [
                publish(stream, 2),
                stream.bounds(),
                stream.last_snapshot(),
                stream.publish_snapshot(b""),
            ]
            async with asyncio.timeout(BOUND):
                answers = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(each, UNAVAILABLE) for each in answers)
        await reader.consume()
        await stream.ensure()
        (position,) = await publish(stream, 2)
        assert await stream.wait_for(position)
        assert [number for number in reader.numbers if number] == [1, 2]


@contract
async def test_reading_goes_on_after_an_outage(nats: Nats) -> None:
    async with opened(nats) as (stream, reader):
        await reader.consume()
        await publish(stream, 1)
        assert await stream.wait_for(1)
        async with nats.outage():
            with pytest.raises(UNAVAILABLE):
                await publish(stream, 2)
        await stream.ensure()
        (position,) = await publish(stream, 2)
        stream.resubscribe()
        assert await stream.wait_for(position)
        assert reader.numbers == [1, 2]
