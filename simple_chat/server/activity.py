"""What is kept of a connection for operators: since when there is one, and how much it sends."""

WINDOW = 60.0
"""Seconds of the windows in which lines are counted."""


class Activity:
    """The activity of one connection.

    Args:
        since: when it was made, in seconds since the epoch.
    """

    __slots__ = ("_before", "_last", "since")

    def __init__(self, since: float) -> None:
        self.since = int(since)
        self._before = 0  # lines executed when the window began
        self._last = 0  # lines executed in the window before

    def start_window(self, executed: int) -> None:
        """Begin the next window.

        Args:
            executed: lines that the connection has executed until now.
        """
        self._last, self._before = executed - self._before, executed

    def lines_per_minute(self, executed: int, elapsed: float) -> int:
        """Return about how many lines were executed in the last `WINDOW`: the last window counts in part.

        Args:
            executed: lines that the connection has executed until now.
            elapsed: seconds of this window.
        """
        return round(executed - self._before + self._last * max(1 - elapsed / WINDOW, 0))
