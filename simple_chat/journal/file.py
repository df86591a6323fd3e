"""The journal in files: a batch is written, and synced if required, before it is broadcast.

Write-ahead with group commit: while one write is in progress the next batches queue up, and are written
together; the slower the disk, the larger the writes. After a failure the same batches are retried until they
are written, and the host is notified of the outage.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from pathlib import Path
from typing import Self

from simple_chat.core.backlog import Batch
from simple_chat.core.counters import SLOW_SECONDS, Histogram
from simple_chat.errors import JournalError, describe_error
from simple_chat.journal.base import JournalHost, Policy, Sync
from simple_chat.journal.record import decode_batches, encode_records, start_marker
from simple_chat.journal.recovery import recover
from simple_chat.journal.writer import JournalWriter

logger = logging.getLogger(__name__)

STALL_TIMEOUT = 2.0
"""Seconds that a write may take before the journal counts as unavailable."""

RETRY_DELAY = 1.0
"""Seconds from a failed write to the next attempt."""

CLOSE_TIMEOUT = 5.0
"""Seconds that the disk may take to answer while the journal is closed, before it is left as it is."""

_LARGE_SEGMENT = 256 * 1024 * 1024  # bytes beyond which a start takes long
_CHECKED_BYTES = 50 * 1024 * 1024  # of a segment that a start reads and checks in a second, roughly
_QUEUE_BYTES = 8 * 1024 * 1024  # that may be broadcast and not yet written, with Sync.NONE


class FileJournal:
    """A journal in files. Implements `simple_chat.journal.base.Journal`; `open` makes one.

    Args:
        writer: writes to the directory.
        sync: how durable a batch is before it is broadcast.
        recovered: the last batches in the directory.

    Attributes:
        problem: why nothing can be written now; empty if all is well.
        waiting_bytes: of the batches that are not written yet.
        seconds: how long each batch took.
    """

    _host: JournalHost

    def __init__(self, writer: JournalWriter, sync: Sync, recovered: list[Batch]) -> None:
        self.recovered = recovered
        self._writer = writer
        self._sync = sync
        self._queue: deque[Batch] = deque()
        self._submitted: deque[float] = deque()  # when each of the queue was, by the event loop's clock
        self.waiting_bytes = 0
        self.seconds = Histogram(SLOW_SECONDS)
        self.problem = ""
        self._end = recovered[-1].end  # of the batches that were written
        self._wake = asyncio.Event()  # a batch was queued, or the journal is closing
        self._closing = asyncio.Event()
        self._writing: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, directory: Path, policy: Policy) -> Self:
        """Recover the journal in a directory, or create it, and write a start marker.

        Raises:
            JournalError: it is damaged or can't be used, or another server uses it.
        """
        if policy.segment_bytes > _LARGE_SEGMENT:
            logger.warning(
                "a file of the journal may have %d MiB, a start may take %d s to check the last one:"
                " with a smaller --journal-segment it is faster",
                policy.segment_bytes // 2**20,
                policy.segment_bytes // _CHECKED_BYTES,
            )
        try:
            writer = JournalWriter(directory, policy)
            try:
                recovered = await cls._recover(writer, directory, policy)
            except BaseException:
                await writer.close()
                raise
        except OSError as error:
            path = Path(error.filename or directory)
            where = "" if path == directory else f"{path.name}: "
            raise JournalError(
                f"can't write a journal in {directory}: {where}{describe_error(error)}"
            ) from error
        return cls(writer, policy.sync, recovered)

    @staticmethod
    async def _recover(writer: JournalWriter, directory: Path, policy: Policy) -> list[Batch]:
        found = await recover(directory, policy.recover_bytes)
        marker = start_marker(found.next_number, time.time())
        await writer.resume(found)
        await writer.append(encode_records(marker), marker.first, marker.time)
        await writer.apply_retention()
        return [*decode_batches(found.records), marker]

    # For the host

    @property
    def busy(self) -> bool:
        """Whether no batch can be submitted now."""
        return self.waiting_bytes > (_QUEUE_BYTES if self._sync is Sync.NONE else 0)

    def start(self, host: JournalHost) -> None:
        """Accept batches on behalf of a host."""
        self._host = host
        self._writing = asyncio.create_task(self._run())

    def submit(self, batch: Batch) -> None:
        """Queue a batch for writing; with `Sync.NONE` broadcast it at once."""
        self._queue.append(batch)
        self._submitted.append(asyncio.get_running_loop().time())
        self.waiting_bytes += batch.size
        self._wake.set()
        if self._sync is Sync.NONE:
            self._host.broadcast(batch)

    async def close(self, end: int = 0) -> None:
        """Write what can still be written, and release the directory; see `Journal.close`."""
        self._closing.set()
        self._wake.set()
        answered = self._writing is None or await self._finish(self._writing)
        answered = answered and await self._finish(asyncio.create_task(self._writer.close()))
        accepted = max(end, self._end, *(batch.end for batch in self._queue))
        if problem := self._problem(accepted - self._end, answered=answered):
            logger.error(problem)
            raise JournalError(problem)

    async def _finish(self, task: asyncio.Task[None]) -> bool:
        """Wait for a task as long as lines are written; cancel it if the disk does not answer.

        A write that hangs may still happen one day, so the directory stays locked until the process ends.

        Returns:
            Whether the task is done.
        """
        end = None
        while end != self._end:
            end = self._end
            done, _ = await asyncio.wait([task], timeout=CLOSE_TIMEOUT)
            if done:
                await task
                return True
        task.cancel()
        return False

    def _problem(self, unwritten: int, *, answered: bool) -> str:
        """Return what became of the lines that were accepted, if that is not well."""
        if unwritten:
            return f"lines that could not be written to the journal and are lost: {unwritten}"
        if not answered:
            return "the journal may lack lines, as the disk does not answer"
        return "the journal may lack lines, as a file could not be synced" if self._writer.damaged else ""

    # The writing task

    async def _run(self) -> None:
        """Write what is queued until the journal is closed."""
        while self._queue or not self._closing.is_set():
            await self._wake.wait()
            self._wake.clear()
            if self._queue and not await self._write(list(self._queue)):
                return

    async def _write(self, batches: list[Batch]) -> bool:
        """Write the first batches of the queue, and retry until they are written.

        Returns:
            False if the journal was closed before.
        """
        records = b"".join(map(encode_records, batches))
        while not await self._attempt(records, batches[0]):
            if self._closing.is_set():
                return False
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), RETRY_DELAY)
        now = asyncio.get_running_loop().time()
        for batch in batches:
            self.waiting_bytes -= self._queue.popleft().size
            self.seconds.observe(now - self._submitted.popleft())
            self._end = batch.end
            if self._sync is not Sync.NONE:
                self._host.broadcast(batch)
        self._report_written()
        return True

    async def _attempt(self, records: bytes, first: Batch) -> bool:
        """Write records once.

        Args:
            records: of several batches.
            first: the first of these.

        Returns:
            Whether they were written.
        """
        loop = asyncio.get_running_loop()
        stall_timer = loop.call_later(STALL_TIMEOUT, self._report_outage, "the disk does not answer")
        try:
            await self._writer.append(records, first.first, first.time)
        except (OSError, JournalError) as error:
            self._report_outage(describe_error(error) or type(error).__name__)
            return False
        finally:
            stall_timer.cancel()
        return True

    def _report_written(self) -> None:
        """Notify the host, first of the end of an outage if there was one."""
        if self.problem:
            self.problem = ""
            logger.info("the journal is written again")
            self._host.on_recovered("The journal is written again.")
        self._host.on_commit()

    def _report_outage(self, reason: str) -> None:
        """Log an outage and notify the host, once."""
        if not self.problem:
            self.problem = reason
            logger.error("the journal can't be written: %s", reason)
            self._host.on_unavailable(
                f"The journal can't be written ({reason}): what you say is not kept, and may be refused."
            )
