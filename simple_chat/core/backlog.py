"""What the room has said, kept once for everybody: batches of lines, bounded in bytes.

Pure. Lines are numbered from 0 on and a number is a line's identity. A `Batch` is what the room took in one
turn, ready to be written as it is; the `Backlog` keeps the last batches, so that whoever is behind needs
no more than a number to go on from: a cursor.
"""

from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import accumulate

BACKLOG = 8 * 1024 * 1024
"""Bytes that the backlog may take, by default."""

NO_AUTHOR = 2**64 - 1
"""The author of a line that everybody gets."""

_LINE_OVERHEAD = 16  # a line's end and its author
_BATCH_OVERHEAD = 512  # the batch, its arrays and its place in the backlog


class Batch:
    """Some lines in a row, joined once.

    Args:
        first: number of the first line.
        lines: each with its LF.
        authors: who each line is not sent back to, by the number of its `simple_chat.core.room.Member`.
        time: seconds since the epoch.

    Attributes:
        end: number of the line behind the last.
        data: the lines in one piece.
        size: bytes of memory it takes, roughly.
    """

    __slots__ = ("_authors", "_edges", "data", "end", "first", "size", "time")

    def __init__(self, first: int, lines: Sequence[bytes], authors: "array[int]", time: float) -> None:
        self.first = first
        self.end = first + len(lines)
        self.time = time
        self.data = b"".join(lines)
        self._authors = authors
        self._edges = array("Q", accumulate(map(len, lines), initial=0))  # of the lines within data
        self.size = len(self.data) + len(lines) * _LINE_OVERHEAD + _BATCH_OVERHEAD

    def lines(self, start: int, stop: int) -> Iterator[bytes]:
        """The lines with the numbers from `start` on, before `stop`."""
        for index in range(max(start - self.first, 0), min(stop, self.end) - self.first):
            yield self.data[self._edges[index] : self._edges[index + 1]]

    def without(self, author: int, start: int, stop: int) -> tuple[bytes, int]:
        """The lines from `start` on, before `stop`, in one piece and without one author's own.

        Returns:
            The piece, and how many lines were left out of it.
        """
        index, last = max(start - self.first, 0), min(stop, self.end) - self.first
        own = self._own(author, index, last)
        return self.cut(own, index, last), len(own)

    def cut(self, own: list[int], index: int, last: int) -> bytes:
        """The lines from the one at `index` on, before the one at `last`, in one piece and without `own`.

        Args:
            own: indices of the lines to leave out, in order.
            index: of the first line; the batch's first has 0.
            last: the index to stop before.
        """
        pieces: list[bytes] = []
        start = self._edges[index]
        for each in own:
            pieces.append(self.data[start : self._edges[each]])
            start = self._edges[each + 1]
        pieces.append(self.data[start : self._edges[last]])
        return b"".join(pieces)

    def count_own(self, author: int, start: int) -> int:
        """How many lines from `start` on are one author's own."""
        return len(self._own(author, max(start - self.first, 0), self.end - self.first))

    def _own(self, author: int, index: int, last: int) -> list[int]:
        own: list[int] = []
        try:
            while True:
                own.append(self._authors.index(author, index, last))
                index = own[-1] + 1
        except ValueError:
            return own


class Backlog:
    """The last batches of the sequence.

    Args:
        limit: bytes. The newest batch is kept even if it alone takes more.

    Attributes:
        end: number of the line behind the last one kept.
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
        """Take in the batch that begins where the last one ended, and let the oldest ones go."""
        self._batches.append(batch)
        self._size += batch.size
        self.end = batch.end
        while self._size > self._limit and len(self._batches) > 1:
            self._size -= self._batches.popleft().size

    def read(self, author: int, start: int, stop: int) -> tuple[bytes, int, int]:
        """Read on from a cursor: the lines of one batch, without one author's own.

        Args:
            author: whose lines are left out.
            start: the cursor, within what is kept.
            stop: the number to stop before.

        Returns:
            The lines in one piece, the number to go on from, and how many own lines were left out.
        """
        batch = self._batches[self._find(start)]
        piece, own = batch.without(author, start, stop)
        return piece, min(batch.end, stop), own

    def count_own(self, author: int, start: int) -> int:
        """How many of the lines kept from `start` on are one author's own."""
        return sum(batch.count_own(author, start) for batch in self._batches if batch.end > start)

    def past(self, start: int, stop: int) -> Iterator[tuple[int, float, bytes]]:
        """The lines from `start` on, before `stop`, each with its number and time, if there are any yet.

        It may be paused for as long as one likes: lines that are no longer kept then are passed over.
        """
        while (start := max(start, self.first)) < min(stop, self.end):
            batch = self._batches[self._find(start)]
            for number, line in enumerate(batch.lines(start, stop), start):
                yield number, batch.time, line
            start = batch.end

    def _find(self, number: int) -> int:
        """Index of the batch that a line is in."""
        if number >= self._batches[-1].first:  # most readers are not far behind
            return len(self._batches) - 1
        return bisect_right(self._batches, number, key=lambda batch: batch.first) - 1
