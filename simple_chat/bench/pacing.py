"""When to send the next message: closed loop (a window of messages in flight) or open loop (a fixed rate)."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

Send = Callable[[int], None]
"""Sends the next message, stamped with a time in nanoseconds."""

_TICK = 0.001
"""Seconds between checks for messages that are due; event loops have no finer timers."""

_TIMER_TOLERANCE = 2_000_000  # nanoseconds that a timer may be late


class Pacing(Protocol):
    """Decides when messages are sent."""

    def start(self) -> None:
        """Start sending."""

    def stop(self) -> None:
        """Stop sending."""

    def on_delivered(self, lines: int) -> None:
        """Count deliveries."""


class ClosedLoop:
    """Keep a fixed number of messages in flight.

    Args:
        send: sends a message.
        fan_out: deliveries per message.
        window: messages in flight.
    """

    def __init__(self, send: Send, fan_out: int, window: int) -> None:
        self._send = send
        self._fan_out = fan_out
        self._window = window
        self._free = 0  # deliveries missing to a full window

    def start(self) -> None:
        """Fill the window."""
        self.on_delivered(self._window * self._fan_out)

    def stop(self) -> None:
        """Stop sending."""
        self._send = _discard

    def on_delivered(self, lines: int) -> None:
        """Refill the window."""
        self._free += lines
        while self._free >= self._fan_out:
            self._free -= self._fan_out
            self._send(time.monotonic_ns())


def _discard(_now: int) -> None:
    pass


class OpenLoop:
    """Send at a fixed rate, whatever the server does.

    A message is stamped with the time it was due, so that a stalled load generator does not improve the
    latencies (coordinated omission); lateness within the precision of timers is not counted.

    Args:
        send: sends a message.
        rate: messages per second.
    """

    def __init__(self, send: Send, rate: int) -> None:
        self._send = send
        self._rate = rate
        self._sent = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Start the schedule."""
        self._started_at = time.monotonic_ns()
        self._send_due()

    def stop(self) -> None:
        """Stop sending."""
        if self._timer:
            self._timer.cancel()

    def on_delivered(self, lines: int) -> None:
        """Ignore deliveries."""

    def _send_due(self) -> None:
        now = time.monotonic_ns()
        while (due := self._started_at + self._sent * 10**9 // self._rate) <= now:
            self._send(now if now - due < _TIMER_TOLERANCE else due)
            self._sent += 1
        self._timer = asyncio.get_running_loop().call_later(_TICK, self._send_due)
