"""Whatever is killed, nothing that was acknowledged is lost, doubled or in another order.

CLUSTER_KILLS=5 pytest -s tests/cluster/test_kills.py takes a quarter of an hour. Each run has another victim.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from signal import SIGCONT, SIGSTOP

import pytest

from tests.harness import peer as peers_module
from tests.harness.kills import chat_servers, check, crowds, quieten, talk
from tests.harness.nats import Engine
from tests.harness.peer import connect
from tests.soak.abuse import Server

KILLS = int(os.environ.get("CLUSTER_KILLS", "0"))
PINGS = 100  # that each who talks is answered before and after
PAUSE = 40.0  # seconds
PATIENCE = 90.0  # seconds; a lease is 30 of them, and an election among NATS servers takes up to 10

Strike = Callable[[Engine, str, Server], Awaitable[None]]


@pytest.fixture(autouse=True)
def patient_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers_module, "DEADLINE", PATIENCE)


async def kill_leader(engine: Engine, room: str, _: Server) -> None:
    leader = await asyncio.to_thread(engine.leader_of, room)
    await asyncio.to_thread(engine.kill, leader)


async def kill_server(_: Engine, __: str, server: Server) -> None:
    server.process.kill()
    await server.process.wait()


async def kill_both(engine: Engine, room: str, server: Server) -> None:
    leader = await asyncio.to_thread(engine.leader_of, room)
    server.process.kill()
    engine.kill(leader)
    await server.process.wait()


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
    async with chat_servers(engine, room_name) as started:
        first = (run + 1) % len(started)
        servers = started[first:] + started[:first]
        there = await crowds(servers, run)
        await talk(there, PINGS)
        await strike(engine, room_name, servers[-1])
        gone = [] if strike is kill_leader else [there.pop()]
        for member in (member for crowd in gone for member in crowd.members):
            await member.ended()
            await there[0].listener.until(f"LEFT {member.name}")
        await talk(there, PINGS)
        await quieten(there)
        lines = check(there, gone)
        if strike is pause_server:
            assert not any(member.received_lines[-1].startswith(b"BYE") for member in gone[0].members)
            peer = await connect(servers[-1].address)
            assert (await peer.ask("JOIN again"))[1:] == ["OK JOIN again"]  # behind the greeting
            await peer.close()
    print(f"{strike.__name__} {run}: {lines} lines")  # noqa: T201 - pytest shows it with -s
