"""A file of the journal: reading its records, and appending to it."""

import contextlib
import fcntl
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

import aiofiles
from aiofiles.threadpool.binary import AsyncBufferedReader, AsyncFileIO

from simple_chat.errors import JournalError
from simple_chat.journal.disk import DiskThread
from simple_chat.journal.record import CorruptRecordError, Record, RecordReader

SUFFIX = ".log"
"""How a segment's name ends."""

DIGITS = 20
"""Digits of a segment's name, so that names sort as numbers do."""

FILE_MODE = 0o600
"""Permissions of a new file: what people say is for them and for the operator."""

_BLOCK_BYTES = 256 * 1024  # read at a time

CHECK_INTERVAL = 1.0
"""Seconds after which it is checked again whether the file that is written is still in its place."""

_fdatasync = getattr(os, "fdatasync", os.fsync)  # not every system has it


@dataclass(frozen=True)
class Segment:
    """A file of the journal.

    Args:
        path: the file.
        first: number of its first record, which it is named by.
        stop: number of the next segment's first record; None for the last segment. Records in this file with
            that number or a higher one are no part of the journal: their write failed.
    """

    path: Path
    first: int
    stop: int | None = None

    @classmethod
    def within(cls, directory: Path, first: int, stop: int | None = None) -> Self:
        """Return the segment of a directory that begins with a number, whether it exists or not."""
        return cls(directory / f"{first:0{DIGITS}}{SUFFIX}", first, stop)

    def record_reader(self) -> RecordReader:
        """Return a decoder for its records."""
        return RecordReader(self.first, self.stop)

    def first_time(self) -> float:
        """Return the time of the first record, in seconds since the epoch, without a check; this may block.

        Without a record it is the time at which the file was written.

        Raises:
            OSError: the file can't be read.
        """
        with self.path.open("rb") as file:
            return _time_of(file.readline(_BLOCK_BYTES)) or self.path.stat().st_mtime

    def last_time(self) -> float:
        """Return the time of the last record, as `first_time` does that of the first."""
        with self.path.open("rb") as file:
            status = os.fstat(file.fileno())
            file.seek(max(status.st_size - _BLOCK_BYTES, 0))
            *_, last, _ = [b"", *file.read().split(b"\n")]  # behind the last LF it is torn
        return _time_of(last) or status.st_mtime

    async def read(self, reader: RecordReader, offset: int = 0) -> AsyncIterator[list[Record]]:
        """Read the records in blocks.

        Args:
            reader: the decoder; its attributes tell afterwards how far the records reach.
            offset: bytes to skip: those before the reader's first record.

        Raises:
            JournalError: a record is corrupt, or the last ones are missing.
            OSError: the file can't be read.
        """
        skipped = reader.number - self.first
        async with aiofiles.open(self.path, "rb") as file:
            await file.seek(offset)
            while data := await self._read_block(file):
                try:
                    yield reader.feed(data)
                except CorruptRecordError as error:
                    raise JournalError(f"{self.path}, line {skipped + error.line}: {error.problem}") from None
        if self.stop is not None and reader.number != self.stop:
            raise JournalError(f"{self.path} ends with record {reader.number - 1} instead of {self.stop - 1}")

    async def _read_block(self, file: AsyncBufferedReader) -> bytes:
        try:
            return await file.read(_BLOCK_BYTES)
        except OSError as error:
            error.filename = str(self.path)  # the system does not say it
            raise

    async def read_tail(self, size: int) -> list[Record]:
        """Read the last records only.

        Args:
            size: bytes of records to read, roughly.

        Raises:
            JournalError: as `read` does.
            OSError: the file can't be read.
        """
        offset = max(self.path.stat().st_size - size, 0)
        async with aiofiles.open(self.path, "rb") as file:
            if offset:
                await file.seek(offset - 1)
                offset += len(await file.readline()) - 1  # the next start of a record
            line = await file.readline()
        number, _, _ = line.partition(b" ")
        if not line:
            return []
        if not number.isdigit():
            raise JournalError(f"{self.path} does not end with a record")
        reader = RecordReader(int(number), self.stop)
        return [record async for records in self.read(reader, offset) for record in records]


