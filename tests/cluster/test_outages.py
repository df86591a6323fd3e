"""Outages of NATS, short or final: what members are told, what is queued, and what they have afterwards.

Recovery does not depend on the number of NATS servers, so most of these tests have one, which needs no
election. One test kills the leader of three, one pauses a majority, and one pauses a follower.
"""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from math import ceil
from signal import SIGCONT, SIGSTOP
from subprocess import PIPE, Popen

import pytest

from simple_chat.cluster import replicator
from simple_chat.core.room import BATCH_BYTES
from tests.harness import peer as peers_module
from tests.harness.cluster import (
    BUSY,
    RECOVERED,
    UNAVAILABLE,
    chat_server,
    chat_servers,
    cluster_options,
    history,
    join,
    join_each,
    join_each_program,
    join_when_ready,
    quick_server,
    quick_servers,
    room_lines,
    texts,
    who,
)
from tests.harness.nats import NatsCluster
from tests.harness.nats_fixtures import OWN_ROOM
from tests.harness.peer import Peer, connect
from tests.harness.programs import DEADLINE, ServerProcess
from tests.harness.timing import HEARTBEAT, LEASE

OUTAGE_DEADLINE = 60.0  # seconds; an election among NATS servers takes up to 10, and there may be two
LONG = "x" * 1000
SHORT_START = """
import sys
from simple_chat.cluster import stream
stream.START_TIMEOUT = 1.0
from simple_chat.server.__main__ import main
sys.exit(main())
"""

Fault = Callable[[NatsCluster], None]


@pytest.fixture(autouse=True)
def long_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers_module, "DEADLINE", OUTAGE_DEADLINE)


async def cause(fault: Fault, nats: NatsCluster, *members: Peer) -> None:
    """Make NATS unavailable, which is the next thing that all members are told."""
    await asyncio.to_thread(fault, nats)
    for peer in members:
        assert await peer.line() == UNAVAILABLE


async def recover(nats: NatsCluster, *members: Peer) -> list[list[str]]:
    """Make NATS available, which all members are told; return what else each has read by then."""
    await asyncio.to_thread(nats.start)
    return [await peer.until(RECOVERED) for peer in members]


async def barriers(*members: Peer) -> list[list[str]]:
    """Wait until all have received what any of them sent."""
    first = [await peer.barrier() for peer in members]
    return [lines + await peer.barrier() for peer, lines in zip(members, first, strict=True)]


def by(lines: Sequence[str], name: str) -> list[str]:
    return [line for line in lines if line.startswith(f"MSG {name} ")]


def without(lines: Sequence[str], name: str) -> list[str]:
    return [line for line in lines if not line.startswith(f"MSG {name} ")]


# One of three NATS servers fails


async def test_nothing_is_lost_duplicated_or_reordered_when_the_leader_is_killed(
    own_cluster: NatsCluster,
) -> None:
    names = ("ann", "bob", "cleo")
    async with chat_servers(own_cluster, OWN_ROOM) as servers:
        listeners = await join_each(servers, "listener0", "listener1", "listener2")
        speakers = await join_each(servers, *names)
        killed = asyncio.Event()

        async def speak(name: str, peer: Peer) -> list[str]:
            said: list[str] = []
            left = 30
            while left:
                await peer.ask(f"MSG {len(said)}")
                said.append(f"MSG {name} {len(said)}")
                left -= killed.is_set()
            return said

        speaking = [asyncio.create_task(speak(*each)) for each in zip(names, speakers, strict=True)]
        beginning = [*(await listeners[0].until("MSG ann 20")), "MSG ann 20"]
        leader = await asyncio.to_thread(own_cluster.leader_of, OWN_ROOM)
        await asyncio.to_thread(own_cluster.kill, leader)
        killed.set()
        said = await asyncio.gather(*speaking)
        received, *others = [room_lines(await peer.barrier()) for peer in listeners]
        received = room_lines(beginning) + received
        assert others == [received, received]
        assert [by(received, name) for name in names] == said
        assert len(received) == len(names) + sum(map(len, said))
    assert await asyncio.to_thread(own_cluster.leader_of, OWN_ROOM) != leader


