"""How much time passed, and what the clock says of it: it may be wrong, and may be set."""

import time
from datetime import timedelta

LEAP = timedelta(days=1).total_seconds()
"""Seconds by which a clock is off that has leapt; less happens in daily life, and does no harm."""

# Boot time goes on while the machine sleeps; only Linux has it.
_UPTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class LeapDetector:
    """Compares times that the clock told with the time that passed between them.

    Args:
        time: what the clock told last, in seconds since the epoch.

    Attributes:
        time: the same.
    """

    def __init__(self, time: float) -> None:
        self.time = time
        self._uptime = _uptime()

    @property
    def expected(self) -> float:
        """What the clock should tell now, in seconds since the epoch."""
        return self.time + _uptime() - self._uptime

    def advance(self, time: float) -> bool:
        """Take the next time that the clock told.

        Returns:
            Whether it leapt.
        """
        leapt = abs(time - self.expected) > LEAP
        self.time, self._uptime = time, _uptime()
        return leapt


def _uptime() -> float:
    return time.clock_gettime(_UPTIME)
