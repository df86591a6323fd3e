"""The arithmetic of a room on several servers: costs, traffic, and the least CPU time."""

import math
import statistics
from dataclasses import dataclass

WRITE_US = 9.0
"""Microseconds of CPU time per write to a member. Measured per delivery with 500 members, lines per write
counted in `Delivery.broadcast`: 8.95 with one message in flight (1 line per write), 2.21 with 8 (4 to 6
lines, hence 9 to 14 per write), 0.34 with 64 (about 30 lines, hence 10)."""

BYTE_NS = 0.7
"""Nanoseconds more for each byte of a write: 0.05 microseconds per line of 76 bytes, from writes of 1 and of
66 lines (`--window 256`), on loopback."""

BATCH_US = 120.0
"""Microseconds of CPU time to read a message of the stream: nats-py with uvloop, 30 to 120 in a burst, about
115 one at a time. Publishing takes 260, but only at the server that publishes: left out."""

ROUND_TRIP_MS = 3.0
"""Milliseconds from publishing a message to reading it: 2.5 to 4 on loopback, with three NATS servers."""

ROUND_TRIP_P99_MS = 9.0
"""The same at the 99th percentile: a guess, to be measured in the network in question."""

BATCH_BYTES = 32 * 1024
"""Bytes of lines that fill a batch, as in `simple_chat.core.room`."""

READERS_MAX = 1_000
"""Readers of one stream above which NATS needs mirrors, roughly."""

_SPREAD = math.sqrt(0.5) / statistics.NormalDist().inv_cdf(0.99)  # of the sum of two normal variates


@dataclass(frozen=True, slots=True)
class Costs:
    """CPU time in seconds.

    Args:
        batch: per message read from the stream.
        write: per write to a member, whatever its length.
        byte: per byte of a write.
    """

    batch: float = BATCH_US / 1e6
    write: float = WRITE_US / 1e6
    byte: float = BYTE_NS / 1e9


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """Time from publishing a message to reading it, in seconds; log-normal.

    Args:
        median: of all messages.
        p99: what 1 % of the messages exceed.
    """

    median: float = ROUND_TRIP_MS / 1e3
    p99: float = ROUND_TRIP_P99_MS / 1e3

    def draw(self, of_message: float, of_reader: float) -> float:
        """Return the time that one message takes to one reader.

        Args:
            of_message: a normal variate that all readers of the message share.
            of_reader: another one of this reader.
        """
        return self.median * math.pow(self.p99 / self.median, (of_message + of_reader) * _SPREAD)


@dataclass(frozen=True, slots=True)
class Room:
    """A room on several servers.

    Args:
        members: on all servers, spread evenly.
        rate: lines sent per second.
        size: bytes of a delivered line.
        servers: number of chat servers.
    """

    members: int
    rate: float
    size: int
    servers: int

    @property
    def members_each(self) -> int:
        """Members of the largest server."""
        return math.ceil(self.members / self.servers)

    @property
    def egress(self) -> float:
        """Bytes per second to all members."""
        return self.members * self.rate * self.size

    @property
    def egress_each(self) -> float:
        """Bytes per second from one server."""
        return self.members_each * self.rate * self.size

    @property
    def deliveries_each(self) -> float:
        """Deliveries per second from one server: a line to one member each."""
        return self.members_each * self.rate

    @property
    def lines_per_batch(self) -> int:
        """Lines that fill a batch."""
        return max(1, BATCH_BYTES // self.size)


def stream_messages(room: Room, trip: RoundTrip) -> float:
    """Return the messages per second on the stream, if every round trip takes its median and rounds no time.

    A server publishes the first line at once, then all lines that arrived meanwhile; if there were none, it
    waits for the next one. Busy servers publish less often, and more at a time.
    """
    rate = room.rate / room.servers
    wait = math.exp(-rate * trip.median) / rate
    return max(room.servers / (trip.median + wait), room.rate / room.lines_per_batch)


def utilisation_min(room: Room, costs: Costs) -> float:
    """Return the share of a core that a server needs if every round is a full batch.

    Above 1, it can't keep up.
    """
    rounds = room.rate / room.lines_per_batch
    bytes_each = room.rate * room.size
    return rounds * costs.batch + room.members_each * (rounds * costs.write + bytes_each * costs.byte)


def stream_reads(room: Room, messages: float, nats_servers: int) -> tuple[float, float]:
    """Return the messages and bytes per second that one NATS server sends to chat servers."""
    readers = room.servers / nats_servers
    return readers * messages, readers * room.rate * room.size
