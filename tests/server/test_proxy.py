"""Dozens of clients over a bad network: whatever is cut where, what arrives is what was promised."""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import count

from tests.harness.checker import End, Recording, check
from tests.harness.peer import connect
from tests.harness.proxy import Faults, Hit, Link, Proxy, fault_proxy
from tests.server.test_crowd import Guest, new_event_loop, server

GUESTS = 40
HANDS = 12  # that make guests act at the same time
HITS = 80  # connections that are reset or half-closed before the end
DEADLINE = 60.0  # seconds that anything may take


class Caller(Guest):
    """A guest over the bad network.

    Args:
        label: what it is called in its messages and in the report.
        link: its connection.
    """

    link: Link

    async def does(self, act: Callable[[], Awaitable[None]]) -> bool:
        """Do something; return whether the connection is still there.

        An end that nobody asked for is a failure, unless the proxy made it.
        """
        try:
            await act()
        except (AssertionError, RuntimeError):  # RuntimeError: uvloop, for a write behind the end
            if self.link.hit is None:
                raise
            await self.peer.wait_closed()
            self.end = self.end or End.CLEAN
        if self.end is End.CLEAN and self.link.hit is not None and not self._heard_bye():
            self.end = End.VANISHED
        return self.end is None

    async def wait(self) -> None:
        """Read what was said so far."""
        await self.peer.barrier()

    def recording(self) -> Recording:
        """What the checker wants to know."""
        told = super().recording()
        if self.link.hit is not Hit.SERVER_HEARS_NO_MORE:
            return told
        # The server took the proxy's half-close for its client's, and a line that is torn by it is refused.
        *lines, torn = self.link.forwarded.decode().split("\n")
        sent = [*lines, *(["TORN"] if torn else []), "QUIT"]
        return Recording(label=told.label, sent=sent, received=told.received, end=told.end)

    def _heard_bye(self) -> bool:
        if self.link.hit is Hit.SERVER_HEARS_NO_MORE:
            return True  # or else it is a failure
        last = self.peer.received.rpartition(b"\n")[0].rpartition(b"\n")[2]
        return last.startswith(b"BYE ") and self.peer.received.endswith(b"\n")


class Callers:
    """All callers who are or were connected.

    Args:
        proxy: what they call through.
        choice: where chance comes from.
    """

    def __init__(self, proxy: Proxy, choice: random.Random) -> None:
        self.all: list[Caller] = []
        self._proxy = proxy
        self._choice = choice
        self._numbers = count()
        self._idle: list[Caller] = []

    async def admit(self) -> None:
        """Let one more in, who may be cut off before it is."""
        entered = False
        while not entered:
            peer = await connect(self._proxy.address)
            caller = Caller(f"caller{next(self._numbers)}", peer, self._choice)
            caller.link = await self._proxy.link_of(peer)
            self.all.append(caller)
            entered = await caller.does(caller.enter)
        self._idle.append(caller)

    async def act_until_hit(self) -> None:
        """Let one after the other do something until enough has happened."""
        async with asyncio.timeout(DEADLINE):
            while self._proxy.hits < HITS:
                await self.act()

    async def act(self) -> None:
        """Let somebody do something; whoever goes is followed by somebody else."""
        caller = self._idle.pop(self._choice.randrange(len(self._idle)))
        acts = [caller.talk, caller.come_back, caller.quit, caller.half_close, caller.close, caller.reset]
        (act,) = self._choice.choices([*acts, caller.reset_in_mid_line], [85, 6, 3, 2, 2, 1, 1])
        if await caller.does(act):
            self._idle.append(caller)
        else:
            await self.admit()

    async def settle(self) -> int:
        """Wait until nobody else is going to be missed; return how many are left."""
        self._proxy.calm = True
        return sum([await caller.does(caller.wait) for caller in self._idle])

    async def see_the_end(self) -> None:
        """Wait until the server has said good-bye to everybody who is left."""
        for caller in self._idle:
            await caller.does(caller.see_the_end)


async def visit(seed: int) -> tuple[Recording, list[Caller]]:
    """Let callers act until enough of them were hit, end the server, and return what everybody got."""
    choice = random.Random(seed)
    async with server() as (process, address), fault_proxy(address, Faults(), seed) as proxy:
        observer = Guest("observer", await connect(address), choice)
        await observer.peer.ask("JOIN observer")
        callers = Callers(proxy, choice)
        for _ in range(GUESTS):
            await callers.admit()
        async with asyncio.TaskGroup() as group:
            for _ in range(HANDS):
                group.create_task(callers.act_until_hit())
        left = await callers.settle()
        async with asyncio.timeout(DEADLINE):
            while f"OK WHO {left + 1}" not in await observer.peer.ask("WHO"):
                pass  # until the server knows of all who are gone
        process.terminate()
        await observer.see_the_end()
        await callers.see_the_end()
        async with asyncio.timeout(DEADLINE):
            _, log = await process.communicate()
        assert process.returncode == 0
        assert [line for line in log.decode().splitlines() if not line.endswith(" shutting down")] == []
    return observer.recording(), callers.all


def test_whatever_is_cut_where_the_sequence_is_whole_and_in_order() -> None:
    seed = int(os.environ.get("FAULTS_SEED") or random.randrange(2**32))
    print(f"FAULTS_SEED={seed} makes the same choices again")  # noqa: T201 - pytest shows it on failure
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        observer, callers = runner.run(visit(seed))
    hits = Counter(caller.link.hit for caller in callers)
    print({hit and hit.name: number for hit, number in hits.items()})  # noqa: T201
    sequence = check(observer, [caller.recording() for caller in callers])
    assert sum(line.startswith("MSG ") for line in sequence) > HITS
    assert sum(number for hit, number in hits.items() if hit is not None) >= HITS
