"""Chat servers that share a room under load, and what their members must have heard whatever was killed."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.harness.nats import Engine
from tests.soak.abuse import Server
from tests.soak.journal_kills import Member, Speaker, check_same, join

SERVERS = 3
_ROOT = Path(__file__).parents[2]
_FILLERS = (0, 60)  # bytes that make a message longer, for each speaker


@dataclass(frozen=True)
class Crowd:
    """Who is in the room on one server: one who listens, before all others, and some who talk."""

    listener: Member
    speakers: list[Speaker]

    @property
    def members(self) -> list[Member]:
        """All."""
        return [self.listener, *self.speakers]


@asynccontextmanager
async def chat_servers(engine: Engine, room: str, *options: str) -> AsyncIterator[list[Server]]:
    """Run servers that share a room, as programs."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(_chat_server(engine, room, options)) for _ in range(SERVERS)]


@asynccontextmanager
async def _chat_server(engine: Engine, room: str, options: Sequence[str]) -> AsyncIterator[Server]:
    shared = ["--port", "0", "--rate", "0", "--cluster", engine.url, "--cluster-room", room]
    command = [sys.executable, "-m", "simple_chat.server", *shared, *options]
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
    assert "Traceback" not in "".join(server.log)


async def crowds(servers: Sequence[Server], run: int) -> list[Crowd]:
    """Let some in at each server, first those who listen."""
    all_ = [Crowd(Member(f"listener{at}"), []) for at in range(len(servers))]
    for crowd, server in zip(all_, servers, strict=True):
        await join(crowd.listener, server.address)
    for at, (crowd, server) in enumerate(zip(all_, servers, strict=True)):
        for number, filler in enumerate(_FILLERS):
            crowd.speakers.append(Speaker(f"speaker{at}-{number}", run, filler))
            await join(crowd.speakers[-1], server.address)
    return all_


async def talk(there: Sequence[Crowd], pings: int) -> None:
    """Wait until everybody who talks there was answered so many more PINGs."""
    await asyncio.gather(*(speaker.wait_for_pongs(pings) for crowd in there for speaker in crowd.speakers))


async def quieten(there: Sequence[Crowd]) -> None:
    """Let nobody say any more, and wait until everybody has heard everything."""
    for crowd in there:
        for speaker in crowd.speakers:
            speaker.stop()
    await asyncio.gather(*(speaker.barrier() for crowd in there for speaker in crowd.speakers))
    await asyncio.gather(*(crowd.listener.barrier() for crowd in there))


def check(there: Sequence[Crowd], gone: Sequence[Crowd]) -> int:
    """Check what those who listened heard.

    Args:
        there: on servers that were there all the time.
        gone: on servers that were killed, or taken for dead.

    Returns:
        How many lines they heard.
    """
    first = there[0].listener
    for crowd in there[1:]:
        since = first.room_lines.index(b"JOINED %b" % crowd.listener.name.encode()) + 1
        check_same(crowd.listener.room_lines, first.room_lines[since:], f"what {crowd.listener.name} heard")
    for crowd in gone:
        heard = crowd.listener.room_lines
        since = first.room_lines.index(b"JOINED %b" % crowd.listener.name.encode()) + 1
        check_same(heard, first.room_lines[since:][: len(heard)], f"what {crowd.listener.name} heard")
    for crowd in (*there, *gone):
        for speaker in crowd.speakers:
            own = b"MSG %b " % speaker.name.encode()
            heard = [line for line in first.room_lines if line.startswith(own)]
            check_same(heard, speaker.sent_messages[: len(heard)], f"what {speaker.name} said")
            owed = speaker.acknowledged if crowd in gone else len(speaker.sent_messages)
            assert len(heard) >= owed, f"{speaker.name}: {len(heard)} of {owed} lines came"
    left = sorted(line for line in first.room_lines if line.startswith(b"LEFT "))
    assert left == sorted(f"LEFT {member.name}".encode() for crowd in gone for member in crowd.members)
    return len(first.room_lines)