async def test_server_reconnects_when_its_nats_server_hangs(own_cluster: NatsCluster) -> None:
    async with chat_server(own_cluster, OWN_ROOM):  # which creates the stream
        hanging = await asyncio.to_thread(own_cluster.follower_of, OWN_ROOM)
    far_url, near_url = own_cluster.urls[hanging - 1], own_cluster.urls[hanging]
    async with (
        quick_server("--cluster", near_url, "--cluster-room", OWN_ROOM) as near,
        quick_server("--cluster", far_url, "--cluster-room", OWN_ROOM) as far,
    ):
        ann, bob = await join_each_program((near, far), "ann", "bob")
        await asyncio.to_thread(own_cluster.pause, hanging)
        await ann.ask("MSG 1")
        assert room_lines(await bob.barrier()) == ["MSG ann 1"]
        await bob.ask("MSG 2")
        assert room_lines(await ann.barrier()) == ["MSG bob 2"]


# A chat server misses entries


async def test_gap_in_the_stream_cuts_all_connections(own_server: NatsCluster) -> None:
    async with quick_servers(own_server, OWN_ROOM, 2) as (far, near):
        bob, ann = await join_each_program((far, near), "bob", "ann")
        near.process.send_signal(SIGSTOP)
        await asyncio.to_thread(restart, own_server)
        await bob.ask("MSG 1")
        async with own_server.client() as client:
            await client.jetstream().purge_stream(OWN_ROOM)
        await bob.ask("MSG 2")
        near.process.send_signal(SIGCONT)
        await ann.wait_closed()
        assert b"MSG bob 2" not in ann.received
        assert b"BYE" not in ann.received


async def test_new_stream_of_the_same_name_cuts_all_connections(own_server: NatsCluster) -> None:
    async with quick_servers(own_server, OWN_ROOM, 2) as (far, near):
        bob, ann = await join_each_program((far, near), "bob", "ann")
        near.process.send_signal(SIGSTOP)
        await asyncio.to_thread(restart, own_server)
        await bob.ask("MSG 1")
        await asyncio.to_thread(own_server.delete, OWN_ROOM)
        await bob.wait_closed()
        bob = await join_when_ready(far, "bob")
        for number in range(20):  # the new stream is longer than the old one was
            await bob.ask(f"MSG {number}")
        near.process.send_signal(SIGCONT)
        await ann.wait_closed()
        assert b"BYE" not in ann.received


def restart(nats: NatsCluster) -> None:
    """Break all connections to NATS, which sends nothing to a chat server that is stopped."""
    nats.kill_all()
    nats.start()


@pytest.mark.usefixtures("short_timeouts")
async def test_deleted_stream_cuts_all_connections_and_the_room_begins_anew(
    nats_cluster: NatsCluster, room_name: str
) -> None:
    async with chat_servers(
        nats_cluster, room_name, 2, cluster_lease=LEASE, cluster_heartbeat=HEARTBEAT
    ) as servers:
        ann, bob = await join_each(servers, "ann", "bob")
        await ann.ask("MSG 1")
        await asyncio.to_thread(nats_cluster.delete, room_name)
        for peer in (ann, bob):
            await peer.wait_closed()
            assert b"BYE" not in peer.received
        ann, bob = [
            await join_when_ready(server.server, name)
            for server, name in zip(servers, ("ann", "bob"), strict=True)
        ]
        await ann.barrier()
        await ann.ask("MSG 2")
        assert await bob.barrier() == ["MSG ann 2"]


async def delete_entry_with(text: str, nats: NatsCluster, room: str) -> None:
    """Delete the newest entry with a text, as an operator of NATS does."""
    async with nats.client() as client:
        jetstream = client.jetstream()
        for position in range((await jetstream.stream_info(room)).state.last_seq, 0, -1):
            if text.encode() in ((await jetstream.get_msg(room, position)).data or b""):
                await jetstream.delete_msg(room, position)
                return


