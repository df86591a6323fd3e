"""A raw connection: what it sent and received is what `tests.harness.checker` needs."""

import asyncio
import contextlib
import random
from collections.abc import Collection
from itertools import count
from typing import TYPE_CHECKING

from tests.harness.transcript import End, Recording
from tests.simulation.answers import Answers, Room
from tests.simulation.machine import ROUTERS, Machine
from tests.simulation.refusals import without_refusals

if TYPE_CHECKING:
    from tests.simulation.ends import End as NetworkEnd
    from tests.simulation.world import World

PATIENCE = 300.0
"""Virtual seconds after which an answer counts as missing."""

CALM_PATIENCE = 4.0
"""The same, where no fault and no limit of rate explains it."""


class Gone(Exception):  # noqa: N818 - no error: the connection is over
    """The connection has ended."""


class RawClient(asyncio.Protocol):
    """One connection of somebody, who keeps what is sent and received.

    Args:
        world: where they are.
        label: identifies them in stories, messages and violations.

    Attributes:
        end: how the connection ended; None while it is open.
        sent: the lines that were sent.
        received: what came.
    """

    def __init__(self, world: "World", label: str) -> None:
        self.label = label
        self.machine = Machine(label)
        self.end: End | None = None
        self.sent: list[str] = []
        self.received = bytearray()
        self.host = ""
        self._world = world
        self._choice = random.Random(f"{world.seed} {label}")
        self._tokens = count(1)
        self._changed = asyncio.Event()
        self._read_to = 0
        self._transport: NetworkEnd
        self.machine.router = self._choice.randrange(ROUTERS)
        self._line_end = self._choice.choice(("\n", "\n", "\r\n"))
        self._reads = True  # as fast as it can
        self._half_line_end = False  # a CR came, and its LF not yet
        self._unwelcome_at = 0.0  # when the server must have ended the connection; 0 if it must not

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
        self._world.tell(self.label, "<", data)
        if self._line_end == "\r\n":
            data = b"\r" * self._half_line_end + data
            self._half_line_end = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").removesuffix(b"\r" * self._half_line_end)
        self.received += data
        self._changed.set()

    def eof_received(self) -> bool:
        """Close, too."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end."""
        if self.end is None:
            complete = self.received.rfind(b"\nBYE ") >= 0 and self.received.endswith(b"\n")
            self.end = End.CLEAN if complete else End.VANISHED
            if self._world.calm:
                self._check_end(exc, complete=complete)
        self._world.tell(self.label, "ends", str(exc or self.end.name.lower()).encode())
        self._changed.set()

    def _check_end(self, error: Exception | None, *, complete: bool) -> None:
        """Check that the server had a reason to end the connection, and let the client read up to the end."""
        if complete and error is not None and self._reads:
            self._world.find(f"{self.label} is reset right behind its BYE by {self.host}")
        if not complete and self._reads:
            self._world.find(f"{self.label} lost its connection to {self.host}")
        goodbye = self.received.rstrip(b"\n").rpartition(b"\n")[2].decode()
        if goodbye == "BYE join-timeout" and not self._unwelcome_at:
            self._world.find(f"{self.label} is told {goodbye!r} by {self.host}")

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
        began = self._world.loop.now
        wanted, start = f"\n{last}\n".encode(), self._read_to
        searched = max(start - 1, 0)
        while True:
            if (at := self.received.find(wanted, searched)) >= 0:
                self._read_to = at + len(wanted)
                return self.received[start : at + 1].decode().split("\n")[:-1]
            searched = max(len(self.received) - len(wanted), searched)
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
            server=self.host,
        )

    def check_answers(self, room: Room) -> list[str]:
        """Return what is wrong with the answers to WHO and HISTORY; see `Answers`."""
        lines = self.received.decode(errors="replace").split("\n")[:-1]
        return [f"{self.label}: {each}" for each in Answers(room, self.sent).check(lines)]

    def room_lines(self) -> list[str]:
        """Return the lines of the room that came."""
        lines = self.received[: self.received.rfind(b"\n") + 1].decode().split("\n")
        return [line for line in lines if line.startswith(("JOINED ", "LEFT ", "MSG "))]
