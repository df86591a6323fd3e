"""The thread in which a journal waits for the disk.

aiofiles makes every call that may block there, and nothing else does: `DiskThread.open` opens a file that
aiofiles writes, truncates and closes; `DiskThread.run` makes a coroutine of any other call with aiofiles'
`wrap`, which is how aiofiles makes its own of `os.unlink` (fdatasync and fsync are not among those). A single
thread keeps the calls in order, and a disk that does not answer blocks nothing else.

Reading takes place before a server listens, or in the journal tool; there aiofiles uses the event loop's
default threads.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiofiles
from aiofiles.os import wrap
from aiofiles.threadpool.binary import AsyncFileIO


class DiskThread:
    """A single thread for calls that may block."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, "journal")

    async def open(self, path: Path) -> AsyncFileIO:
        """Open a file for appending, unbuffered; create it if it is missing.

        Raises:
            OSError: it can't be opened.
        """
        return await aiofiles.open(path, "ab", buffering=0, executor=self._executor)

    async def run(self, call: Callable[..., None], *arguments: object) -> None:
        """Make a call in the thread, and raise what it raises."""
        await wrap(call)(*arguments, executor=self._executor)

    def close(self) -> None:
        """Let the thread end after its last call, without waiting for it."""
        self._executor.shutdown(wait=False)
