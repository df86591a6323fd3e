"""Latencies in a log-linear histogram: constant memory, each value within one percent.

Pure.
"""

import math
from collections.abc import Sequence
from itertools import accumulate

_SUB_BUCKETS = 128  # of a power of two: at most 1/128 apart, hence one percent
_BITS = 64
_SAMPLES_MAX = 8  # of one chunk of a stream; see `LatencyRecorder.record_batch`


class Histogram:
    """Counts of values of at least 0, in nanoseconds here."""

    def __init__(self) -> None:
        self._counts = [0] * _SUB_BUCKETS * _BITS

    def record(self, value: int, weight: int = 1) -> None:
        """Count a value.

        Args:
            value: below 2**64.
            weight: number of values it stands for.
        """
        shift = max(value.bit_length() - 8, 0)  # leaves 8 bits, of which the first is set: 128 buckets
        self._counts[shift * _SUB_BUCKETS + (value >> shift)] += weight

    def percentiles(self, percents: Sequence[float]) -> list[float] | None:
        """Return the percentiles, or None if there are no values.

        Args:
            percents: from 0 to 100, ascending.
        """
        sums = list(accumulate(self._counts))
        if not sums[-1]:
            return None
        ranks = [max(math.ceil(percent / 100 * sums[-1]), 1) for percent in percents]
        return [_middle(next(at for at, total in enumerate(sums) if total >= rank)) for rank in ranks]


def _middle(index: int) -> float:
    """Return the middle of a bucket."""
    shift = max(index // _SUB_BUCKETS - 1, 0)
    return ((index - shift * _SUB_BUCKETS) << shift) + ((1 << shift) - 1) / 2


class LatencyRecorder:
    """Latencies of the messages that were sent during the measurement."""

    def __init__(self) -> None:
        self.histogram = Histogram()
        self._since: float = math.inf

    def start(self, now: int) -> None:
        """Record messages sent from now on.

        Args:
            now: time in nanoseconds.
        """
        self._since = now

    def record_batch(self, send_times: Sequence[int], now: int) -> None:
        """Record messages that arrived together.

        Of many, every n-th is recorded with weight n: the others would cost CPU time and add no information.

        Args:
            send_times: when they were sent, in nanoseconds.
            now: when they arrived, in nanoseconds.
        """
        step = len(send_times) // _SAMPLES_MAX + 1
        for sent_at in send_times[::step]:
            if sent_at >= self._since:
                self.histogram.record(now - sent_at, step)
