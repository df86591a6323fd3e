"""The room's sequence: it numbers lines and gathers them in batches.

Lines are appended to the open batch. Sealing it turns it into a `Batch`, which is released into the backlog
once it may be delivered: at once, or when a journal has written it. Meanwhile the next batch gathers.
"""

from array import array
from collections import deque
from collections.abc import Iterator

from simple_chat.core.backlog import BACKLOG, Backlog, Batch

HISTORY = 1_000
"""Messages that HISTORY reaches back, by default."""

MESSAGE = b"MSG "
"""How the line of a message begins."""


class Sequence:
    """The lines of a room, in their one order.

    Args:
        backlog: bytes kept for slow readers and for HISTORY.
        history: messages that HISTORY reaches back; 0 for none.

    Attributes:
        backlog: the batches that were released.
        open_size: bytes in the open batch.
    """

    def __init__(self, *, backlog: int = BACKLOG, history: int = HISTORY) -> None:
        self.backlog = Backlog(backlog)
        self._message_numbers: deque[int] = deque(maxlen=history)  # of the last messages
        self._sealed: Batch | None = None  # not released yet
        self._begin_batch(0)

    def _begin_batch(self, first: int) -> None:
        self._first = first
        self._lines: list[bytes] = []
        self._authors = array("Q")
        self._times: list[tuple[int, float]] = []
        self.open_size = 0

    @property
    def end(self) -> int:
        """Number of the next line that will be appended."""
        return self._first + len(self._lines)

    @property
    def history_limit(self) -> int:
        """Messages that HISTORY reaches back."""
        return self._message_numbers.maxlen or 0

    @history_limit.setter
    def history_limit(self, messages: int) -> None:
        self._message_numbers = deque(self._message_numbers, maxlen=messages)  # what was forgotten stays so

    def stamp(self, time: float) -> None:
        """Give the lines appended from here on a time of their own, in seconds since the epoch."""
        if self._times and self._times[-1][0] == self.end:
            self._times.pop()
        self._times.append((self.end, time))

    def append(self, author: int, line: bytes, *, message: bool = False) -> int:
        """Append a line to the open batch.

        Args:
            author: number of the subscriber that does not get it back; `NO_AUTHOR` if all get it.
            line: with its LF.
            message: whether HISTORY is to have it.

        Returns:
            Its number.
        """
        number = self._first + len(self._lines)
        if message:
            self._message_numbers.append(number)
        self._lines.append(line)
        self._authors.append(author)
        self.open_size += len(line)
        return number

    def seal(self, time: float) -> Batch | None:
        """Seal the open batch, unless it is empty or the last one was not released yet.

        Args:
            time: seconds since the epoch, for lines that were given no time of their own.
        """
        if not self._lines or self._sealed is not None:
            return None
        if not self._times or self._times[0][0] != self._first:
            self._times.insert(0, (self._first, time))
        self._sealed = Batch(self._first, self._lines, self._authors, self._times)
        self._begin_batch(self._sealed.end)
        return self._sealed

    def release(self, batch: Batch) -> None:
        """Add the sealed batch to the backlog."""
        self.backlog.append(batch)
        self._sealed = None

    def count_own(self, author: int, start: int) -> int:
        """Return how many of the lines from `start` on, released or not, are one author's own."""
        count = self.backlog.count_own(author, start)
        if self._sealed is not None:
            count += self._sealed.count_own(author, start)
        return count + self._authors[max(start - self._first, 0) :].count(author)

    def restore(self, batch: Batch) -> None:
        """Add a batch of an earlier server: for HISTORY, and to go on from its numbers."""
        lines = batch.iter_lines(batch.first, batch.end)
        self._message_numbers.extend(number for number, _, line in lines if line.startswith(MESSAGE))
        self.backlog.append(batch)
        self._begin_batch(batch.end)

    def history(self, limit: int | None) -> Iterator[tuple[float, bytes]]:
        """Return an iterator over the last messages, oldest first: time and line of each.

        It may be read as slowly as one likes: what the backlog has dropped by then is left out.

        Args:
            limit: how many at most, or None for all that are kept.
        """
        kept = len(self._message_numbers)
        wanted = kept if limit is None else min(limit, kept)
        if not wanted:
            return iter(())
        lines = self.backlog.iter_lines(self._message_numbers[-wanted], self.end)
        return ((time, line) for _, time, line in lines if line.startswith(MESSAGE))

    def clear_history(self) -> None:
        """Forget all messages, as far as HISTORY is concerned."""
        self._message_numbers.clear()
