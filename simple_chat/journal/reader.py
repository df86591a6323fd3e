"""What a journal says, from some place on: read to its end, and on from there when more was written.

It only reads, so that a server may write meanwhile. How a record looks is pure.
"""

import json
from bisect import bisect_right
from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import datetime
from itertools import dropwhile
from pathlib import Path

from simple_chat.core.protocol import parse_event
from simple_chat.errors import JournalError
from simple_chat.journal.directory import Segment, segments
from simple_chat.journal.record import Record, RecordReader

Start = int | datetime
"""Where to begin: at the record of a number, or at the first one of a time or later."""


def as_text(record: Record) -> str:
    """Write a record for people: what is kept, without the checksum."""
    return f"{record.number} {record.time} {record.line.decode()}"


def as_json(record: Record) -> str:
    """Write a record for programs, with the client's names of events."""
    line = record.line.decode()
    event = parse_event(line)
    name, values = (line.lower(), {}) if event is None else (type(event).__name__.lower(), asdict(event))
    told = {"number": record.number, "time": record.time, "event": name, **values}
    return json.dumps(told, ensure_ascii=False)


class JournalReader:
    """The records of a journal from some place on; what is before it is not read, as far as that can be.

    Args:
        folder: the journal's directory.
        start: the place.

    Attributes:
        segments: how many were read so far.
        torn: bytes behind the last record that are none yet.
    """

    def __init__(self, folder: Path, start: Start = 0) -> None:
        self._folder = folder
        self._start = start
        self._begun = False
        self._segment: Segment | None = None  # the one that was read last
        self._number = 0  # of the next record
        self._size = 0  # bytes before it in the segment
        self.segments = 0
        self.torn = 0

    async def read(self) -> AsyncIterator[list[Record]]:
        """Read what was written since the last time, some records at a time.

        If a whole record was taken back, what came in its place follows with the same number again.

        Raises:
            JournalError: there is no journal, or it is damaged.
            OSError: it can't be read.
        """
        for segment in await self._segments_ahead():
            await self._enter(segment)
            reader = RecordReader(self._number, segment.stop)
            async for records in segment.read(reader, self._size):
                if wanted := self._leave_out(records):
                    yield wanted
            self._number, self._size, self.torn = reader.number, self._size + reader.size, reader.torn

    async def _segments_ahead(self) -> list[Segment]:
        """The segments that have something to be read, or may get it."""
        found = existing_segments(self._folder)
        if self._segment is None:
            first = found[await _find(found, self._start)]
            self._number = first.first
        else:
            first = self._segment
        return [
            each
            for each in found
            if each.first >= first.first and (each.stop is None or each.stop > self._number)
        ]

    async def _enter(self, segment: Segment) -> None:
        """Go on in a segment: behind what was read of it, or at its beginning."""
        if self._segment is None or segment.first != self._segment.first:
            if segment.first > self._number:
                raise JournalError(f"{segment.path} should begin with record {self._number}")
            self._number, self._size = segment.first, 0
            self.segments += 1
        elif segment.path.stat().st_size < self._size:
            reader = segment.reader()
            async for _ in segment.read(reader):
                pass
            self._number, self._size = reader.number, reader.size
        self._segment = segment

    def _leave_out(self, records: list[Record]) -> list[Record]:
        """Leave out what is before the start."""
        if not self._begun:
            records = list(dropwhile(self._is_early, records))
            self._begun = bool(records)
        return records

    def _is_early(self, record: Record) -> bool:
        if isinstance(self._start, datetime):
            return record.seconds < self._start.timestamp()
        return record.number < self._start


class Summary:
    """What there is to say of records that were all good."""

    def __init__(self) -> None:
        self._count = 0
        self._first: Record | None = None
        self._last: Record | None = None

    def add(self, records: list[Record]) -> None:
        """Count records, of which there is at least one."""
        self._first = self._first or records[0]
        self._last = records[-1]
        self._count += len(records)

    def tell(self, segments: int, torn: int) -> str:
        """Say it in one line.

        Args:
            segments: in how many the records are.
            torn: bytes of a last record that is not whole.
        """
        told = f"{_plural(self._count, 'record')} in {_plural(segments, 'segment')}"
        if self._first is not None and self._last is not None:
            told += f", from {_name(self._first)} to {_name(self._last)}"
        return told + (f"; the last record is torn: {_plural(torn, 'byte')}" if torn else "")


def existing_segments(folder: Path) -> list[Segment]:
    """The segments in a directory, oldest first: at least one.

    Raises:
        JournalError: there is none.
    """
    if not folder.is_dir():
        raise JournalError(f"{folder} is no directory")
    found = segments(folder)
    if not found:
        raise JournalError(f"there is no journal in {folder}")
    return found


async def _find(found: list[Segment], start: Start) -> int:
    """Index of the segment that the start is in, or the nearest one.

    With a time it is the one before the first that begins then or later: its last records may be wanted.
    """
    if not isinstance(start, datetime):
        return max(bisect_right(found, start, key=lambda segment: segment.first) - 1, 0)
    low, high = 0, len(found)
    while low < high:
        middle = (low + high) // 2
        record = await found[middle].first_record()
        if record is not None and record.seconds < start.timestamp():
            low = middle + 1
        else:
            high = middle
    return max(low - 1, 0)


def _name(record: Record) -> str:
    return f"{record.number} ({record.time})"


def _plural(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
