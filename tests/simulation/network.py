"""The simulated network: connections whose bytes come late, in any pieces, or not at all.

A connection has two ends, each of a machine: `tests.simulation.ends`. It waits in the queue of a listening
socket until it is accepted.
"""

import asyncio
import errno
import os
import random
import socket
from collections import deque
from collections.abc import Callable, Collection

from tests.simulation.ends import KEEPALIVE, End, SimulatedSocket
from tests.simulation.loop import SimulatedLoop
from tests.simulation.machine import Machine

_FIRST_DESCRIPTOR = 1_000_000
"""Numbers of sockets: the process must have no files with such numbers."""

_QUEUE = 4
"""Connections that a machine keeps until they are accepted, at most."""

_TRIES = (1.0, 2.0)
"""Seconds after which a kernel tries again to connect where nobody answers; then it gives up."""


class ListeningSocket:
    """A listening socket, as the shipped listener sees it.

    Args:
        loop: the event loop.
        machine: whose it is.
    """

    family = socket.AF_INET
    type = socket.SOCK_STREAM

    def __init__(self, loop: SimulatedLoop, machine: Machine) -> None:
        self.machine = machine
        self._loop = loop
        self._waiting: deque[End] = deque()
        self._callback: Callable[[], object] | None = None
        self._open = True

    def settimeout(self, _: float) -> None:
        """Ignore it: no call waits."""

    def listen(self, _: int) -> None:
        """Ignore the length of the queue: the machine allows fewer."""

    def getsockname(self) -> tuple[str, int]:
        """Return its address."""
        return "127.0.0.1", 8090

    def accept(self) -> tuple[SimulatedSocket, tuple[str, int]]:
        """Return the connection that has waited longest, and where it comes from.

        Raises:
            OSError: there is none, or the process may open no more sockets.
        """
        if self.machine.exhausted:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        if not self._waiting:
            raise BlockingIOError(errno.EAGAIN, "nobody")
        end = self._waiting.popleft()
        return end.sock, end.get_extra_info("peername")

    def close(self) -> None:
        """Refuse connections, and reset those that wait."""
        self._open = False
        self._callback = None
        while self._waiting:
            self._waiting.popleft().abort()

    @property
    def refuses(self) -> bool:
        """Whether nobody listens."""
        return not (self._open and self.machine.on)

    @property
    def full(self) -> bool:
        """Whether the queue is full."""
        return len(self._waiting) >= _QUEUE

    def arrive(self, end: End) -> None:
        """Keep a connection until it is accepted."""
        self._waiting.append(end)
        self._notify()

    def watch(self, callback: Callable[[], object] | None) -> None:
        """Call something whenever a connection waits."""
        self._callback = callback
        self._notify()

    def _notify(self) -> None:
        if self._callback is not None and self._waiting:
            self._loop.call_soon(self._run, context=self.machine.context)

    def _run(self) -> None:
        if self._callback is not None and self._waiting:
            self._callback()
            self._notify()


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
