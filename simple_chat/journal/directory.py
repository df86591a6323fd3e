"""The journal's directory: its segments, its lock, and what is deleted from it."""

import fcntl
import math
import os
from itertools import zip_longest
from pathlib import Path

from simple_chat.errors import JournalError
from simple_chat.journal.segment import DIGITS, SUFFIX, Segment

_LOCK = "lock"


def list_segments(directory: Path) -> list[Segment]:
    """Return the segments in a directory, oldest first."""
    names = (path.name.removesuffix(SUFFIX) for path in directory.glob(f"*{SUFFIX}"))
    firsts = sorted(int(name) for name in names if len(name) == DIGITS and name.isdecimal())
    return [Segment.within(directory, *each) for each in zip_longest(firsts, firsts[1:])]


def delete_oldest(directory: Path, *, size: float = math.inf, before: float = 0.0) -> None:
    """Delete the oldest segments, but never the last one.

    Args:
        directory: the journal's directory, with at least one segment.
        size: bytes that all segments together may have.
        before: time in seconds since the epoch; segments written to last before it are deleted.
    """
    *closed, last = [(each.path, each.path.stat()) for each in list_segments(directory)]
    total = last[1].st_size + sum(status.st_size for _, status in closed)
    for path, status in closed:
        if total <= size and status.st_mtime >= before:
            return
        path.unlink()
        total -= status.st_size


class DirectoryLock:
    """Excludes other servers from a directory until it is released.

    Args:
        directory: an existing directory.

    Raises:
        JournalError: another server holds the lock.
        OSError: the lock file can't be opened.
    """

    def __init__(self, directory: Path) -> None:
        self._file = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise JournalError(f"another server keeps its journal in {directory}") from None

    @property
    def lost(self) -> bool:
        """Whether the lock file was deleted, so that the lock excludes nobody any more."""
        return not os.fstat(self._file).st_nlink

    def release(self) -> None:
        """Release the lock."""
        os.close(self._file)


def fsync_directory(directory: Path) -> None:
    """Wait until the directory's entries are on the disk, so that a new file survives a power cut.

    Raises:
        OSError: they may not be.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
