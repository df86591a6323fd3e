"""The log of the server's process: text from the network can neither forge lines nor flood it."""

import logging
import time
from collections import Counter
from collections.abc import Callable

from simple_chat.server.log_formats import formatter

MAX_LINES = 10
"""Lines of one kind that pass in one window; the others are counted."""

WINDOW = 60.0
"""Seconds."""

logger = logging.getLogger(__name__)


class RateLimitFilter(logging.Filter):
    """Limit the lines of each kind to `MAX_LINES` in a `WINDOW`. DEBUG is not limited.

    The kind of a record is its ``kind`` if it has one (``extra={"kind": ...}``), otherwise its message
    without arguments. Its ``limit`` goes before `MAX_LINES`: who joins is of more interest than who is
    refused, and what operators do always passes.

    Args:
        clock: returns the monotonic time in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._window_end = clock() + WINDOW
        self._counts: Counter[str] = Counter()
        self._limits: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Count a record, and return whether it passes."""
        if record.levelno <= logging.DEBUG or record.name == __name__:
            return True
        if self._clock() >= self._window_end:
            self.report_suppressed()
        kind = str(getattr(record, "kind", record.msg)).partition("\n")[0]
        self._counts[kind] += 1
        limit: float = getattr(record, "limit", MAX_LINES)
        self._limits[kind] = limit
        return self._counts[kind] <= limit

    def report_suppressed(self) -> None:
        """Log how many lines of each kind were suppressed, and start a new window."""
        self._window_end = self._clock() + WINDOW
        counts, self._counts = self._counts, Counter()
        for kind, count in counts.items():
            if (more := count - self._limits[kind]) > 0:
                logger.warning("suppressed %d more like this: %s", more, kind)


def configure(
    handler: logging.Handler, descriptor: int, log_format: str = "text", *, verbose: bool
) -> RateLimitFilter:
    """Configure logging for a program.

    Args:
        handler: what writes the log.
        descriptor: of the file that it is written to.
        log_format: text or json.
        verbose: whether to log each connection, too.

    Returns:
        The filter that limits the log.
    """
    handler.setFormatter(formatter(log_format, descriptor))
    handler.addFilter(rate_limit := RateLimitFilter(time.monotonic))
    logging.getLogger().addHandler(handler)
    set_verbose(verbose)
    return rate_limit


def set_verbose(verbose: bool) -> None:  # noqa: FBT001 - what there is to set
    """Log each connection, too, from now on; or no more."""
    logging.getLogger("simple_chat").setLevel(logging.DEBUG if verbose else logging.INFO)
