"""Load on chat servers that share a room, and what their members must have received after any kill."""

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.harness.cluster import cluster_options
from tests.harness.nats import NatsCluster
from tests.soak.abuse import Server
from tests.soak.journal_kills import Member, Speaker, check_same, join

_SERVERS = 3
_ROOT = Path(__file__).parents[2]
_FILLERS = (0, 60)  # bytes that make a message longer, for each speaker


@dataclass(frozen=True)
class Crowd:
    """The members on one server: a listener, who joined before all speakers, and speakers."""

    listener: Member
    speakers: list[Speaker]

    @property
    def members(self) -> list[Member]:
        """All of them."""
        return [self.listener, *self.speakers]


@asynccontextmanager
async def chat_programs(nats: NatsCluster, room: str) -> AsyncIterator[list[Server]]:
    """Run three servers of a room as programs."""
    async with AsyncExitStack() as stack:
        starting = (stack.enter_async_context(_chat_program(nats, room)) for _ in range(_SERVERS))
        yield await asyncio.gather(*starting)


@asynccontextmanager
async def _chat_program(nats: NatsCluster, room: str) -> AsyncIterator[Server]:
    options = ["--port", "0", "--rate", "0", *cluster_options(nats, room)]
    command = [sys.executable, "-m", "simple_chat.server", *options]
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


async def join_crowds(servers: Sequence[Server], run: int) -> list[Crowd]:
    """Join a crowd on each server, all listeners first."""
    crowds = [Crowd(Member(f"listener{index}"), []) for index in range(len(servers))]
    for crowd, server in zip(crowds, servers, strict=True):
        await join(crowd.listener, server.address)
    for index, (crowd, server) in enumerate(zip(crowds, servers, strict=True)):
        for number, filler in enumerate(_FILLERS):
            crowd.speakers.append(Speaker(f"speaker{index}-{number}", run, filler))
            await join(crowd.speakers[-1], server.address)
    return crowds


async def wait_for_pongs(crowds: Sequence[Crowd], number: int) -> None:
    """Wait until each speaker has received some more PONGs."""
    await asyncio.gather(*(speaker.wait_for_pongs(number) for crowd in crowds for speaker in crowd.speakers))


async def stop_speakers(crowds: Sequence[Crowd]) -> None:
    """Stop all speakers, and wait until everybody has received everything."""
    speakers = [speaker for crowd in crowds for speaker in crowd.speakers]
    for speaker in speakers:
        speaker.stop()
    await asyncio.gather(*(speaker.barrier() for speaker in speakers))
    await asyncio.gather(*(crowd.listener.barrier() for crowd in crowds))


def check_crowds(present: Sequence[Crowd], gone: Sequence[Crowd]) -> int:
    """Check what the listeners received.

    Args:
        present: on servers that stayed in the cluster.
        gone: on servers that were killed, or whose lease expired.

    Returns:
        The number of lines that a listener received.
    """
    received = present[0].listener.room_lines
    for crowd in present[1:]:
        listener = crowd.listener
        check_same(
            listener.room_lines, _since_join(received, listener), f"lines that {listener.name} received"
        )
    for crowd in gone:
        listener, shown = crowd.listener, crowd.listener.room_lines
        due = _since_join(received, listener)[: len(shown)]
        check_same(shown, due, f"lines that {listener.name} received")
    for crowd in (*present, *gone):
        for speaker in crowd.speakers:
            _check_messages(
                received, speaker, speaker.acknowledged if crowd in gone else len(speaker.sent_messages)
            )
    left = sorted(line for line in received if line.startswith(b"LEFT "))
    assert left == sorted(f"LEFT {member.name}".encode() for crowd in gone for member in crowd.members)
    return len(received)


def _since_join(received: list[bytes], member: Member) -> list[bytes]:
    return received[received.index(b"JOINED %b" % member.name.encode()) + 1 :]


def _check_messages(received: list[bytes], speaker: Speaker, owed: int) -> None:
    own = b"MSG %b " % speaker.name.encode()
    messages = [line for line in received if line.startswith(own)]
    check_same(messages, speaker.sent_messages[: len(messages)], f"messages of {speaker.name}")
    assert len(messages) >= owed, f"{speaker.name}: {len(messages)} of {owed} messages arrived"
