"""Kicking and banning in one room on several servers."""

import asyncio
import contextlib
import random

import pytest

from simple_chat.cluster.replicator import Replicator
from simple_chat.core.bans import Ban
from simple_chat.core.network import parse_network
from simple_chat.errors import AdminError
from simple_chat.server import moderation as moderation_module
from simple_chat.server.hub import Hub
from tests.harness.addresses import external_address
from tests.harness.cluster import chat_server, chat_servers, join_each, who
from tests.harness.nats import NatsCluster
from tests.harness.server import eventually

BANNED = ["ERR banned spam", "BYE banned"]


async def test_member_of_another_server_is_kicked_and_comes_back(
    nats_cluster: NatsCluster, room_name: str
) -> None:
    async with chat_servers(nats_cluster, room_name) as servers:
        ann, ben, cleo = await join_each(servers, "ann", "ben", "cleo")
        await servers[0].server.moderation.kick("Cleo", "be nice")
        assert await cleo.rest() == ["ERR kicked be nice", "BYE kicked"]
        for peer in (ann, ben):
            assert await peer.barrier() == ["LEFT cleo"]
        await servers[1].join("cleo")


async def test_banned_name_is_kept_out_of_all_servers(nats_cluster: NatsCluster, room_name: str) -> None:
    async with chat_servers(nats_cluster, room_name) as servers:
        ann, ben, cleo = await join_each(servers, "ann", "ben", "cleo")
        assert await servers[0].server.moderation.ban("cleo", reason="spam") == Ban(
            "cleo", None, None, "spam"
        )
        assert await cleo.rest() == BANNED
        for peer in (ann, ben):
            assert await peer.barrier() == ["LEFT cleo"]
        for server in servers:
            again = await server.connect()
            again.send("JOIN CLEO")
            assert await again.rest() == BANNED
        await servers[1].server.moderation.unban("cleo")
        await eventually(lambda: not [*servers[2].server.moderation.bans])  # which reads the log by itself
        await servers[2].join("cleo")
        assert await ann.barrier() == ["JOINED cleo"]
        assert await who(ann) == ["ann", "ben", "cleo"]


async def test_ban_of_a_name_is_about_its_network_on_all_servers(
    nats_cluster: NatsCluster, room_name: str
) -> None:
    far = external_address()
    async with chat_servers(nats_cluster, room_name, 2) as servers:
        ben = await servers[1].connect_from(far)
        assert await ben.ask("JOIN ben") == ["OK JOIN ben"]
        await servers[0].server.moderation.ban("ben", reason="spam")
        assert await ben.rest() == BANNED
        expected = [Ban("ben", parse_network(far), None, "spam")]
        for server in servers:
            await eventually(lambda: [*server.server.moderation.bans] == expected)  # noqa: B023
            assert await (await server.connect_from(far)).rest() == BANNED


async def test_server_that_starts_later_knows_the_bans(nats_cluster: NatsCluster, room_name: str) -> None:
    async with chat_server(nats_cluster, room_name) as first:
        await first.server.moderation.ban("ben", reason="spam")
        await first.server.moderation.ban("192.0.2.7")
        async with chat_server(nats_cluster, room_name) as second:
            assert [*second.server.moderation.bans] == [*first.server.moderation.bans]


async def test_server_that_does_not_answer_is_named(
    nats_cluster: NatsCluster, room_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moderation_module, "_TIMEOUT", 0.1)
    monkeypatch.setattr(Hub, "disconnect", lambda *_: None)
    async with chat_servers(nats_cluster, room_name, 2) as servers:
        await join_each(servers, "ann", "ben")
        node = servers[1].server._replicator.room.node  # type: ignore[union-attr]
        with pytest.raises(AdminError, match=f"ben is still there: its server {node} has not removed it"):
            await servers[0].server.moderation.kick("ben")


async def test_ban_that_the_log_does_not_take_in_time_is_reported(
    nats_cluster: NatsCluster, room_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moderation_module, "_TIMEOUT", 0.1)
    async with chat_server(nats_cluster, room_name) as server:
        moderation = server.server.moderation
        await moderation.ban("ann")
        monkeypatch.setattr(Replicator, "propose", lambda *_: None)
        for order in (moderation.ban("ben"), moderation.unban("ann")):
            with pytest.raises(AdminError, match="not done yet: the other servers can't be reached"):
                await order


async def test_kicks_and_bans_raced_against_joins(nats_cluster: NatsCluster, room_name: str) -> None:
    """Whoever is banned is in no room in the end, and all servers have the same members."""
    draw = random.Random(room_name)
    names = [f"name{number}" for number in range(8)]
    async with chat_servers(nats_cluster, room_name) as servers:

        async def come_and_go(name: str) -> None:
            for _ in range(12):
                peer = await draw.choice(servers).connect()
                peer.send(f"JOIN {name}", "MSG hi", "WHO")
                with contextlib.suppress(AssertionError):  # it is disconnected meanwhile
                    await peer.barrier()

        async def moderate() -> None:
            for _ in range(30):
                moderation = draw.choice(servers).server.moderation
                name, order = draw.choice(names), draw.randrange(3)
                with contextlib.suppress(AdminError):  # nobody is called so, or is banned
                    if order == 0:
                        await moderation.kick(name)
                    elif order == 1:
                        await moderation.ban(name)
                    else:
                        await moderation.unban(name)

        await asyncio.gather(moderate(), *map(come_and_go, names))
        banned = names[::2]
        for name in banned:
            await draw.choice(servers).server.moderation.ban(name)
        rooms = [server.server.room for server in servers]
        await eventually(lambda: len({str(sorted(map(str, room.bans))) for room in rooms}) == 1)
        await eventually(lambda: not any(room.membership.is_taken(name) for room in rooms for name in banned))
        await eventually(lambda: len({str(sorted(room.names())) for room in rooms}) == 1)
