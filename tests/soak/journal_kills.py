"""Members that send as fast as a server with a journal reads, and checks of the journal afterwards.

Each speaker keeps several PINGs in flight, each after a few messages: whenever the server ends, it has lines
of every speaker that are not read, not written or not answered yet.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

from simple_chat.journal.base import Sync
from simple_chat.journal.directory import list_segments
from simple_chat.journal.record import Record
from tests.harness.async_programs import AsyncServerProcess, run_async_server
from tests.harness.peer import DEADLINE, Peer

START = b"START"
_SEGMENT = "64K"  # so that one segment follows another all the time
_LISTENERS = 3
_FILLERS = (0, 0, 20, 100, 400, 1500)  # bytes that make a message longer, for each speaker
_MESSAGES_PER_PING = 7
_WINDOW = 12  # PINGs in flight
_PONG = b"\nPONG "
_ROOM_VERBS = (b"MSG ", b"JOINED ", b"LEFT ", b"GAP ")


class Member(Peer):
    """A member that only listens.

    Args:
        name: its name in the room.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def send_first(self) -> None:
        """Send JOIN."""
        self.send(f"JOIN {self.name}")

    @property
    def received_lines(self) -> list[bytes]:
        """All complete lines received."""
        return bytes(self.received).split(b"\n")[:-1]

    @property
    def room_lines(self) -> list[bytes]:
        """All lines of the room received."""
        return [line for line in self.received_lines if line.startswith(_ROOM_VERBS)]

    @property
    def sent_messages(self) -> list[bytes]:
        """All messages sent, as lines of the room."""
        messages = (line.partition(" ") for line in self.sent)
        return [f"MSG {self.name} {text}".encode() for verb, _, text in messages if verb == "MSG"]

    @property
    def acknowledged(self) -> int:
        """Number of its messages that a PONG acknowledges."""
        tokens = (line[len(b"PONG ") :] for line in self.received_lines if line.startswith(b"PONG "))
        return max((int(token) for token in tokens if token.isdigit()), default=0)


class Speaker(Member):
    """A member that sends as fast as the server answers.

    Args:
        name: its name in the room.
        run: number of this run on the journal, which makes its texts unique.
        filler: bytes added to each message.
    """

    def __init__(self, name: str, run: int, filler: int) -> None:
        super().__init__(name)
        self._run = run
        self._filler = "x" * filler
        self._numbers = count(1)
        self._stopped = False

    def stop(self) -> None:
        """Send no more messages."""
        self._stopped = True

    async def wait_for_pongs(self, pings: int) -> None:
        """Wait for the answers to this many PINGs that are yet to be sent."""
        await self.until(f"PONG {len(self.sent_messages) + pings * _MESSAGES_PER_PING}")

    def send_first(self) -> None:
        """Send JOIN, and fill the window."""
        super().send_first()
        for _ in range(_WINDOW):
            self._send_more()

    def data_received(self, data: bytes) -> None:
        searched = max(len(self.received) - len(_PONG) + 1, 0)
        super().data_received(data)
        for _ in range(self.received.count(_PONG, searched)):
            self._send_more()

    def _send_more(self) -> None:
        """Send a few messages, and a PING with the number of all messages as its token."""
        if self._stopped:
            return
        numbers = [next(self._numbers) for _ in range(_MESSAGES_PER_PING)]
        texts = (f"MSG {self.name}-{self._run}-{number}-{self._filler}" for number in numbers)
        self.send(*texts, f"PING {numbers[-1]}")


@asynccontextmanager
async def running(directory: Path, sync: Sync, *options: str) -> AsyncIterator[AsyncServerProcess]:
    """Run a server with a journal as a program."""
    journal = ("--journal", str(directory), "--sync", sync, "--journal-segment", _SEGMENT)
    async with run_async_server("--rate", "0", *journal, *options) as server:
        yield server


async def join_all(address: tuple[str, int], run: int) -> list[Member]:
    """Connect listeners, then speakers."""
    members = [Member(f"listener{number}") for number in range(_LISTENERS)]
    members += [Speaker(f"speaker{number}", run, filler) for number, filler in enumerate(_FILLERS)]
    for member in members:
        await join(member, address)
    return members


async def join(member: Member, address: tuple[str, int]) -> None:
    """Connect a member, and wait until it has joined."""
    async with asyncio.timeout(DEADLINE):
        await asyncio.get_running_loop().create_connection(lambda: member, *address)
    member.send_first()
    await member.until(f"OK JOIN {member.name}")


async def read_journal(directory: Path, start: int = 0) -> AsyncIterator[Record]:
    """Read a journal that nobody writes to, and check that all its bytes are consecutive records.

    Args:
        directory: the journal's directory.
        start: number of the first record to return.
    """
    for segment in list_segments(directory):
        if segment.stop is not None and segment.stop <= start:
            continue
        reader = segment.record_reader()
        async for records in segment.read(reader):
            for record in records:
                if record.number >= start:
                    yield record
        size = segment.path.stat().st_size
        assert reader.size == size, f"{segment.path} has {size} bytes, but {reader.size} are records"


def check_messages(lines: Sequence[bytes], members: Sequence[Member], *, durable: bool) -> None:
    """Check that each member's messages are in the journal once, in order, up to some message, and no others.

    Args:
        lines: the journal's lines of the members' time in the room.
        members: all members.
        durable: whether all messages acknowledged by a PONG must be there.
    """
    messages = [line for line in lines if line.startswith(b"MSG ")]
    for member in members:
        own = [line for line in messages if line.startswith(b"MSG %b " % member.name.encode())]
        check_same(own, member.sent_messages[: len(own)], f"messages of {member.name}")
        assert len(own) >= member.acknowledged or not durable, (
            f"{member.acknowledged} messages of {member.name} were acknowledged, and {len(own)} written"
        )
    unknown = [
        line for line in messages if line.split(b" ")[1].decode() not in {each.name for each in members}
    ]
    assert not unknown, unknown[0]


def expected_lines(lines: Sequence[bytes], member: Member) -> list[bytes]:
    """Return the journal's lines that a member should receive: all after its JOINED but its own messages."""
    joined = b"JOINED %b" % member.name.encode()
    start = lines.index(joined) + 1 if joined in lines else len(lines)
    own = b"MSG %b " % member.name.encode()
    return [line for line in lines[start:] if not line.startswith(own)]


def check_same(found: Sequence[bytes], expected: Sequence[bytes], what: str) -> None:
    """Check that two sequences of lines are equal; else name the first difference."""
    for place, (line, other) in enumerate(zip(found, expected, strict=False)):
        assert line == other, f"{what}: line {place} is {line[:80]!r} instead of {other[:80]!r}"
    assert len(found) == len(expected), f"{what}: {len(found)} lines instead of {len(expected)}"