async def test_server_starts_with_the_history_after_a_deleted_message(
    nats_cluster: NatsCluster, room_name: str
) -> None:
    async with chat_server(nats_cluster, room_name) as first:
        ann = await first.join("ann")
        for number in (1, 2, 3):
            await ann.ask(f"MSG {number}")
    async with chat_server(nats_cluster, room_name) as second:
        bob = await second.join("bob")  # after this its server has published a snapshot
        await delete_entry_with("MSG ann 2", nats_cluster, room_name)
        assert texts(await history(bob)) == ["ann 1", "ann 2", "ann 3"]
        async with asyncio.timeout(OUTAGE_DEADLINE), chat_server(nats_cluster, room_name) as third:
            cleo = await third.join("cleo")
            assert texts(await history(cleo)) == ["ann 3"]
            assert await who(cleo) == ["bob", "cleo"]


async def test_server_starts_from_a_snapshot_that_covers_what_was_deleted(
    nats_cluster: NatsCluster, room_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicator, "SNAPSHOT_INTERVAL", 4.0)
    async with chat_server(nats_cluster, room_name, cluster_heartbeat=HEARTBEAT) as first:
        ann = await first.join("ann")
        await first.join("bob")
        await delete_entry_with("JOIN bob", nats_cluster, room_name)
        async with (
            asyncio.timeout(OUTAGE_DEADLINE),
            chat_server(nats_cluster, room_name, cluster_heartbeat=HEARTBEAT) as second,
        ):
            cleo = await second.join("cleo")
            assert await who(cleo) == ["ann", "bob", "cleo"]
            assert await ann.barrier() == ["JOINED bob", "JOINED cleo"]


# NATS has no majority, or is down


async def test_messages_of_an_outage_without_majority_arrive_once_and_in_order_afterwards(
    own_cluster: NatsCluster,
) -> None:
    await check_outage(own_cluster, lambda nats: nats.pause(0, 1))


async def test_messages_of_an_outage_by_kill_arrive_once_and_in_order_afterwards(
    own_server: NatsCluster,
) -> None:
    await check_outage(own_server, NatsCluster.kill_all)


async def check_outage(nats: NatsCluster, fault: Fault) -> None:
    async with quick_servers(nats, OWN_ROOM, 3) as servers:
        ann, bob, cleo = members = await join_each_program(servers, "ann", "bob", "cleo")
        await ann.ask("MSG 0")
        for peer in (bob, cleo):
            assert await peer.barrier() == ["MSG ann 0"]
        await cause(fault, nats, *members)
        ann.send("MSG 1", "PING ann", "MSG 2")
        bob.send("MSG 1", "WHO", "MSG 2", "LEAVE", "JOIN Bobby", "MSG 3")
        await check_that_requests_are_answered(cleo)
        await check_that_joins_are_refused(servers)
        before = await recover(nats, *members)
        received = [lines + rest for lines, rest in zip(before, await barriers(*members), strict=True)]
        check_received(*received)
        dora = await join(servers[0], "dora")
        await dora.ask("MSG hello")
        for peer in members:
            assert await peer.barrier() == ["JOINED dora", "MSG dora hello"]


async def check_that_requests_are_answered(peer: Peer) -> None:
    """Check the answers to a member who has sent no message."""
    peer.send("WHO", "HELP", "HISTORY", "PING cleo")
    answers = await peer.until("OK HISTORY 1")
    assert answers[:2] == ["NAMES cleo ann bob", "OK WHO 3"]
    assert "OK HELP" in answers


async def check_that_joins_are_refused(servers: Sequence[ServerProcess]) -> None:
    for server in servers:
        stranger = await connect((server.host, int(server.port)))
        await stranger.line()
        assert await stranger.ask("JOIN dora", "JOIN dora") == [BUSY, BUSY]
        assert (await stranger.ask("WHO"))[-1] == "OK WHO 3"
        await stranger.close()


