"""The crowd: a thousand clients come, talk and go in every way, and everything that they got is checked."""

import asyncio
import contextlib
import os
import random
import re
import resource
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from itertools import count
from time import monotonic

import pytest

from tests.harness.checker import End, Recording, check
from tests.harness.peer import DEADLINE, Peer, connect

try:
    import uvloop
except ImportError:
    new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
else:
    new_event_loop = uvloop.new_event_loop

CROWD = 1000
NAMES = [f"name{number}" for number in range(4000)]  # few enough for some to be taken, and not ten in a row
HANDS = 200  # that make clients act at the same time: each waits until it is done before the next
SECONDS = 10.0  # that the crowd acts, once it is in
ACTS = 1000  # that it must have done by then, on the slowest machine


@pytest.fixture(autouse=True)
def enough_files() -> Iterator[None]:
    """Let this process and the server that it starts have a file for each client."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(2 * CROWD, hard)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Guest:
    """One client of the crowd, and what it may do: each act ends when the server has carried it out.

    Args:
        label: what it is called in its messages and in the report.
        peer: its connection.
        choice: where chance comes from.
    """

    def __init__(self, label: str, peer: Peer, choice: random.Random) -> None:
        self.peer = peer
        self.end: End | None = None
        self._label = label
        self._choice = choice
        self._texts = 0

    async def enter(self) -> None:
        """Ask for a name until one is free."""
        while not any(line.startswith("OK JOIN") for line in await self.peer.ask(f"JOIN {self._name()}")):
            pass

    async def talk(self) -> None:
        await self.peer.ask(*(self._message() for _ in range(self._choice.randint(1, 3))))

    async def come_back(self) -> None:
        await self.peer.ask(self._message(), "LEAVE")
        await self.enter()

    async def quit(self) -> None:
        self.peer.send(self._message(), "QUIT")
        await self._see_bye()

    async def half_close(self) -> None:
        self.peer.send(self._message())
        self.peer.half_close()
        self.peer.sent.append("QUIT")  # it means the same
        await self._see_bye()

    async def close(self) -> None:
        self.peer.send(self._message())
        await self.peer.close()
        self.end = End.VANISHED

    async def reset(self) -> None:
        self.peer.send(self._message())
        await self.peer.reset()
        self.end = End.VANISHED

    async def reset_in_mid_line(self) -> None:
        self.peer.send(self._message(), "LEAVE", f"JOIN {self._name()}", self._message())
        self.peer.write(b"MSG that is not com")
        await self.peer.reset()
        self.end = End.VANISHED

    async def see_the_end(self) -> None:
        """Wait until the server ends."""
        if self.end is None:
            await self._see_bye()

    def recording(self) -> Recording:
        """What the checker wants to know."""
        return Recording(
            label=self._label,
            sent=self.peer.sent,
            received=bytes(self.peer.received),
            end=self.end or End.VANISHED,
        )

    async def _see_bye(self) -> None:
        await self.peer.rest()
        self.end = End.CLEAN

    def _name(self) -> str:
        return self._choice.choice(NAMES)

    def _message(self) -> str:
        self._texts += 1
        return f"MSG {self._label} {self._texts}"


class Crowd:
    """All guests who are or were connected.

    Args:
        address: of the server.
        choice: where chance comes from.
    """

    def __init__(self, address: tuple[str, int], choice: random.Random) -> None:
        self.guests: list[Guest] = []
        self._numbers = count()
        self._address = address
        self._choice = choice
        self._idle: list[Guest] = []

    async def admit(self) -> None:
        """Let one more guest in."""
        label = f"guest{next(self._numbers)}"
        guest = Guest(label, await connect(self._address), self._choice)
        self.guests.append(guest)
        await guest.enter()
        self._idle.append(guest)

    async def act(self) -> None:
        """Let somebody do something; whoever goes is followed by somebody else."""
        at = self._choice.randrange(len(self._idle))
        self._idle[at], self._idle[-1] = self._idle[-1], self._idle[at]
        guest = self._idle.pop()
        acts = [guest.talk, guest.come_back, guest.quit, guest.half_close, guest.close, guest.reset]
        (act,) = self._choice.choices([*acts, guest.reset_in_mid_line], [80, 6, 3, 2, 3, 3, 3])
        await act()
        if guest.end is None:
            self._idle.append(guest)
        else:
            await self.admit()


@contextlib.asynccontextmanager
async def server(*options: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, tuple[str, int]]]:
    """Start a server in a process of its own."""
    arguments = [sys.executable, "-m", "simple_chat.server", "--port", "0", "--rate", "0", *options]
    process = await asyncio.create_subprocess_exec(*arguments, stderr=asyncio.subprocess.PIPE)
    try:
        assert process.stderr is not None
        async with asyncio.timeout(DEADLINE):
            line = (await process.stderr.readline()).decode()
        told = re.search(r"listening on (127\.0\.0\.1):(\d+)$", line.strip())
        assert told, line
        yield process, (told[1], int(told[2]))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def visit(choice: random.Random, *options: str) -> tuple[Recording, list[Recording]]:
    """Let the crowd do its acts, end the server, and return what the observer and the others got."""
    async with server(*options) as (process, address):
        observer = Guest("observer", await connect(address), choice)
        await observer.peer.ask("JOIN observer")
        crowd = Crowd(address, choice)
        await with_all_hands(crowd.admit, range(CROWD))
        await with_all_hands(crowd.act, until(SECONDS))
        while f"OK WHO {CROWD + 1}" not in await observer.peer.ask("WHO"):
            pass  # until the server knows of all who vanished
        process.terminate()
        for guest in (observer, *crowd.guests):
            await guest.see_the_end()
        async with asyncio.timeout(DEADLINE):
            _, log = await process.communicate()
        assert process.returncode == 0
        assert [line for line in log.decode().splitlines() if not line.endswith(" shutting down")] == []
    return observer.recording(), [guest.recording() for guest in crowd.guests]


def until(seconds: float) -> Iterator[None]:
    """A turn after the other, until a time has passed."""
    end = monotonic() + seconds
    while monotonic() < end:
        yield


async def with_all_hands(act: Callable[[], Awaitable[None]], turns: Iterable[object]) -> None:
    """Do something once a turn, as often at the same time as there are hands."""
    each = iter(turns)

    async def work() -> None:
        for _ in each:
            await act()

    async with asyncio.TaskGroup() as group:
        for _ in range(HANDS):
            group.create_task(work())


def test_a_crowd_gets_one_sequence_whole_and_in_order() -> None:
    seed = int(os.environ.get("CROWD_SEED") or random.randrange(2**32))
    print(f"CROWD_SEED={seed} makes the same choices again")  # noqa: T201 - pytest shows it on failure
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        observer, others = runner.run(visit(random.Random(seed), "--presence-limit", str(2 * CROWD)))
    sequence = check(observer, others)
    said = sum(line.startswith("MSG ") for line in sequence)
    assert said > ACTS
    assert len(others) > CROWD + ACTS / 10
