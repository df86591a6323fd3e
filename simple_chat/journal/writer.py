"""Appending to a journal's directory: the current segment, the next one, and retention."""

import logging
import shlex
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from simple_chat.errors import JournalError, describe_error
from simple_chat.journal.base import Policy, Sync
from simple_chat.journal.clock import LeapDetector
from simple_chat.journal.directory import DirectoryLock, delete_expired, fsync_directory, is_exposed
from simple_chat.journal.disk import DiskThread
from simple_chat.journal.recovery import RecoveredJournal
from simple_chat.journal.segment import Segment, SegmentWriter

logger = logging.getLogger(__name__)

_DAY = timedelta(days=1).total_seconds()
_DIRECTORY_MODE = 0o700


class JournalWriter:
    """Writes records to the segments of a directory, and holds the directory's lock.

    Args:
        directory: the journal's directory, which is created if it is missing.
        policy: how the journal is written and kept.

    Attributes:
        damaged: whether records may be missing on the disk, though they were written.

    Raises:
        JournalError: it is no directory, or another server has its journal there.
        OSError: the directory can't be used.
    """

    def __init__(self, directory: Path, policy: Policy) -> None:
        try:
            directory.mkdir(_DIRECTORY_MODE, parents=True, exist_ok=True)
        except FileExistsError:
            raise JournalError(f"can't write a journal in {directory}: it is not a directory") from None
        self.damaged = False
        self._directory = directory
        self._policy = policy
        if is_exposed(directory):
            logger.warning(
                "everybody on this machine can read or change the journal in %s: chmod -R o= %s",
                directory,
                shlex.quote(str(directory)),
            )
        self._lock = DirectoryLock(directory)
        self._disk = DiskThread()
        self._segment: SegmentWriter | None = None
        self._segment_started = 0.0  # seconds since the epoch
        self._clock = LeapDetector(time.time())

    async def resume(self, recovered: RecoveredJournal) -> None:
        """Continue the last segment of a recovered journal, if there is one.

        Raises:
            OSError: it can't be written.
        """
        if recovered.segment is not None:
            self._segment = await SegmentWriter.open(recovered.segment.path, recovered.size, self._disk)
            self._segment_started = recovered.segment_started or recovered.segment_ended
            self._clock = LeapDetector(recovered.segment_ended)

    async def append(self, records: bytes, first: int, time: float) -> None:
        """Append complete records: all of them or none.

        Args:
            records: encoded, each with its LF.
            first: number of the first one.
            time: of the first one, in seconds since the epoch.

        Raises:
            JournalError: the directory was replaced, and another server has its journal there now.
            OSError: they can't be written.
        """
        segment, now = self._segment, self._clock.expected
        if self._has_leapt(time) or segment is None or not segment.usable or self._is_full(segment):
            segment = await self._begin_segment(first, now)
        await segment.append(records, sync=self._policy.sync is Sync.DISK)

    async def apply_retention(self) -> None:
        """Delete the segments that the policy does not keep; a failure is only logged."""
        retention = self._policy.retention
        try:
            if retention is not None:
                await self._disk.run(delete_expired, self._directory, retention)
        except (OSError, JournalError) as error:
            logger.warning("an old segment can't be deleted: %s", describe_error(error))

    async def close(self) -> None:
        """Close the segment, and release the directory."""
        await self._close_segment(self._clock.expected)
        self._lock.release()
        self._disk.close()

    def _has_leapt(self, time: float) -> bool:
        """Return whether the clock leapt, so that a new segment begins: within one it did not."""
        expected = self._clock.expected
        leapt = self._clock.advance(time)
        if leapt and isinstance(self._policy.retention, timedelta):
            logger.warning(
                "the clock says %s, the journal ends at %s: no file is deleted for that, the clock may be"
                " wrong; if it is right, delete by hand what is older than --journal-keep",
                _format_time(time),
                _format_time(expected),
            )
        return leapt

    def _is_full(self, segment: SegmentWriter) -> bool:
        by_age = isinstance(self._policy.retention, timedelta)
        outdated = by_age and abs(self._clock.time - self._segment_started) > _DAY
        return outdated or segment.size >= self._policy.segment_bytes

    async def _begin_segment(self, first: int, now: float) -> SegmentWriter:
        await self._close_segment(now)
        path = Segment.within(self._directory, first).path
        await self._disk.run(self._clear, path)
        segment = await SegmentWriter.open(path, 0, self._disk)
        try:
            await self._disk.run(fsync_directory, self._directory)
        except OSError:
            await segment.close(now)
            raise
        self._segment, self._segment_started = segment, self._clock.time
        await self.apply_retention()
        return segment

    def _clear(self, path: Path) -> None:
        """Delete what a failed attempt left of a segment; lock the directory again if it was replaced."""
        path.unlink(missing_ok=True)
        if self._lock.lost:
            lock = DirectoryLock(self._directory)
            self._lock.release()
            self._lock = lock

    async def _close_segment(self, now: float) -> None:
        if self._segment is not None:
            segment, self._segment = self._segment, None
            try:
                await segment.close(now)
            except OSError as error:
                self.damaged |= self._policy.sync is not Sync.DISK  # else all that counts was synced before
                logger.warning(
                    "a closed segment can't be synced, a power cut may damage it: %s", describe_error(error)
                )


def _format_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(sep=" ", timespec="seconds")
