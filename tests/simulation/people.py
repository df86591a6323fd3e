"""People with raw connections: they use every verb, in any order and speed, and leave in every way.

Each waits for PONG after what it did, and so learns what was refused; what it sent and received is what
`tests.harness.checker` needs. Everything is decided by its own source of randomness.
"""

import asyncio
import contextlib
import math
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from itertools import count, takewhile
from typing import TYPE_CHECKING

from tests.harness.checker import End, Recording
from tests.simulation.answers import Answers
from tests.simulation.machine import Machine
from tests.simulation.refusals import without_refusals

if TYPE_CHECKING:
    from tests.simulation.ends import End as NetworkEnd
    from tests.simulation.world import World

PATIENCE = 300.0
"""Virtual seconds after which an answer counts as missing."""

CALM_PATIENCE = 4.0
"""The same, where no fault and no limit of rate explains it."""

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
        leaves_at: when they do nothing more.
        certain: texts that have to be heard, though the connection was lost right behind them.
    """

    def __init__(self, world: "World", label: str, names: list[str]) -> None:
        self.label = label
        self.machine = Machine(label)
        self.end: End | None = None
        self.sent: list[str] = []
        self.received = bytearray()
        self.host = ""
        self.certain: list[str] = []
        self.leaves_at = math.inf
        self._world = world
        self._names = names
        self._choice = random.Random(f"{world.seed} {label}")
        self._numbers = count(1)
        self._tokens = count(1)
        self._changed = asyncio.Event()
        self._read_to = 0
        self._transport: NetworkEnd
        self._line_end = self._choice.choice(("\n", "\n", "\r\n"))
        self._reads = True  # as fast as it can
        # With a journal that is not written, PONG alone comes behind one's own lines;
        # in a cluster without its log WHO and HISTORY do, too.
        self._answers_wait = world.plan.shape != "journal"
        self._unwelcome_at = 0.0  # when the server must have ended the connection

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
        if self._line_end == "\r\n":
            self.received[self._read_to :] = self.received[self._read_to :].replace(b"\r\n", b"\n")
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
            if not complete and self._reads and self._world.calm:
                self._world.find(f"{self.label} lost its connection to {self.host}")
        self._world.tell(self.label, "ends", str(exc or self.end.name.lower()).encode())
        self._changed.set()

    def send(self, *lines: str) -> None:
        """Send lines."""
        self.sent += lines
        self.write("".join(f"{line}{self._line_end}" for line in lines).encode())

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
        return await self._until(f"PONG {token}")

    async def _until(self, last: str) -> list[str]:
        found: list[str] = []
        began = self._world.loop.now
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
            patience = self._patience
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(began + patience):
                    await self._changed.wait()
            if not self._changed.is_set() and patience == self._patience:
                self._world.find(f"{self.label} at {self.host} waits for {last!r} for {patience:.0f} s")
                raise Gone

    @property
    def _patience(self) -> float:
        """Seconds that an answer may take."""
        return CALM_PATIENCE if self._world.calm and self._world.takes_all else PATIENCE

    async def wait_for_end(self) -> None:
        """Wait until the server has closed the connection."""
        deadline = self._world.loop.now + PATIENCE
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

    def check_answers(self, messages: Sequence[str], history: int, observer: str) -> list[str]:
        """Return what is wrong with the answers to WHO and HISTORY; see `Answers`."""
        lines = self.received.decode(errors="replace").split("\n")[:-1]
        return [
            f"{self.label}: {each}" for each in Answers(messages, history, observer, self.sent).check(lines)
        ]

    def room_lines(self) -> list[str]:
        """Return the lines of the room that came."""
        lines = self.received[: self.received.rfind(b"\n") + 1].decode().split("\n")
        return [line for line in lines if line.startswith(("JOINED ", "LEFT ", "MSG "))]

    # What they do

    async def live(self) -> None:
        """Join, and do this and that until they leave, or the time has come: nothing is broken off."""
        try:
            if (first := self._choice.random()) < 0.1:
                await (self.stay_out() if first < 0.03 else self.look_in())
                return
            await self.join()
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
        """Say much at once."""
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
