"""Members, names and presence of one room on several servers."""

import resource
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.harness.cluster import (
    NAME_TAKEN,
    chat_server,
    chat_servers,
    history,
    join_each,
    texts,
    who,
)
from tests.harness.nats import NatsCluster

RACED = 300


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Allow both sides of all connections that race."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(8 * RACED, hard)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


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
