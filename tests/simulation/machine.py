"""The machines of a simulated world: each can be paused, and switched off at any moment."""

import contextvars
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

    from tests.simulation.disk import Disk
    from tests.simulation.sockets import Tap

MACHINE: contextvars.ContextVar["Machine | None"] = contextvars.ContextVar("machine", default=None)
"""The machine that the code at hand runs on; None for the world outside."""


OUTSIDE = contextvars.Context()
"""Of what runs on no machine."""

ROUTERS = 3
"""Routers that people are behind."""

_CLOSES = 10  # more than there are nested finally blocks


class Machine:
    """A machine.

    Args:
        name: of it, in stories.

    Attributes:
        rate: seconds of its clock that pass in one of the world's.
        uptime: what its clock, which never leaps, said when the world began.
        leap: seconds that its wall clock is ahead of the world's.
        router: what connects it to the servers; those of one router are cut off together.
        exhausted: whether its processes may open no more sockets.
        context: what runs in it belongs to this machine.
        on: whether it is switched on.
        paused: whether it does nothing for now.
        reads_slowly: whether its kernel takes only so much of what is sent to it.
        disk: its disk; None for a machine that has no use for one.
        taps: of its connections; None to keep none.
        tasks: its tasks that have not ended.
        waiting: the callbacks that wait until it goes on.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.rate, self.uptime, self.leap = 1.0, 0.0, 0.0
        self.router = 0
        self.exhausted = False
        self.on = True
        self.paused = False
        self.reads_slowly = True
        self.disk: Disk | None = None
        self.taps: list[Tap] | None = None
        self.tasks: set[asyncio.Task[Any]] = set()
        self.waiting: deque[tuple[asyncio.Handle, Machine | None]] = deque()
        self.context = contextvars.copy_context()
        self.context.run(MACHINE.set, self)

    def clock(self, now: float) -> float:
        """Return what its clock says."""
        return self.uptime + self.rate * now

    def moment(self, time: float) -> float:
        """Return when its clock says that."""
        return (time - self.uptime) / self.rate

    def hold_back(self, entry: "tuple[asyncio.Handle, Machine | None]") -> None:
        """Keep a callback until it goes on; when it is switched off, it never does."""
        if self.on:
            self.waiting.append(entry)

    def bury(self) -> None:
        """End its tasks, which were stopped in the middle; what they still clean up is of no use."""
        for task in self.tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            for _ in range(_CLOSES):
                try:
                    task.get_coro().close()
                except Exception:  # noqa: BLE001 - it waits in a finally, or misses its loop there
                    continue
                break
        self.tasks.clear()

    def switch_off(self) -> None:
        """Stop at once: nothing of it runs any more."""
        self.on = False
        self.waiting.clear()
