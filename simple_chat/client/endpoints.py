"""Which of several servers to try next, and when."""

import random
from collections import deque
from collections.abc import Iterable

from simple_chat.client.connection import Address

_MAX_DELAY = 60.0  # seconds between two attempts
_STABLE_AFTER = 10.0  # seconds after which a connection counts as stable


class EndpointPool:
    """The servers of one room, often only one, in rotation.

    When every server has been tried in a row, the next attempt is delayed by exponential backoff with full
    jitter, so that not all clients of a failed server reconnect at once:
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/

    Args:
        addresses: in the order of rotation.
    """

    def __init__(self, addresses: Iterable[Address]) -> None:
        self._addresses = deque(addresses)
        self._untried = len(self._addresses) - 1  # in this row, not counting the current one
        self._delays = 0

    def __len__(self) -> int:
        return len(self._addresses)

    @property
    def address(self) -> Address:
        """The current server."""
        return self._addresses[0]

    def rotate(self) -> None:
        """Make the next server the current one."""
        self._addresses.rotate(-1)

    def on_disconnect(self, uptime: float) -> None:
        """Record that the connection is lost.

        Args:
            uptime: seconds that it lasted. After a short one the row goes on: servers that accept and drop
                every connection must not be tried without delay for ever.
        """
        self._delays = 0
        if uptime >= _STABLE_AFTER:
            self._untried = len(self) - 1

    def next_delay(self) -> float:
        """Make the next server the current one, and return the seconds to wait before trying it."""
        self.rotate()
        if self._untried:
            self._untried -= 1
            return 0.0
        self._untried = len(self) - 1
        longest = min(_MAX_DELAY, 2**self._delays)
        self._delays += 1
        return random.uniform(0, longest)  # noqa: S311 - no secret
