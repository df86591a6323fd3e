"""What a server finds in its journal when it begins.

Only the last segment is read as a whole, however long the journal is; of those before it only as much as
HISTORY wants.
"""

import logging
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from simple_chat.journal.directory import Segment, segments
from simple_chat.journal.record import Record

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class RecoveredJournal:
    """What is there.

    Attributes:
        number: of the next record.
        segment: the one to go on with, if there is any.
        size: bytes of it that are good.
        began: time of its first record, in seconds since the epoch, if it has one.
        records: the last ones of the journal.
    """

    number: int = 0
    segment: Segment | None = None
    size: int = 0
    began: float | None = None
    records: list[Record] = field(default_factory=list)


async def recall(folder: Path, size: int) -> RecoveredJournal:
    """Read the end of a journal, and check all of the segment that it is in.

    Args:
        folder: the directory.
        size: bytes of the last records that are wanted, roughly.

    Raises:
        JournalError: what is read of it is damaged.
        OSError: it can't be read.
    """
    found = segments(folder)
    if not found:
        return RecoveredJournal()
    past = await _recall_segment(found[-1], size)
    if torn := found[-1].path.stat().st_size - past.size:
        logger.warning("the last record of %s is torn: %d bytes are cut off", found[-1].path, torn)
    past.records = await _recall_older(found[:-1], size - past.size) + past.records
    return past


async def _recall_older(older: list[Segment], size: int) -> list[Record]:
    records: list[Record] = []
    for segment in reversed(older):
        if size <= 0:
            break
        records = await segment.read_tail(size) + records
        size -= segment.path.stat().st_size
    return records


async def _recall_segment(segment: Segment, size: int) -> RecoveredJournal:
    past = RecoveredJournal(segment.first, segment)
    reader = segment.reader()
    blocks: deque[tuple[int, list[Record]]] = deque()  # with the bytes up to their end
    async for records in segment.read(reader):
        blocks.append((reader.size, records))
        if past.began is None and records:
            past.began = records[0].seconds
        while len(blocks) > 1 and reader.size - blocks[0][0] >= size:
            blocks.popleft()
    past.number, past.size = reader.number, reader.size
    past.records = [record for _, records in blocks for record in records]
    return past
