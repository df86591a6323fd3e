"""What one connection may do, and how fast.

Pure: it is handed the time.
"""

from dataclasses import dataclass

from simple_chat.framing import MAX_LINE

RATE = 20
"""Lines a second that a client may keep up, by default: more than anybody types."""

BURST = 200
"""Lines that a client may send at once, by default: a pasted page."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may do.

    Attributes:
        max_line: bytes that a line may have before its line end.
        rate: lines a second that are taken in the long run; 0 for any number.
        burst: lines that are taken at once after a rest.
    """

    max_line: int = MAX_LINE
    rate: int = RATE
    burst: int = BURST

    def allowed(self, empty_at: float, now: float) -> int:
        """How many lines may be taken.

        Args:
            empty_at: when there was nothing left to take, in seconds; may lie in the future.
            now: seconds on the same clock.
        """
        return int((now - self._since(empty_at, now)) * self.rate + 1e-6)  # floats: 0.05 * 20 is below 1

    def after(self, taken: int, empty_at: float, now: float) -> float:
        """When there is nothing left to take, once some lines were taken.

        Args:
            taken: number of lines, at most those that were allowed.
            empty_at: as it was before.
            now: seconds on the same clock.
        """
        return self._since(empty_at, now) + taken / self.rate

    def _since(self, empty_at: float, now: float) -> float:
        # Rests are worth a burst at most. Who comes once a second must not be allowed less than the rate.
        return max(empty_at, now - max(self.burst, self.rate) / self.rate)
