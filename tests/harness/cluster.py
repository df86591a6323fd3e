"""Several chat servers that are one room, in this process or as programs, and the peers who are connected."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from subprocess import PIPE, Popen
from typing import Any

from simple_chat import Settings, serve
from tests.harness.nats import Engine
from tests.harness.peer import Peer, connect
from tests.harness.programs import ServerProcess
from tests.harness.server import ServerHarness

BUSY = "ERR busy this was not sent, the room can't take it now: try again later"
TAKEN = "ERR name-taken somebody here has that name, JOIN with another one"
AWAY = "INFO The other servers can't be reached: what you say waits, or is refused."
BACK = "INFO The other servers can be reached again."


def settings(engine: Engine, room: str, **more: Any) -> Settings:  # noqa: ANN401 - as Settings has it
    """How to set up one of the servers of a room.

    Args:
        engine: which keeps the room's log.
        room: what it is called there.
        more: what else is set.
    """
    return Settings(**{"cluster": tuple(engine.urls), "cluster_room": room, "rate": 0, **more})


@contextlib.asynccontextmanager
async def house(engine: Engine, room: str, **more: Any) -> AsyncIterator[ServerHarness]:  # noqa: ANN401 - as above
    """Run one of the servers of a room; at the end of the block its peers close, then it does."""
    async with serve("127.0.0.1", 0, settings=settings(engine, room, **more)) as server:
        inside = ServerHarness(server)
        try:
            yield inside
        finally:
            await inside.close_peers()
    assert not server._connections


@contextlib.asynccontextmanager
async def houses(
    engine: Engine,
    room: str,
    number: int = 3,
    **more: Any,  # noqa: ANN401 - as above
) -> AsyncIterator[list[ServerHarness]]:
    """Run several servers of a room; at the end of the block nothing is left of them."""
    tasks = asyncio.all_tasks()
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(house(engine, room, **more)) for _ in range(number)]
    assert asyncio.all_tasks() == tasks


async def gather(homes: Sequence[ServerHarness], *names: str) -> list[Peer]:
    """Let one peer in at each house, each of whom has read that the others joined."""
    peers = [await home.join(name) for home, name in zip(homes, names, strict=True)]
    for place, peer in enumerate(peers):
        assert await peer.barrier() == [f"JOINED {name}" for name in names[place + 1 :]]
    return peers


def room_lines(lines: Sequence[str]) -> list[str]:
    """What is left without what is told about the log, which has no place in the sequence."""
    return [line for line in lines if line not in {AWAY, BACK}]


# Programs


def options(engine: Engine, room: str) -> tuple[str, ...]:
    """What the program is told, for it to be one of the servers of a room."""
    return ("--cluster", engine.url, "--cluster-room", room)


@contextlib.contextmanager
def doomed_server(engine: Engine, room: str) -> Iterator[ServerProcess]:
    """Run a server that may be killed."""
    command = [sys.executable, "-m", "simple_chat.server", "--port", "0", "--rate", "0"]
    with Popen([*command, *options(engine, room)], stderr=PIPE) as process:
        try:
            with contextlib.ExitStack() as terminals:
                yield ServerProcess(process, terminals)
        finally:
            process.kill()


async def join(server: ServerProcess, name: str) -> Peer:
    """Let a peer in at a program."""
    peer = await connect((server.host, int(server.port)))
    assert (await peer.line()).startswith("HELLO ")
    assert await peer.ask(f"JOIN {name}") == [f"OK JOIN {name}"]
    return peer
