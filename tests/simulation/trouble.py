"""What goes wrong in simulated worlds; each kind ends by itself, so that everything can recover."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from simple_chat.errors import JournalError
from simple_chat.server.config import Settings
from tests.simulation.disk import Disk
from tests.simulation.world import Node, World

_START_TIMEOUT = 150.0  # seconds; a server waits 90 for a snapshot


class DiskTrouble:
    """What goes wrong with a disk; each kind ends by itself.

    Args:
        world: the world.
        disk: the disk.
    """

    def __init__(self, world: World, disk: Disk) -> None:
        self._world = world
        self._disk = disk

    async def go_on(self) -> None:
        """Do one thing after another, and repair it."""
        choice = self._world.choice
        for _ in range(self._world.plan.faults):
            await asyncio.sleep(choice.expovariate(1 / 5.0))
            kind = choice.choice(("full", "failing", "slow"))
            self._world.tell("disk", f"is {kind}")
            setattr(self._disk, kind, choice.uniform(0.1, 3.0) if kind == "slow" else True)
            try:
                await asyncio.sleep(choice.uniform(0.1, 10.0))
            finally:
                setattr(self._disk, kind, 0.0 if kind == "slow" else False)
                self._world.tell("disk", f"is not {kind} any more")


class Trouble:
    """What goes wrong in a cluster; each kind ends by itself, so that everything can recover.

    Args:
        world: the world.
        nodes: the servers; the first one never fails.
        settings: of the servers that are started again.

    Attributes:
        of_servers: kinds of trouble that servers have.
        of_log: kinds of trouble with the log.
        has_lost_entries: whether some are missing in the log.
    """

    def __init__(self, world: World, nodes: list[Node], settings: Settings) -> None:
        self._world = world
        self._nodes = nodes
        self._settings = settings

        self.has_lost_entries = False
        self.of_servers = (self.kill, self.stop, self.pause)
        self.of_log = (
            self.cut_off,
            self.deafen,
            self.rewind,
            self.be_slow_to_hear,
            self.log_away,
            self.lose_answers,
            self.repeat,
            self.lose_entries,
        )

    async def go_on(self, kinds: Sequence[Callable[[int], Coroutine[Any, Any, None]]]) -> None:
        """Do one thing after another, and repair it."""
        choice = self._world.choice
        for _ in range(self._world.plan.faults):
            await asyncio.sleep(choice.expovariate(1 / 5.0))
            self._world.calm = self._world.takes_all = False
            repairing = asyncio.create_task(choice.choice(kinds)(choice.randint(1, len(self._nodes) - 1)))
            try:
                await asyncio.shield(repairing)
            except asyncio.CancelledError:
                await repairing
                raise

    async def kill(self, index: int) -> None:
        """Kill a server, and start it again."""
        self._world.kill(self._nodes[index], power=self._world.choice.random() < 0.3)
        await asyncio.sleep(self._world.choice.uniform(0.1, 50.0))
        await self._start(index)

    async def stop(self, index: int) -> None:
        """End a server in order, and start it again."""
        await self._nodes[index].stop()
        await asyncio.sleep(self._world.choice.uniform(0.1, 5.0))
        await self._start(index)

    async def _start(self, index: int) -> None:
        self._nodes[index] = node = self._world.start(self._nodes[index].host, self._settings)
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                await asyncio.shield(node.started)
        except JournalError:  # the log was away for too long
            await self._start(index)
        except TimeoutError:
            self._world.find(f"{node.host} does not start within {_START_TIMEOUT:.0f} s")
            raise

    async def pause(self, index: int) -> None:
        """Pause a machine, perhaps for longer than its lease."""
        self._world.pause_machine(self._nodes[index])
        await asyncio.sleep(self._world.choice.uniform(0.1, 60.0))
        self._world.resume_machine(self._nodes[index])

    async def cut_off(self, index: int) -> None:
        """Cut a machine off from the log."""
        self._world.tell(self._nodes[index].host, "can't reach the log")
        self._world.log.cut_off.add(self._nodes[index].machine)
        await asyncio.sleep(self._world.choice.uniform(0.1, 60.0))
        self._world.log.cut_off.clear()
        self._world.tell(self._nodes[index].host, "reaches the log again")

    async def deafen(self, index: int) -> None:
        """Let a server hear nothing more until it notices."""
        self._world.tell(self._nodes[index].host, "is deaf")
        self._world.log.deafen(self._nodes[index].machine)

    async def rewind(self, index: int) -> None:
        """Deliver entries again."""
        self._world.tell(self._nodes[index].host, "hears entries again")
        self._world.log.rewind(self._nodes[index].machine, self._world.choice.randint(1, 20))

    async def be_slow_to_hear(self, index: int) -> None:
        """Let a server hear of everything late."""
        delay = self._world.choice.uniform(0.01, 4.0)
        self._world.tell(self._nodes[index].host, f"hears everything {delay:.2f} s late")
        self._world.log.delays[self._nodes[index].machine] = delay
        await asyncio.sleep(self._world.choice.uniform(0.1, 20.0))
        self._world.log.delays.clear()
        self._world.tell(self._nodes[index].host, "hears in time again")

    async def log_away(self, _: int) -> None:
        """Let the log elect a leader."""
        self._world.tell("log", "is away")
        self._world.log.away = True
        await asyncio.sleep(self._world.choice.choice((0.1, 2.0, 12.0, 45.0)))
        self._world.log.away = False
        self._world.tell("log", "is back")

    async def lose_answers(self, _: int) -> None:
        """Let publishes time out that are stored."""
        self._world.tell("log", "loses answers")
        self._world.log.losing_answers = 0.5
        await asyncio.sleep(self._world.choice.uniform(1.0, 10.0))
        self._world.log.losing_answers = 0.0
        self._world.tell("log", "loses no answers any more")

    async def repeat(self, _: int) -> None:
        """Let entries be stored twice, as those that are published again after the duplicate window."""
        log, choice = self._world.log, self._world.choice
        log.forget_idents()
        for _ in range(choice.randint(1, 3)):
            node = choice.choice([each for each in self._nodes if each.machine.on and each.started.done()])
            self._world.tell("log", f"stores the last entry of {node.host} again")
            log.repeat_last_of(node.server._replicator.room.node)  # type: ignore[union-attr]
            await asyncio.sleep(choice.uniform(0.0, 1.0))

    async def lose_entries(self, _: int) -> None:
        """Delete an entry, the oldest ones, or all; the server of the observer has read them."""
        log, choice = self._world.log, self._world.choice
        if not log.is_heard_by(self._nodes[0].machine):
            return
        self.has_lost_entries = True
        match choice.choice(("one", "oldest", "all")):
            case "one":
                position = max(log.last - choice.randint(0, 50), 1)
                self._world.tell("log", f"loses entry {position}")
                log.delete(position)
            case "oldest":
                self._world.tell("log", "loses its oldest entries")
                log.purge(keep=choice.randint(0, 100))
            case "all":
                self._world.tell("log", "loses all entries")
                log.purge()
