"""The simulated log of a cluster: one stream of entries, and each server's way to it.

`SimulatedStream` has the methods of `simple_chat.cluster.stream.LogStream`; the same tests run against both.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any, Self

from simple_chat.cluster.config import ClusterConfig
from simple_chat.cluster.entry import Entry, decode_entry
from tests.simulation.loop import SimulatedLoop
from tests.simulation.machine import MACHINE, Machine

_DUPLICATE_WINDOW = 120.0  # seconds
_MAX_SIZE = 1024 * 1024
_TIMEOUT = 2.0  # seconds until a call is given up
_SILENCE = 3.0  # seconds until a deaf consumer is replaced


class SimulatedLog:
    """The stream that all servers of a room share.

    Args:
        loop: the event loop.
        seed: decides latencies and lost answers.
        epoch: the wall clock's time at the loop's time 0.

    Attributes:
        away: whether nobody can reach it.
        cut_off: the machines that can't reach it.
        losing_answers: the part of the publishes that are stored and time out nevertheless.
    """

    def __init__(self, loop: SimulatedLoop, seed: str, epoch: float) -> None:
        self.away = False
        self.cut_off: set[Machine] = set()
        self.losing_answers = 0.0
        self.created = 1
        self.first = 1
        self.entries: list[tuple[Entry, bool]] = []  # and whether it is a snapshot
        self._snapshot: bytes | None = None
        self._loop = loop
        self._epoch = epoch
        self._idents: dict[str, tuple[float, int]] = {}
        self._choice = random.Random(f"{seed} log")
        self._streams: list[SimulatedStream] = []

    @property
    def last(self) -> int:
        """Position of the last entry."""
        return self.first + len(self.entries) - 1

    def is_reachable_by(self, machine: Machine | None) -> bool:
        """Return whether a machine's calls arrive."""
        return not self.away and machine not in self.cut_off

    def latency(self) -> float:
        """Return the seconds that a way takes."""
        return self._choice.uniform(0.0005, 0.003)

    def loses_answer(self) -> bool:
        """Return whether the answer to a publish gets lost."""
        return self._choice.random() < self.losing_answers

    def append(self, ident: str, data: bytes) -> int:
        """Append an entry unless it was appended a short time ago."""
        now = self._loop.time()
        stored = self._idents.get(ident)
        if stored is not None and now - stored[0] < _DUPLICATE_WINDOW:
            return stored[1]
        position = self.last + 1
        self._idents[ident] = now, position
        self._add(decode_entry(position, self._time(), data), snapshot=False)
        return position

    def append_snapshot(self, data: bytes) -> None:
        """Append a snapshot."""
        self._snapshot = data
        self._add(Entry(self.last + 1, self._time()), snapshot=True)

    def snapshot(self) -> bytes | None:
        """Return the newest snapshot."""
        return self._snapshot

    def delete_until(self, position: int) -> None:
        """Delete the oldest entries, as a limit of the stream does."""
        count = min(max(position - self.first + 1, 0), len(self.entries))
        if any(snapshot for _, snapshot in self.entries[:count]) and not any(
            snapshot for _, snapshot in self.entries[count:]
        ):
            self._snapshot = None
        del self.entries[:count]
        self.first += count

    def replace(self) -> None:
        """Delete the stream; another one begins."""
        self.created += 1
        self.first = 1
        self.entries.clear()
        self._idents.clear()
        self._snapshot = None

    def add_stream(self, stream: "SimulatedStream") -> None:
        """Tell a server's stream of new entries."""
        self._streams.append(stream)

    def _time(self) -> int:
        return round((self._epoch + self._loop.time()) * 1e6)

    def _add(self, entry: Entry, *, snapshot: bool) -> None:
        self.entries.append((entry, snapshot))
        for stream in self._streams:
            stream.wake()


