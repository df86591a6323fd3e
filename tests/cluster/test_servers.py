"""Members on several servers share one room, whoever joins, leaves, shuts down or dies."""

import asyncio
import contextlib
import itertools
import resource
from collections import Counter
from collections.abc import Iterator
from signal import SIGCONT, SIGKILL, SIGSTOP

import pytest

from simple_chat.cluster.entry import END, encode_entry
from tests.harness.cluster import (
    BUSY,
    NAME_TAKEN,
    chat_server,
    chat_servers,
    cluster_options,
    join,
    join_each,
    quick_servers,
)
from tests.harness.nats import NatsCluster
from tests.harness.nats_fixtures import OWN_ROOM
from tests.harness.peer import Peer, connect
from tests.harness.programs import DEADLINE, run_server_process
from tests.harness.timing import HEARTBEAT, LEASE
from tests.server.test_backpressure import SMALL, Talk, follow

RACED = 300


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Allow both sides of all connections that race."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(8 * RACED, hard)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


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


# Messages


async def test_all_receive_the_same_in_one_order_and_nobody_its_own(
    nats_cluster: NatsCluster, room_name: str
) -> None:
    async with chat_servers(nats_cluster, room_name) as servers:
        listeners = await join_each(servers, "listener0", "listener1", "listener2")
        names = ("ann", "bob", "cleo")
        speakers = await join_each(servers, *names)

        async def speak(name: str, speaker: Peer) -> list[str]:
            said = [f"MSG {name}-{number}" for number in range(300)]
            heard = [await speaker.ask(*said[at : at + 5]) for at in range(0, len(said), 5)]
            return [line for lines in heard for line in lines]

        heard = await asyncio.gather(*map(speak, names, speakers))
        heard = [lines + await peer.barrier() for peer, lines in zip(speakers, heard, strict=True)]
        whole, *others = [await listener.barrier() for listener in listeners]
        whole = [line for line in whole if line.startswith("MSG ")]
        assert len(whole) == 900
        for lines in others:
            assert [line for line in lines if line.startswith("MSG ")] == whole
        for name, lines in zip(names, heard, strict=True):
            assert lines == [line for line in whole if not line.startswith(f"MSG {name} ")]
            own = [line for line in whole if line.startswith(f"MSG {name} ")]
            assert own == [f"MSG {name} {name}-{number}" for number in range(300)]


async def test_pong_comes_after_the_message_is_ordered_for_all_servers(
    nats_cluster: NatsCluster, room_name: str
) -> None:
    async with chat_servers(nats_cluster, room_name) as servers:
        ann, bob, cleo = await join_each(servers, "ann", "bob", "cleo")
        for number in range(50):
            assert await ann.ask(f"MSG {number}") == []
            assert await bob.barrier() == [f"MSG ann {number}"]
            assert await cleo.barrier() == [f"MSG ann {number}"]


async def test_help_is_answered_while_others_talk(nats_cluster: NatsCluster, room_name: str) -> None:
    async with chat_servers(nats_cluster, room_name, 2) as servers:
        ann, bob = await join_each(servers, "ann", "bob")
        answered = asyncio.Event()

        async def talk() -> None:
            while not answered.is_set():
                await ann.ask("MSG 1", "MSG 2")

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(talk())
            for _ in range(200):
                bob.send("HELP")
                await bob.until("OK HELP")
            answered.set()


async def test_history_is_the_same_everywhere_with_the_same_times(
    nats_cluster: NatsCluster, room_name: str
) -> None:
    async with chat_servers(nats_cluster, room_name) as servers:
        peers = await join_each(servers, "ann", "bob", "cleo")
        for number in range(20):
            await asyncio.gather(*(peer.ask(f"MSG {number}", f"MSG {number} too") for peer in peers))
        past = await history(peers[0])
        assert len(past) == 120
        assert len({line.split()[1] for line in past}) > 1
        for peer in peers[1:]:
            assert await history(peer) == past
        async with chat_server(nats_cluster, room_name) as late:
            assert await history(await late.join("dora")) == past


async def test_history_outlives_all_servers(nats_cluster: NatsCluster, room_name: str) -> None:
    async with chat_servers(nats_cluster, room_name, 2) as servers:
        ann, bob = await join_each(servers, "ann", "bob")
        for number in range(10):
            await ann.ask(f"MSG {number}")
            await bob.ask(f"MSG {number}")
        past = await history(ann)
    assert len(past) == 20
    for _ in range(2):
        async with chat_servers(nats_cluster, room_name, 2) as servers:
            for peer in await join_each(servers, "ann", "bob"):
                assert await history(peer) == past


