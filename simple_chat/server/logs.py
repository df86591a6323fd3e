"""The log of the server's process: text from the network can neither forge lines nor flood it."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime

from simple_chat.core.text import sanitize

MAX_LINES = 10
"""Lines of one kind that pass in one window; the others are counted."""

WINDOW = 60.0
"""Seconds."""

logger = logging.getLogger(__name__)


class LogFormatter(logging.Formatter):
    """Format a record with its local time, and without control characters, which would act on a terminal."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        """Format a time with its zone (RFC 3339)."""
        return datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        """Format a record as one line, whatever its message contains."""
        return sanitize(super().formatMessage(record))

    def formatException(self, ei: object) -> str:  # noqa: N802
        """Format a traceback, indented: the text of the exception is not trusted either."""
        text = super().formatException(ei)  # type: ignore[arg-type]
        return "\n".join(f"  {sanitize(line)}" for line in text.split("\n"))


class RateLimitFilter(logging.Filter):
    """Limit the lines of each kind to `MAX_LINES` in a `WINDOW`. DEBUG is not limited.

    The kind of a record is its ``kind`` if it has one (``extra={"kind": ...}``), otherwise its message
    without arguments. One that is ``unlimited`` (what operators do) always passes.

    Args:
        clock: returns the monotonic time in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._window_end = clock() + WINDOW
        self._counts: Counter[str] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Count a record, and return whether it passes."""
        if record.levelno <= logging.DEBUG or record.name == __name__ or hasattr(record, "unlimited"):
            return True
        if self._clock() >= self._window_end:
            self.report_suppressed()
        kind = str(getattr(record, "kind", record.msg)).partition("\n")[0]
        self._counts[kind] += 1
        return self._counts[kind] <= MAX_LINES

    def report_suppressed(self) -> None:
        """Log how many lines of each kind were suppressed, and start a new window."""
        self._window_end = self._clock() + WINDOW
        counts, self._counts = self._counts, Counter()
        for kind, count in counts.items():
            if count > MAX_LINES:
                logger.warning("suppressed %d more like this: %s", count - MAX_LINES, kind)


def configure(handler: logging.Handler, *, verbose: bool) -> RateLimitFilter:
    """Configure logging for a program.

    Args:
        handler: what writes the log.
        verbose: whether to log each connection, too.

    Returns:
        The filter that limits the log.
    """
    handler.setFormatter(LogFormatter())
    handler.addFilter(rate_limit := RateLimitFilter(time.monotonic))
    logging.getLogger().addHandler(handler)
    set_verbose(verbose)
    return rate_limit


def set_verbose(verbose: bool) -> None:  # noqa: FBT001 - what there is to set
    """Log each connection, too, from now on; or no more."""
    logging.getLogger("simple_chat").setLevel(logging.DEBUG if verbose else logging.INFO)
