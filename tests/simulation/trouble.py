"""What goes wrong with machines and disks in simulated worlds.

Each kind ends by itself, and at once when it is broken off, so that everything can recover.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from tests.simulation.disk import Disk
from tests.simulation.ends import KEEPALIVE
from tests.simulation.machine import ROUTERS
from tests.simulation.world import Node, World

Kind = Callable[[], Coroutine[Any, Any, None]]

_DEADLINE = (
    KEEPALIVE + 30.0
)  # seconds after which a server has ended the connections of people it can't reach

_NOTICE = 5.0  # seconds in which a server notices that its files are gone

_HOUR = 3600.0
_DAY = 24 * _HOUR


async def go_wrong(world: World, kinds: Sequence[Kind]) -> None:
    """Let one thing after another go wrong, as many as are planned, or until it is cancelled."""
    for _ in range(world.plan.faults):
        await asyncio.sleep(world.choice.expovariate(1 / 5.0))
        await world.choice.choice(kinds)()


async def stop(*tasks: asyncio.Task[None]) -> None:
    """Break tasks off, and wait for what they still repair."""
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class ServerTrouble:
    """What goes wrong with the machines of servers.

    Args:
        world: the world.
        nodes: the servers.

    Attributes:
        kinds: of trouble.
    """

    def __init__(self, world: World, nodes: list[Node]) -> None:
        self._world = world
        self._nodes = nodes
        self.kinds: tuple[Kind, ...] = (self.pause, self.partition, self.set_clock, self.run_out_of_sockets)

    def _any(self) -> Node:
        return self._world.choice.choice(self._nodes)

    async def pause(self) -> None:
        """Pause a machine: its kernel goes on, and lets as many connect as wait to be accepted."""
        node = self._any()
        self._world.disturb()
        self._world.pause_machine(node)
        try:
            await asyncio.sleep(self._world.choice.uniform(0.1, 60.0))
        finally:
            self._world.resume_machine(node)

    async def partition(self) -> None:
        """Cut a server off from some people, or all but the observer; for long, and it has to notice."""
        world, node = self._world, self._any()
        network, machine = world.network, node.machine
        routers = world.choice.sample(range(ROUTERS), world.choice.randint(1, ROUTERS))
        world.disturb()
        world.tell(node.host, f"hears nothing of those behind {routers}")
        network.cut(machine, routers)
        try:
            seconds = world.choice.choice((world.choice.uniform(0.1, 30.0), _DEADLINE))
            await asyncio.sleep(seconds)
            if seconds == _DEADLINE and (late := network.across_cut(machine)):
                world.find(f"{node.host} keeps {len(late)} connections of people it can't reach")
        finally:
            network.mend(machine)
            world.tell(node.host, "hears everybody again")

    async def set_clock(self) -> None:
        """Set a wall clock forwards or backwards; nobody may notice."""
        choice = self._world.choice
        leap = choice.choice((choice.uniform(1.0, 20.0) * _HOUR, choice.uniform(2.0, 400.0) * _DAY))
        self._world.set_clock(self._any().machine, choice.choice((leap, -leap, 0.0)))

    async def run_out_of_sockets(self) -> None:
        """Let a server accept nobody for a while."""
        node = self._any()
        self._world.disturb()
        self._world.tell(node.host, "can open no more sockets")
        node.machine.exhausted = True
        try:
            await asyncio.sleep(self._world.choice.uniform(0.1, 20.0))
        finally:
            node.machine.exhausted = False
            self._world.tell(node.host, "can open sockets again")


class DiskTrouble:
    """What goes wrong with a disk.

    Args:
        world: the world.
        disk: the disk.
        node: the server that has its journal there.

    Attributes:
        kinds: of trouble.
    """

    def __init__(self, world: World, disk: Disk, node: Node) -> None:
        self._world = world
        self._disk = disk
        self._node = node
        self.kinds: tuple[Kind, ...] = (
            *(self.be_full, self.fail, self.fail_to_sync, self.be_slow) * 2,
            self.deny,
            self.move_away,
            self.empty,
        )

    async def be_full(self) -> None:
        """Let writes find no room."""
        self._disk.full = True
        await self._while("is full", "has room again", lambda: setattr(self._disk, "full", False))

    async def fail(self) -> None:
        """Let writes and syncs fail."""
        self._disk.failing = True
        await self._while("fails", "works again", lambda: setattr(self._disk, "failing", False))

    async def fail_to_sync(self) -> None:
        """Let syncs alone fail: the kernel has taken what it then can't write."""
        self._disk.unsyncable = True
        await self._while("can't sync", "syncs again", lambda: setattr(self._disk, "unsyncable", False))

    async def be_slow(self) -> None:
        """Let every call take long."""
        self._disk.slow = self._world.choice.uniform(0.1, 3.0)
        await self._while("is slow", "is fast again", lambda: setattr(self._disk, "slow", 0.0))

    async def deny(self) -> None:
        """Let nothing in the directory be opened."""
        self._disk.denied = True
        await self._while("denies access", "allows it again", lambda: setattr(self._disk, "denied", False))

    async def move_away(self) -> None:
        """Let the directory be renamed, and named as before again."""
        self._disk.move_away()
        await self._while("has its directory elsewhere", "has it in its place again", self._disk.move_back)

    async def empty(self) -> None:
        """Take all files away; the server has to notice, and to write new ones."""
        moving = self._world.choice.random() < 0.5
        self._world.tell("disk", "has its files elsewhere" if moving else "is emptied")
        self._disk.empty(moving=moving)
        await asyncio.sleep(_NOTICE)
        self._disk.refilled = self._node.server.room.sequence.end

    async def _while(self, what: str, end: str, repair: Callable[[], None]) -> None:
        self._world.tell("disk", what)
        try:
            await asyncio.sleep(self._world.choice.uniform(0.1, 10.0))
        finally:
            repair()
            self._world.tell("disk", end)