async def test_longer_history_is_complete_on_a_server_that_starts_later(
    nats_cluster: NatsCluster, room_name: str
) -> None:
    said = [f"ann {number}" for number in range(1500)]
    async with chat_server(nats_cluster, room_name, history=1500) as first:
        ann = await first.join("ann")
        for at in range(0, len(said), 10):
            await ann.ask(*(f"MSG {number}" for number in range(at, at + 10)))
        assert texts(await history(ann)) == said
    async with chat_server(nats_cluster, room_name, history=1500) as second:
        ann = await second.join("ann")  # after this its server has published a snapshot
        assert texts(await history(ann)) == said
        async with chat_server(nats_cluster, room_name, history=1500) as third:
            assert texts(await history(await third.join("bob"))) == said


async def test_message_of_a_dead_server_is_in_no_history(nats_cluster: NatsCluster, room_name: str) -> None:
    async with chat_server(nats_cluster, room_name) as first:
        ann = await first.join("ann")
        await ann.ask("MSG 1")
        async with (
            nats_cluster.client() as client
        ):  # as from a server that does not know yet that its lease expired
            ghost = encode_entry("ghost", 7, [b"MSG ghost boo\n"])
            await client.jetstream().publish(f"{room_name}.log", ghost)
        await ann.ask("MSG 2")
        past = await history(ann)
        assert texts(past) == ["ann 1", "ann 2"]
    async with chat_server(nats_cluster, room_name) as second:
        ann = await second.join("ann")  # after this its server has published a snapshot
        assert await history(ann) == past
        async with chat_server(nats_cluster, room_name) as third:
            assert await history(await third.join("bob")) == past


async def test_foreign_messages_in_the_stream_are_ignored(nats_cluster: NatsCluster, room_name: str) -> None:
    async with chat_servers(nats_cluster, room_name, 2) as servers:
        ann, bob = await join_each(servers, "ann", "bob")
        async with nats_cluster.client() as client:
            for subject, data in (("log", b""), ("log", b"\xff x\n"), ("log", b"a b\n"), ("other", b"x")):
                await client.jetstream().publish(f"{room_name}.{subject}", data)
        assert await ann.ask("MSG 1") == []
        assert await bob.barrier() == ["MSG ann 1"]


async def test_each_client_gets_its_own_line_ends(nats_cluster: NatsCluster, room_name: str) -> None:
    async with chat_servers(nats_cluster, room_name, 2) as (near, far):
        telnet = await near.connect()
        telnet.write(b"\xff\xfd\x01JOIN ann\r\n")
        telnet.write(b"PING 1\r\n")
        assert await telnet.until("PONG 1\r") == ["\udcff\udcfc\x01OK JOIN ann\r"]
        bob = await far.join("bob")
        await bob.ask("MSG hello")
        telnet.write(b"MSG hi\r\nPING 2\r\n")
        assert await telnet.until("PONG 2\r") == ["JOINED bob\r", "MSG bob hello\r"]
        assert await bob.barrier() == ["MSG ann hi"]
        assert texts(await history(bob)) == ["bob hello", "ann hi"]


async def test_slow_reader_gets_a_gap_and_delays_nobody(nats_cluster: NatsCluster, room_name: str) -> None:
    async with chat_servers(nats_cluster, room_name, 2, backlog=SMALL) as (near, far):
        talker, listener, slow = (
            await far.join("talker"),
            await near.join("listener"),
            await near.join("slow", receive_buffer=4096),
        )
        for peer in (talker, listener, slow):
            await peer.barrier()
        near.set_send_buffer("slow", 4096)
        slow.pause()
        talk = Talk(near, talker, listener)
        await talk.say_until_behind("slow")
        await talk.say(50)
        slow.resume()
        assert follow(await slow.barrier(), said=talk.said) > 0


# Members


async def test_joins_and_leaves_reach_all_servers(nats_cluster: NatsCluster, room_name: str) -> None:
    async with chat_servers(nats_cluster, room_name) as servers:
        ann, bob, cleo = await join_each(servers, "ann", "bob", "cleo")
        for peer in (ann, bob, cleo):
            assert await who(peer) == ["ann", "bob", "cleo"]
        assert await cleo.ask("LEAVE") == ["OK LEAVE"]
        assert await cleo.ask("JOIN Cleopatra") == ["OK JOIN Cleopatra"]
        for peer in (ann, bob):
            assert await peer.barrier() == ["LEFT cleo", "JOINED Cleopatra"]
            assert await who(peer) == ["Cleopatra", "ann", "bob"]
        cleo.send("MSG bye", "QUIT")
        assert await cleo.rest() == ["BYE quit"]
        for peer in (ann, bob):
            assert await peer.until("LEFT Cleopatra") == ["MSG Cleopatra bye"]
            assert await who(peer) == ["ann", "bob"]
        bob.send("MSG hi")
        bob.half_close()
        assert await bob.rest() == ["BYE quit"]
        assert await ann.until("LEFT bob") == ["MSG bob hi"]
        assert await who(ann) == ["ann"]


