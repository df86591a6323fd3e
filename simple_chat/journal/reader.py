"""Reading a journal from any place on, and what was appended since the last read.

It only reads, so a server may write at the same time. The formats of a record are pure.
"""

import asyncio
import contextlib
import json
from bisect import bisect_right
from collections.abc import AsyncIterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from simple_chat.core.protocol import parse_event
from simple_chat.errors import JournalError
from simple_chat.journal.clock import LEAP
from simple_chat.journal.directory import list_segments
from simple_chat.journal.record import Record, RecordReader
from simple_chat.journal.segment import Segment

StartPoint = int | datetime
"""Which records to read: those from this number on, or those of this time or later."""


def format_text(record: Record) -> str:
    """Format a record for people: its line in the file without the checksum."""
    return f"{record.number} {record.time} {_text(record)}"


def format_json(record: Record) -> str:
    """Format a record for programs: a JSON object with the client's names of events."""
    line = _text(record)
    event = parse_event(line)
    name, values = (line.lower(), {}) if event is None else (type(event).__name__.lower(), asdict(event))
    fields = {"number": record.number, "time": record.time, "event": name, **values}
    return json.dumps(fields, ensure_ascii=False)


def _text(record: Record) -> str:
    """Return a record's line as text that every UTF-8 encoder takes, whoever wrote it."""
    return record.line.decode(errors="replace")


class JournalReader:
    """Reads the records of a journal from a start point on; segments before it are not read.

    With a time it leaves out earlier records wherever they are: a clock that was wrong for a while leaves
    times that are not sorted.

    Args:
        directory: the journal's directory.
        start: which records to read.

    Attributes:
        segments: number of segments read so far.
        torn: bytes behind the last complete record.
    """

    def __init__(self, directory: Path, start: StartPoint = 0) -> None:
        self._directory = directory
        self._start = start
        self._segment: Segment | None = None  # the one read last
        self._number = 0  # of the next record
        self._offset = 0  # of the next record in the segment, in bytes
        self.segments = 0
        self.torn = 0

    async def read(self) -> AsyncIterator[list[Record]]:
        """Read the records appended since the last call, in blocks.

        If a complete record was truncated since, its replacement follows with the same number.

        Raises:
            JournalError: there is no journal, or it is damaged.
            OSError: a segment can't be read.
        """
        for segment in await self._pending_segments():
            try:
                await self._enter(segment)
                reader = RecordReader(self._number, segment.stop)
                async for records in segment.read(reader, self._offset):
                    if selected := self._select(records):
                        yield selected
            except FileNotFoundError:
                raise JournalError(f"{segment.path} was deleted before it was read") from None
            self._number, self._offset, self.torn = reader.number, self._offset + reader.size, reader.torn

    async def _pending_segments(self) -> list[Segment]:
        """Return the segments that have unread records, or may get some."""
        found = existing_segments(self._directory)
        if self._segment is None:
            first = found[await _find_start(found, self._start)]
            self._number = first.first
        else:
            first = self._segment
        return [
            each
            for each in found
            if each.first >= first.first and (each.stop is None or each.stop > self._number)
        ]

    async def _enter(self, segment: Segment) -> None:
        """Seek to the next record of a segment: the first unread one, or the segment's first."""
        if self._segment is None or segment.first != self._segment.first:
            if segment.first > self._number:
                raise JournalError(
                    f"{segment.path} begins with record {segment.first} instead of {self._number}:"
                    " those between were deleted before they were read"
                )
            self._number, self._offset = segment.first, 0
            self.segments += 1
        elif segment.path.stat().st_size < self._offset:  # truncated
            reader = segment.record_reader()
            async for _ in segment.read(reader):
                pass
            self._number, self._offset = reader.number, reader.size
        self._segment = segment

    def _select(self, records: list[Record]) -> list[Record]:
        """Leave out the records before the start point."""
        if isinstance(self._start, datetime):
            earliest = self._start.timestamp()
            return [each for each in records if each.seconds >= earliest]
        return [each for each in records if each.number >= self._start]


class Summary:
    """Counts verified records."""

    def __init__(self) -> None:
        self._count = 0
        self._first: Record | None = None
        self._last: Record | None = None

    def add(self, records: list[Record]) -> None:
        """Count records, of which there is at least one."""
        self._first = self._first or records[0]
        self._last = records[-1]
        self._count += len(records)

    def format(self, segments: int, torn: int) -> str:
        """Return the summary as one line.

        Args:
            segments: number of segments read.
            torn: bytes behind the last complete record.
        """
        text = f"{_plural(self._count, 'record')} in {_plural(segments, 'segment')}"
        if self._first is not None and self._last is not None:
            text += f", from {_locate(self._first)} to {_locate(self._last)}"
        return text + (f"; the last record is torn: {_plural(torn, 'byte')}" if torn else "")


def existing_segments(directory: Path) -> list[Segment]:
    """Return the segments in a directory, oldest first: at least one.

    Raises:
        JournalError: there is none.
    """
    if not directory.is_dir():
        raise JournalError(f"{directory} is not a directory")
    found = list_segments(directory)
    if not found:
        raise JournalError(f"there is no journal in {directory}")
    return found


async def _find_start(found: list[Segment], start: StartPoint) -> int:
    """Return the index of the first segment that may have records to read; else of the last."""
    if not isinstance(start, datetime):
        return max(bisect_right(found, start, key=lambda segment: segment.first) - 1, 0)
    earliest = start.timestamp() - LEAP  # within a segment the clock may be set back by less
    for index, segment in enumerate(found):
        with contextlib.suppress(FileNotFoundError):  # it was deleted meanwhile
            for read_time in (segment.first_time, segment.last_time):
                if await asyncio.to_thread(read_time) >= earliest:
                    return index
    return len(found) - 1


def _locate(record: Record) -> str:
    return f"{record.number} ({record.time})"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
