"""Runs a function in a process of its own."""

import os
import pickle
import resource
import signal
import traceback
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_MEMORY = 4 << 30  # bytes; what runs in circles may gather more and more


def limit_cpu(seconds: float) -> None:
    """End this process once it has taken some more CPU time; 0 for never."""
    signal.setitimer(signal.ITIMER_PROF, seconds)


def in_fork(function: Callable[[], T]) -> T | None:
    """Return what a function returned in a fork of this process, or None if it took too long or crashed."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(read)
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
            result = pickle.dumps(function())
            with os.fdopen(write, "wb") as pipe:
                pipe.write(result)
        except Exception:  # noqa: BLE001 - nobody else would see it
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        data = pipe.read()
    os.waitpid(pid, 0)
    return pickle.loads(data) if data else None
