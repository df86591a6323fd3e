"""Messages and history of one room on several servers."""

import asyncio

from simple_chat.cluster.entry import encode_entry
from tests.harness.cluster import (
    chat_server,
    chat_servers,
    history,
    join_each,
    texts,
)
from tests.harness.nats import NatsCluster
from tests.harness.peer import Peer
from tests.server.test_backpressure import SMALL, Talk, follow


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
