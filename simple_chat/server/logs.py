"""The server's log: what comes from the network can neither forge it nor flood it."""

import logging
from collections import Counter
from collections.abc import Callable

from simple_chat.core.text import sanitize

MAX_LINES = 10
"""Lines of one kind that are logged a minute; the others are counted."""

WINDOW = 60.0

logger = logging.getLogger(__name__)


class SanitizingFormatter(logging.Formatter):
    """Shows control characters instead of sending them to the operator's terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        """Format the line itself; it stays one line whatever is in it."""
        return sanitize(super().formatMessage(record))

    def formatException(self, ei: object) -> str:  # noqa: N802
        """Format a traceback, of which the exception's text may come from anywhere."""
        text = super().formatException(ei)  # type: ignore[arg-type]
        return "\n".join(f"  {sanitize(line)}" for line in text.split("\n"))


class RateLimitFilter(logging.Filter):
    """Lets some lines of a kind pass each minute.

    A line's kind is its message without its arguments, or the ``kind`` it was logged with. What is logged for
    debugging passes always.

    Args:
        clock: tells seconds, and never goes back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._window_end = clock() + WINDOW
        self._counts: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a line may be logged."""
        if record.levelno <= logging.DEBUG or record.name == __name__:
            return True
        if self._clock() >= self._window_end:
            self.report_suppressed()
        kind = str(getattr(record, "kind", record.msg)).partition("\n")[0]
        self._counts[kind] += 1
        return self._counts[kind] <= MAX_LINES

    def report_suppressed(self) -> None:
        """Begin a new minute, and log how many lines the last one left out."""
        self._window_end = self._clock() + WINDOW
        counts, self._counts = self._counts, Counter()
        for kind, count in counts.items():
            if count > MAX_LINES:
                logger.warning("and %d more like this: %s", count - MAX_LINES, kind)
