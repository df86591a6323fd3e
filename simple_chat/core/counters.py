"""Counters of one room: plain integers, counted once a batch, a turn or a connection, never once a delivery.

Nothing here knows who reads them. Histograms have fixed bounds, so that observing is one search and two sums.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import accumulate

from simple_chat.core.backlog import Batch
from simple_chat.core.sequence import MESSAGE

FAST_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Bounds for what is done within one turn of an event loop."""

SLOW_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds for what waits for a disk or for other machines."""

LINES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Bounds for lines of a batch."""

BYTES = (64, 256, 1024, 4096, 16_384, 65_536)
"""Bounds for bytes of a batch, which is closed soon after 32 KiB."""


class End(StrEnum):
    """Why a connection ended, if there is no code of ERR for it.

    QUIT: the client ended it. LOST: it broke. STALLED: its peer acknowledged nothing for too long.
    SHUTDOWN: the server ends. EVICTED: the other servers of a cluster took this one for dead. FAILED: a step
    of it raised an exception.
    """

    QUIT = "quit"
    LOST = "lost"
    STALLED = "stalled"
    SHUTDOWN = "shutdown"
    EVICTED = "evicted"
    FAILED = "failed"


class Histogram:
    """How often values were how large.

    Args:
        bounds: rising; a value counts for the first bound that it is not above.

    Attributes:
        sum: of all values.
    """

    __slots__ = ("_bounds", "_counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self._counts)

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Iterate over the bounds, the last one infinite: each, and how many values are not above it."""
        return zip((*self._bounds, float("inf")), accumulate(self._counts), strict=True)


class Counters:
    """What a room, its connections and its event loop count.

    Attributes:
        received_bytes: from clients, without TLS.
        sent_bytes: handed over to be written to clients, without TLS.
        lines: of clients that were executed, empty and refused ones too.
        room_lines: JOINED, MSG and LEFT that were broadcast, each once.
        messages: the MSG among them.
        deliveries: lines of the room handed over to be written, once for each who gets them.
        gaps: GAP lines.
        gap_lines: lines of the room that these stand for.
        refusals: lines and connections refused with ERR, by code.
        accepted: connections.
        refused: connections by the limit that was reached, as its option is called.
        disconnects: ended connections by their code or `End`.
        batch_lines: lines of each batch.
        batch_bytes: bytes of each batch.
        fanout_seconds: how long it took to write each batch to all who were caught up; only while the room
            has a clock.
        loop_lag_seconds: how late the event loop was, once a second.
    """

    __slots__ = (
        "accepted",
        "batch_bytes",
        "batch_lines",
        "deliveries",
        "disconnects",
        "fanout_seconds",
        "gap_lines",
        "gaps",
        "lines",
        "loop_lag_seconds",
        "messages",
        "received_bytes",
        "refusals",
        "refused",
        "room_lines",
        "sent_bytes",
    )

    def __init__(self) -> None:
        self.received_bytes = self.sent_bytes = 0
        self.lines = self.room_lines = self.messages = self.deliveries = 0
        self.gaps = self.gap_lines = 0
        self.accepted = 0
        self.refusals = Counter[str]()
        self.refused = Counter[str]()
        self.disconnects = Counter[str]()
        self.batch_lines = Histogram(LINES)
        self.batch_bytes = Histogram(BYTES)
        self.fanout_seconds = Histogram(FAST_SECONDS)
        self.loop_lag_seconds = Histogram(FAST_SECONDS)

    def count_broadcast(self, batch: Batch, deliveries: int, size: int) -> None:
        """Count a batch that was broadcast.

        Args:
            batch: the batch.
            deliveries: lines that were written, once for each member who got them.
            size: bytes that were written.
        """
        self.room_lines += batch.lines
        self.messages += batch.data.startswith(MESSAGE) + batch.data.count(b"\n" + MESSAGE)
        self.deliveries += deliveries
        self.sent_bytes += size
        self.batch_lines.observe(batch.lines)
        self.batch_bytes.observe(len(batch.data))
