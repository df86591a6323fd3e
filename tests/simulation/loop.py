"""An event loop with virtual time: it never waits, and the same world runs in the same way again.

Whatever runs belongs to a machine, by a context variable that tasks and timers inherit, and goes by the
machine's clock. A paused machine's callbacks wait until it goes on; those of one that was switched off are
dropped.
"""

import asyncio
import contextvars
import heapq
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

from tests.simulation.machine import MACHINE, Machine

if TYPE_CHECKING:
    from tests.simulation.sockets import ListeningSocket, SimulatedSocket

_T = TypeVar("_T")
_Entry = tuple[asyncio.Handle, Machine | None]


class Deadlock(AssertionError):  # noqa: N818 - a finding
    """Nothing can happen any more and somebody still waits, or it goes on and on."""


class SimulatedLoop(asyncio.AbstractEventLoop):
    """The event loop.

    Attributes:
        now: the world's time in seconds.
        errors: what was reported to the exception handler, as texts.
        steps: callbacks that were run.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.errors: list[str] = []
        self.steps = 0
        self._order = count()
        self._ready: deque[_Entry] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle, Machine | None]] = []

    # What asyncio asks for

    def time(self) -> float:
        """Return what the clock of the machine says that asks."""
        machine = MACHINE.get()
        return self.now if machine is None else machine.clock(self.now)

    def call_soon(
        self, callback: Callable[..., object], *args: object, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """Run a callback next."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append((handle, _machine_of(context)))
        return handle

    call_soon_threadsafe = call_soon  # there is one thread

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: object,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run a callback after some seconds."""
        machine = _machine_of(context)
        return self._call_at(
            self.now + (delay if machine is None else delay / machine.rate), machine, callback, args, context
        )

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: object,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run a callback when the clock of its machine says a time."""
        machine = _machine_of(context)
        moment = when if machine is None else machine.moment(when)
        return self._call_at(moment, machine, callback, args, context)

    def _call_at(
        self,
        moment: float,
        machine: Machine | None,
        callback: Callable[..., object],
        args: Sequence[object],
        context: contextvars.Context | None,
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(moment, callback, args, self, context)
        heapq.heappush(self._timers, (moment, next(self._order), handle, machine))
        return handle

    def add_reader(self, sock: "ListeningSocket", callback: Callable[[], object]) -> None:  # type: ignore[override]
        """Call something whenever there is a connection to accept."""
        sock.watch(callback)

    def remove_reader(self, sock: "ListeningSocket") -> bool:  # type: ignore[override]
        """Call it no more."""
        sock.watch(None)
        return True

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Take note of a timer that was cancelled; it is skipped when it is due."""

    def create_future(self) -> asyncio.Future[Any]:
        """Return a new future."""
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, _T],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[_T]:
        """Start a task; its machine remembers it."""
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        if (machine := _machine_of(context)) is not None:
            machine.tasks.add(task)
            task.add_done_callback(machine.tasks.discard)
        return task

    def run_in_executor(
        self,
        executor: object,  # noqa: ARG002
        func: Callable[..., _T],
        *args: object,
    ) -> asyncio.Future[_T]:
        """Call a function that may block: at once, and report its result a little later."""
        result: asyncio.Future[_T] = self.create_future()
        machine = MACHINE.get()
        seconds = _CALL_SECONDS
        try:
            if machine is not None and machine.disk is not None:
                seconds, value = machine.disk.call(self.now, func, *args)
            else:
                value = func(*args)
        except Exception as error:  # noqa: BLE001 - as an executor does
            self.call_later(seconds, _set_exception, result, error)
        else:
            self.call_later(seconds, _set_result, result, value)
        return result

    async def connect_accepted_socket(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.Protocol],
        sock: "SimulatedSocket",
        *,
        ssl: None = None,  # noqa: ARG002
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        """Give an end of a connection its protocol."""
        protocol = protocol_factory()
        sock.end.attach(protocol)
        return sock.end, protocol

    async def create_connection(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.Protocol],
        *,
        sock: "SimulatedSocket",
        ssl: None = None,  # noqa: ARG002
        server_hostname: None = None,  # noqa: ARG002
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        """Do the same for a client."""
        return await self.connect_accepted_socket(protocol_factory, sock)

    def get_debug(self) -> bool:
        """Return that there is no debugging."""
        return False

    def is_running(self) -> bool:
        """Return that it runs."""
        return True

    def is_closed(self) -> bool:
        """Return that it is open."""
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Note what nobody handled."""
        self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    # What the world asks for

    def run(self, main: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine to its end.

        Raises:
            Deadlock: it waits for what can't come.
        """
        asyncio._set_running_loop(self)
        try:
            task = self.create_task(main)
            while not task.done():
                self._step()
            return task.result()
        finally:
            asyncio._set_running_loop(None)

    def timers_of(self, machines: Collection[Machine]) -> list[str]:
        """Return what is still to be called later on some machines."""
        return [
            str(timer)
            for _, _, timer, machine in self._timers
            if machine in machines and not timer.cancelled()
        ]

    def resume(self, machine: Machine) -> None:
        """Let a paused machine go on with what waited."""
        machine.paused = False
        self._ready.extend(machine.waiting)
        machine.waiting.clear()

    def _step(self) -> None:
        """Run what is ready, or go on to the next time at which something is due."""
        if self.steps > _STEPS_MAX:
            raise Deadlock(f"{_STEPS_MAX} steps, and no end")
        if not self._ready:
            if not self._timers:
                raise Deadlock("nothing can happen any more")
            self.now = max(self.now, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self.now:
            _, _, timer, machine = heapq.heappop(self._timers)
            if not timer._cancelled:
                self._ready.append((timer, machine))
        self._run_ready()

    def _run_ready(self) -> None:
        """Run what is ready by now."""
        for _ in range(len(self._ready)):
            handle, machine = self._ready.popleft()
            if handle._cancelled:
                continue
            if machine is not None and (machine.paused or not machine.on):
                machine.hold_back((handle, machine))
                continue
            self.steps += 1
            handle._run()


_STEPS_MAX = 5_000_000  # some ten times as many as a busy world takes

_CALL_SECONDS = 0.0002  # that a call in a thread takes


def _machine_of(context: contextvars.Context | None) -> Machine | None:
    return MACHINE.get() if context is None else context.get(MACHINE)


def _set_result(future: asyncio.Future[_T], value: _T) -> None:
    if not future.done():
        future.set_result(value)


def _set_exception(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def new_loop() -> SimulatedLoop:
    """Return a loop."""
    return SimulatedLoop()  # type: ignore[abstract] # what nobody calls is missing
