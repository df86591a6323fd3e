"""The simulated network: connections whose bytes come late, in any pieces, or not at all.

A connection has two ends, each of a machine: `tests.simulation.ends`. It waits in the queue of a listening
socket until it is accepted.
"""

import asyncio
import errno
import random
from collections.abc import Collection

from tests.simulation.ends import KEEPALIVE, End
from tests.simulation.loop import SimulatedLoop
from tests.simulation.machine import Machine
from tests.simulation.sockets import ListeningSocket, SimulatedSocket

_FIRST_DESCRIPTOR = 1_000_000
"""Numbers of sockets: the process must have no files with such numbers."""

_TRIES = (1.0, 2.0)
"""Seconds after which a kernel tries again to connect where nobody answers; then it gives up."""


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
        self._listeners: dict[str, ListeningSocket] = {}
        self._ends: dict[int, End] = {}
        self._cuts: set[tuple[Machine, int]] = set()  # servers, and the routers they can't be reached by
        self._count = 0
        self._descriptors = 0

    def listen(self, host: str, machine: Machine) -> ListeningSocket:
        """Let a machine accept connections."""
        self._listeners[host] = sock = ListeningSocket(self.loop, machine)
        return sock

    async def connect(self, host: str, machine: Machine) -> SimulatedSocket:
        """Connect a machine to a host; return its end.

        Raises:
            OSError: it is refused, or nobody answers.
        """
        await asyncio.sleep(0.001)
        for seconds in (*_TRIES, None):
            listener = self._listeners.get(host)
            if listener is None or listener.refuses:
                raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")
            if not (listener.full or self.is_cut(machine, listener.machine)):
                return self._connect(machine, listener)
            if seconds is not None:
                await asyncio.sleep(seconds)
        raise OSError(errno.ETIMEDOUT, "timed out")

    def _connect(self, machine: Machine, listener: ListeningSocket) -> SimulatedSocket:
        self._count += 1
        near = End(self, machine, f"{self._count}a")
        far = End(self, listener.machine, f"{self._count}b")
        near.peer, far.peer = far, near
        for end in (near, far):
            self._ends[end.descriptor] = end
        listener.arrive(far)
        return near.sock

    # What goes wrong

    def cut(self, server: Machine, routers: Collection[int]) -> None:
        """Keep back every packet between a machine and those behind some routers; both think all is well."""
        self._cuts |= {(server, router) for router in routers}
        for end in self.across_cut(server):
            for each in (end, end.peer):
                self.loop.call_later(KEEPALIVE, each.on_silence_behind_cut)

    def mend(self, server: Machine) -> None:
        """End `cut`: what was kept back arrives."""
        across = [
            each
            for each in self._ends.values()
            if server in {each.machine, each.peer.machine} and self.is_cut(each.machine, each.peer.machine)
        ]
        self._cuts = {each for each in self._cuts if each[0] is not server}
        for end in across:
            end.send_again()
            end.peer.send_again()  # even if that is closed

    def is_cut(self, one: Machine, other: Machine) -> bool:
        """Return whether packets between two machines are kept back."""
        return (one, other.router) in self._cuts or (other, one.router) in self._cuts

    def across_cut(self, server: Machine) -> list[End]:
        """Return the ends of a machine whose packets are kept back."""
        return [
            each
            for each in self._ends.values()
            if each.machine is server and self.is_cut(server, each.peer.machine)
        ]

    def switch_off(self, machine: Machine, *, power: bool) -> None:
        """End a machine's connections: by resets if its kernel survives, or without a word."""
        for end in [each for each in self._ends.values() if each.machine is machine]:
            end.vanish(power=power)

    # What ends ask for

    def end(self, descriptor: int) -> End:
        """Return the end that a socket's number belongs to."""
        return self._ends[descriptor]

    def new_descriptor(self) -> int:
        """Return a number for a socket."""
        self._descriptors += 1
        return _FIRST_DESCRIPTOR + self._descriptors

    def random_of(self, name: str) -> random.Random:
        """Return the source of randomness of one end."""
        return random.Random(f"{self._seed} {name}")

    def forget(self, end: End) -> None:
        """Drop an end that is closed."""
        self._ends.pop(end.descriptor, None)

    @property
    def open_ends(self) -> Collection[End]:
        """All ends that are not closed."""
        return self._ends.values()
