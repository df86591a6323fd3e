"""Clients that act at random on a server, and record everything for the checker.

Choices are seeded; the interleaving of the clients is not.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from itertools import count

from tests.harness.peer import DEADLINE, Peer, connect
from tests.harness.transcript import End, Recording

try:
    import uvloop
except ImportError:
    new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
else:
    new_event_loop = uvloop.new_event_loop

Action = Callable[[], Awaitable[None]]


class RandomClient:
    """One client. Each action ends when the server has carried it out.

    Args:
        label: identifies it in its messages and in a `Violation`.
        peer: its connection.
        choice: source of randomness.
        names: names that it may join with.

    Attributes:
        peer: its connection.
        end: how its connection ended; None while it is open.
    """

    def __init__(self, label: str, peer: Peer, choice: random.Random, names: list[str]) -> None:
        self.peer = peer
        self.end: End | None = None
        self._label = label
        self._choice = choice
        self._names = names
        self._texts = count(1)

    async def perform(self, action: Action) -> bool:
        """Perform an action, and return whether the connection is still open."""
        await action()
        return self.end is None

    async def join(self) -> None:
        """Try names until one is free."""
        while not any(line.startswith("OK JOIN") for line in await self.peer.ask(f"JOIN {self._name()}")):
            pass

    async def talk(self) -> None:
        await self.peer.ask(*(self._message() for _ in range(self._choice.randint(1, 3))))

    async def rejoin(self) -> None:
        await self.peer.ask(self._message(), "LEAVE")
        await self.join()

    async def quit(self) -> None:
        self.peer.send(self._message(), "QUIT")
        await self.read_bye()

    async def half_close(self) -> None:
        self.peer.send(self._message())
        self.peer.half_close()
        self.peer.sent.append("QUIT")  # it means the same
        await self.read_bye()

    async def close(self) -> None:
        self.peer.send(self._message())
        await self.peer.close()
        self.end = End.VANISHED

    async def reset(self) -> None:
        self.peer.send(self._message())
        await self.peer.reset()
        self.end = End.VANISHED

    async def reset_mid_line(self) -> None:
        self.peer.send(self._message(), "LEAVE", f"JOIN {self._name()}", self._message())
        self.peer.write(b"MSG that is not com")
        await self.peer.reset()
        self.end = End.VANISHED

    async def read_bye(self) -> None:
        """Wait for the server to end the connection."""
        if self.end is None:
            await self.peer.rest()
            self.end = End.CLEAN

    def recording(self) -> Recording:
        """Return what the checker needs."""
        return Recording(
            label=self._label,
            sent=self.peer.sent,
            received=bytes(self.peer.received),
            end=self.end or End.VANISHED,
        )

    def _name(self) -> str:
        return self._choice.choice(self._names)

    def _message(self) -> str:
        return f"MSG {self._label} {next(self._texts)}"


class RandomClients:
    """Clients that act concurrently; each that ends is replaced by a new one.

    Args:
        address: where they connect to.
        choice: source of randomness.
        size: how many are connected at a time.
        workers: how many act at a time.

    Attributes:
        all: every client that is or was connected.
        idle: those that are connected and not acting.
    """

    def __init__(self, address: tuple[str, int], choice: random.Random, size: int, workers: int) -> None:
        self.all: list[RandomClient] = []
        self.idle: list[RandomClient] = []
        self._address = address
        self._choice = choice
        self._size = size
        self._workers = workers
        self._names = [f"name{number}" for number in range(4 * size)]  # few enough for some to be taken
        self._numbers = count()

    async def connect_all(self) -> None:
        """Connect the clients, and let them join."""
        await self._work(self.add, range(self._size))

    async def act(self, turns: Iterable[object]) -> None:
        """Let a random client act in every turn."""
        await self._work(self._act_once, turns)

    async def add(self) -> None:
        """Connect one more client, and let it join."""
        joined = False
        while not joined:
            client = await self.connect(f"client{next(self._numbers)}")
            self.all.append(client)
            joined = await client.perform(client.join)
        self.idle.append(client)

    def abort(self) -> None:
        """Abort all connections: uvloop's `close` may hang on those that are left by a failure."""
        for client in self.all:
            client.peer.transport.abort()

    async def connect(self, label: str) -> RandomClient:
        """Connect a client."""
        return RandomClient(label, await connect(self._address), self._choice, self._names)

    async def _act_once(self) -> None:
        index = self._choice.randrange(len(self.idle))
        self.idle[index], self.idle[-1] = self.idle[-1], self.idle[index]
        client = self.idle.pop()
        if await client.perform(self._action(client)):
            self.idle.append(client)
        else:
            await self.add()

    def _action(self, client: RandomClient) -> Action:
        actions = {
            client.talk: 80,
            client.rejoin: 6,
            client.quit: 3,
            client.half_close: 2,
            client.close: 3,
            client.reset: 3,
            client.reset_mid_line: 3,
        }
        return self._choice.choices([*actions], [*actions.values()])[0]

    async def _work(self, step: Action, turns: Iterable[object]) -> None:
        shared = iter(turns)

        async def work() -> None:
            for _ in shared:
                await step()

        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(work())


async def join_observer(address: tuple[str, int], choice: random.Random) -> RandomClient:
    """Connect a client that joins as the checker's observer, and only listens."""
    observer = RandomClient("observer", await connect(address), choice, ["observer"])
    await observer.join()
    return observer


async def wait_for_members(observer: RandomClient, number: int) -> None:
    """Wait until the server has noticed every connection that vanished."""
    async with asyncio.timeout(DEADLINE):
        while f"OK WHO {number}" not in await observer.peer.ask("WHO"):
            pass
