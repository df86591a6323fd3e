"""The NATS cluster of other tests starts, stops and answers as they rely on."""

import asyncio
import os
import ssl
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.errors import Error
from nats.js.api import StreamConfig
from nats.js.errors import BadRequestError, NotFoundError

from tests.harness.nats import NatsCluster, NatsTls
from tests.harness.nats_credentials import Operator
from tests.harness.nats_server import DEADLINE

_NO_PEERS = 10005  # the leader has not heard of enough servers yet


async def make(client: Client, stream: str, replicas: int = 3) -> None:
    """Create a stream with a subject of the same name, once NATS has servers for it."""
    config = StreamConfig(name=stream, subjects=[stream], num_replicas=replicas)
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                await client.jetstream().add_stream(config)
            except BadRequestError as error:
                if error.err_code != _NO_PEERS:
                    raise
            else:
                return


async def store(nats: NatsCluster, stream: str, *texts: str) -> None:
    """Store each message once, however long an election takes."""
    async with asyncio.timeout(DEADLINE), nats.client(reconnect_time_wait=0.1) as client:
        for text in texts:
            while not await is_stored(client, stream, text):
                pass


async def is_stored(client: Client, stream: str, text: str, timeout: float = 1) -> bool:  # noqa: ASYNC109
    """Try to store a message that may have been tried before."""
    try:
        await client.jetstream().publish(
            stream, text.encode(), timeout=timeout, headers={"Nats-Msg-Id": text}
        )
    except (Error, OSError):
        return False
    return True


async def stored(nats: NatsCluster, stream: str) -> list[str]:
    """Return all messages of a stream."""
    async with nats.client() as client:
        jetstream = client.jetstream()
        last = (await jetstream.stream_info(stream)).state.last_seq
        messages = [await jetstream.get_msg(stream, number) for number in range(1, last + 1)]
    return [(message.data or b"").decode() for message in messages]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# Three servers


async def test_each_of_three_servers_accepts_clients_and_announces_the_others(
    nats_cluster: NatsCluster,
) -> None:
    assert len(nats_cluster.pids) == len(nats_cluster) == 3
    assert nats_cluster.url.split(",") == nats_cluster.urls
    for index in range(3):
        async with nats_cluster.client(index) as client:
            await client.jetstream().account_info()
            assert len(client.servers) == 3


async def test_leader_and_follower_are_different_servers(nats_cluster: NatsCluster, room_name: str) -> None:
    async with nats_cluster.client() as client:
        await make(client, room_name)
        leader = await asyncio.to_thread(nats_cluster.leader_of, room_name)
        cluster = (await client.jetstream().stream_info(room_name)).cluster
        assert cluster is not None
        assert cluster.leader == f"n{leader + 1}"
    assert await asyncio.to_thread(nats_cluster.follower_of, room_name) != leader


async def test_deleting_a_stream_twice_does_no_harm(nats_cluster: NatsCluster, room_name: str) -> None:
    async with nats_cluster.client() as client:
        await make(client, room_name)
        for _ in range(2):
            await asyncio.to_thread(nats_cluster.delete, room_name)
            with pytest.raises(NotFoundError):
                await client.jetstream().stream_info(room_name)


async def test_restarted_server_catches_up_and_without_a_majority_accepts_clients_only(
    own_cluster: NatsCluster,
) -> None:
    async with own_cluster.client() as client:
        await make(client, "stream")
    follower = await asyncio.to_thread(own_cluster.follower_of, "stream")
    own_cluster.kill(follower)
    assert len(own_cluster.pids) == 2
    await store(own_cluster, "stream", "one", "two")
    await asyncio.to_thread(own_cluster.restart, follower)
    async with own_cluster.client(follower) as client:
        cluster = (await client.jetstream().stream_info("stream")).cluster
    assert cluster is not None
    assert [replica.current for replica in cluster.replicas or ()] == [True, True]
    assert await stored(own_cluster, "stream") == ["one", "two"]
    own_cluster.kill_all()
    assert own_cluster.pids == []
    await asyncio.to_thread(own_cluster.restart, follower)
    async with own_cluster.client(follower) as client:
        assert not await is_stored(client, "stream", "x", timeout=0.2)


def test_no_process_is_left_after_kills_and_pauses(tmp_path: Path) -> None:
    with NatsCluster(tmp_path) as cluster:
        pids = cluster.pids
        assert all(map(is_alive, pids))
        cluster.kill(0)
        cluster.pause(1)
    assert cluster.pids == []
    assert not any(map(is_alive, pids))


# One server


async def test_paused_server_answers_only_after_it_is_resumed(own_server: NatsCluster) -> None:
    own_server.pause(0)
    with pytest.raises((Error, OSError)):
        async with own_server.client(allow_reconnect=False, connect_timeout=0.1):
            pass
    own_server.resume(0)
    async with own_server.client() as client:
        await client.flush()


async def test_stored_messages_survive_a_kill(own_server: NatsCluster) -> None:
    async with own_server.client() as client:
        await make(client, "stream", replicas=1)
    await store(own_server, "stream", "before")
    own_server.kill_all()
    assert own_server.pids == []
    await asyncio.to_thread(own_server.start)
    await store(own_server, "stream", "after")
    assert await stored(own_server, "stream") == ["before", "after"]


def test_server_that_does_not_start_fails_with_its_log(tmp_path: Path) -> None:
    tls = NatsTls.issue(tmp_path)
    wrong = NatsTls(certificate=tls.certificate, key=tls.ca, ca=tls.ca)
    with (
        pytest.raises(AssertionError, match=r"n1 has ended\n--- n1\n.*certificate"),
        NatsCluster(tmp_path, servers=1, tls=wrong),
    ):
        pass


# One server with TLS and credentials


async def test_client_with_credentials_has_all_rights(secured_server: NatsCluster, secured_room: str) -> None:
    assert secured_server.url.startswith("tls://")
    async with secured_server.client() as client:
        await make(client, secured_room, replicas=1)
    await store(secured_server, secured_room, "one")
    assert await stored(secured_server, secured_room) == ["one"]


async def test_client_without_credentials_is_refused(secured_server: NatsCluster) -> None:
    with pytest.raises(Error, match="Authorization Violation"):
        async with secured_server.client(user_credentials=None, allow_reconnect=False):
            pass


async def test_client_with_credentials_of_another_operator_is_refused(
    secured_server: NatsCluster, tmp_path: Path
) -> None:
    stranger = Operator(tmp_path).user("stranger")
    with pytest.raises(Error, match="Authorization Violation"):
        async with secured_server.client(user_credentials=stranger, allow_reconnect=False):
            pass


async def test_client_that_does_not_trust_the_ca_is_refused(secured_server: NatsCluster) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        async with secured_server.client(tls=ssl.create_default_context(), allow_reconnect=False):
            pass


async def test_user_has_the_rights_given_and_no_others(
    secured_server: NatsCluster, operator: Operator
) -> None:
    errors: asyncio.Queue[str] = asyncio.Queue()

    async def record(error: Exception) -> None:
        errors.put_nowait(str(error))

    limited = operator.user("limited", publish=["allowed"], subscribe=["allowed"])
    async with secured_server.client(user_credentials=limited, error_cb=record) as client:
        subscription = await client.subscribe("allowed")
        await client.publish("allowed", b"hello")
        assert (await subscription.next_msg(DEADLINE)).data == b"hello"
        await client.publish("forbidden", b"hello")
        async with asyncio.timeout(DEADLINE):
            assert 'publish to "forbidden"' in (await errors.get()).lower()
