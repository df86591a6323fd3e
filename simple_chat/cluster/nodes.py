"""The membership of the cluster: which servers hold a lease.

Pure, and a function of the stream alone, so that all readers of it agree. Each server publishes a heartbeat
every few seconds. The timestamps of the entries are the only clock, and a pause in which nobody published
does not count: an outage of NATS expires nobody's lease.
"""

from dataclasses import dataclass
from typing import Any

HEARTBEAT_INTERVAL = 5.0
"""Seconds without an entry after which a server publishes a heartbeat."""

LEASE = 30.0
"""Seconds without an entry after which a server counts as dead."""

_DELAY_MAX = 1.0  # seconds that a heartbeat may be late without counting as an outage of NATS


@dataclass(slots=True)
class _Node:
    """A server that holds a lease.

    Attributes:
        number: of its last entry.
        seen: when that was, in microseconds as `Nodes.now`.
    """

    number: int
    seen: int


class Nodes:
    """The servers that hold a lease, oldest first.

    Args:
        lease: seconds without an entry after which a server counts as dead.
        heartbeat: seconds between two heartbeats of an idle server.

    Attributes:
        now: microseconds that the stream has been in use.
    """

    def __init__(self, *, lease: float = LEASE, heartbeat: float = HEARTBEAT_INTERVAL) -> None:
        self.now = 0
        self._lease = _microseconds(lease)
        self._step_max = _microseconds(heartbeat + _DELAY_MAX)
        self._time = 0
        self._nodes: dict[str, _Node] = {}
        self._next_expiry = 0  # no lease expires before

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, node: str) -> bool:
        return node in self._nodes

    @property
    def oldest(self) -> str | None:
        """The server that joined first of those present."""
        return next(iter(self._nodes), None)

    def expire(self, time: int) -> list[str]:
        """Advance the clock to an entry's time; remove and return the servers whose lease has expired.

        Args:
            time: of the entry, in microseconds since the epoch.
        """
        self.now += min(max(time - self._time, 0), self._step_max)
        self._time = time
        if self.now <= self._next_expiry:
            return []
        dead = [name for name, node in self._nodes.items() if self.now - node.seen > self._lease]
        for name in dead:
            del self._nodes[name]
        self._next_expiry = min((node.seen for node in self._nodes.values()), default=self.now) + self._lease
        return dead

    def record_heartbeat(self, node: str, number: int) -> bool:
        """Renew the lease of a server that published an entry; its first entry makes it a member.

        Returns:
            Whether the entry is valid: False for a duplicate, and for a server whose lease has expired.
        """
        known = self._nodes.get(node)
        if known is None and number == 1:
            self._nodes[node] = _Node(number, self.now)
            return True
        if known is None or number <= known.number:
            return False
        known.number, known.seen = number, self.now
        return True

    def remove(self, node: str) -> None:
        """Remove a server that has shut down."""
        del self._nodes[node]

    def snapshot(self) -> dict[str, Any]:
        """Return the state in types that JSON has."""
        nodes = [(name, node.number, node.seen) for name, node in self._nodes.items()]
        return {"now": self.now, "time": self._time, "nodes": nodes}

    def restore(self, state: dict[str, Any]) -> None:
        """Replace the state by one that `snapshot` returned."""
        self.now, self._time = state["now"], state["time"]
        self._nodes = {name: _Node(number, seen) for name, number, seen in state["nodes"]}
        self._next_expiry = 0


def _microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)
