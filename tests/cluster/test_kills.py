"""Whatever is killed, nothing that was acknowledged is lost, duplicated or reordered.

CLUSTER_KILLS=5 pytest -s tests/cluster/test_kills.py takes a quarter of an hour. Each run has another victim.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from signal import SIGCONT, SIGSTOP

import pytest

from tests.harness import peer as peers_module
from tests.harness.kills import chat_programs, check_crowds, join_crowds, stop_speakers, wait_for_pongs
from tests.harness.nats import NatsCluster
from tests.harness.nats_fixtures import OWN_ROOM
from tests.harness.peer import connect
from tests.soak.abuse import Server

KILLS = int(os.environ.get("CLUSTER_KILLS", "0"))
PONGS = 100  # that each speaker receives before and after
PAUSE = 40.0  # seconds
DEADLINE = 90.0  # seconds; a lease is 30 of them, and an election among NATS servers takes up to 10

Fault = Callable[[NatsCluster, Server], Awaitable[None]]


@pytest.fixture(autouse=True)
def long_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers_module, "DEADLINE", DEADLINE)


async def kill_leader(nats: NatsCluster, _: Server) -> None:
    leader = await asyncio.to_thread(nats.leader_of, OWN_ROOM)
    await asyncio.to_thread(nats.kill, leader)


async def kill_server(_: NatsCluster, server: Server) -> None:
    server.process.kill()
    await server.process.wait()


async def kill_both(nats: NatsCluster, server: Server) -> None:
    leader = await asyncio.to_thread(nats.leader_of, OWN_ROOM)
    server.process.kill()
    nats.kill(leader)
    await server.process.wait()


async def pause_server(_: NatsCluster, server: Server) -> None:
    server.process.send_signal(SIGSTOP)
    await asyncio.sleep(PAUSE)
    server.process.send_signal(SIGCONT)


@pytest.mark.skipif(not KILLS, reason="takes minutes: CLUSTER_KILLS=1 runs it")
@pytest.mark.parametrize("run", range(KILLS))
@pytest.mark.parametrize("fault", [kill_leader, kill_server, kill_both, pause_server])
async def test_nothing_acknowledged_is_lost_duplicated_or_reordered(
    fault: Fault, run: int, own_cluster: NatsCluster
) -> None:
    async with chat_programs(own_cluster, OWN_ROOM) as started:
        first = (run + 1) % len(started)
        servers = started[first:] + started[:first]
        present = await join_crowds(servers, run)
        await wait_for_pongs(present, PONGS)
        await fault(own_cluster, servers[-1])
        gone = [] if fault is kill_leader else [present.pop()]
        for member in (member for crowd in gone for member in crowd.members):
            await member.wait_closed()
            await present[0].listener.until(f"LEFT {member.name}")
        await wait_for_pongs(present, PONGS)
        await stop_speakers(present)
        lines = check_crowds(present, gone)
        if fault is pause_server:
            assert not any(member.received_lines[-1].startswith(b"BYE") for member in gone[0].members)
            peer = await connect(servers[-1].address)
            assert (await peer.ask("JOIN again"))[1:] == ["OK JOIN again"]  # after the greeting
            await peer.close()
    print(f"{fault.__name__} {run}: {lines} lines")  # noqa: T201 - pytest shows it with -s
