"""The simulated disk of a machine: real files, whose writes take time, fail, tear, and get lost.

The event loop gives it every call that may block. What a power cut takes away is what the kernel had not been
asked to sync, cut at any byte; a process that is killed loses at most a part of the write under way. What
could not be synced once is not on the disk, whatever later syncs say: as on Linux, the kernel forgets it.
"""

import errno
import os
import random
import shutil
from collections.abc import Callable
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any, cast

_SECONDS = 0.0002  # that a call takes
_SYNC_SECONDS = 0.001  # that a sync takes in addition
_SUFFIX = ".log"


class Disk:
    """A disk.

    Args:
        root: its directory on the real disk.
        seed: decides what a crash takes away, and how writes fail.
        clock: returns the time that files get, in seconds since the epoch.

    Attributes:
        root: the same.
        full: whether a write finds no room.
        failing: whether writes and syncs fail.
        unsyncable: whether syncs alone fail.
        slow: seconds that each call takes in addition.
        denied: whether nothing in the directory may be opened or looked at.
        damaged: whether something could not be synced: a server may end with an error, or refuse the journal.
        emptied: whether somebody has taken all files away since `switch_on`.
        refilled: number of a record from which on all have to be there again; None if that is not certain.
    """

    def __init__(self, root: Path, seed: str, clock: Callable[[], float]) -> None:
        self.root = root
        self.full = False
        self.failing = self.unsyncable = False
        self.slow = 0.0
        self.denied = False
        self.damaged = self.emptied = False
        self.refilled: int | None = None
        self._clock = clock
        self._choice = random.Random(f"{seed} disk")
        self._files: list[FileIO] = []
        self._synced: dict[str, int] = {}  # bytes of each file, by its name
        self._forgotten: dict[str, int] = {}  # bytes before what the kernel could not write
        self._named: set[Path] = set()  # files whose names survive
        self._writing: tuple[Path, int, float] | None = None  # the last write: size before it, and its end

    def call(self, now: float, function: Callable[..., Any], *arguments: object) -> tuple[float, Any]:
        """Make a call, and return the seconds that it takes and its result.

        Args:
            now: the time.
            function: what to call.
            arguments: its arguments.

        Raises:
            OSError: it fails.
        """
        options: dict[str, Any] = {}
        called: Any = function
        while isinstance(called, partial):
            options |= called.keywords
            called, arguments = called.func, (*called.args, *arguments)
            if getattr(called, "__name__", "") == "_call":  # of the journal's thread
                called, *rest = arguments
                arguments = tuple(rest)
        name = getattr(called, "__name__", "")
        file = getattr(called, "__self__", None)
        if name == "write" and isinstance(file, FileIO):
            seconds = self._take()
            self._writing = (Path(os.fsdecode(file.name)), os.fstat(file.fileno()).st_size, now + seconds)
            written = self._write(file, cast("bytes", arguments[0]))
            self._touch(file)
            return seconds, written
        if name in {"fdatasync", "fsync"}:
            self._sync(cast("int", arguments[0]))
            return _SYNC_SECONDS + self._take(), None
        if self.denied and arguments and isinstance(arguments[0], Path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(arguments[0]))
        result = called(*arguments, **options)
        self._note(name, file, result)
        return self._take(), result

    def _note(self, name: str, file: object, result: object) -> None:
        """Take note of a call that succeeded."""
        if name == "fsync_directory":
            self._named = self._all()
        if name == "truncate" and isinstance(file, FileIO):
            self._touch(file)
        if isinstance(result, FileIO):
            self._keep(result)

    def _keep(self, file: FileIO) -> None:
        """Keep a file that was opened, perhaps in place of another one."""
        self._files.append(file)
        if not os.fstat(file.fileno()).st_size:
            name = Path(os.fsdecode(file.name)).name
            self._synced.pop(name, None)
            self._forgotten.pop(name, None)
            self._touch(file)

    def _touch(self, file: FileIO) -> None:
        """Give a file the time of the machine that changes it, and not that of the real disk."""
        os.utime(file.fileno(), (self._clock(), self._clock()))

    def switch_off(self, now: float, *, power: bool) -> None:
        """Keep what a crash leaves.

        Args:
            now: the time.
            power: whether the machine loses its power, or only the process is killed.
        """
        for file in self._files:
            file.close()
        self._files.clear()
        if not self.root.is_dir():
            return
        if power:
            for path in self._all():
                self._cut(path, self._synced.get(path.name, 0))
                if path not in self._named:
                    path.unlink()
        elif self._writing is not None and now < self._writing[2]:
            self._cut(*self._writing[:2])

    def switch_on(self) -> None:
        """Begin anew: what is there is safe."""
        self.full = self.failing = self.unsyncable = self.denied = self.emptied = False
        self.refilled = None
        self.slow = 0.0
        self._forgotten.clear()
        self._named = self._all() if self.root.is_dir() else set()
        self._synced = {path.name: path.stat().st_size for path in self._named}

    def move_away(self) -> None:
        """Give the directory another name."""
        shutil.rmtree(self._elsewhere, ignore_errors=True)
        self.root.rename(self._elsewhere)

    def move_back(self) -> None:
        """Give it its name again."""
        self._elsewhere.rename(self.root)

    @property
    def _elsewhere(self) -> Path:
        return self.root.with_name(f"{self.root.name}-away")

    def empty(self, *, moving: bool) -> None:
        """Move all files elsewhere, or delete the directory and make a new one."""
        self.emptied = True
        self.refilled = None
        self._synced.clear()
        self._forgotten.clear()
        if moving:
            self._elsewhere.mkdir(exist_ok=True)
            for path in self._all():
                path.rename(self._elsewhere / path.name)
        else:
            shutil.rmtree(self.root)
            self.root.mkdir()

    def remove(self) -> None:
        """Delete everything."""
        for path in (self.root, self._elsewhere):
            shutil.rmtree(path, ignore_errors=True)

    def _take(self) -> float:
        return _SECONDS * self._choice.uniform(0.5, 2.0) + self.slow

    def _all(self) -> set[Path]:
        return set(self.root.glob(f"*{_SUFFIX}"))

    def _fail_perhaps(self) -> None:
        if self.failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def _write(self, file: FileIO, data: bytes) -> int:
        self._fail_perhaps()
        if self.full:
            part = self._choice.randint(0, len(data) - 1)
            if not part:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            data = data[:part]
        return file.write(data)

    def _sync(self, number: int) -> None:
        path = Path(f"/proc/self/fd/{number}").readlink()
        if self.failing or self.unsyncable:
            self.damaged = True
            if path.suffix == _SUFFIX:
                self._forgotten.setdefault(path.name, self._synced.get(path.name, 0))
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if path.suffix == _SUFFIX:
            self._synced[path.name] = self._forgotten.get(path.name, os.fstat(number).st_size)

    def _cut(self, path: Path, safe: int) -> None:
        status = path.stat()
        if status.st_size > safe:
            os.truncate(path, self._choice.randint(safe, status.st_size))
            os.utime(path, (status.st_atime, status.st_mtime))  # it was written by then, by the same clock
