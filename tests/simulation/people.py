"""People with raw connections: they use every verb, in any order and speed, and leave in every way.

Each waits for PONG after what it did, and so learns what was refused; what it sent and received is what
`tests.harness.checker` needs. Everything is decided by its own source of randomness.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection
from itertools import count
from typing import TYPE_CHECKING

from tests.harness.checker import End, Recording
from tests.simulation.machine import Machine
from tests.simulation.refusals import without_refusals

if TYPE_CHECKING:
    from tests.simulation.ends import End as NetworkEnd
    from tests.simulation.world import World

PATIENCE = 120.0
"""Virtual seconds after which an answer counts as missing, if no fault explains it."""

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


class Gone(Exception):  # noqa: N818 - no error: the connection is over
    """The connection has ended."""


class Person(asyncio.Protocol):
    """One connection of somebody.

    Args:
        world: where they are.
        label: identifies them in stories, messages and violations.
        names: what they may call themselves.

    Attributes:
        end: how the connection ended; None while it is open.
        sent: the lines that were sent.
        received: what came.
    """

    def __init__(self, world: "World", label: str, names: list[str]) -> None:
        self.label = label
        self.machine = Machine(label)
        self.end: End | None = None
        self.sent: list[str] = []
        self.received = bytearray()
        self.host = ""
        self.kept: list[str] = []  # messages whose PONG has come
        self._world = world
        self._names = names
        self._choice = random.Random(f"{world.seed} {label}")
        self._numbers = count(1)
        self._tokens = count(1)
        self._changed = asyncio.Event()
        self._read_to = 0
        self._unkept: list[str] = []
        self._transport: NetworkEnd

    # The connection

    async def connect(self, host: str) -> None:
        """Connect.

        Raises:
            OSError: nobody answers.
        """
        self.host = host
        sock = await self._world.network.connect(host, self.machine)
        sock.end.attach(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Keep what comes."""
        self.received += data
        self._world.tell(self.label, "<", data)
        self._changed.set()

    def eof_received(self) -> bool:
        """Close, too."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        if self.end is None:
            complete = self.received.rfind(b"\nBYE ") >= 0 and self.received.endswith(b"\n")
            self.end = End.CLEAN if complete else End.VANISHED
        self._world.tell(self.label, "ends", str(exc or self.end.name.lower()).encode())
        self._changed.set()

    def send(self, *lines: str) -> None:
        """Send lines."""
        self.sent += lines
        self._unkept += [line for line in lines if line.startswith("MSG ")]
        self.write("".join(f"{line}\n" for line in lines).encode())

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self._world.tell(self.label, ">", data)
        self._transport.write(data)

    async def ask(self, *lines: str) -> list[str]:
        """Send lines, and return what comes until they are processed.

        Raises:
            Gone: the connection ended before.
        """
        token = f"{self.label}.{next(self._tokens)}"
        self.send(*lines, f"PING {token}")
        answer = await self._until(f"PONG {token}")
        self.kept += self._unkept
        self._unkept.clear()
        return answer

    async def _until(self, last: str) -> list[str]:
        found: list[str] = []
        deadline = self._world.loop.time() + PATIENCE
        while True:
            while (at := self.received.find(b"\n", self._read_to)) >= 0:
                line = self.received[self._read_to : at].decode()
                self._read_to = at + 1
                if line == last:
                    return found
                found.append(line)
            if self.end is not None:
                raise Gone
            self._changed.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._changed.wait()
            except TimeoutError:
                self._world.find(f"{self.label} at {self.host} waits for {last!r} for {PATIENCE:.0f} s")
                raise Gone from None

    async def wait_for_end(self) -> None:
        """Wait until the server has closed the connection."""
        deadline = self._world.loop.time() + PATIENCE
        while self.end is None:
            self._changed.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._changed.wait()
            except TimeoutError:
                self._world.find(f"{self.label} waits for the end for {PATIENCE:.0f} s")
                self._transport.abort()
                self.end = End.VANISHED

    def recording(self, heard: Collection[str]) -> Recording:
        """Return what the checker needs.

        Args:
            heard: the texts of all messages of the room.
        """
        *lines, torn = self.received.decode(errors="surrogateescape").split("\n")
        sent, received = without_refusals(self.sent, lines, heard)
        whole = "".join(f"{line}\n" for line in received) + torn
        return Recording(
            label=self.label,
            sent=sent,
            received=whole.encode(errors="surrogateescape"),
            end=self.end or End.VANISHED,
        )

    def room_lines(self) -> list[str]:
        """Return the lines of the room that came."""
        lines = self.received[: self.received.rfind(b"\n") + 1].decode().split("\n")
        return [line for line in lines if line.startswith(("JOINED ", "LEFT ", "MSG "))]

    # What they do

    async def live(self) -> None:
        """Join, and do this and that until they leave."""
        try:
            await self.join()
            while True:
                await asyncio.sleep(self._choice.expovariate(1 / self._world.pause))
                await self._choose()()
                if self.end is not None:
                    return
        except Gone:
            return

    async def join(self) -> None:
        """Try names until one is free."""
        while True:
            name = self._choice.choice(self._names)
            lines = await self.ask(f"JOIN {name}")
            if f"OK JOIN {name}" in lines:
                return
            if not any(line.startswith(("ERR name-taken", "ERR busy")) for line in lines):
                self._world.find(f"{self.label}: JOIN {name} was answered {lines}")
            await asyncio.sleep(self._choice.uniform(0.1, 2.0))

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
        }
        return self._choice.choices([*actions], [*actions.values()])[0]

    async def talk(self) -> None:
        """Say something."""
        await self.ask(*(self.message() for _ in range(self._choice.randint(1, 3))))

    async def burst(self) -> None:
        """Say much at once."""
        filler = "x" * self._choice.choice((1, 10, 1000))
        await self.ask(*(f"{self.message()} {filler}" for _ in range(self._choice.randint(20, 150))))

    async def ask_around(self) -> None:
        """Ask the server something."""
        await self.ask(self._choice.choice(("WHO", "HISTORY", "HISTORY 3", "HELP", "WHO")))

    async def misspell(self) -> None:
        """Send what is no command; each line is answered by itself, or not at all."""
        for _ in range(self._choice.randint(1, 3)):
            garbage = self._choice.choice(_GARBAGE)
            if garbage.strip():
                self.sent.append("garbage")
            self.write(garbage)
            await self.ask()

    async def read_slowly(self) -> None:
        """Read nothing for a while."""
        self._transport.pause_reading()
        await asyncio.sleep(self._choice.uniform(0.1, 30.0))
        self._transport.resume_reading()
        await self.ask()

    async def rejoin(self) -> None:
        """Leave, and come back."""
        await self.ask(self.message())
        await self.ask("LEAVE")
        await self.join()

    async def quit(self) -> None:
        """Say goodbye."""
        self._transport.resume_reading()
        if "QUIT" not in self.sent:  # or a half-close, after which nothing can be sent
            self.send(self.message(), "QUIT")
        await self.wait_for_end()

    async def half_close(self) -> None:
        """Close the sending side."""
        self.send(self.message())
        self.sent.append("QUIT")  # it means the same
        self._transport.write_eof()
        await self.wait_for_end()

    async def close(self) -> None:
        """Close without a word."""
        self.send(self.message())
        self.end = End.VANISHED
        self._transport.close()

    async def reset(self) -> None:
        """Reset the connection."""
        self.send(self.message())
        self.end = End.VANISHED
        self._transport.abort()

    async def reset_mid_line(self) -> None:
        """Reset it in the middle of a line."""
        self.send(self.message(), "LEAVE", f"JOIN {self._choice.choice(self._names)}", self.message())
        self.write(b"MSG that is not com")
        self.end = End.VANISHED
        self._transport.abort()

    async def vanish(self) -> None:
        """Be cut off by a dead network."""
        self.send(self.message())
        self.end = End.VANISHED
        self._transport.vanish(power=True)

    def message(self) -> str:
        """Return a line that says something nobody said before."""
        return f"MSG {self.label} {next(self._numbers)}"
