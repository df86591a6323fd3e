"""Run the server and the load generator on different processors.

A kernel tends to put two processes that talk to each other on one processor, where each waits for the other:
the figures can then be a third of the true ones.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def pin_apart(pid: int) -> Iterator[None]:
    """Pin this process to one processor and a server to the others, if the system can and has two.

    Args:
        pid: the server's process, still single-threaded: later threads inherit its processors.
    """
    available = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()
    if len(available) < 2:
        yield
        return
    own = {max(available)}
    os.sched_setaffinity(pid, available - own)
    os.sched_setaffinity(0, own)
    try:
        yield
    finally:
        os.sched_setaffinity(0, available)
