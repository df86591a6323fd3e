"""How a server finds its room, what is made for it there, and what keeps a server from starting."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import trustme
from nats.js.api import RetentionPolicy, StorageType, StreamConfig

from simple_chat import JournalError, Settings, serve
from simple_chat.cluster import stream as log_module
from tests.harness.cluster import gather, house, houses, options, settings
from tests.harness.nats import Engine, Tls
from tests.harness.nats_credentials import Operator
from tests.harness.programs import DEADLINE, run_server_process, run_server_to_exit
from tests.harness.server import ServerHarness

AUTHORITY = trustme.CA()
NO_AUTHOR = "nats://127.0.0.1:1"


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Operator:
    return Operator(tmp_path_factory.mktemp("operator"))


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    folder = tmp_path_factory.mktemp("tls")
    tls = Tls(certificate=folder / "cert.pem", key=folder / "key.pem", authority=folder / "ca.pem")
    leaf = AUTHORITY.issue_cert("127.0.0.1")
    leaf.cert_chain_pems[0].write_to_path(tls.certificate)
    leaf.private_key_pem.write_to_path(tls.key)
    AUTHORITY.cert_pem.write_to_path(tls.authority)
    return tls


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, operator: Operator, tls: Tls) -> Iterator[Engine]:
    """A server by itself that talks TLS, and wants credentials."""
    with Engine(tmp_path_factory.mktemp("guarded"), servers=1, tls=tls, operator=operator) as engine:
        yield engine


@pytest.fixture
def guarded_room(guarded: Engine) -> Iterator[str]:
    name = f"room-{uuid4().hex}"
    yield name
    guarded.delete(name)


@pytest.fixture
def second_room(engine: Engine) -> Iterator[str]:
    name = f"room-{uuid4().hex}"
    yield name
    engine.delete(name)


@pytest.fixture
def key(operator: Operator, tls: Tls) -> dict[str, Any]:
    """What opens the guarded server."""
    user = operator.user(f"user-{uuid4().hex}")
    return {"cluster_replicas": 1, "cluster_ca": str(tls.authority), "cluster_creds": str(user)}


@pytest.fixture
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "START_TIMEOUT", 1.0)


async def refusal(settings: Settings) -> str:
    """Why a server does not start, of which nothing is left then."""
    tasks = asyncio.all_tasks()
    with pytest.raises(JournalError) as caught:
        async with serve("127.0.0.1", 0, settings=settings):
            pass
    assert asyncio.all_tasks() == tasks
    return str(caught.value)


async def make(engine: Engine, room: str, **config: Any) -> None:  # noqa: ANN401 - as StreamConfig has it
    """Make a stream as a server would, but for some of its settings."""
    usual: dict[str, Any] = {
        "name": room,
        "subjects": [f"{room}.>"],
        "storage": StorageType.FILE,
        "num_replicas": 3,
    }
    async with engine.client() as client:
        await client.jetstream().add_stream(StreamConfig(**(usual | config)))


async def check_that_they_hear_each_other(*homes: ServerHarness) -> None:
    ann, bob = [await home.join(name) for home, name in zip(homes, ("ann", "bob"), strict=True)]
    await ann.barrier()
    await ann.ask("MSG hello")
    assert await bob.barrier() == ["MSG ann hello"]


def assert_refused(status: int, reason: str, *arguments: str) -> None:
    """Check that the program does not start, and says why in one line."""
    ended = run_server_to_exit("--port", "0", *arguments)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (status, "", 1)
    assert reason in ended.stderr


# The stream


async def test_stream_is_made_as_it_should_be_and_a_second_server_uses_it(
    engine: Engine, room_name: str
) -> None:
    async with engine.client() as client:
        jetstream = client.jetstream()
        async with house(engine, room_name) as first:
            made = await jetstream.stream_info(room_name)
            config = made.config
            assert (config.storage, config.num_replicas) == (StorageType.FILE, 3)
            assert (config.subjects, config.retention) == ([f"{room_name}.>"], RetentionPolicy.LIMITS)
            async with house(engine, room_name) as second:
                assert (await jetstream.stream_info(room_name)).created == made.created
                await check_that_they_hear_each_other(first, second)


async def test_servers_that_start_at_once_make_one_stream(engine: Engine, room_name: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        starting = [stack.enter_async_context(house(engine, room_name)) for _ in range(2)]
        await check_that_they_hear_each_other(*await asyncio.gather(*starting))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"num_replicas": 1}, "num_replicas 1, and should have 3"),
        ({"storage": StorageType.MEMORY}, "storage memory, and should have file"),
        ({"subjects": ["ROOM.log"]}, "subjects ['ROOM.log'], and should have ['ROOM.>']"),
    ],
)
async def test_stream_that_is_otherwise_is_refused(
    engine: Engine, room_name: str, config: dict[str, Any], reason: str
) -> None:
    subjects = [each.replace("ROOM", room_name) for each in config.get("subjects", ["ROOM.>"])]
    await make(engine, room_name, **(config | {"subjects": subjects}))
    reason = f"the stream {room_name} has {reason.replace('ROOM', room_name)}"
    assert_refused(1, f"simple_chat: {reason}\n", *options(engine, room_name))
    assert await refusal(settings(engine, room_name)) == reason


async def test_rooms_of_one_engine_do_not_hear_each_other(
    engine: Engine, room_name: str, second_room: str
) -> None:
    async with houses(engine, room_name, 2) as here, houses(engine, second_room, 2) as there:
        near = await gather(here, "ann", "bob")
        far = await gather(there, "ann", "bob")
        await near[0].ask("MSG here")
        await far[0].ask("MSG there")
        assert await near[1].barrier() == ["MSG ann here"]
        assert await far[1].barrier() == ["MSG ann there"]
        assert (await far[1].ask("WHO"))[-1] == "OK WHO 2"


def test_lines_longer_than_nats_takes_are_refused(engine: Engine, room_name: str) -> None:
    reason = "NATS takes 1048576 bytes at a time: too few for lines of 1048576"
    assert_refused(1, reason, *options(engine, room_name), "--max-line", str(2**20))


# One NATS server, with TLS and credentials


async def test_one_server_keeps_one_replica(guarded: Engine, guarded_room: str, key: dict[str, Any]) -> None:
    async with houses(guarded, guarded_room, 2, **key) as homes:
        await check_that_they_hear_each_other(*homes)
        async with guarded.client() as client:
            assert (await client.jetstream().stream_info(guarded_room)).config.num_replicas == 1


async def test_rights_that_the_readme_names_are_enough(
    guarded: Engine, guarded_room: str, key: dict[str, Any], operator: Operator
) -> None:
    calls = ("STREAM.INFO", "STREAM.CREATE", "STREAM.MSG.GET", "CONSUMER.CREATE")
    publish = [f"{guarded_room}.>", *(f"$JS.API.{call}.{guarded_room}" for call in calls)]
    user = operator.user("narrow", publish=publish, subscribe=["_INBOX.>"])
    async with houses(guarded, guarded_room, 2, **{**key, "cluster_creds": str(user)}) as homes:
        await check_that_they_hear_each_other(*homes)


def test_program_has_options_for_all_of_it(guarded: Engine, guarded_room: str, key: dict[str, Any]) -> None:
    more = [f"--{name.replace('_', '-')}={value}" for name, value in key.items()]
    with run_server_process(*options(guarded, guarded_room), *more) as server:
        server.join("alice")


def test_server_ends_though_nats_hangs(
    guarded: Engine, guarded_room: str, key: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    more = [f"--{name.replace('_', '-')}={value}" for name, value in key.items()]
    with run_server_process(*options(guarded, guarded_room), *more, "--drain", "1") as server:
        guarded.pause(0)
        request.addfinalizer(guarded.start)
        server.process.terminate()
        assert server.process.wait(DEADLINE) == 0  # where TLS is to be ended by both sides


async def test_three_replicas_on_one_server_are_refused(
    guarded: Engine, guarded_room: str, key: dict[str, Any]
) -> None:
    wrong = settings(guarded, guarded_room, **(key | {"cluster_replicas": 3}))
    assert await refusal(wrong) == "one NATS server alone keeps one replica: --cluster-replicas 1"


@pytest.mark.usefixtures("little_patience")
async def test_certificate_of_an_unknown_authority_is_refused(
    guarded: Engine, guarded_room: str, key: dict[str, Any]
) -> None:
    wrong = settings(guarded, guarded_room, **(key | {"cluster_ca": None}))
    told = await refusal(wrong)
    assert told.startswith(f"can't use NATS at {guarded.url}: ")
    assert "certificate verify failed" in told


@pytest.mark.usefixtures("little_patience")
async def test_server_without_credentials_is_refused(
    guarded: Engine, guarded_room: str, key: dict[str, Any]
) -> None:
    wrong = settings(guarded, guarded_room, **(key | {"cluster_creds": None}))
    assert "Authorization Violation" in await refusal(wrong)


@pytest.mark.usefixtures("little_patience")
async def test_server_with_a_strangers_credentials_is_refused(
    guarded: Engine, guarded_room: str, key: dict[str, Any], tmp_path: Path
) -> None:
    stranger = Operator(tmp_path).user("stranger")
    wrong = settings(guarded, guarded_room, **(key | {"cluster_creds": str(stranger)}))
    assert "Authorization Violation" in await refusal(wrong)


@pytest.mark.usefixtures("little_patience")
@pytest.mark.parametrize("option", ["cluster_creds", "cluster_ca"])
async def test_file_that_is_missing_is_named(
    guarded: Engine, guarded_room: str, key: dict[str, Any], option: str
) -> None:
    told = await refusal(settings(guarded, guarded_room, **(key | {option: "/no/such/file"})))
    assert "/no/such/file" in told
    assert "No such file or directory" in told


@pytest.mark.usefixtures("little_patience")
@pytest.mark.parametrize("option", ["cluster_creds", "cluster_ca"])
async def test_file_that_is_something_else_is_named(
    guarded: Engine, guarded_room: str, key: dict[str, Any], option: str, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_text("x\n")
    assert str(path) in await refusal(settings(guarded, guarded_room, **(key | {option: str(path)})))


# NATS that is not there


@pytest.mark.usefixtures("little_patience")
async def test_nats_that_is_not_there_is_told() -> None:
    told = await refusal(Settings(cluster=(NO_AUTHOR, "nats://127.0.0.1:2")))
    assert told.startswith(f"can't use NATS at {NO_AUTHOR},nats://127.0.0.1:2: ")
    assert "refused" in told.lower()


# A client library that is not there

WITHOUT_NATS = """
import sys
sys.modules["nats.aio.client"] = None
from simple_chat.server.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def test_client_library_that_is_missing_is_named() -> None:
    command = [sys.executable, "-c", WITHOUT_NATS, "--cluster", NO_AUTHOR]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert ended.returncode == 1
    assert ended.stderr == "simple_chat: a cluster needs nats-py: pip install 'simple_chat[cluster]'\n"


