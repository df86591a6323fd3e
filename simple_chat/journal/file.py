"""The journal in files: a batch is appended, and as safe as it has to be before it is handed out.

One batch is being written while the next one gathers in the room: the slower the disk, the larger the
batches. When the disk fails, the same batch is tried again until it works, and the house is told meanwhile.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Self

from simple_chat.core.backlog import Batch
from simple_chat.errors import JournalError, describe_error
from simple_chat.journal.base import House
from simple_chat.journal.directory import Lock, Segment, delete_oldest, sync_folder
from simple_chat.journal.policy import Policy, Sync
from simple_chat.journal.record import batches, encode_records, start_of_server
from simple_chat.journal.recovery import RecoveredJournal, recall
from simple_chat.journal.segment import SegmentWriter

logger = logging.getLogger(__name__)

_DAY = timedelta(days=1).total_seconds()
_PATIENCE = 2.0  # seconds that a disk may take until the house is told
_RETRY = 1.0  # seconds from one try to the next
_AHEAD = 8 * 1024 * 1024  # bytes that may be handed out and yet to be written


class FileJournal:
    """A journal in files. What its methods are for is said in `simple_chat.journal.base.Journal`.

    Args:
        folder: the directory, which is made if it is not there.
        policy: how it is kept.

    Raises:
        JournalError: another server keeps its journal there.
        OSError: the directory can't be used.
    """

    _house: House

    def __init__(self, folder: Path, policy: Policy) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._policy = policy
        self._lock = Lock(folder)
        self._executor = ThreadPoolExecutor(1, "journal")
        self._segment: SegmentWriter | None = None
        self._began = 0.0  # the segment, in seconds since the epoch
        self._queue: deque[Batch] = deque()
        self._queued = 0  # bytes
        self._news = asyncio.Event()  # something was queued, or the end has come
        self._closing = asyncio.Event()
        self._failing = False
        self._writing: asyncio.Task[None] | None = None
        self.past: list[Batch] = []

    @classmethod
    async def open(cls, folder: Path, policy: Policy) -> Self:
        """Go on with a journal, or begin one.

        Raises:
            JournalError: it is damaged, can't be used, or another server uses it.
        """
        try:
            journal = cls(folder, policy)
            try:
                await journal._recall(await recall(folder, policy.recall))
            except BaseException:
                await journal._end()
                raise
        except OSError as error:
            raise JournalError(f"can't keep a journal in {folder}: {describe_error(error)}") from error
        return journal

    async def _recall(self, past: RecoveredJournal) -> None:
        """Go on where the journal ends, and mark the place."""
        if past.segment is not None:
            self._segment = await SegmentWriter.open(past.segment.path, past.size, self._executor)
            self._began = past.began or time.time()
        start = start_of_server(past.number, time.time())
        await self._store(encode_records(start), start.first)
        await self._tidy()
        self.past = [*batches(past.records), start]

    # What the house asks for

    @property
    def busy(self) -> bool:
        """Whether no batch can be appended now."""
        return self._queued > (_AHEAD if self._policy.sync is Sync.NONE else 0)

    async def start(self, house: House) -> None:
        """Begin to work for a server."""
        self._house = house
        self._writing = asyncio.create_task(self._write())

    def collect(self) -> None:
        """Keep what was said, and have it handed out when it is as safe as it has to be."""
        if batch := self._house.close_batch():
            self._queue.append(batch)
            self._queued += batch.size
            self._news.set()
            if self._policy.sync is Sync.NONE:
                self._house.hand_out(batch)

    async def finish(self) -> None:
        """What is still being kept is what members wait for before they are told BYE."""

    async def close(self) -> None:
        """Keep what can be kept, and end."""
        self._closing.set()
        self._news.set()
        if self._writing is not None:
            await self._writing
        await self._end()

    async def _end(self) -> None:
        await self._close_segment()
        self._lock.release()
        self._executor.shutdown(wait=False)

    # What it does for that

    async def _write(self) -> None:
        """Keep what is queued, as long as more comes."""
        while self._queue or not self._closing.is_set():
            await self._news.wait()
            self._news.clear()
            if self._queue and not await self._keep(list(self._queue)):
                return

    async def _keep(self, some: list[Batch]) -> bool:
        """Keep the first batches of the queue, however long it takes.

        Returns:
            False if the end came first.
        """
        records = b"".join(map(encode_records, some))
        while not await self._try(records, some[0].first):
            if self._closing.is_set():
                logger.error("%d lines could not be kept", self._queue[-1].end - some[0].first)
                return False
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), _RETRY)
        for batch in some:
            self._queued -= self._queue.popleft().size
            if self._policy.sync is not Sync.NONE:
                self._house.hand_out(batch)
        if self._failing:
            self._failing = False
            logger.info("the journal is written again")
            self._house.journal_works("The journal is written again.")
        self._house.journal_ready()
        return True

    async def _try(self, records: bytes, first: int) -> bool:
        late = asyncio.get_running_loop().call_later(_PATIENCE, self._fail, "the disk does not answer")
        try:
            await self._store(records, first)
        except (OSError, JournalError) as error:
            self._fail(describe_error(error))
            return False
        finally:
            late.cancel()
        return True

    def _fail(self, why: str) -> None:
        if not self._failing:
            self._failing = True
            logger.error("the journal can't be written: %s", why)
            self._house.journal_fails(
                f"The journal can't be written ({why}): what you say is not kept, and may be refused."
            )

    async def _store(self, records: bytes, first: int) -> None:
        """Append records to the segment, or to a new one.

        Args:
            records: what to append.
            first: number of the first one.

        Raises:
            JournalError: somebody else keeps a journal there now.
            OSError: they can't be kept.
        """
        segment = self._segment
        if segment is None or not segment.sound or self._is_full(segment):
            segment = await self._begin_segment(first)
        await segment.append(records, sync=self._policy.sync is Sync.DISK)

    def _is_full(self, segment: SegmentWriter) -> bool:
        old = isinstance(self._policy.keep, timedelta) and time.time() - self._began > _DAY
        return old or segment.size >= self._policy.segment

    async def _begin_segment(self, first: int) -> SegmentWriter:
        await self._close_segment()
        path = Segment.named(self._folder, first).path
        await self._run(self._make_place, path)
        segment = await SegmentWriter.open(path, 0, self._executor)
        try:
            await self._run(sync_folder, self._folder)
        except OSError:
            await segment.close()
            raise
        self._segment, self._began = segment, time.time()
        await self._tidy()
        return segment

    def _make_place(self, path: Path) -> None:
        """Take away a file of which nothing was kept; and if the directory is another one, lock it too."""
        path.unlink(missing_ok=True)
        if self._lock.lost:
            lock = Lock(self._folder)
            self._lock.release()
            self._lock = lock

    async def _close_segment(self) -> None:
        if self._segment is not None:
            segment, self._segment = self._segment, None
            try:
                await segment.close()
            except OSError as error:
                logger.warning("a segment may not be on the disk as a whole: %s", describe_error(error))

    async def _tidy(self) -> None:
        """Delete what need not be kept any more."""
        keep = self._policy.keep
        try:
            if isinstance(keep, timedelta):
                before = time.time() - keep.total_seconds()
                await self._run(partial(delete_oldest, self._folder, before=before))
            elif keep is not None:
                await self._run(partial(delete_oldest, self._folder, size=keep))
        except OSError as error:
            logger.warning("an old segment can't be deleted: %s", describe_error(error))

    async def _run(self, work: Callable[..., None], *arguments: object) -> None:
        await asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)
