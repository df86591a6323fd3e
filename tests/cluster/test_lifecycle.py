"""Servers of a room that shut down, idle or die."""

import asyncio
import contextlib
import itertools
from signal import SIGCONT, SIGKILL, SIGSTOP

from simple_chat.cluster.entry import END
from tests.harness.cluster import (
    BUSY,
    chat_server,
    chat_servers,
    cluster_options,
    history,
    join,
    join_each,
    join_when_ready,
    quick_servers,
    texts,
    who,
)
from tests.harness.nats import NatsCluster
from tests.harness.nats_fixtures import OWN_ROOM
from tests.harness.peer import Peer, connect
from tests.harness.programs import DEADLINE, run_server_process
from tests.harness.timing import HEARTBEAT, LEASE

# Shutdown


async def test_members_of_a_server_that_shuts_down_receive_everything_and_a_bye(
    nats_cluster: NatsCluster, room_name: str
) -> None:
    async with chat_server(nats_cluster, room_name) as server:
        with run_server_process(*cluster_options(nats_cluster, room_name)) as ending:
            ann = await server.join("ann")
            bob = await join(ending, "bob")
            cleo = await join(ending, "cleo")
            for peer in (ann, bob):
                await peer.barrier()
            said = [f"MSG ann {number}" for number in range(500)]
            await ann.ask(*(f"MSG {number}" for number in range(500)))
            ending.process.terminate()
            assert await bob.rest() == [*said, "BYE shutdown"]
            assert await cleo.rest() == [*said, "BYE shutdown"]
            left = await ann.lines(2)
            assert sorted(left) == ["LEFT bob", "LEFT cleo"]
            for name in ("bob", "cleo"):
                await server.join(name)
            assert await ann.barrier() == ["JOINED bob", "JOINED cleo"]
            assert await asyncio.to_thread(ending.process.wait, DEADLINE) == 0


async def test_everything_that_a_server_accepted_before_its_end_reaches_all(
    nats_cluster: NatsCluster, room_name: str
) -> None:
    async with chat_server(nats_cluster, room_name) as server:
        with run_server_process(*cluster_options(nats_cluster, room_name)) as ending:
            ann = await server.join("ann")
            bob = await join(ending, "bob")
            cleo = await join(ending, "cleo")
            await ann.barrier()
            await bob.barrier()

            taken: list[int] = []

            async def speak() -> None:
                with contextlib.suppress(AssertionError):  # which reports the end
                    for number in itertools.count():
                        bob.send(f"MSG {number}", f"PING {number}")
                        if BUSY not in await bob.until(f"PONG {number}"):
                            taken.append(number)

            speaking = asyncio.create_task(speak())
            await ann.until("MSG bob 20")
            ending.process.terminate()
            await speaking
            heard = [f"MSG bob {number}" for number in range(21)]
            heard += [line for line in await ann.barrier() if line.startswith("MSG ")]
            assert heard == [f"MSG bob {number}" for number in range(len(heard))]
            assert await cleo.rest() == [*heard, "BYE shutdown"]
            assert taken == list(range(len(taken)))
            assert len(taken) <= len(heard)
            assert bob.received.endswith(b"\nBYE shutdown\n")
            assert await asyncio.to_thread(ending.process.wait, DEADLINE) == 0


async def test_server_that_shuts_down_acknowledges_only_what_it_accepts(own_server: NatsCluster) -> None:
    options = cluster_options(own_server, OWN_ROOM)
    async with chat_server(own_server, OWN_ROOM) as server:
        with run_server_process(*options, "--drain", "60") as ending:
            ann = await server.join("ann")
            bob = await join(ending, "bob")
            await ann.barrier()
            own_server.pause_all()  # so that the shutdown takes a while
            ending.process.terminate()
            ending.log.expect_exact("shutting down")
            bob.send("MSG late", "PING late")
            await asyncio.to_thread(own_server.start)
            answers = await bob.rest()
            accepted = "PONG late" in answers and BUSY not in answers
            received = await ann.until("LEFT bob")
            assert ("MSG bob late" in received) >= accepted
            assert await asyncio.to_thread(ending.process.wait, DEADLINE) == 0


