"""The cluster that other tests stand on does what it is told."""

import asyncio
import os
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from nats.aio.client import Client
from nats.errors import Error
from nats.js.api import StreamConfig
from nats.js.errors import NotFoundError

from tests.harness.nats import DEADLINE, Engine, Tls
from tests.harness.nats_credentials import Operator

AUTHORITY = trustme.CA()


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    return Operator(tmp_path_factory.mktemp("operator"))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, operator: Operator) -> Iterator[Engine]:
    """A server by itself that talks TLS, and wants credentials."""
    folder = tmp_path_factory.mktemp("guarded")
    with Engine(folder, servers=1, tls=issue(folder), operator=operator) as engine:
        yield engine


def issue(folder: Path) -> Tls:
    """Make a certificate for a server."""
    tls = Tls(certificate=folder / "cert.pem", key=folder / "key.pem", authority=folder / "ca.pem")
    leaf = AUTHORITY.issue_cert("127.0.0.1")
    leaf.cert_chain_pems[0].write_to_path(tls.certificate)
    leaf.private_key_pem.write_to_path(tls.key)
    AUTHORITY.cert_pem.write_to_path(tls.authority)
    return tls


async def make(client: Client, stream: str, replicas: int = 3) -> None:
    """Make a stream, with a subject of the same name."""
    await client.jetstream().add_stream(StreamConfig(name=stream, subjects=[stream], num_replicas=replicas))


async def store(engine: Engine, stream: str, *texts: str) -> None:
    """Store messages once each, however long an election takes."""
    async with asyncio.timeout(DEADLINE), engine.client(reconnect_time_wait=0.1) as client:
        for text in texts:
            while not await is_stored(client, stream, text):
                pass


async def is_stored(client: Client, stream: str, text: str) -> bool:
    """Try to store a message, which may have been tried before."""
    try:
        await client.jetstream().publish(stream, text.encode(), timeout=1, headers={"Nats-Msg-Id": text})
    except (Error, OSError):
        return False
    return True


async def stored(engine: Engine, stream: str) -> list[str]:
    """Every message of a stream."""
    async with engine.client() as client:
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


async def test_each_of_three_servers_lets_clients_in_and_knows_the_others(engine: Engine) -> None:
    assert len(engine.pids) == 3
    assert engine.url.split(",") == engine.urls
    for index in range(3):
        async with engine.client(index) as client:
            await client.jetstream().account_info()
            assert len(client.servers) == 3


async def test_a_stream_goes_on_when_its_leader_is_killed(engine: Engine, room_name: str) -> None:
    async with engine.client() as client:
        await make(client, room_name)
    leader = await asyncio.to_thread(engine.leader_of, room_name)
    await store(engine, room_name, "before")
    engine.kill(leader)
    await store(engine, room_name, "after")
    assert await asyncio.to_thread(engine.leader_of, room_name) != leader
    assert await stored(engine, room_name) == ["before", "after"]


async def test_a_server_that_is_restarted_has_what_it_missed(engine: Engine, room_name: str) -> None:
    async with engine.client() as client:
        await make(client, room_name)
    missing = (await asyncio.to_thread(engine.leader_of, room_name) + 1) % 3
    engine.kill(missing)
    assert len(engine.pids) == 2
    await store(engine, room_name, "one", "two")
    await asyncio.to_thread(engine.restart, missing)
    async with engine.client(missing) as client:
        cluster = (await client.jetstream().stream_info(room_name)).cluster
    assert cluster is not None
    assert [replica.current for replica in cluster.replicas or ()] == [True, True]
    assert await stored(engine, room_name) == ["one", "two"]


@pytest.mark.usefixtures("room_name")
async def test_a_paused_server_says_nothing_until_it_is_resumed(engine: Engine) -> None:
    engine.pause(0)
    with pytest.raises((Error, OSError)):
        async with engine.client(0, allow_reconnect=False, connect_timeout=0.1):
            pass
    engine.resume(0)
    async with engine.client(0) as client:
        await client.flush()


async def test_what_was_stored_is_there_when_all_were_killed(engine: Engine, room_name: str) -> None:
    async with engine.client() as client:
        await make(client, room_name)
    await store(engine, room_name, "before")
    engine.kill_all()
    assert engine.pids == []
    await asyncio.to_thread(engine.restart_all)
    await store(engine, room_name, "after")
    assert await stored(engine, room_name) == ["before", "after"]


async def test_a_server_without_the_others_only_lets_clients_in(engine: Engine, room_name: str) -> None:
    engine.kill_all()
    await asyncio.to_thread(engine.restart, 0)
    async with engine.client(0) as client:
        await client.flush()
        assert not await is_stored(client, room_name, "x")


async def test_a_stream_is_deleted_whether_there_is_one_or_not(engine: Engine, room_name: str) -> None:
    async with engine.client() as client:
        await make(client, room_name)
        for _ in range(2):
            await asyncio.to_thread(engine.delete, room_name)
            with pytest.raises(NotFoundError):
                await client.jetstream().stream_info(room_name)


def test_nothing_runs_when_it_is_closed_whatever_was_done_to_it(tmp_path: Path) -> None:
    with Engine(tmp_path) as engine:
        pids = engine.pids
        assert all(map(is_alive, pids))
        engine.kill(0)
        engine.pause(1)
    assert engine.pids == []
    assert not any(map(is_alive, pids))


def test_a_server_that_does_not_start_tells_why_in_its_log(tmp_path: Path) -> None:
    issue(tmp_path)
    tls = Tls(certificate=tmp_path / "cert.pem", key=tmp_path / "ca.pem", authority=tmp_path / "ca.pem")
    with (
        pytest.raises(AssertionError, match=r"n1 has ended\n--- n1\n.*certificate"),
        Engine(tmp_path, tls=tls),
    ):
        pass


# One server with TLS and credentials


async def test_who_has_credentials_may_do_everything(guarded: Engine) -> None:
    assert guarded.url.startswith("tls://")
    async with guarded.client() as client:
        await make(client, "room", replicas=1)
    await store(guarded, "room", "one")
    assert await stored(guarded, "room") == ["one"]


async def test_who_has_no_credentials_is_not_let_in(guarded: Engine) -> None:
    with pytest.raises(Error, match="Authorization Violation"):
        async with guarded.client(user_credentials=None, allow_reconnect=False):
            pass


async def test_who_has_the_credentials_of_a_stranger_is_not_let_in(guarded: Engine, tmp_path: Path) -> None:
    stranger = Operator(tmp_path).user("stranger")
    with pytest.raises(Error, match="Authorization Violation"):
        async with guarded.client(user_credentials=stranger, allow_reconnect=False):
            pass


async def test_who_does_not_trust_the_certificate_stays_out(guarded: Engine) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        async with guarded.client(tls=ssl.create_default_context(), allow_reconnect=False):
            pass


async def test_a_user_has_the_rights_that_it_was_given_and_no_others(
    guarded: Engine, operator: Operator
) -> None:
    complaints: asyncio.Queue[str] = asyncio.Queue()

    async def complain(error: Exception) -> None:
        complaints.put_nowait(str(error))

    limited = operator.user("limited", publish=["allowed"], subscribe=["allowed"])
    async with guarded.client(user_credentials=limited, error_cb=complain) as client:
        heard = await client.subscribe("allowed")
        await client.publish("allowed", b"hello")
        assert (await heard.next_msg(DEADLINE)).data == b"hello"
        await client.publish("forbidden", b"hello")
        async with asyncio.timeout(DEADLINE):
            assert 'publish to "forbidden"' in (await complaints.get()).lower()
