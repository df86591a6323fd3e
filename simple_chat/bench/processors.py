"""Server and load tool on processors of their own.

A kernel likes to run two programs that talk to each other on the same processor, and then each waits for the
other: such figures can be a third of the true ones.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def apart(pid: int) -> Iterator[None]:
    """Keep this process on one processor and a server on the others, where the system can and has two.

    Args:
        pid: the server's process, of one thread yet: those that it starts later stay where it is.
    """
    mine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()
    if len(mine) < 2:
        yield
        return
    os.sched_setaffinity(pid, mine - {max(mine)})
    os.sched_setaffinity(0, {max(mine)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)