def _time_of(line: bytes) -> float | None:
    """Return the time of a record in seconds since the epoch; None if it is none."""
    try:
        return datetime.fromisoformat(line.split(b" ", 2)[1].decode()).timestamp()
    except (IndexError, ValueError):
        return None


class SegmentWriter:
    """Appends to a segment, and truncates it after a failed write.

    Args:
        file: the segment, opened for appending without a buffer.
        path: where it is.
        size: bytes of complete records in it.
        disk: the thread that the file belongs to.

    Attributes:
        size: bytes of complete records in it.
        usable: whether more can be appended; if not, a new segment is needed.
    """

    def __init__(self, file: AsyncFileIO, path: Path, size: int, disk: DiskThread) -> None:
        self._file = file
        self._path = path
        self._checked = time.monotonic()  # when it was in its place
        self._disk = disk
        self.size = size
        self.usable = True

    @classmethod
    async def open(cls, path: Path, size: int, disk: DiskThread) -> Self:
        """Open a segment, and create it if it is missing.

        Args:
            path: the file.
            size: bytes to keep; the rest is truncated.
            disk: the thread for all calls.

        Raises:
            JournalError: another server writes it, though the directory was not locked any more.
            OSError: it can't be opened or truncated.
        """
        file = await disk.open(path, FILE_MODE)
        try:
            await disk.run(fcntl.flock, file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            status = os.fstat(file.fileno())
            await file.truncate(size)
            # If this server dies before it writes, the file was in use no longer than before.
            await disk.run(os.utime, file.fileno(), (status.st_atime, status.st_mtime))
        except OSError as error:
            await file.close()
            if isinstance(error, BlockingIOError):
                raise JournalError(f"another server writes {path}") from None
            raise
        return cls(file, path, size, disk)

    async def append(self, data: bytes, *, sync: bool) -> None:
        """Append complete records: all of them or none.

        Args:
            data: the records.
            sync: whether to wait until they are on the disk.

        Raises:
            OSError: they can't be written.
        """
        end = self.size + len(data)
        try:
            while data:  # on a disk that is almost full, a write may be partial
                data = data[await self._file.write(data) :]
            self._check_size(end)
            await self._check_place()
            if sync:
                await self._sync()
        except OSError:
            await self._truncate()
            raise
        self.size = end

    async def close(self, now: float) -> None:
        """Sync and close the file.

        Args:
            now: seconds since the epoch, until when the segment was in use; the file gets it.

        Raises:
            OSError: the last records may not be on the disk.
        """
        try:
            with contextlib.suppress(OSError):  # retention then goes by when it was written
                await self._disk.run(os.utime, self._file.fileno(), (now, now))
            await self._sync()
        finally:
            await self._file.close()

    def _check_size(self, size: int) -> None:
        """Check that the file is still linked, and that nobody else has changed its size."""
        status = os.fstat(self._file.fileno())  # of an open file: it does not block
        if not status.st_nlink or status.st_size != size:
            self.usable = False
            raise OSError("somebody deleted the segment, or wrote to it")

    async def _check_place(self) -> None:
        """Check now and then that nobody has moved the file away, together with what is written to it."""
        if time.monotonic() - self._checked < CHECK_INTERVAL:
            return
        try:
            await self._disk.run(os.stat, self._path)
        except FileNotFoundError:
            self.usable = False
            raise OSError("somebody moved the segment away") from None
        self._checked = time.monotonic()

    async def _sync(self) -> None:
        """Wait until the data is on the disk.

        After a failure the segment is not usable: the kernel may drop the pages that it could not write, and
        report success the next time (https://wiki.postgresql.org/wiki/Fsync_Errors).
        """
        try:
            await self._disk.run(_fdatasync, self._file.fileno())
        except OSError:
            self.usable = False
            raise

    async def _truncate(self) -> None:
        """Remove what a failed append has left."""
        try:
            if os.fstat(self._file.fileno()).st_size > self.size:
                await self._file.truncate(self.size)
        except OSError:
            self.usable = False
