"""The journal's directory: its segments, its lock, and what is deleted from it."""

import errno
import fcntl
import os
import stat
from datetime import timedelta
from itertools import zip_longest
from pathlib import Path

from simple_chat.errors import JournalError
from simple_chat.journal.clock import LEAP
from simple_chat.journal.retention import Span, count_beyond_age, count_beyond_size
from simple_chat.journal.segment import DIGITS, FILE_MODE, SUFFIX, Segment

_LOCK = "lock"


def list_segments(directory: Path) -> list[Segment]:
    """Return the segments in a directory, oldest first.

    Raises:
        JournalError: what is named like one is no file; a pipe would be waited for without end.
    """
    firsts: list[int] = []
    for path in directory.glob(f"*{SUFFIX}"):
        name = path.name.removesuffix(SUFFIX)
        if len(name) == DIGITS and name.isascii() and name.isdecimal():
            if path.exists() and not path.is_file():
                raise JournalError(f"{path} is not a file, but named like one of a journal")
            firsts.append(int(name))
    firsts.sort()
    return [Segment.within(directory, *each) for each in zip_longest(firsts, firsts[1:])]


def delete_expired(directory: Path, retention: int | timedelta) -> None:
    """Delete the oldest segments, but never the last one.

    Args:
        directory: the journal's directory.
        retention: bytes or age beyond which they are deleted.

    Raises:
        OSError: one can't be read or deleted.
    """
    segments = list_segments(directory)
    status = [each.path.stat() for each in segments]
    if isinstance(retention, timedelta):
        begins = [each.first_time() for each in segments]
        spans = [Span(begin, each.st_mtime) for begin, each in zip(begins, status, strict=True)]
        count = count_beyond_age(spans, retention.total_seconds(), LEAP)
    else:
        count = count_beyond_size([each.st_size for each in status], retention)
    for each in segments[:count]:
        each.path.unlink()


def is_exposed(directory: Path) -> bool:
    """Return whether everybody on the machine can read or change a journal.

    What its group may do is the operator's business.
    """
    mode = directory.stat().st_mode
    files = [each.path.stat().st_mode for each in list_segments(directory)] if mode & stat.S_IXOTH else []
    return bool(mode & stat.S_IWOTH or any(each & (stat.S_IROTH | stat.S_IWOTH) for each in files))


class DirectoryLock:
    """Excludes other servers from a directory until it is released.

    Args:
        directory: an existing directory.

    Raises:
        JournalError: another server holds the lock.
        OSError: the lock file can't be opened.
    """

    def __init__(self, directory: Path) -> None:
        self._file = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
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

    Some file systems over a network can't do that for a directory; there nothing is done.

    Raises:
        OSError: they may not be.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)