def check_received(ann: list[str], bob: list[str], cleo: list[str]) -> None:
    assert by(cleo, "ann") == ["MSG ann 1", "MSG ann 2"]
    of_bob = ["MSG bob 1", "MSG bob 2", "LEFT bob", "JOINED Bobby", "MSG Bobby 3"]
    assert [line for line in without(cleo, "ann") if line != "PONG cleo"] == of_bob
    assert cleo.count("PONG cleo") == 1
    assert [line for line in ann if line != "PONG ann"] == of_bob
    assert ann.count("PONG ann") == 1
    answers = ["NAMES bob ann cleo", "OK WHO 3", "OK LEAVE", "OK JOIN Bobby"]
    assert [line for line in bob if line in answers] == answers
    assert set(bob) <= {*answers, *by(cleo, "ann")}


async def test_more_than_a_batch_is_refused_and_nothing_accepted_is_lost(own_server: NatsCluster) -> None:
    lines = [f"MSG {number:02} {LONG}" for number in range(60)]
    said = [f"MSG ann {line.removeprefix('MSG ')}" for line in lines]
    capacity = ceil(BATCH_BYTES / len(f"{said[0]}\n"))
    async with quick_servers(own_server, OWN_ROOM, 2) as servers:
        ann, bob = await join_each_program(servers, "ann", "bob")
        await cause(NatsCluster.pause_all, own_server, ann, bob)
        ann.send(*lines, "HELP")
        answers = await ann.until("OK HELP")
        refused = len(said) - capacity
        assert answers[:refused] == [BUSY] * refused
        assert all(line.startswith("INFO ") for line in answers[refused:])
        ann_before, bob_before = await recover(own_server, ann, bob)
        assert ann_before == []
        ann_after, bob_after = await barriers(ann, bob)
        assert ann_after == []
        assert bob_before + bob_after == said[:capacity]
        await ann.ask(lines[-1])
        assert await bob.barrier() == [said[-1]]


# A chat server is told to end during an outage


@pytest.mark.parametrize("fault", [NatsCluster.pause_all, NatsCluster.kill_all])
async def test_server_that_is_terminated_during_an_outage_exits_with_status_0(
    own_server: NatsCluster, fault: Fault
) -> None:
    async with quick_server(*cluster_options(own_server, OWN_ROOM), "--drain", "0.2") as ending:
        ann = await join(ending, "ann")
        await cause(fault, own_server, ann)
        ann.send("MSG late")
        ending.process.terminate()
        await ann.wait_closed()
        assert b"BYE" not in ann.received  # as its message may be lost
        assert await asyncio.to_thread(ending.process.wait, DEADLINE) == 0


@contextlib.contextmanager
def starting_server(*options: str) -> Iterator[Popen[str]]:
    """Run a server that is not expected to listen, and gives up its start early."""
    with Popen(
        [sys.executable, "-c", SHORT_START, "--port", "0", *options], stderr=PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def check_that_it_ends(process: Popen[str]) -> None:
    """Check that a server ends on SIGTERM, with or without a message on what it was waiting for."""
    process.terminate()
    _, log = process.communicate(timeout=DEADLINE)
    assert process.returncode in {0, 1}
    assert "Traceback" not in log


def test_server_that_is_terminated_before_nats_answers_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(DEADLINE)
        host, port = silent.getsockname()
        with starting_server("--cluster", f"nats://{host}:{port}") as starting, silent.accept()[0]:
            check_that_it_ends(starting)


async def test_server_that_is_terminated_while_it_waits_for_a_snapshot_ends(
    nats_cluster: NatsCluster, room_name: str
) -> None:
    async with chat_server(nats_cluster, room_name):
        pass
    async with nats_cluster.client() as client:
        await client.jetstream().purge_stream(room_name)
    with starting_server(*cluster_options(nats_cluster, room_name)) as starting:
        assert starting.stderr is not None
        async with asyncio.timeout(OUTAGE_DEADLINE):
            assert "waiting for another server" in await asyncio.to_thread(starting.stderr.readline)
        await asyncio.to_thread(check_that_it_ends, starting)
