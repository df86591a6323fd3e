"""Nothing is left of connections that are gone: no memory, file, object, task or name.

CHURN_CYCLES=200000 pytest tests/soak/test_churn.py is the long one.
"""

import asyncio
import gc
import logging
import os
from array import array
from collections.abc import Callable
from contextvars import Context
from pathlib import Path
from time import monotonic, sleep

import pytest

from simple_chat import Server, Settings, serve
from simple_chat.core.backlog import Batch
from simple_chat.core.conversation import Conversation
from simple_chat.core.delivery import Subscriber
from simple_chat.server.connection import Connection
from tests.harness.peer import DEADLINE
from tests.harness.programs import run_server_process
from tests.soak.churn import OBSERVER, Churn, Observer

CYCLES = int(os.environ.get("CHURN_CYCLES", "2000"))
WARM_UP = 2000  # cycles: what is kept for good, such as a full backlog, is kept by then
DRIFT = 1 << 20  # bytes
OBJECTS_DRIFT = 50  # far fewer than cycles: caches of the interpreter and of the tests

# How many of these there are goes up and down with how the turns fall: the batches that fill the backlog, and
# the timers that were cancelled, which asyncio sweeps up a hundred at a time. So they have a bound instead.
FLUCTUATING = (Batch, array, asyncio.TimerHandle, Context)
FLUCTUATING_MAX = 1000

BACKLOG = 64 * 1024
HISTORY = 100

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
try:
    import uvloop
except ImportError:
    pass
else:
    LOOPS["uvloop"] = uvloop.new_event_loop


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("loop", LOOPS)
def test_process_keeps_no_memory_and_no_files(loop: str) -> None:
    options = ("--loop", loop, "--backlog", str(BACKLOG), "--history", str(HISTORY))
    with run_server_process(*options) as server:
        address, process = (server.host, int(server.port)), Path(f"/proc/{server.process.pid}")
        observer = Observer(address)
        try:
            observer.settle()
            files_before = files(process)
            churn = Churn(address, tuple(f"127.0.0.{host}" for host in range(1, 65)))
            churn.run(WARM_UP, observer)
            before, begin = resident(process), monotonic()
            churn.run(CYCLES, observer)
            seconds, drift = monotonic() - begin, resident(process) - before
            wait_until(lambda: files(process) == files_before)
        finally:
            observer.close()
    report = f"{CYCLES} cycles, {CYCLES / seconds:.0f}/s; {drift / 1024:+.0f} KiB to {before / 1024:.0f} KiB"
    print(f"{loop}: {report}")  # noqa: T201 - pytest shows it on failure, and with -s
    assert drift <= DRIFT
    assert observer.joined > CYCLES // 3


@pytest.mark.parametrize("loop", LOOPS)
def test_server_keeps_no_objects_tasks_and_names(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(wear_out())
    wrong = [record for record in caplog.get_records("call") if record.levelno >= logging.WARNING]
    assert [record.getMessage() for record in wrong] == []


async def wear_out() -> None:
    """Come and go in a thread, beside a server in this one; then look for what was left behind."""
    async with serve("127.0.0.1", 0, settings=Settings(backlog=BACKLOG, history=HISTORY)) as server:
        loop = asyncio.get_running_loop()

        def dropping(name: str) -> None:
            loop.call_soon_threadsafe(drop, server, name)

        observer = await asyncio.to_thread(Observer, server.address)
        try:
            churn = Churn(server.address, drop=dropping)
            await asyncio.to_thread(churn.run, WARM_UP, observer)
            count_objects()  # whose own caches are there from now on
            tasks, (objects, _) = asyncio.all_tasks(), count_objects()
            await asyncio.to_thread(churn.run, CYCLES, observer)
            assert asyncio.all_tasks() == tasks
            objects_now, fluctuating = count_objects()
            assert objects_now - objects < OBJECTS_DRIFT
            assert fluctuating < FLUCTUATING_MAX
            assert (alive(Connection), alive(Conversation), alive(Subscriber)) == (1, 1, 1)  # the observer's
            assert server.room.names() == (OBSERVER,)
            assert len(server._hub.connections) == 1
        finally:
            observer.close()


def drop(server: Server, name: str) -> None:
    """Cut a connection, as the server does with one that fails."""
    member = server.room.membership.find(name)
    next(each for each in server._hub.connections if each.session.subscriber.member is member).abort()


def alive(kind: type) -> int:
    """Objects of a class that something still holds."""
    return sum(isinstance(each, kind) for each in gc.get_objects())


def count_objects() -> tuple[int, int]:
    """Count all that the collector knows of: what should stay the same, and what fluctuates."""
    gc.collect()
    fluctuates = [isinstance(each, FLUCTUATING) for each in gc.get_objects()]
    return fluctuates.count(False), fluctuates.count(True)


def resident(process: Path) -> int:
    """Bytes of memory that a process has."""
    (line,) = [each for each in (process / "status").read_text().splitlines() if each.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


def files(process: Path) -> int:
    """Files and sockets that a process has open."""
    return sum(1 for _ in (process / "fd").iterdir())


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for what another process does in a moment, and tells nobody."""
    deadline = monotonic() + DEADLINE
    while not holds():
        assert monotonic() < deadline, "it did not come true"
        sleep(0.001)
