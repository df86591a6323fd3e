"""Find the connections that will not end by an event of their own, once a second.

- A client that never joins stays connected for as long as it likes.
- A connection that is not read from reports neither FIN nor RST behind its unread bytes: the name of a peer
  that is gone would stay taken.
- A peer that acknowledges nothing blocks its connection for good.
- A TLS connection may close without `connection_lost` (https://github.com/python/cpython/issues/118950).
"""

import errno
import logging
import select
import socket
from collections.abc import Iterable, Iterator

from simple_chat.core.counters import End
from simple_chat.server.connection import Connection

logger = logging.getLogger(__name__)


class Watchdog:
    """Track connections that may get stuck, and end those that are.

    Times are in seconds of a monotonic clock.

    Args:
        join_timeout: seconds from connecting to the first JOIN; 0 for no limit.
        stall_timeout: seconds that a peer may acknowledge nothing of what it was sent; 0 for no limit.
        close_timeout: seconds from the start of a close to `connection_lost`; 0 for no limit.
    """

    def __init__(self, join_timeout: float, stall_timeout: float, close_timeout: float = 0) -> None:
        self.change_timeouts(join_timeout, stall_timeout, close_timeout)
        self._join_deadlines: dict[Connection, float] = {}
        # Unacknowledged bytes of each, and since when there have been as many.
        self._backpressured: dict[Connection, tuple[int | None, float]] = {}
        self._closing_since: dict[Connection, float] = {}

    def change_timeouts(self, join_timeout: float, stall_timeout: float, close_timeout: float) -> None:
        """Change the timeouts; that to join only for connections to come."""
        self._join_timeout = join_timeout
        self._stall_timeout = stall_timeout
        self._close_timeout = close_timeout

    def start_join_timer(self, connection: Connection, now: float) -> None:
        """Give a connection the join timeout to join."""
        if self._join_timeout:
            self._join_deadlines[connection] = now + self._join_timeout

    def track_backpressured(self, connection: Connection) -> None:
        """Track a connection for as long as it is not read from or can't be written to."""
        self._backpressured.setdefault(connection, (None, 0.0))

    def untrack(self, connection: Connection) -> None:
        """Drop a connection that has ended."""
        for each in (self._join_deadlines, self._backpressured, self._closing_since):
            each.pop(connection, None)

    def sweep(self, connections: Iterable[Connection], now: float) -> list[Connection]:
        """Abort dead and stalled connections, and remove those that are stuck in closing.

        Args:
            connections: those whose closing is not certain to be reported: all of a TLS server.
            now: the time.

        Returns:
            The connections that missed their join deadline, each only once. They are left to the caller, who
            has an answer for them.
        """
        for connection in self.dead_peers():
            error = connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            connection.abort(End.STALLED if error == errno.ETIMEDOUT else None)  # by TCP_USER_TIMEOUT
        for connection in self.stalled(now):
            text = (
                f"write stalled, reset: nothing acknowledged for {self._stall_timeout:g} s (--stall-timeout)"
            )
            connection.log(logging.INFO, "stalled", text, kind="write stalled")
            connection.abort(End.STALLED)
        self._remove_stuck(connections, now)
        return self.join_timeouts(now)

    def _remove_stuck(self, connections: Iterable[Connection], now: float) -> None:
        if not self._close_timeout:
            return
        for connection in connections:
            if connection.transport.is_closing():
                self._closing_since.setdefault(connection, now)
        started = now - self._close_timeout
        for connection in [each for each, since in self._closing_since.items() if since <= started]:
            if not connection.lost:  # otherwise it goes by itself, after its last lines
                connection.detach()

    def join_timeouts(self, now: float) -> list[Connection]:
        """Return the connections that have not joined by their deadline, each only once."""
        not_joined = {each: until for each, until in self._join_deadlines.items() if each.session.pre_join}
        overdue = [each for each, until in not_joined.items() if until <= now]
        for each in overdue:
            del not_joined[each]
        self._join_deadlines = not_joined
        return overdue

    def dead_peers(self) -> list[Connection]:
        """Return the backpressured connections that were reset or closed by the peer."""
        for connection in [each for each in self._backpressured if not each.backpressured]:
            del self._backpressured[connection]
        poll = select.poll()
        by_descriptor = {connection.sock.fileno(): connection for connection in self._backpressured}
        for descriptor in by_descriptor:
            poll.register(descriptor, 0)  # POLLERR and POLLHUP are reported in any case
        # A Unix socket reports POLLHUP as soon as its peer closes, even if unread lines are left.
        return [
            by_descriptor[descriptor]
            for descriptor, event in poll.poll(0)
            if event & select.POLLERR or by_descriptor[descriptor].sock.family != socket.AF_UNIX
        ]

    def stalled(self, now: float) -> list[Connection]:
        """Return the backpressured connections whose peer has acknowledged nothing for the stall timeout."""
        return list(self._stalled(now)) if self._stall_timeout else []

    def _stalled(self, now: float) -> Iterator[Connection]:
        for connection, (before, since) in self._backpressured.items():
            unacknowledged = connection.unsent
            if unacknowledged is None or unacknowledged != before:
                self._backpressured[connection] = (unacknowledged, now)
            elif now - since >= self._stall_timeout:
                yield connection
