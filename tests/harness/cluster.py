"""Several chat servers that share one room, in this process or as programs, and peers connected to them."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any

from simple_chat import Server as ChatServer
from simple_chat import Settings, serve
from tests.harness.forked_program import ForkedProgram
from tests.harness.nats import NatsCluster
from tests.harness.peer import Peer, connect
from tests.harness.programs import ServerProcess
from tests.harness.server import ServerHarness

BUSY = "ERR busy this was not sent, the room can't take it now: try again later"
NAME_TAKEN = "ERR name-taken somebody here has that name, JOIN with another one"
UNAVAILABLE = "INFO The other servers can't be reached: what you say waits, or is refused."
RECOVERED = "INFO The other servers can be reached again."

JOIN_DEADLINE = 60.0
"""Seconds that a server may refuse to let a peer join. An election among NATS servers takes up to 10."""


def cluster_settings(nats: NatsCluster, room: str, **more: Any) -> Settings:  # noqa: ANN401 - as Settings has it
    """Return the settings of a server of a room.

    Args:
        nats: stores the room's stream.
        room: its name there.
        more: other settings.
    """
    settings = {"cluster": tuple(nats.urls), "cluster_room": room, "cluster_replicas": len(nats), "rate": 0}
    return Settings(**{**settings, **more})


@contextlib.asynccontextmanager
async def chat_server(nats: NatsCluster, room: str, **more: Any) -> AsyncIterator[ServerHarness]:  # noqa: ANN401 - as above
    """Run one server of a room; at the end of the block its peers are closed, then it is."""
    async with serve("127.0.0.1", 0, settings=cluster_settings(nats, room, **more)) as server:
        harness = ServerHarness(server)
        try:
            yield harness
        finally:
            await harness.close_peers()
    assert not server.hub.connections


@contextlib.asynccontextmanager
async def chat_servers(
    nats: NatsCluster,
    room: str,
    number: int = 3,
    **more: Any,  # noqa: ANN401 - as above
) -> AsyncIterator[list[ServerHarness]]:
    """Run several servers of a room; at the end of the block no task of theirs is left."""
    tasks = asyncio.all_tasks()
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(chat_server(nats, room, **more)) for _ in range(number)]
    assert asyncio.all_tasks() == tasks


async def join_each(servers: Sequence[ServerHarness], *names: str) -> list[Peer]:
    """Join one peer on each server, each of which has read that the others joined."""
    peers = [await server.join(name) for server, name in zip(servers, names, strict=True)]
    await _read_joins(peers, names)
    return peers


async def _read_joins(peers: Sequence[Peer], names: Sequence[str]) -> None:
    for index, peer in enumerate(peers, start=1):
        assert await peer.barrier() == [f"JOINED {name}" for name in names[index:]]


def room_lines(lines: Sequence[str]) -> list[str]:
    """Return the lines of the room's sequence: without the notices on the cluster's state."""
    return [line for line in lines if line not in {UNAVAILABLE, RECOVERED}]


async def who(peer: Peer) -> list[str]:
    """Return the members, sorted: the order of several that join at once is not defined."""
    *lines, end = await peer.ask("WHO")
    names = [name for line in lines for name in line.removeprefix("NAMES ").split()]
    assert end == f"OK WHO {len(names)}"
    return sorted(names)


async def history(peer: Peer) -> list[str]:
    """Return the PAST lines; lines of the room may come before."""
    *lines, end = await peer.ask("HISTORY")
    past = [line for line in lines if line.startswith("PAST ")]
    assert end == f"OK HISTORY {len(past)}"
    return past


def texts(past: list[str]) -> list[str]:
    """Return names and texts of PAST lines, without the times."""
    return [" ".join(line.split()[2:]) for line in past]


# Programs


def cluster_options(nats: NatsCluster, room: str) -> tuple[str, ...]:
    """Return the command-line options of a server of a room."""
    replicas = () if len(nats) > 1 else ("--cluster-replicas", "1")
    return ("--cluster", nats.url, "--cluster-room", room, *replicas)


@contextlib.asynccontextmanager
async def quick_server(*options: str) -> AsyncIterator[ServerProcess]:
    """Run a server with the timing of `tests.harness.timing`, which the test may kill.

    As a program: the client library leaves sockets open that it can't close in order, which in this process
    would fail the test.
    """
    arguments = ("--port", "0", "--rate", "0", *options)
    starting = asyncio.to_thread(ForkedProgram, "tests.harness.quick_server", arguments, os.environ)
    with await starting as process:
        try:
            with contextlib.ExitStack() as terminals:
                server = await asyncio.to_thread(ServerProcess, process, terminals)
                yield server
            if process.poll() is None:
                await asyncio.to_thread(server.stop)  # peers have to read that it ends
        finally:
            process.kill()


@contextlib.asynccontextmanager
async def quick_servers(nats: NatsCluster, room: str, number: int) -> AsyncIterator[list[ServerProcess]]:
    """Run several servers of a room as `quick_server` does."""
    options = cluster_options(nats, room)
    async with contextlib.AsyncExitStack() as stack:
        starting = (stack.enter_async_context(quick_server(*options)) for _ in range(number))
        yield await asyncio.gather(*starting)


async def join(server: ServerProcess, name: str) -> Peer:
    """Join a peer on a server that is a program."""
    peer = await connect((server.host, int(server.port)))
    assert (await peer.line()).startswith("HELLO ")
    assert await peer.ask(f"JOIN {name}") == [f"OK JOIN {name}"]
    return peer


async def join_when_ready(server: ServerProcess | ChatServer, name: str) -> Peer:
    """Join a peer on a server that may refuse that for a moment, as NATS was unavailable to it."""
    address = server.address if isinstance(server, ChatServer) else (server.host, int(server.port))
    peer = await connect(address)
    await peer.line()
    async with asyncio.timeout(JOIN_DEADLINE):
        answer = BUSY
        while answer in {BUSY, UNAVAILABLE, RECOVERED}:
            if answer == BUSY:
                peer.send(f"JOIN {name}")
            answer = await peer.line()
    assert answer == f"OK JOIN {name}"
    return peer


async def join_each_program(servers: Sequence[ServerProcess], *names: str) -> list[Peer]:
    """Join one peer on each program, each of which has read that the others joined."""
    peers = [await join(server, name) for server, name in zip(servers, names, strict=True)]
    await _read_joins(peers, names)
    return peers
