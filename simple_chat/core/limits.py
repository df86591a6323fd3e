"""The limits of one connection: the length of its lines, and a token bucket for their rate."""

from dataclasses import dataclass, field

from simple_chat.core.framing import MAX_LINE

RATE = 20
"""Lines a second that a client may keep up, by default: more than anybody types."""

BURST = 200
"""Lines that a client may send at once, by default: a pasted page."""


@dataclass(slots=True)
class Limits:
    """The limits of one connection.

    Attributes:
        max_line: bytes that a line may have before its line end.
        rate: lines a second that are executed in the long run; 0 for any number.
        burst: lines that are executed at once after a pause.
        refill_time: seconds after which an empty bucket is full again.
    """

    max_line: int = MAX_LINE
    rate: int = RATE
    burst: int = BURST
    refill_time: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self.change(self.max_line, self.rate, self.burst)

    def change(self, max_line: int, rate: int, burst: int) -> None:
        """Change the limits of all connections that share them; a line's length only for those to come."""
        self.max_line, self.rate, self.burst = max_line, rate, burst
        if rate:  # a client that sends once a second must not be allowed less than the rate
            self.refill_time = max(burst, rate) / rate

    def allowed(self, empty_at: float, now: float) -> int:
        """Return how many lines may be executed.

        Args:
            empty_at: when the bucket was empty, in seconds; may lie in the future.
            now: seconds on the same clock.
        """
        elapsed = min(now - empty_at, self.refill_time)
        return int(elapsed * self.rate + 1e-6)  # floats: 20 times a twentieth may be less than 1

    def after(self, executed: int, empty_at: float, now: float) -> float:
        """Return when the bucket was empty, now that some lines were executed.

        Args:
            executed: number of lines, at most those that were allowed.
            empty_at: as it was before.
            now: seconds on the same clock.
        """
        return max(empty_at, now - self.refill_time) + executed / self.rate
