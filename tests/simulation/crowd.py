"""The people and programs of a simulated world, who come and go."""

import asyncio

from tests.simulation.people import Person
from tests.simulation.programs import Program
from tests.simulation.world import Node, World


class Crowd:
    """People who come and go for a while.

    Args:
        world: where they are.
        nodes: the servers that they connect to.
        size: how many there are at a time.
        programs: how many programs there are beside them.
        run: number that tells them from those of other runs in the same world.

    Attributes:
        all: everybody who is or was connected.
        programs: the programs.
        size: how many people there are at a time.
        names: what they may call themselves.
    """

    def __init__(
        self, world: World, nodes: list[Node], size: int, *, programs: int = 0, run: int = 0
    ) -> None:
        self.all: list[Person] = []
        self._world = world
        self._nodes = nodes
        self._run = run
        self._until = 0.0
        hosts = [node.host for node in nodes]
        self.programs = [Program(world, f"bot{n}", hosts[n:] + hosts[:n]) for n in range(programs)]
        self.size = min(size, world.plan.people)
        self.names = [f"name{number}" for number in range(2 * size)]  # few enough for some to be taken
        self.names += [f"NAME{number}" for number in range(size)]

    async def live(self, seconds: float) -> None:
        """Let them come and go for some seconds, then leave."""
        seconds = self._world.seconds_of_life = min(seconds, self._world.plan.seconds)
        self._until = self._world.loop.now + seconds
        async with asyncio.TaskGroup() as group:
            for seat in range(self.size):
                group.create_task(self._fill(seat))
            for program in self.programs:
                group.create_task(program.live(self._until), context=program.machine.context)

    def send_home(self) -> None:
        """Let nobody come any more."""
        self._until = 0.0

    async def _fill(self, seat: int) -> None:
        number = 0
        while self._world.loop.now < self._until:
            number += 1
            person = Person(self._world, f"p{self._run}.{seat}.{number}", self.names)
            try:
                await person.connect(self._nodes[(seat + number) % len(self._nodes)].host)
            except OSError:
                await asyncio.sleep(1.0)
                continue
            self.all.append(person)
            person.leaves_at = self._until
            await asyncio.create_task(person.live(), context=person.machine.context)
            if person.end is None:
                await person.quit()
