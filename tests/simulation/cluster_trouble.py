"""What goes wrong in a simulated cluster: with its servers, and with the log that they share."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from simple_chat.errors import JournalError
from simple_chat.server.config import Settings
from tests.simulation.trouble import Kind, ServerTrouble
from tests.simulation.world import Node, World

_START_TIMEOUT = 150.0  # seconds; a server waits 90 for a snapshot


class ClusterTrouble(ServerTrouble):
    """What goes wrong in a cluster.

    Args:
        world: the world.
        nodes: the servers; the first one never stops.
        settings: of the servers that are started again.

    Attributes:
        of_log: kinds of trouble with the log.
        said_before: messages before the last time when the log lost entries; HISTORY need not have them.
    """

    def __init__(self, world: World, nodes: list[Node], settings: Settings) -> None:
        super().__init__(world, nodes)
        self._settings = settings
        self.said_before = 0
        self.kinds = (*(self.kill, self.stop, self.pause) * 2, *self.kinds[1:])
        self.of_log: tuple[Kind, ...] = (
            self.cut_off,
            self.deafen,
            self.rewind,
            self.be_slow_to_hear,
            self.log_away,
            self.lose_answers,
            self.repeat,
            self.lose_entries,
            self.set_clock_of_log,
        )

    def _index(self) -> int:
        return self._world.choice.randint(1, len(self._nodes) - 1)

    def _any(self) -> Node:
        return self._nodes[self._index()]

    async def kill(self) -> None:
        """Kill a server, and start it again."""
        index = self._index()
        self._world.disturb()
        self._world.kill(self._nodes[index], power=self._world.choice.random() < 0.3)
        try:
            await asyncio.sleep(self._world.choice.uniform(0.1, 50.0))
        finally:
            await _whole(self._start(index))

    async def stop(self) -> None:
        """End a server in order, and start it again."""
        index = self._index()
        self._world.disturb()
        await _whole(self._stop_and_start(index))

    async def _stop_and_start(self, index: int) -> None:
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

    async def cut_off(self) -> None:
        """Cut a machine off from the log."""
        node = self._any()
        self._world.disturb()
        self._world.tell(node.host, "can't reach the log")
        self._world.log.cut_off.add(node.machine)
        try:
            await asyncio.sleep(self._world.choice.uniform(0.1, 60.0))
        finally:
            self._world.log.cut_off.clear()
            self._world.tell(node.host, "reaches the log again")

    async def deafen(self) -> None:
        """Let a server hear nothing more until it notices."""
        node = self._any()
        self._world.disturb()
        self._world.tell(node.host, "is deaf")
        self._world.log.deafen(node.machine)

    async def rewind(self) -> None:
        """Deliver entries again."""
        node = self._any()
        self._world.disturb()
        self._world.tell(node.host, "hears entries again")
        self._world.log.rewind(node.machine, self._world.choice.randint(1, 20))

    async def be_slow_to_hear(self) -> None:
        """Let a server hear of everything late."""
        node, delay = self._any(), self._world.choice.uniform(0.01, 4.0)
        self._world.disturb()
        self._world.tell(node.host, f"hears everything {delay:.2f} s late")
        self._world.log.delays[node.machine] = delay
        try:
            await asyncio.sleep(self._world.choice.uniform(0.1, 20.0))
        finally:
            self._world.log.delays.clear()
            self._world.tell(node.host, "hears in time again")

    async def log_away(self) -> None:
        """Let the log elect a leader."""
        self._world.disturb()
        self._world.tell("log", "is away")
        self._world.log.away = True
        try:
            await asyncio.sleep(self._world.choice.choice((0.1, 2.0, 12.0, 45.0)))
        finally:
            self._world.log.away = False
            self._world.tell("log", "is back")

    async def lose_answers(self) -> None:
        """Let publishes time out that are stored."""
        self._world.disturb()
        self._world.tell("log", "loses answers")
        self._world.log.losing_answers = 0.5
        try:
            await asyncio.sleep(self._world.choice.uniform(1.0, 10.0))
        finally:
            self._world.log.losing_answers = 0.0
            self._world.tell("log", "loses no answers any more")

    async def repeat(self) -> None:
        """Let entries be stored twice, as those that are published again after the duplicate window."""
        log, choice = self._world.log, self._world.choice
        self._world.disturb()
        log.forget_idents()
        for _ in range(choice.randint(1, 3)):
            node = choice.choice([each for each in self._nodes if each.machine.on and each.started.done()])
            self._world.tell("log", f"stores the last entry of {node.host} again")
            log.repeat_last_of(node.server._replicator.room.node)  # type: ignore[union-attr]
            await asyncio.sleep(choice.uniform(0.0, 1.0))

    async def lose_entries(self) -> None:
        """Delete an entry, the oldest ones, or all; the server of the observer has read them."""
        log, choice = self._world.log, self._world.choice
        if not log.is_heard_by(self._nodes[0].machine):
            return
        self._world.disturb()
        self.said_before = log.said
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

    async def set_clock_of_log(self) -> None:
        """Set the log's clock, which leases go by: nobody may notice but by the times of messages."""
        leap = self._world.choice.uniform(-20.0, 20.0) * 3600.0
        self._world.tell("log", f"has a clock that is {leap:+.0f} s ahead")
        self._world.log.leap = leap
        self._world.leaps.add(leap)


async def _whole(repair: Coroutine[Any, Any, None]) -> None:
    """Wait for a repair to its end, also when this is cancelled meanwhile."""
    repairing = asyncio.create_task(repair)
    try:
        await asyncio.shield(repairing)
    finally:
        await repairing
