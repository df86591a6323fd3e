"""Latencies in a log-linear histogram: any number of them in little memory, each to within one percent.

Pure.
"""

import math
from collections.abc import Sequence
from itertools import accumulate

_STEPS = 128  # of a power of two: what makes it one percent
_BITS = 64
_PIECE = 8  # latencies taken of one piece of a stream; see `Latencies.add`


class Histogram:
    """Counts values of at least 0, which are nanoseconds here."""

    def __init__(self) -> None:
        self._counts = [0] * _STEPS * _BITS

    def record(self, value: int, weight: int = 1) -> None:
        """Count a value.

        Args:
            value: below 2**64.
            weight: how many values it stands for.
        """
        shift = max(value.bit_length() - 8, 0)  # leaves 8 bits, of which the first is set: 128 steps
        self._counts[shift * _STEPS + (value >> shift)] += weight

    def percentiles(self, percents: Sequence[float]) -> list[float] | None:
        """Read the values that so many percent of all do not exceed, or None where there are none.

        Args:
            percents: from 0 to 100, ascending.
        """
        sums = list(accumulate(self._counts))
        if not sums[-1]:
            return None
        ranks = [max(math.ceil(percent / 100 * sums[-1]), 1) for percent in percents]
        return [_middle(next(at for at, total in enumerate(sums) if total >= rank)) for rank in ranks]


def _middle(index: int) -> float:
    shift = max(index // _STEPS - 1, 0)
    return ((index - shift * _STEPS) << shift) + ((1 << shift) - 1) / 2


class Latencies:
    """The latencies of the messages that were sent since the measurement began."""

    def __init__(self) -> None:
        self.histogram = Histogram()
        self._since: float = math.inf

    def begin(self, now: int) -> None:
        """Count messages that are sent from now on.

        Args:
            now: time in nanoseconds.
        """
        self._since = now

    def add(self, sent: Sequence[int], now: int) -> None:
        """Count messages that arrived together.

        Of many, every n-th stands for n: those between are no news, and cost as much.

        Args:
            sent: when they were sent, in nanoseconds.
            now: when they arrived, in nanoseconds.
        """
        step = len(sent) // _PIECE + 1
        for each in sent[::step]:
            if each >= self._since:
                self.histogram.record(now - each, step)
