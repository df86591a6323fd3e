"""Whatever is killed, nothing that was acknowledged is lost, doubled or in another order.

CLUSTER_KILLS=5 pytest -s tests/cluster/test_kills.py takes a quarter of an hour.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from signal import SIGCONT, SIGSTOP

import pytest

from simple_chat.cluster.nodes import BEAT, LEASE
from tests.cluster.engine import Engine
from tests.cluster.kills import chat_servers, check, crowds, quieten
from tests.peer import connect
from tests.soak.abuse import Server

KILLS = int(os.environ.get("CLUSTER_KILLS", "0"))
TALK = 3.0  # seconds before and after
PAUSE = 40.0  # seconds

Strike = Callable[[Engine, str, Server], Awaitable[None]]


async def kill_leader(engine: Engine, room: str, _: Server) -> None:
    leader = await asyncio.to_thread(engine.leader_of, room)
    await asyncio.to_thread(engine.kill, leader)


async def kill_server(_: Engine, __: str, server: Server) -> None:
    server.process.kill()
    await server.process.wait()
    await asyncio.sleep(LEASE + BEAT)


async def kill_both(engine: Engine, room: str, server: Server) -> None:
    await asyncio.gather(kill_leader(engine, room, server), kill_server(engine, room, server))


async def pause_server(_: Engine, __: str, server: Server) -> None:
    server.process.send_signal(SIGSTOP)
    await asyncio.sleep(PAUSE)
    server.process.send_signal(SIGCONT)


@pytest.mark.skipif(not KILLS, reason="takes minutes: CLUSTER_KILLS=1 runs it")
@pytest.mark.parametrize("run", range(KILLS))
@pytest.mark.parametrize("strike", [kill_leader, kill_server, kill_both, pause_server])
async def test_nothing_acknowledged_is_lost_doubled_or_reordered(
    strike: Strike, run: int, engine: Engine, room_name: str
) -> None:
    async with chat_servers(engine, room_name) as servers:
        there = await crowds(servers, run)
        await asyncio.sleep(TALK)
        await strike(engine, room_name, servers[-1])
        gone = [] if strike is kill_leader else [there.pop()]
        for member in (member for crowd in gone for member in crowd.members):
            await member.ended()
            await there[0].listener.until(f"LEFT {member.name}")
        await asyncio.sleep(TALK)
        await quieten(there)
        lines = check(there, gone)
        if strike is pause_server:
            assert not any(member.told[-1].startswith(b"BYE") for member in gone[0].members)
            peer = await connect(servers[-1].address)
            assert (await peer.ask("JOIN again"))[1:] == ["OK JOIN again"]  # behind the greeting
            await peer.close()
    print(f"{strike.__name__} {run}: {lines} lines")  # noqa: T201 - pytest shows it with -s