# Heartbeats


async def test_idle_server_publishes_heartbeats(nats_cluster: NatsCluster, room_name: str) -> None:
    interval = 0.2
    idle = chat_server(nats_cluster, room_name, cluster_heartbeat=interval)
    async with idle, nats_cluster.client() as client:
        subscription = await client.jetstream().subscribe(f"{room_name}.log")
        times = [(await subscription.next_msg(DEADLINE)).metadata.timestamp for _ in range(5)]
        assert all(
            (later - earlier).total_seconds() >= interval for earlier, later in itertools.pairwise(times)
        )


async def test_server_publishes_nothing_after_its_end(nats_cluster: NatsCluster, room_name: str) -> None:
    async with nats_cluster.client() as client:
        async with chat_server(nats_cluster, room_name, drain=0.5, cluster_heartbeat=0.05) as server:
            slow = await connect(server.server.address, receive_buffer=4096)
            await slow.ask("JOIN slow")
            slow.pause()
            talker = await server.join("talker")
            for _ in range(100):
                await talker.ask(*(f"MSG {'x' * 4000}" for _ in range(15)))  # more than the kernel takes
        await slow.close()
        last = await client.jetstream().get_last_msg(room_name, f"{room_name}.log")
        assert last.data is not None
        assert last.data.endswith(END)


# Servers that die


async def test_members_of_a_dead_server_leave_once_and_a_server_that_returns_begins_anew(
    nats_cluster: NatsCluster, room_name: str
) -> None:
    timing = {"cluster_lease": LEASE, "cluster_heartbeat": HEARTBEAT}
    async with (
        chat_servers(nats_cluster, room_name, 2, **timing) as servers,
        quick_servers(nats_cluster, room_name, 2) as (dying, paused),
    ):
        ann, zoe = await join_each(servers, "ann", "zoe")
        bob, bert = await join(dying, "bob"), await join(dying, "bert")
        cleo, carl = await join(paused, "cleo"), await join(paused, "carl")
        for peer in (ann, zoe):
            assert await peer.barrier() == ["JOINED bob", "JOINED bert", "JOINED cleo", "JOINED carl"]
        await cleo.ask("MSG hello")
        dying.process.send_signal(SIGKILL)
        paused.process.send_signal(SIGSTOP)
        await bob.wait_closed()
        await bert.wait_closed()
        cleo.send("MSG ghost")
        await check_that_they_left(ann, zoe)
        async with chat_server(nats_cluster, room_name, **timing) as late:
            for name in ("bob", "bert", "cleo", "carl"):
                await late.join(name)
        joined = ["JOINED bob", "JOINED bert", "JOINED cleo", "JOINED carl"]
        left = ["LEFT bob", "LEFT bert", "LEFT cleo", "LEFT carl"]
        for peer in (ann, zoe):
            lines = await peer.barrier()
            assert [line for line in lines if line.startswith("JOINED")] == joined
            assert sorted(line for line in lines if line.startswith("LEFT")) == sorted(left)
        paused.process.send_signal(SIGCONT)
        for peer in (cleo, carl):
            await peer.wait_closed()
            assert b"BYE" not in peer.received
        dora = await join_when_ready(paused, "dora")
        await dora.ask("MSG back")
        assert await who(dora) == ["ann", "dora", "zoe"]
        for peer in (ann, zoe):
            assert await peer.barrier() == ["JOINED dora", "MSG dora back"]
            assert texts(await history(peer)) == ["cleo hello", "dora back"]
        assert texts(await history(dora)) == ["cleo hello", "dora back"]
        await dora.close()
        for peer in (ann, zoe):
            assert await peer.line() == "LEFT dora"


async def check_that_they_left(*peers: Peer) -> None:
    """Wait until the four on two servers left; those of one leave in the order in which they joined."""
    received = [await peer.lines(5) for peer in peers]
    assert all(lines == received[0] for lines in received)
    hello, *left = received[0]
    assert hello == "MSG cleo hello"
    assert left in (
        ["LEFT bob", "LEFT bert", "LEFT cleo", "LEFT carl"],
        ["LEFT cleo", "LEFT carl", "LEFT bob", "LEFT bert"],
    )