class SimulatedStream:
    """One server's way to the log."""

    max_size = _MAX_SIZE

    def __init__(self, log: SimulatedLog) -> None:
        self.position = 0
        self.bytes_read = 0
        self._log = log
        self._machine = MACHINE.get()
        self._created = log.created
        self._gap = False
        self._deaf_until = 0.0
        self._changed = asyncio.Event()
        self._progress = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        log.add_stream(self)

    @classmethod
    def opener(cls, log: SimulatedLog) -> Any:
        """Return what replaces `LogStream`."""

        class Opener:
            @staticmethod
            async def open(_: ClusterConfig) -> Self:
                stream = cls(log)
                await stream.ensure()
                return stream

        return Opener

    async def close(self) -> None:
        """Stop reading."""
        await self._stop()

    async def ensure(self) -> None:
        """Wait until the log answers."""
        while True:
            try:
                await self._call()
            except TimeoutError:
                continue
            self._created = self._log.created
            return

    async def publish(self, ident: str, data: bytes) -> int:
        """Append an entry.

        Raises:
            TimeoutError: it may be stored or not.
        """
        await self._call()
        position = self._log.append(ident, data)
        if self._log.loses_answer():
            await asyncio.sleep(_TIMEOUT)
            raise TimeoutError
        await self._call()
        return position

    async def publish_snapshot(self, snapshot: bytes) -> None:
        """Append a snapshot.

        Raises:
            TimeoutError: it may be stored or not.
        """
        await self._call()
        self._log.append_snapshot(snapshot)

    async def last_snapshot(self) -> bytes | None:
        """Return the newest snapshot.

        Raises:
            TimeoutError: the log is away.
        """
        await self._call()
        return self._log.snapshot()

    async def bounds(self) -> tuple[int, int]:
        """Return the positions of the first and the last entry.

        Raises:
            TimeoutError: the log is away.
        """
        await self._call()
        return self._log.first, self._log.last

    async def consume(
        self, start: int, on_entry: Callable[[Entry], None], on_gap: Callable[[], None]
    ) -> None:
        """Deliver the entries from a position on, until there is a gap."""
        await self._stop()
        self._gap = False
        self.position = start - 1
        self._reading = asyncio.create_task(self._read(on_entry, on_gap))

    async def wait_for(self, position: int) -> bool:
        """Wait until everything up to a position was delivered; return False if there is a gap before."""
        while self.position < position and not self._gap:
            self._progress.clear()
            await self._progress.wait()
        return not self._gap

    def resubscribe(self) -> None:
        """Hear again."""
        self._deaf_until = 0.0
        self._changed.set()

    def be_deaf(self) -> None:
        """Hear nothing until somebody notices."""
        self._deaf_until = asyncio.get_running_loop().time() + _SILENCE

    def wake(self) -> None:
        """Note that there are new entries."""
        self._changed.set()

    async def _stop(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _call(self) -> None:
        if not self._log.is_reachable_by(self._machine):
            await asyncio.sleep(_TIMEOUT)
            raise TimeoutError
        await asyncio.sleep(self._log.latency())

    async def _read(self, on_entry: Callable[[Entry], None], on_gap: Callable[[], None]) -> None:
        loop, log = asyncio.get_running_loop(), self._log
        while True:
            if self._created != log.created or (
                self.position + 1 < log.first and log.is_reachable_by(self._machine)
            ):
                self._gap = True
                self._progress.set()
                on_gap()
                return
            if not log.is_reachable_by(self._machine) or loop.time() < self._deaf_until:
                await asyncio.sleep(0.1)
            elif self.position < log.last:
                await asyncio.sleep(log.latency())
                self._deliver(on_entry)
            else:
                self._changed.clear()
                await self._changed.wait()

    def _deliver(self, on_entry: Callable[[Entry], None]) -> None:
        """Deliver all that there is, as a packet with several messages does."""
        log = self._log
        while log.first <= self.position + 1 <= log.last and self._created == log.created:
            entry, _ = log.entries[self.position + 1 - log.first]
            self.position = entry.position
            self.bytes_read += 100
            on_entry(entry)
        self._progress.set()
