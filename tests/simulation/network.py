"""The simulated network: connections whose bytes come late, in any pieces, or not at all.

A connection has two ends, each of a machine: `tests.simulation.ends`.
"""

import asyncio
import errno
import random
from collections.abc import Callable, Collection

from tests.simulation.ends import End, SimulatedSocket
from tests.simulation.loop import SimulatedLoop
from tests.simulation.machine import Machine

_FIRST_DESCRIPTOR = 1_000_000
"""Numbers of sockets: the process must have no files with such numbers."""


class Network:
    """All connections.

    Args:
        loop: their event loop.
        seed: decides latencies and pieces.
    """

    def __init__(self, loop: SimulatedLoop, seed: str) -> None:
        self.loop = loop
        self.latency = (0.0001, 0.003)  # seconds
        self._seed = seed
        self._listeners: dict[str, Callable[[SimulatedSocket, str], None]] = {}
        self._ends: dict[int, End] = {}
        self._machines: dict[str, Machine] = {}
        self._count = 0
        self._descriptors = 0

    def listen(
        self, host: str, machine: Machine, on_accept: Callable[["SimulatedSocket", str], None]
    ) -> None:
        """Let a machine accept connections."""
        self._listeners[host] = on_accept
        self._machines[host] = machine

    def stop_listening(self, host: str) -> None:
        """Refuse connections."""
        self._listeners.pop(host, None)

    async def connect(self, host: str, machine: Machine) -> "SimulatedSocket":
        """Connect a machine to a host; return its end.

        Raises:
            OSError: it is refused, or nobody answers.
        """
        await asyncio.sleep(0.001)
        other = self._machines.get(host)
        if other is None or other.paused:
            await asyncio.sleep(3.0)
            raise OSError(errno.ETIMEDOUT, "timed out")
        if not other.on or (on_accept := self._listeners.get(host)) is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")
        self._count += 1
        near, far = (End(self, each, f"{self._count}{side}") for each, side in ((machine, "a"), (other, "b")))
        near.peer, far.peer = far, near
        for end in (near, far):
            self._ends[end.descriptor] = end
        other.context.run(self.loop.call_soon, on_accept, far.sock, "127.0.0.1")
        return near.sock

    def switch_off(self, machine: Machine, *, power: bool) -> None:
        """End a machine's connections: by resets if its kernel survives, or without a word."""
        for host, each in self._machines.items():
            if each is machine:
                self.stop_listening(host)
        for end in [each for each in self._ends.values() if each.machine is machine]:
            end.vanish(power=power)

    def end(self, descriptor: int) -> "End":
        """Return the end that a socket's number belongs to."""
        return self._ends[descriptor]

    def new_descriptor(self) -> int:
        """Return a number for a socket."""
        self._descriptors += 1
        return _FIRST_DESCRIPTOR + self._descriptors

    def random_of(self, name: str) -> random.Random:
        """Return the source of randomness of one end."""
        return random.Random(f"{self._seed} {name}")

    def forget(self, end: "End") -> None:
        """Drop an end that is closed."""
        self._ends.pop(end.descriptor, None)

    @property
    def open_ends(self) -> Collection["End"]:
        """All ends that are not closed."""
        return self._ends.values()
