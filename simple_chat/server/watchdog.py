"""Looks after connections of which no event tells.

One that never joins stays until it is sent away. One that is not read from, because it said too much or does
not take its answers, may be gone without our knowing: its end is behind what was not read. And one that takes
nothing at all would stay forever.
"""

import select
import socket
from collections.abc import Iterator

from simple_chat.server.connection import Connection


class Watchdog:
    """Those who are looked after.

    Args:
        join_timeout: seconds that one may stay without joining; 0 for any time.
        stall_timeout: seconds that one may take nothing at all; 0 for any time.
    """

    def __init__(self, join_timeout: float, stall_timeout: float) -> None:
        self._join_timeout = join_timeout
        self._stall_timeout = stall_timeout
        self._join_deadlines: dict[Connection, float] = {}  # until when each has to join
        # What is on its way to each that is held up, and since when it has been as much.
        self._backpressured: dict[Connection, tuple[int | None, float]] = {}
        self._closing_since: dict[Connection, float] = {}  # since when

    # All take the time in seconds, of a clock that never goes back.

    def start_join_timer(self, connection: Connection, now: float) -> None:
        """Begin the time that a connection has to join."""
        if self._join_timeout:
            self._join_deadlines[connection] = now + self._join_timeout

    def track_backpressured(self, connection: Connection) -> None:
        """Look after a connection as long as it is held up."""
        self._backpressured.setdefault(connection, (None, 0.0))

    def track_closing(self, connection: Connection, now: float) -> None:
        """Wait for the end of a connection that closes."""
        self._closing_since.setdefault(connection, now)

    def untrack(self, connection: Connection) -> None:
        """Look after a connection no more."""
        for each in (self._join_deadlines, self._backpressured, self._closing_since):
            each.pop(connection, None)

    def join_timeouts(self, now: float) -> list[Connection]:
        """Take those who should have joined by now, and have not."""
        newcomers = {each: until for each, until in self._join_deadlines.items() if each.session.newcomer}
        overdue = [each for each, until in newcomers.items() if until <= now]
        for each in overdue:
            del newcomers[each]
        self._join_deadlines = newcomers
        return overdue

    def dead_peers(self) -> list[Connection]:
        """Find those who were reset, or closed on both sides, while they were not read from."""
        for connection in [each for each in self._backpressured if not each.held_up]:
            del self._backpressured[connection]
        poll = select.poll()
        by_number = {connection.sock.fileno(): connection for connection in self._backpressured}
        for number in by_number:
            poll.register(number, 0)  # errors and ends are told without being asked for
        # A Unix socket hangs up as soon as its peer closes, though there may be lines to read yet.
        return [
            by_number[number]
            for number, event in poll.poll(0)
            if event & select.POLLERR or by_number[number].sock.family != socket.AF_UNIX
        ]

    def stalled(self, now: float) -> list[Connection]:
        """Find those who have taken nothing for too long."""
        return list(self._stalled(now)) if self._stall_timeout else []

    def _stalled(self, now: float) -> Iterator[Connection]:
        for connection, (before, since) in self._backpressured.items():
            on_its_way = connection.unsent
            if on_its_way is None or on_its_way != before:
                self._backpressured[connection] = (on_its_way, now)
            elif now - since >= self._stall_timeout:
                yield connection

    def stuck_closing(self, since: float) -> list[Connection]:
        """Find those who have been closing since then or longer, and of whose end nobody has told."""
        return [connection for connection, at in self._closing_since.items() if at <= since]
