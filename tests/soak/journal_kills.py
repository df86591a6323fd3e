"""Members who talk as fast as they can to a server with a journal, and what the journal must have of that.

Whoever speaks has some PINGs on their way, each behind a few messages, so that a server that ends at any
moment has lines of everybody that are not read yet, not kept yet, and not answered yet.
"""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

from simple_chat.journal.directory import segments
from simple_chat.journal.policy import Sync
from simple_chat.journal.record import Record
from tests.harness.peer import DEADLINE, Peer
from tests.soak.abuse import Server

START = b"START"
_ROOT = Path(__file__).parents[2]
_SEGMENT = "64K"  # so that one segment follows another all the time
_LISTENERS = 3
_FILLERS = (0, 0, 20, 100, 400, 1500)  # bytes that make a message longer, for each speaker
_FEW = 7  # messages to a PING
_WINDOW = 12  # PINGs that are on their way
_PONG = b"\nPONG "
_ROOM = (b"MSG ", b"JOINED ", b"LEFT ", b"GAP ")


class Member(Peer):
    """Somebody in the room, who only listens.

    Args:
        name: what it is called there.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def begin(self) -> None:
        """Join."""
        self.send(f"JOIN {self.name}")

    @property
    def told(self) -> list[bytes]:
        """Every whole line that it received."""
        return bytes(self.received).split(b"\n")[:-1]

    @property
    def shown(self) -> list[bytes]:
        """Every line of the room that it received."""
        return [line for line in self.told if line.startswith(_ROOM)]

    @property
    def said(self) -> list[bytes]:
        """All its messages, as the room has them."""
        messages = (line.partition(" ") for line in self.sent)
        return [f"MSG {self.name} {text}".encode() for verb, _, text in messages if verb == "MSG"]

    @property
    def acknowledged(self) -> int:
        """How many of its messages are covered by a PONG."""
        tokens = (line[len(b"PONG ") :] for line in self.told if line.startswith(b"PONG "))
        return max((int(token) for token in tokens if token.isdigit()), default=0)


class Speaker(Member):
    """Somebody who talks as fast as the server takes it.

    Args:
        name: what it is called in the room.
        run: a number that no other server on this journal has, which makes its texts unique.
        filler: bytes that make a message longer.
    """

    def __init__(self, name: str, run: int, filler: int) -> None:
        super().__init__(name)
        self._run = run
        self._filler = "x" * filler
        self._numbers = count(1)
        self._stopped = False

    def stop(self) -> None:
        """Say nothing more."""
        self._stopped = True

    async def go_on(self, pings: int) -> None:
        """Wait until it was answered some PINGs that it is yet to send."""
        await self.until(f"PONG {len(self.said) + pings * _FEW}")

    def begin(self) -> None:
        super().begin()
        for _ in range(_WINDOW):
            self._say_more()

    def data_received(self, data: bytes) -> None:
        searched = max(len(self.received) - len(_PONG) + 1, 0)
        super().data_received(data)
        for _ in range(self.received.count(_PONG, searched)):
            self._say_more()

    def _say_more(self) -> None:
        """Say a few messages, and ask for a PONG that tells how many they were in all."""
        if self._stopped:
            return
        numbers = [next(self._numbers) for _ in range(_FEW)]
        texts = (f"MSG {self.name}-{self._run}-{number}-{self._filler}" for number in numbers)
        self.send(*texts, f"PING {numbers[-1]}")


@asynccontextmanager
async def running(folder: Path, sync: Sync, *options: str) -> AsyncIterator[Server]:
    """Run a server with a journal, as a program."""
    arguments = ["--port", "0", "--rate", "0", "--journal", str(folder), "--sync", sync]
    arguments += ["--journal-segment", _SEGMENT, *options]
    command = [sys.executable, "-m", "simple_chat.server", *arguments]
    process = await asyncio.create_subprocess_exec(*command, stderr=PIPE, cwd=_ROOT)
    server = Server(process)
    try:
        await server.start()
        yield server
    finally:
        if process.returncode is None:
            process.kill()
        await server.read_log()
        await process.wait()


async def crowd(address: tuple[str, int], run: int) -> list[Member]:
    """Let some in who listen, and then some who talk."""
    members = [Member(f"listener{number}") for number in range(_LISTENERS)]
    members += [Speaker(f"speaker{number}", run, filler) for number, filler in enumerate(_FILLERS)]
    for member in members:
        await enter(member, address)
    return members


async def enter(member: Member, address: tuple[str, int]) -> None:
    """Connect somebody, and wait until it has joined."""
    async with asyncio.timeout(DEADLINE):
        await asyncio.get_running_loop().create_connection(lambda: member, *address)
    member.begin()
    await member.until(f"OK JOIN {member.name}")


async def read_journal(folder: Path, start: int = 0) -> AsyncIterator[Record]:
    """Read a journal to which nothing is being written: it has nothing but records, and none is missing.

    Args:
        folder: where it is.
        start: number of the record to begin with.
    """
    for segment in segments(folder):
        if segment.stop is not None and segment.stop <= start:
            continue
        reader = segment.reader()
        async for records in segment.read(reader):
            for record in records:
                if record.number >= start:
                    yield record
        size = segment.path.stat().st_size
        assert reader.size == size, f"{segment.path} has {size} bytes, but {reader.size} are records"


def check_said(lines: Sequence[bytes], members: Sequence[Member], *, kept: bool) -> None:
    """Check that what each member said is there once, in its order and up to some message, and nothing else.

    Args:
        lines: of the journal, of the time that the members were there.
        members: all there were.
        kept: whether that has to reach as far as the member's PONGs do.
    """
    messages = [line for line in lines if line.startswith(b"MSG ")]
    for member in members:
        own = [line for line in messages if line.startswith(b"MSG %b " % member.name.encode())]
        check_same(own, member.said[: len(own)], f"what {member.name} said")
        assert len(own) >= member.acknowledged or not kept, (
            f"{member.acknowledged} messages of {member.name} were acknowledged, and {len(own)} kept"
        )
    strange = [
        line for line in messages if line.split(b" ")[1].decode() not in {each.name for each in members}
    ]
    assert not strange, strange[0]


def owed(lines: Sequence[bytes], member: Member) -> list[bytes]:
    """Every line of the journal that a member should be shown: from its JOINED on, without its own."""
    joined = b"JOINED %b" % member.name.encode()
    start = lines.index(joined) + 1 if joined in lines else len(lines)
    own = b"MSG %b " % member.name.encode()
    return [line for line in lines[start:] if not line.startswith(own)]


def check_same(found: Sequence[bytes], expected: Sequence[bytes], what: str) -> None:
    """Check that two sequences of lines are the same, and tell where they are not."""
    for place, (line, other) in enumerate(zip(found, expected, strict=False)):
        assert line == other, f"{what}: line {place} is {line[:80]!r} in place of {other[:80]!r}"
    assert len(found) == len(expected), f"{what}: {len(found)} lines in place of {len(expected)}"
