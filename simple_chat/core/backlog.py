"""Batches of lines and the backlog that keeps the last of them, once for all members.

Lines are numbered from 0 on, and the number is a line's identity. A `Batch` is what the room took in one
turn, joined once. The `Backlog` keeps the last batches within a bound of bytes, so that a slow reader costs
no more than a cursor: the number of the next line it is owed.
"""

from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import accumulate

BACKLOG = 8 * 1024 * 1024
"""Bytes the backlog may take, by default."""

NO_AUTHOR = 2**64 - 1
"""The author of a line that every member gets."""

_LINE_OVERHEAD = 16  # bytes: a line's edge and its author
_BATCH_OVERHEAD = 512  # bytes: the batch, its arrays and its place in the backlog


class Batch:
    """Consecutive lines, joined once.

    Args:
        first: number of the first line.
        lines: at least one, each with its LF.
        authors: of each line, the number of the `Subscriber` that does not get it back.
        times: pairs of a line's number and the time, in seconds since the epoch, of the lines from it on.

    Attributes:
        end: number after the last line.
        data: all lines, joined.
        edges: offsets in `data` at which the lines begin, and its length.
        size: bytes of memory the batch takes, roughly.
    """

    __slots__ = ("_authors", "_times", "data", "edges", "end", "first", "size")

    def __init__(
        self,
        first: int,
        lines: Sequence[bytes],
        authors: "array[int]",
        times: Sequence[tuple[int, float]],
    ) -> None:
        self.first = first
        self.end = first + len(lines)
        self.data = b"".join(lines)
        self.edges = array("Q", accumulate(map(len, lines), initial=0))
        self.size = len(self.data) + len(lines) * _LINE_OVERHEAD + _BATCH_OVERHEAD
        self._authors = authors
        self._times = times

    @property
    def lines(self) -> int:
        """How many lines it has."""
        return self.end - self.first

    @property
    def time(self) -> float:
        """Time of the first line, in seconds since the epoch."""
        return self._times[0][1]

    def iter_lines(self, start: int, stop: int) -> Iterator[tuple[int, float, bytes]]:
        """Iterate over the lines numbered from `start` on, before `stop`: number, time and bytes of each."""
        for first, end, time in self._spans():
            for number in range(max(first, start), min(end, stop)):
                index = number - self.first
                yield number, time, self.data[self.edges[index] : self.edges[index + 1]]

    def _spans(self) -> Iterator[tuple[int, int, float]]:
        """Iterate over the runs of lines that have one time."""
        ends = (*(first for first, _ in self._times[1:]), self.end)
        for (first, time), end in zip(self._times, ends, strict=True):
            yield first, end, time

    def excluding(self, author: int, start: int, stop: int) -> tuple[bytes, int, int, float]:
        """Return lines of one time from `start` on, without one author's own.

        Args:
            author: whose lines are left out.
            start: number of the first line; the batch has it.
            stop: number to stop before.

        Returns:
            The lines, the number to go on from, how many were left out, and their time.
        """
        span = bisect_right(self._times, start, key=lambda each: each[0])
        end = self._times[span][0] if span < len(self._times) else self.end
        index, last = start - self.first, min(stop, end) - self.first
        own = self._own(author, index, last)
        pieces: list[bytes] = []
        begin = self.edges[index]
        for each in own:
            pieces.append(self.data[begin : self.edges[each]])
            begin = self.edges[each + 1]
        pieces.append(self.data[begin : self.edges[last]])
        return b"".join(pieces), self.first + last, len(own), self._times[span - 1][1]

    def count_own(self, author: int, start: int) -> int:
        """Return how many lines from `start` on are one author's own."""
        return len(self._own(author, max(start - self.first, 0), len(self._authors)))

    def _own(self, author: int, index: int, last: int) -> list[int]:
        """Return the indices of one author's lines, from one index to another."""
        own: list[int] = []
        try:
            while True:
                own.append(self._authors.index(author, index, last))
                index = own[-1] + 1
        except ValueError:
            return own


class Backlog:
    """The last batches, bounded in bytes. The newest is always kept.

    Args:
        limit: bytes that the batches may take.

    Attributes:
        end: number of the line that the next batch begins with.
    """

    def __init__(self, limit: int = BACKLOG) -> None:
        self._limit = limit
        self._size = 0
        self._batches: deque[Batch] = deque()
        self.end = 0

    @property
    def first(self) -> int:
        """Number of the first line that is still kept, or of the next one if none is."""
        return self._batches[0].first if self._batches else self.end

    def append(self, batch: Batch) -> None:
        """Append the batch that begins where the last one ended, and drop the oldest ones over the limit."""
        self._batches.append(batch)
        self._size += batch.size
        self.end = batch.end
        while self._size > self._limit and len(self._batches) > 1:
            self._size -= self._batches.popleft().size

    def read(self, author: int, start: int, stop: int) -> tuple[bytes, int, int, float]:
        """Return lines of one batch and one time from a cursor on, without one author's own.

        Args:
            author: whose lines are left out.
            start: the cursor, within what is kept.
            stop: number to stop before.

        Returns:
            As `Batch.excluding` does.
        """
        return self._batches[self._find(start)].excluding(author, start, stop)

    def count_own(self, author: int, start: int) -> int:
        """Return how many of the lines kept from `start` on are one author's own."""
        return sum(batch.count_own(author, start) for batch in self._batches if batch.end > start)

    def iter_lines(self, start: int, stop: int) -> Iterator[tuple[int, float, bytes]]:
        """Iterate over the lines from `start` on, before `stop`: number, time and bytes of each.

        The iteration may be paused for any time: lines that are no longer kept then are passed over.
        """
        while (start := max(start, self.first)) < min(stop, self.end):
            batch = self._batches[self._find(start)]
            yield from batch.iter_lines(start, stop)
            start = batch.end

    def _find(self, number: int) -> int:
        """Return the index of the batch that has a line."""
        if number >= self._batches[-1].first:  # most readers are not far behind
            return len(self._batches) - 1
        return bisect_right(self._batches, number, key=lambda batch: batch.first) - 1
