"""The segment that is being written."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Self

import aiofiles
from aiofiles.threadpool.binary import AsyncFileIO

_fdatasync = getattr(os, "fdatasync", os.fsync)  # which not every system has


class SegmentWriter:
    """Appends to a segment, and knows how much of it was kept.

    Args:
        file: the segment, opened to append without a buffer.
        size: bytes of it that were kept.
        executor: the thread that works on it.

    Attributes:
        size: bytes of it that were kept.
        sound: whether more can be kept there.
    """

    def __init__(self, file: AsyncFileIO, size: int, executor: Executor) -> None:
        self._file = file
        self._executor = executor
        self.size = size
        self.sound = True

    @classmethod
    async def open(cls, path: Path, size: int, executor: Executor) -> Self:
        """Go on with a segment, or begin one.

        Args:
            path: the file.
            size: bytes to go on behind; what else is there is cut off.
            executor: a thread to work in.

        Raises:
            OSError: it can't be written.
        """
        file = await aiofiles.open(path, "ab", buffering=0, executor=executor)
        try:
            await file.truncate(size)
        except OSError:
            await file.close()
            raise
        return cls(file, size, executor)

    async def append(self, data: bytes, *, sync: bool) -> None:
        """Keep bytes behind all others: whole, or not at all.

        Args:
            data: records.
            sync: whether to wait until they are on the disk.

        Raises:
            OSError: they can't be kept.
        """
        end = self.size + len(data)
        try:
            while data:  # a disk that is almost full takes a part
                data = data[await self._file.write(data) :]
        except OSError:
            await self._cut()
            raise
        try:
            self._look_after(end)
            if sync:
                await self._run(_fdatasync, self._file.fileno())
        except OSError:
            # What the disk did not take once, the system may forget, and say it was taken the next time.
            await self._cut()
            self.sound = False
            raise
        self.size = end

    async def close(self) -> None:
        """Have everything on the disk, and close.

        Raises:
            OSError: it is not on the disk.
        """
        try:
            await self._run(_fdatasync, self._file.fileno())
        finally:
            await self._file.close()

    def _look_after(self, size: int) -> None:
        """Make sure that the file is still there, and has what was written to it."""
        status = os.fstat(self._file.fileno())  # of an open file, which waits for no disk
        if not status.st_nlink or status.st_size != size:
            raise OSError("somebody deleted the segment, or wrote to it")

    async def _cut(self) -> None:
        """Cut off what was not kept."""
        try:
            await self._run(_shorten, self._file.fileno(), self.size)
        except OSError:
            self.sound = False

    async def _run(self, work: Callable[..., None], *arguments: int) -> None:
        await asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)


def _shorten(descriptor: int, size: int) -> None:
    """Cut off what a file has behind some bytes, if it has as many."""
    if os.fstat(descriptor).st_size > size:
        os.ftruncate(descriptor, size)
