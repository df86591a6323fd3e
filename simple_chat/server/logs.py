"""The server's log: what comes from the network can neither forge it nor flood it."""

import logging
from collections import Counter
from collections.abc import Callable

from simple_chat.core.text import sanitize

LINES = 10
"""Lines of one kind that are logged a minute; the others are counted."""

MINUTE = 60.0

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
        self._minute_ends = clock() + MINUTE
        self._seen: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a line may be logged."""
        if record.levelno <= logging.DEBUG or record.name == __name__:
            return True
        if self._clock() >= self._minute_ends:
            self.tell()
        kind = str(getattr(record, "kind", record.msg)).partition("\n")[0]
        self._seen[kind] += 1
        return self._seen[kind] <= LINES

    def tell(self) -> None:
        """Begin a new minute, and log how many lines the last one left out."""
        self._minute_ends = self._clock() + MINUTE
        seen, self._seen = self._seen, Counter()
        for kind, count in seen.items():
            if count > LINES:
                logger.warning("and %d more like this: %s", count - LINES, kind)
