"""What code that holds a socket sees of the simulated network."""

import errno
import os
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.simulation.machine import Machine

if TYPE_CHECKING:
    from tests.simulation.ends import End
    from tests.simulation.loop import SimulatedLoop

_QUEUE = 4
"""Connections that a machine keeps until they are accepted, at most."""


@dataclass(slots=True)
class Tap:
    """The bytes that one end sent and received.

    Attributes:
        sent: by it.
        received: by it.
        server: that it is connected to.
    """

    sent: bytearray = field(default_factory=bytearray)
    received: bytearray = field(default_factory=bytearray)
    server: str = ""


class SimulatedSocket:
    """What code that holds a socket sees of an end."""

    family = socket.AF_INET
    type = socket.SOCK_STREAM

    def __init__(self, end: "End") -> None:
        self.end = end

    def fileno(self) -> int:
        """Return its number, which no file has."""
        return self.end.descriptor

    def setsockopt(self, *_: object) -> None:
        """Ignore an option."""

    def getsockopt(self, *_: object) -> int:
        """Return SO_ERROR: a simulated kernel reports no error before the event loop does."""
        return 0

    def settimeout(self, _: float) -> None:
        """Ignore it: no call waits."""

    def close(self) -> None:
        """Close the connection."""
        self.end.abort()


class ListeningSocket:
    """A listening socket, as the shipped listener sees it.

    Args:
        loop: the event loop.
        machine: whose it is.
    """

    family = socket.AF_INET
    type = socket.SOCK_STREAM

    def __init__(self, loop: "SimulatedLoop", machine: Machine) -> None:
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

    def arrive(self, end: "End") -> None:
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