async def test_name_has_one_holder_on_all_servers_whatever_the_case(
    nats_cluster: NatsCluster, room_name: str
) -> None:
    async with chat_servers(nats_cluster, room_name) as servers:
        await servers[0].join("Ann")
        for server in servers:
            peer = await server.connect()
            assert await peer.ask("JOIN Ann", "JOIN ann", "JOIN ANN") == [NAME_TAKEN] * 3


@pytest.mark.usefixtures("many_descriptors")
async def test_one_of_several_simultaneous_joins_gets_the_name(
    nats_cluster: NatsCluster, room_name: str
) -> None:
    names = [f"user{number}" for number in range(RACED)]
    async with chat_servers(nats_cluster, room_name, presence_limit=0) as servers:
        rivals = [[await server.connect() for _ in names] for server in servers]
        for number, name in enumerate(names):
            for turn in range(3):  # each server is the first for a third of the names
                index = (number + turn) % 3
                wanted = name.upper() if index == number % 2 else name
                rivals[index][number].send(f"JOIN {wanted}")
        for number, name in enumerate(names):
            answers = Counter([(await row[number].line()).casefold() for row in rivals])
            assert answers == Counter({f"ok join {name}": 1, NAME_TAKEN.casefold(): 2})
        for server in servers:
            held = await who(await server.connect())
            assert sorted(name.casefold() for name in held) == sorted(names)


async def test_name_is_free_on_all_servers_at_once_after_leave(
    nats_cluster: NatsCluster, room_name: str
) -> None:
    async with chat_servers(nats_cluster, room_name) as servers:
        wanderers = [await server.connect() for server in servers]
        for number in range(90):
            wanderer = wanderers[number % 3]
            wanderer.send("JOIN ann")
            assert await wanderer.line() == "OK JOIN ann"
            wanderer.send("LEAVE")
            assert await wanderer.line() == "OK LEAVE"


async def test_name_is_free_at_once_after_a_disconnect(nats_cluster: NatsCluster, room_name: str) -> None:
    async with chat_servers(nats_cluster, room_name, 2) as (near, far):
        bob = await far.join("bob")
        ann = await near.join("ann")
        for number in range(30):
            if number % 2:
                await ann.close()
            else:
                await ann.reset()
            ann = await near.connect()
            ann.send("JOIN ann")
            assert await ann.line() == "OK JOIN ann"
        assert await bob.barrier() == ["JOINED ann", *(["LEFT ann", "JOINED ann"] * 30)]


async def test_disconnected_member_leaves_once_on_all_servers(
    nats_cluster: NatsCluster, room_name: str
) -> None:
    async with chat_servers(nats_cluster, room_name) as servers:
        ann, bob, cleo = await join_each(servers, "ann", "bob", "cleo")
        await cleo.reset()
        assert await ann.line() == "LEFT cleo"
        assert await bob.line() == "LEFT cleo"
        again = await servers[0].join("cleo")
        assert await bob.barrier() == ["JOINED cleo"]
        assert await ann.barrier() == ["JOINED cleo"]
        assert await who(again) == ["ann", "bob", "cleo"]


async def test_server_that_starts_later_knows_all_members(nats_cluster: NatsCluster, room_name: str) -> None:
    async with chat_servers(nats_cluster, room_name, 2) as servers:
        ann, bob = await join_each(servers, "ann", "bob")
        guests = [await servers[number % 2].join(f"guest{number}") for number in range(40)]
        await guests[0].ask("LEAVE")
        await guests[1].ask("LEAVE")
        await ann.ask("MSG hello")
        there = await who(ann)
        assert len(there) == 40
        async with chat_server(nats_cluster, room_name) as late:
            stranger = await late.connect()
            assert await who(stranger) == there
            assert await stranger.ask("JOIN bob", "JOIN Guest2") == [NAME_TAKEN, NAME_TAKEN]
            assert await stranger.ask("JOIN guest0") == ["OK JOIN guest0"]
            assert texts(await history(stranger)) == ["ann hello"]
            await bob.barrier()
            await stranger.ask("MSG hi")
            assert await bob.barrier() == ["MSG guest0 hi"]
            await guests[2].close()
            assert await stranger.line() == "LEFT guest2"


async def test_no_joins_and_leaves_above_the_presence_limit(
    nats_cluster: NatsCluster, room_name: str
) -> None:
    async with chat_servers(nats_cluster, room_name, presence_limit=3) as servers:
        ann, bob, cleo = await join_each(servers, "ann", "bob", "cleo")
        dora = await servers[1].join("dora")
        emma = await servers[2].join("emma")
        await dora.ask("MSG hello", "LEAVE")
        for peer in (ann, bob, cleo):
            assert await peer.barrier() == ["MSG dora hello"]
            assert await who(peer) == ["ann", "bob", "cleo", "emma"]
        await emma.ask("LEAVE")
        await cleo.ask("LEAVE")
        assert await ann.barrier() == ["LEFT cleo"]
        assert await bob.barrier() == ["LEFT cleo"]


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
        dora = await join(paused, "dora")
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
