"""Programs that use the client API: they stay in the room over every fault, and get nothing twice."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Collection, Sequence
from itertools import count
from typing import TYPE_CHECKING

import simple_chat
from tests.harness.transcript import End, Recording
from tests.simulation.machine import ROUTERS, Machine
from tests.simulation.refusals import without_refusals
from tests.simulation.sockets import Tap

if TYPE_CHECKING:
    from tests.simulation.world import World

_ANSWER_SECONDS = 300.0


class Program:
    """A program in the room.

    Args:
        world: where it is.
        label: identifies it; its name in the room, too.
        hosts: the servers that it may connect to.

    Attributes:
        kept: the texts of its messages that `ping` has confirmed.
    """

    def __init__(self, world: "World", label: str, hosts: Sequence[str]) -> None:
        self.label = label
        self.machine = Machine(label)
        self.machine.taps = []
        self.kept: list[str] = []
        self._world = world
        self._hosts = hosts
        self._choice = random.Random(f"{world.seed} {label}")
        self.machine.router = self._choice.randrange(ROUTERS)
        self._numbers = count(1)
        self._seen: dict[str, int] = defaultdict(int)  # the last number of each author

    async def live(self, until: float) -> None:
        """Say something now and then, until a time."""
        try:
            async with simple_chat.connect(self._hosts, username=self.label, reconnect=True) as chat:
                reading = asyncio.create_task(self._read(chat))
                while self._world.loop.now < until:
                    await asyncio.sleep(self._choice.expovariate(1 / self._world.pause))
                    await self._act(chat)
            await reading
        except (simple_chat.ConnectError, simple_chat.KickedError) as error:
            self._world.tell(self.label, f"gives up: {error}")
        except simple_chat.JoinRefusedError as error:
            if error.code not in {"banned", "busy"}:  # when it came back, or to begin with
                raise
            self._world.tell(self.label, f"is not let in: {error}")

    async def _act(self, chat: simple_chat.Chat) -> None:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                if self._choice.random() < 0.2:
                    await self._choice.choice((chat.who, chat.history))()
                    return
                texts = [f"{self.label} {next(self._numbers)}" for _ in range(self._choice.randint(1, 3))]
                for text in texts:
                    await chat.send(text)
                await chat.ping()
                self.kept += texts
        except simple_chat.ChatError:
            await asyncio.sleep(1.0)
        except TimeoutError:
            self._world.find(f"{self.label} waits for an answer for {_ANSWER_SECONDS:.0f} s")

    async def _read(self, chat: simple_chat.Chat) -> None:
        """Check that every author's messages come once, and in order."""
        async for event in chat:
            match event:
                case simple_chat.Message(text=text) | simple_chat.HistoryMessage(text=text):
                    author, number = text.split(" ")[:2]
                    if author != self.label and int(number) <= self._seen[author]:
                        self._world.find(f"{self.label} got {text!r} after {author} {self._seen[author]}")
                    self._seen[author] = max(self._seen[author], int(number))

    def recordings(self, heard: Collection[str]) -> list[Recording]:
        """Return what the checker needs, of each of its connections."""
        return [self._recording(number, tap, heard) for number, tap in enumerate(self.machine.taps or ())]

    def _recording(self, number: int, tap: Tap, heard: Collection[str]) -> Recording:
        *lines, torn = tap.received.decode().split("\n")
        sent, received = without_refusals(tap.sent.decode().split("\n")[:-1], lines, heard)
        clean = not torn and bool(received) and received[-1].startswith("BYE ")
        return Recording(
            label=f"{self.label}, connection {number}",
            sent=sent,
            received=("".join(f"{line}\n" for line in received) + torn).encode(),
            end=End.CLEAN if clean else End.VANISHED,
            server=tap.server,
        )
