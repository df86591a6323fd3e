"""Which of several servers has its turn, and when."""

import random
from collections import deque
from collections.abc import Iterable

from simple_chat.client.connection import Address

_RETRY_AT_MOST = 60.0  # seconds between two tries
_STEADY = 10.0  # seconds after which a connection has been one: till then its server is tried, no more


class EndpointPool:
    """The servers of one room, which take turns. There are no others than these, and often only one.

    After all have been tried in a row there is a pause before the next try, with full jitter so that not all
    clients come at once, and longer each time.

    Args:
        addresses: in the order of their turns.
    """

    def __init__(self, addresses: Iterable[Address]) -> None:
        self._addresses = deque(addresses)
        self._untried = len(self._addresses) - 1  # in a row, apart from the one that has its turn
        self._pauses = 0

    def __len__(self) -> int:
        return len(self._addresses)

    @property
    def address(self) -> Address:
        """Of the server that has its turn."""
        return self._addresses[0]

    def move_on(self) -> None:
        """Let the next server have its turn."""
        self._addresses.rotate(-1)

    def lose(self, seconds: float) -> None:
        """Take note that the connection is gone.

        Args:
            seconds: how long there was one. Servers that let us in and then drop us get no row of their own.
        """
        self._pauses = 0
        if seconds >= _STEADY:
            self._untried = len(self) - 1

    def next_try(self) -> float:
        """Let the next server have its turn, and return the seconds until it is to be tried."""
        self.move_on()
        if self._untried:
            self._untried -= 1
            return 0.0
        self._untried = len(self) - 1
        longest = min(_RETRY_AT_MOST, 2**self._pauses)
        self._pauses += 1
        return random.uniform(0, longest)  # noqa: S311 - no secret
