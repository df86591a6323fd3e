"""People with raw connections: they use every verb, in any order and speed, and leave in every way.

Each waits for PONG after what it did, and so learns what was refused. Everything is decided by its own source
of randomness.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from itertools import count, takewhile
from typing import TYPE_CHECKING

from tests.harness.transcript import End
from tests.simulation.raw_client import Gone, RawClient

if TYPE_CHECKING:
    from tests.simulation.world import World

_BURSTS = 5.0  # seconds from one time when many say much to the next

_GARBAGE = (
    b"\xc3\x28\n",
    b"XYZZY\n",
    b"JOIN \n",
    b"MSG\n",
    b"MSG \xc3\n",
    b"HISTORY x\n",
    b"\n",
    b"MSG " + b"x" * 5000 + b"\n",
)


class Person(RawClient):
    """Somebody.

    Args:
        world: where they are.
        label: identifies them in stories, messages and violations.
        names: what they may call themselves.

    Attributes:
        leaves_at: when they do nothing more.
        certain: texts that have to be heard, though the connection was lost right behind them.
    """

    def __init__(self, world: "World", label: str, names: list[str]) -> None:
        super().__init__(world, label)
        self.leaves_at = math.inf
        self.certain: list[str] = []
        self._names = names
        self._numbers = count(1)
        # With a journal that is not written, PONG alone comes behind one's own lines;
        # in a cluster without its log WHO and HISTORY do, too.
        self._answers_wait = world.plan.shape != "journal"

    async def live(self) -> None:
        """Join, and do this and that until they leave, or the time has come: nothing is broken off."""
        try:
            if (first := self._choice.random()) < 0.1:
                await (self.stay_out() if first < 0.03 else self.look_in())
                return
            await (self.join_late() if first < 0.12 else self.join())
            while self._world.loop.now < self.leaves_at:
                await asyncio.sleep(self._choice.expovariate(1 / self._world.pause))
                await self._choose()()
                if self.end is not None:
                    return
        except Gone:
            return

    async def join(self) -> None:
        """Try names until one is free.

        Raises:
            Gone: the connection ended before, or the time has come.
        """
        while self._world.loop.now < self.leaves_at:
            name = self._choice.choice(self._names)
            lines = await self.ask(f"JOIN {name}")
            if f"OK JOIN {name}" in lines:
                return
            if not any(line.startswith(("ERR name-taken", "ERR busy")) for line in lines):
                self._world.find(f"{self.label}: JOIN {name} was answered {lines}")
            await asyncio.sleep(self._choice.uniform(0.1, 2.0))
        raise Gone

    def _choose(self) -> Callable[[], Awaitable[object]]:
        actions: dict[Callable[[], Awaitable[object]], int] = {
            self.talk: 60,
            self.ask_around: 8,
            self.burst: 3,
            self.misspell: 2,
            self.read_slowly: 3,
            self.rejoin: 4,
            self.quit: 2,
            self.half_close: 1,
            self.close: 2,
            self.reset: 2,
            self.reset_mid_line: 1,
            self.vanish: 1,
            self.freeze: 1,
        }
        return self._choice.choices([*actions], [*actions.values()])[0]

    async def talk(self) -> None:
        """Say something."""
        await self.ask(*(self.message() for _ in range(self._choice.randint(1, 3))))

    async def burst(self) -> None:
        """Say much at once; at one server several do so together, for its batches to be full."""
        if self._world.plan.shape == "single":
            await asyncio.sleep(-self._world.loop.now % _BURSTS)
        filler = "x" * self._choice.choice((1, 10, 1000))
        await self.ask(*(f"{self.message()} {filler}" for _ in range(self._choice.randint(20, 150))))

    async def ask_around(self) -> None:
        """Ask the server something."""
        question = self._choice.choice(("WHO", "HISTORY", "HISTORY 3", "HELP", "WHO"))
        comes_in_place = self._answers_wait and (question != "HELP" or self._world.calm)
        before = [self.message() for _ in range(self._choice.randint(0, 2) * comes_in_place)]
        await self.ask(*before, question)

    async def misspell(self) -> None:
        """Send what is no command; each line is answered by itself, or not at all."""
        for _ in range(self._choice.randint(1, 3)):
            garbage = self._choice.choice(_GARBAGE)
            if self._world.calm and self._choice.random() < 0.5:
                self.send(self.message())
            if garbage.strip():
                self.sent.append("garbage")
            self.write(garbage)
            await self.ask()

    async def read_slowly(self) -> None:
        """Read nothing for a while."""
        self._reads = False
        self._transport.pause_reading()
        leaves = self._answers_wait and self._choice.random() < 0.3
        for _ in range(self._choice.randint(0, 4)):
            await asyncio.sleep(self._choice.uniform(0.1, 5.0))
            self.send(self.message(), *[self._choice.choice(("WHO", "HISTORY"))] * self._answers_wait)
        if self._choice.random() < 0.1:
            await self.reset()
            return
        self.send(*["LEAVE"] * leaves)
        await asyncio.sleep(self._choice.uniform(0.1, 15.0))
        self._transport.resume_reading()
        await self.ask()
        self._reads = True
        if leaves:
            await self.join()

    async def freeze(self) -> None:
        """Ask for much, and read nothing of it, for longer than the server bears with."""
        self._reads = False
        self._transport.pause_reading()
        self.send(*["HELP"] * 400)
        self._unwelcome_at = self._world.loop.now + 90.0
        await self.quit()

    async def stay_out(self) -> None:
        """Never join."""
        self._unwelcome_at = self._world.loop.now + 40.0
        await self.quit()

    async def join_late(self) -> None:
        """Join when the server is about to run out of patience."""
        rate = self._transport.peer.machine.rate
        self._unwelcome_at = self._world.loop.now + 40.0
        await asyncio.sleep(30.0 / rate + self._choice.uniform(-0.2, 1.3))
        await self.join()
        self._unwelcome_at = 0.0

    async def look_in(self) -> None:
        """Join, and be gone at once."""
        self.send(f"JOIN {self._choice.choice(self._names)}")
        await asyncio.sleep(self._choice.uniform(0.0, 0.02))
        self._say_last()
        self._transport.abort()

    async def rejoin(self) -> None:
        """Leave, and come back."""
        await self.ask(self.message())
        await self.ask("LEAVE")
        await self.join()

    async def quit(self) -> None:
        """Say goodbye, if the server does not do so first."""
        if (late := self._unwelcome_at - self._world.loop.now) > 0:
            await asyncio.sleep(late)
            self._transport.resume_reading()
            await asyncio.sleep(1.0)
            if self.end is not None:
                return
            if self._world.calm:
                self._world.find(f"{self.label} may stay for ever")
        self._transport.resume_reading()
        if "QUIT" not in self.sent:  # or a half-close, after which nothing can be sent
            self.send(self.message(), "QUIT")
        await self.wait_for_end()

    async def half_close(self) -> None:
        """Close the sending side."""
        self.send(self.message())
        if self._world.calm and self._choice.random() < 0.5:
            self.sent.append("garbage")
            self.write(b"MSG that has no end")
        self.sent.append("QUIT")  # it means the same
        self._transport.write_eof()
        await self.wait_for_end()

    async def close(self) -> None:
        """Close without a word."""
        self._say_last(*self._last_messages())
        self._transport.close()

    async def reset(self) -> None:
        """Reset the connection."""
        self._say_last(*self._last_messages())
        self._transport.abort()

    async def reset_mid_line(self) -> None:
        """Reset it in the middle of a line."""
        name = self._choice.choice(self._names)
        self._say_last(
            self.message(), "LEAVE", f"JOIN {name}", self.message(), unfinished=b"MSG that is not com"
        )
        self._transport.abort()

    def _last_messages(self) -> list[str]:
        return [
            self.message() for _ in range(self._choice.choice((1, 1, 300)))
        ]  # more than one turn executes

    def _say_last(self, *lines: str, unfinished: bytes = b"") -> None:
        """Send lines before the connection is lost."""
        self.send(*lines)
        self.write(unfinished)
        self.end = End.VANISHED
        takes_all = self._world.takes_all and self._world.plan.shape == "single"  # nobody kills the server
        if takes_all and not self._transport.get_write_buffer_size():
            self.certain += [line[4:] for line in takewhile(lambda line: line.startswith("MSG "), lines)]

    async def vanish(self) -> None:
        """Be cut off by a dead network."""
        self.send(self.message())
        self.end = End.VANISHED
        self._transport.vanish(power=True)

    def message(self) -> str:
        """Return a line that says something nobody said before."""
        return f"MSG {self.label} {next(self._numbers)}"
