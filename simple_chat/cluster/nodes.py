"""Which servers are there: told by the log alone, so that all who read it agree.

Pure. Each server puts something into the log every few seconds. The time of what stands in the log is the
only clock, and what nobody wrote during is left out of it: after the log itself was away, nobody is late.
"""

from dataclasses import dataclass
from typing import Any, Self

HEARTBEAT_INTERVAL = 5.0
"""Seconds after which a server that has nothing to say says that it is there."""

LEASE = 30.0
"""Seconds that a server may be silent until it is taken for dead."""

_SECOND = 1_000_000
_LEASE = round(LEASE * _SECOND)
_STEP_MAX = round((HEARTBEAT_INTERVAL + 1) * _SECOND)


@dataclass(slots=True)
class _Node:
    """A server.

    Attributes:
        number: of its last message.
        seen: when that was.
    """

    number: int
    seen: int


class Nodes:
    """The servers that are there, in the order of their coming.

    Attributes:
        now: microseconds that the log was in use.
    """

    def __init__(self) -> None:
        self.now = 0
        self._time = 0
        self._nodes: dict[str, _Node] = {}
        self._due = 0  # nobody's lease ends before

    def __contains__(self, node: str) -> bool:
        return node in self._nodes

    @property
    def first(self) -> str | None:
        """The server that is there for the longest time."""
        return next(iter(self._nodes), None)

    def advance(self, time: int) -> list[str]:
        """Let time go by, and tell whose lease is over; they are not there any more.

        Args:
            time: of the log, in microseconds since the epoch.
        """
        self.now += min(max(time - self._time, 0), _STEP_MAX)
        self._time = time
        if self.now <= self._due:
            return []
        dead = [name for name, node in self._nodes.items() if self.now - node.seen > _LEASE]
        for name in dead:
            del self._nodes[name]
        self._due = min((node.seen for node in self._nodes.values()), default=self.now) + _LEASE
        return dead

    def hear(self, node: str, number: int) -> bool:
        """Take note of a server's message.

        Returns:
            Whether it counts: not if it is there for the second time, or from a server that is dead.
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
        """Forget a server that has left in order."""
        del self._nodes[node]

    def save(self) -> dict[str, Any]:
        """Put it into what JSON can hold."""
        nodes = [(name, node.number, node.seen) for name, node in self._nodes.items()]
        return {"now": self.now, "time": self._time, "nodes": nodes}

    @classmethod
    def load(cls, saved: dict[str, Any]) -> Self:
        """Make one from what `save` gave."""
        nodes = cls()
        nodes.now, nodes._time = saved["now"], saved["time"]
        nodes._nodes = {name: _Node(number, seen) for name, number, seen in saved["nodes"]}
        return nodes
