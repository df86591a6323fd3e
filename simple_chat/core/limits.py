"""What one connection may do, and how fast.

Pure: it is handed the time.
"""

from dataclasses import dataclass, field

from simple_chat.core.framing import MAX_LINE

RATE = 20
"""Lines a second that a client may keep up, by default: more than anybody types."""

BURST = 200
"""Lines that a client may send at once, by default: a pasted page."""


@dataclass(slots=True)
class Limits:
    """What one connection may do.

    Attributes:
        max_line: bytes that a line may have before its line end.
        rate: lines a second that are taken in the long run; 0 for any number.
        burst: lines that are taken at once after a rest.
        rest: seconds after which a client has all of its burst again.
    """

    max_line: int = MAX_LINE
    rate: int = RATE
    burst: int = BURST
    rest: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        if self.rate:  # who comes once a second must not be allowed less than the rate
            self.rest = max(self.burst, self.rate) / self.rate

    def allowed(self, empty_at: float, now: float) -> int:
        """How many lines may be taken.

        Args:
            empty_at: when there was nothing left to take, in seconds; may lie in the future.
            now: seconds on the same clock.
        """
        return int(
            min(now - empty_at, self.rest) * self.rate + 1e-6
        )  # floats: 20 times a twentieth may be less than 1

    def after(self, taken: int, empty_at: float, now: float) -> float:
        """When there is nothing left to take, once some lines were taken.

        Args:
            taken: number of lines, at most those that were allowed.
            empty_at: as it was before.
            now: seconds on the same clock.
        """
        return max(empty_at, now - self.rest) + taken / self.rate
