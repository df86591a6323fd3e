"""Recovering a journal when a server starts.

The last segment is read and checked whole, however long the journal is; of those before it only as much as is
asked for.
"""

import logging
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from simple_chat.journal.directory import list_segments
from simple_chat.journal.record import Record
from simple_chat.journal.segment import Segment

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class RecoveredJournal:
    """The end of a journal, as found at start.

    Attributes:
        next_number: number of the next record.
        segment: the last segment, if there is any.
        size: bytes of complete records in it.
        segment_started: time of its first record in seconds since the epoch; None if it has no record.
        segment_ended: when it was closed, or written to last.
        records: the journal's last records.
    """

    next_number: int = 0
    segment: Segment | None = None
    size: int = 0
    segment_started: float | None = None
    segment_ended: float = 0.0
    records: list[Record] = field(default_factory=list)


async def recover(directory: Path, size: int) -> RecoveredJournal:
    """Read the end of a journal, and check its last segment.

    Args:
        directory: the journal's directory.
        size: bytes of the last records to read, roughly.

    Raises:
        JournalError: a part that is read is damaged.
        OSError: a segment can't be read.
    """
    segments = list_segments(directory)
    if not segments:
        return RecoveredJournal()
    *older, last = segments
    recovered = await _recover_segment(last, size)
    status = last.path.stat()
    recovered.segment_ended = status.st_mtime
    if torn := status.st_size - recovered.size:
        logger.warning("the last record of %s is torn: %d bytes are cut off", last.path, torn)
    recovered.records = await _read_older(older, size - recovered.size) + recovered.records
    return recovered


async def _read_older(segments: list[Segment], size: int) -> list[Record]:
    """Read the last records of several segments, up to a size in bytes."""
    records: list[Record] = []
    for segment in reversed(segments):
        if size <= 0:
            break
        records = await segment.read_tail(size) + records
        size -= segment.path.stat().st_size
    return records


async def _recover_segment(segment: Segment, size: int) -> RecoveredJournal:
    """Read a whole segment, and retain its last records, up to a size in bytes."""
    recovered = RecoveredJournal(segment.first, segment)
    reader = segment.record_reader()
    blocks: deque[tuple[int, list[Record]]] = deque()  # each with the offset of its end in bytes
    async for records in segment.read(reader):
        blocks.append((reader.size, records))
        if recovered.segment_started is None and records:
            recovered.segment_started = records[0].seconds
        while len(blocks) > 1 and reader.size - blocks[0][0] >= size:
            blocks.popleft()
    recovered.next_number, recovered.size = reader.number, reader.size
    recovered.records = [record for _, records in blocks for record in records]
    return recovered