# Options


@pytest.mark.parametrize(
    "option", ["--cluster-room x", "--cluster-replicas 1", "--cluster-creds x", "--cluster-ca x"]
)
def test_room_that_is_nowhere_is_refused(option: str) -> None:
    reason = "--cluster-room, --cluster-replicas, --cluster-creds and --cluster-ca need --cluster"
    assert_refused(2, reason, *option.split())


def test_journal_beside_nats_is_refused() -> None:
    reason = "--journal and --cluster exclude each other"
    assert_refused(2, reason, "--cluster", NO_AUTHOR, "--journal", "x")


@pytest.mark.parametrize(
    "name", ["", "a.b", "a b", "*", ">", "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "x" * 65]
)
def test_room_that_nats_can_not_have_is_refused(name: str) -> None:
    assert_refused(2, "is not a room name", "--cluster", NO_AUTHOR, "--cluster-room", name)


@pytest.mark.parametrize("urls", ["", "localhost:4222", "http://localhost", "nats://", f"{NO_AUTHOR},"])
def test_address_that_is_not_of_nats_is_refused(urls: str) -> None:
    assert_refused(2, "is not a NATS URL", "--cluster", urls)


def test_two_replicas_are_refused() -> None:
    assert_refused(2, "--cluster-replicas", "--cluster", NO_AUTHOR, "--cluster-replicas", "2")
