"""Looks after connections that no event tells about.

One that is not read from, because it said too much or does not take its answers, could be gone without our
knowing: its end is behind what was not read. And one that takes nothing at all would stay forever.
"""

import fcntl
import select
import socket
import struct
import termios
from collections.abc import Iterator
from typing import Protocol


class Watched(Protocol):
    """A connection, as it is watched."""

    @property
    def sock(self) -> socket.socket:
        """Its socket."""

    @property
    def held_up(self) -> bool:
        """Whether it is not read from, or takes nothing."""

    @property
    def unsent(self) -> int | None:
        """Bytes that wait to be written to it, or None if it takes all there are."""

    def abort(self) -> None:
        """Cut it."""


class Watch:
    """Those who are held up.

    Args:
        stall_timeout: seconds that one may take nothing at all; 0 for any time.
    """

    def __init__(self, stall_timeout: float) -> None:
        self._stall_timeout = stall_timeout
        # What is on its way to each, and since when it has been as much.
        self._held_up: dict[Watched, tuple[int | None, float]] = {}

    def add(self, connection: Watched) -> None:
        """Watch a connection as long as it is held up."""
        self._held_up.setdefault(connection, (None, 0.0))

    def discard(self, connection: Watched) -> None:
        """Watch a connection no more."""
        self._held_up.pop(connection, None)

    def look(self, now: float) -> tuple[list[Watched], list[Watched]]:
        """Look at all of them.

        Args:
            now: seconds, of a clock that never goes back.

        Returns:
            Those who are gone, and those who have taken nothing for too long.
        """
        for connection in [each for each in self._held_up if not each.held_up]:
            del self._held_up[connection]
        return list(self._gone()), list(self._stalled(now))

    def _gone(self) -> Iterator[Watched]:
        """Those whose connection was reset, or closed on both sides."""
        poll = select.poll()
        by_number = {connection.sock.fileno(): connection for connection in self._held_up}
        for number in by_number:
            poll.register(number, 0)  # errors and ends are told without being asked for
        for number, _ in poll.poll(0):
            yield by_number[number]

    def _stalled(self, now: float) -> Iterator[Watched]:
        for connection, (before, since) in self._held_up.items():
            on_its_way = connection.unsent
            if on_its_way is not None:
                on_its_way += _unacknowledged(connection.sock)
            if on_its_way is None or on_its_way != before:
                self._held_up[connection] = (on_its_way, now)
            elif self._stall_timeout and now - since >= self._stall_timeout:
                yield connection


def _unacknowledged(sock: socket.socket) -> int:
    """Bytes that the kernel has for the peer, and that the peer's kernel has not taken."""
    return int(struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))[0])
