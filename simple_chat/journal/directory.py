"""The journal's directory: which segments are in it, how they are read, and who may write there."""

import fcntl
import math
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Self

import aiofiles

from simple_chat.errors import JournalError
from simple_chat.journal.record import CorruptRecordError, Record, RecordReader

_SUFFIX = ".log"
_DIGITS = 20  # so that names sort as numbers do
_LOCK = "lock"
_BLOCK = 256 * 1024  # bytes that are read at a time


@dataclass(frozen=True)
class Segment:
    """A file of the journal.

    Args:
        path: where it is.
        first: number of its first record, which it is named by.
        stop: number that the next segment begins with; None for the last one. What is in the file from there
            on is no part of the journal: it could not be kept there.
    """

    path: Path
    first: int
    stop: int | None = None

    @classmethod
    def named(cls, folder: Path, first: int, stop: int | None = None) -> Self:
        """The segment of a directory that begins with a number."""
        return cls(folder / f"{first:0{_DIGITS}}{_SUFFIX}", first, stop)

    def reader(self) -> RecordReader:
        """What puts its records together."""
        return RecordReader(self.first, self.stop)

    async def first_record(self) -> Record | None:
        """Read the first record and nothing else; None if there is none that is whole."""
        async with aiofiles.open(self.path, "rb") as file:
            line = await file.readline()
        records = self.reader().feed(line) if line else []
        return records[0] if records else None

    async def read(self, reader: RecordReader, size: int = 0) -> AsyncIterator[list[Record]]:
        """Read the records, some at a time.

        Args:
            reader: puts them together, and knows afterwards how far they reach.
            size: bytes to pass over, of the records before the reader's first.

        Raises:
            JournalError: it is damaged, or the last ones are missing.
        """
        before = reader.number - self.first
        async with aiofiles.open(self.path, "rb") as file:
            await file.seek(size)
            while data := await file.read(_BLOCK):
                try:
                    yield reader.feed(data)
                except CorruptRecordError as error:
                    raise JournalError(f"{self.path}, line {before + error.line}: {error.wrong}") from None
        if self.stop is not None and reader.number != self.stop:
            raise JournalError(
                f"{self.path} should reach to record {self.stop - 1}, and ends with {reader.number - 1}"
            )

    async def read_tail(self, size: int) -> list[Record]:
        """Read the last records only.

        Args:
            size: bytes of them that are wanted, roughly.

        Raises:
            JournalError: as `read` does.
        """
        start = max(self.path.stat().st_size - size, 0)
        async with aiofiles.open(self.path, "rb") as file:
            if start:
                await file.seek(start - 1)
                start += len(await file.readline()) - 1  # up to where a record begins
            line = await file.readline()
        number, _, _ = line.partition(b" ")
        if not line:
            return []
        if not number.isdigit():
            raise JournalError(f"{self.path} does not end in records")
        reader = RecordReader(int(number), self.stop)
        return [record async for records in self.read(reader, start) for record in records]


def segments(folder: Path) -> list[Segment]:
    """The segments in a directory, oldest first."""
    names = (path.name.removesuffix(_SUFFIX) for path in folder.glob(f"*{_SUFFIX}"))
    firsts = sorted(int(name) for name in names if len(name) == _DIGITS and name.isdecimal())
    return [Segment.named(folder, *each) for each in zip_longest(firsts, firsts[1:])]


def delete_oldest(folder: Path, *, size: float = math.inf, before: float = 0.0) -> None:
    """Delete the oldest segments; never the last one.

    Args:
        folder: where they are.
        size: bytes that all together may have.
        before: seconds since the epoch; those that were last written before that are deleted.
    """
    *closed, last = [(each.path, each.path.stat()) for each in segments(folder)]
    total = last[1].st_size + sum(status.st_size for _, status in closed)
    for path, status in closed:
        if total <= size and status.st_mtime >= before:
            return
        path.unlink()
        total -= status.st_size


class Lock:
    """Keeps other servers off a directory for as long as it is held.

    Args:
        folder: the directory, which is there.

    Raises:
        JournalError: another server has it.
        OSError: there can be no lock.
    """

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise JournalError(f"another server keeps its journal in {folder}") from None

    @property
    def lost(self) -> bool:
        """Whether somebody deleted it."""
        return not os.fstat(self._file).st_nlink

    def release(self) -> None:
        """Let others in."""
        os.close(self._file)


def sync_folder(folder: Path) -> None:
    """Have the names of a directory's files on the disk.

    Raises:
        OSError: they are not.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
