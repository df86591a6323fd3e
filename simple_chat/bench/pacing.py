"""When the next message is said: when a window has room for it, or at a rate whatever the server does."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

Say = Callable[[int], None]
"""Says the next message, as sent at that time in nanoseconds."""

_TICK = 0.001
"""Seconds between looks at what is due; event loops have no finer timers."""

_LATE = 2_000_000  # nanoseconds


class Pace(Protocol):
    """When the next message is said."""

    def start(self) -> None:
        """Say something from now on."""

    def stop(self) -> None:
        """Say nothing any more."""

    def delivered(self, lines: int) -> None:
        """Take note of deliveries."""


class Window:
    """The closed loop: no more than a number of messages are on their way, and as many as that.

    Args:
        say: says a message.
        fan: deliveries that a message makes.
        size: messages on their way.
    """

    def __init__(self, say: Say, fan: int, size: int) -> None:
        self._say = say
        self._fan = fan
        self._free = 0  # deliveries that may be added to those on their way
        self._size = size

    def start(self) -> None:
        """Fill the window."""
        self.delivered(self._size * self._fan)

    def stop(self) -> None:
        """Say nothing any more."""
        self._say = _say_nothing

    def delivered(self, lines: int) -> None:
        """Refill the window."""
        self._free += lines
        while self._free >= self._fan:
            self._free -= self._fan
            self._say(time.monotonic_ns())


def _say_nothing(_now: int) -> None:
    pass


class Rate:
    """The open loop: so many messages a second.

    A message counts as sent when it was due, so that a program that is held up does not make latencies look
    better, but for the lateness that timers have anyway.

    Args:
        say: says a message.
        rate: messages a second.
    """

    def __init__(self, say: Say, rate: int) -> None:
        self._say = say
        self._rate = rate
        self._said = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin the schedule."""
        self._begin = time.monotonic_ns()
        self._catch_up()

    def stop(self) -> None:
        """Say nothing any more."""
        if self._timer:
            self._timer.cancel()

    def delivered(self, lines: int) -> None:
        """Be none the wiser."""

    def _catch_up(self) -> None:
        now = time.monotonic_ns()
        while (due := self._begin + self._said * 10**9 // self._rate) <= now:
            self._say(now if now - due < _LATE else due)
            self._said += 1
        self._timer = asyncio.get_running_loop().call_later(_TICK, self._catch_up)
