"""Closed connections leave nothing behind: no memory, file, object, task or name.

CHURN_CYCLES=200000 pytest -s tests/soak/test_churn.py runs for half an hour.
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
from tests.harness.loops import LOOPS
from tests.harness.peer import DEADLINE
from tests.harness.programs import run_server_process
from tests.soak.churn import OBSERVER, Churn, Observer

CYCLES = int(os.environ.get("CHURN_CYCLES", "700"))
WARM_UP = 700  # cycles, after which the backlog is full and the interpreter's caches are filled
DRIFT_MAX = 768 * 1024  # bytes: about 1 KiB per cycle, less than a connection that is not freed
OBJECTS_DRIFT_MAX = 50  # far fewer than cycles: caches of the interpreter and of the tests

# Their numbers vary with the sizes of batches (those in the backlog) and with asyncio's clean-up of cancelled
# timers (a hundred at a time): they have a bound instead.
FLUCTUATING = (Batch, array, asyncio.TimerHandle, Context)
FLUCTUATING_MAX = 1000

BACKLOG = 16 * 1024
HISTORY = 100


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("loop", LOOPS)
def test_process_keeps_no_memory_and_no_files(loop: str) -> None:
    options = ("--loop", loop, "--backlog", str(BACKLOG), "--history", str(HISTORY))
    with run_server_process(*options) as server:
        address, process = (server.host, int(server.port)), Path(f"/proc/{server.process.pid}")
        observer = Observer(address)
        try:
            observer.wait_until_alone()
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
    assert drift <= DRIFT_MAX
    assert observer.joined > CYCLES // 3


@pytest.mark.parametrize("loop", LOOPS)
def test_server_keeps_no_objects_tasks_and_names(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(churn_in_process())
    wrong = [record for record in caplog.get_records("call") if record.levelno >= logging.WARNING]
    assert [record.getMessage() for record in wrong] == []


async def churn_in_process() -> None:
    """Churn in a thread, beside a server in this one, and check what is left."""
    async with serve("127.0.0.1", 0, settings=Settings(backlog=BACKLOG, history=HISTORY)) as server:
        loop = asyncio.get_running_loop()

        def drop_in_loop(name: str) -> None:
            loop.call_soon_threadsafe(drop, server, name)

        observer = await asyncio.to_thread(Observer, server.address)
        try:
            churn = Churn(server.address, drop=drop_in_loop)
            await asyncio.to_thread(churn.run, WARM_UP, observer)
            count_objects()  # fills its own caches
            tasks, (objects, _) = asyncio.all_tasks(), count_objects()
            await asyncio.to_thread(churn.run, CYCLES, observer)
            assert asyncio.all_tasks() == tasks
            objects_now, fluctuating = count_objects()
            assert objects_now - objects < OBJECTS_DRIFT_MAX
            assert fluctuating < FLUCTUATING_MAX
            assert (alive(Connection), alive(Conversation), alive(Subscriber)) == (1, 1, 1)  # the observer's
            assert server.room.names() == (OBSERVER,)
            assert len(server.hub.connections) == 1
        finally:
            observer.close()


def drop(server: Server, name: str) -> None:
    """Abort a member's connection, as the server does after an error."""
    member = server.room.membership.find(name)
    next(each for each in server.hub.connections if each.session.subscriber.member is member).abort()


def alive(kind: type) -> int:
    """Return the number of reachable objects of a class."""
    return sum(isinstance(each, kind) for each in gc.get_objects())


def count_objects() -> tuple[int, int]:
    """Return the number of objects that must stay the same, and of those that fluctuate."""
    gc.collect()
    fluctuates = [isinstance(each, FLUCTUATING) for each in gc.get_objects()]
    return fluctuates.count(False), fluctuates.count(True)


def resident(process: Path) -> int:
    """Return the resident memory of a process in bytes."""
    (line,) = [each for each in (process / "status").read_text().splitlines() if each.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


def files(process: Path) -> int:
    """Return the number of open files of a process."""
    return sum(1 for _ in (process / "fd").iterdir())


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for a condition in another process."""
    deadline = monotonic() + DEADLINE
    while not condition():
        assert monotonic() < deadline, "the condition was not met in time"
        sleep(0.001)
