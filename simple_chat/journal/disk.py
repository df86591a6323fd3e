"""The thread in which a journal waits for the disk.

All calls in it are made by aiofiles: `DiskThread.open` returns a file that aiofiles opens, writes, truncates
and closes; `DiskThread.run` is for everything that aiofiles has no coroutine for (fdatasync, fsync of a
directory, deleting and locking in one step), by the same `wrap` that aiofiles builds its own coroutines with.
A single thread keeps the calls in order, and a disk that does not answer blocks nothing else.

Reading takes place before a server listens, or in the journal tool; there aiofiles uses the event loop's
default threads.
"""

import os
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, ParamSpec, TypeVar

import aiofiles
from aiofiles.os import wrap
from aiofiles.threadpool.binary import AsyncFileIO

P = ParamSpec("P")
T = TypeVar("T")


class _DaemonExecutor(Executor):
    """An executor of one thread. The process ends without waiting for it: the disk may never answer."""

    def __init__(self) -> None:
        self._calls = SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]()
        Thread(target=self._run, name="journal", daemon=True).start()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call a function in the thread."""
        future = Future[T]()
        self._calls.put((future, partial(fn, *args, **kwargs)))
        return future

    def shutdown(
        self,
        wait: bool = True,  # noqa: ARG002, FBT001, FBT002 - the signature is the standard library's
        *,
        cancel_futures: bool = False,  # noqa: ARG002
    ) -> None:
        """Let the thread end after its last call, without waiting for it."""
        self._calls.put(None)

    def _run(self) -> None:
        while call := self._calls.get():
            future, function = call
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
                    future.set_exception(error)


@wrap
def _call(function: Callable[..., object], *arguments: object) -> None:
    function(*arguments)


class DiskThread:
    """A single thread for calls that may block."""

    def __init__(self) -> None:
        self._executor = _DaemonExecutor()

    async def open(self, path: Path, mode: int) -> AsyncFileIO:
        """Open a file for appending, unbuffered; create it if it is missing.

        Args:
            path: the file.
            mode: permissions of a new file.

        Raises:
            OSError: it can't be opened.
        """
        opener = partial(os.open, mode=mode)
        return await aiofiles.open(path, "ab", buffering=0, opener=opener, executor=self._executor)

    async def run(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function in the thread, and raise what it raises."""
        await _call(function, *arguments, executor=self._executor)

    def close(self) -> None:
        """Let the thread end after its last call, without waiting for it."""
        self._executor.shutdown()
