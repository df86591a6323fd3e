"""How a server finds or creates its stream, and what keeps it from starting."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from nats.js.api import RetentionPolicy, StorageType, StreamConfig

from simple_chat import Settings, serve
from simple_chat.cluster import stream as stream_module
from simple_chat.errors import ConfigError
from simple_chat.server.__main__ import main
from tests.harness.cluster import (
    chat_server,
    chat_servers,
    cluster_options,
    cluster_settings,
    join_each,
)
from tests.harness.nats import NatsCluster, NatsTls
from tests.harness.nats_credentials import Operator
from tests.harness.programs import DEADLINE, run_server_process, run_server_to_exit
from tests.harness.server import ServerHarness

NOWHERE = "nats://127.0.0.1:1"


@pytest.fixture
def second_room(nats_cluster: NatsCluster) -> Iterator[str]:
    name = f"room-{uuid4().hex}"
    yield name
    nats_cluster.delete(name)


@pytest.fixture
def access(operator: Operator, nats_tls: NatsTls) -> dict[str, Any]:
    """The settings that the secured server demands."""
    user = operator.user(f"user-{uuid4().hex}")
    return {"cluster_ca": str(nats_tls.ca), "cluster_creds": str(user)}


@pytest.fixture
def short_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "START_TIMEOUT", 0.5)


async def refusal(settings: Settings) -> str:
    """Return why a server does not start; no task of it is left."""
    tasks = asyncio.all_tasks()
    with pytest.raises(ConfigError) as caught:
        async with serve("127.0.0.1", 0, settings=settings):
            pass
    assert asyncio.all_tasks() == tasks
    return str(caught.value)


async def create(nats: NatsCluster, room: str, **config: Any) -> None:  # noqa: ANN401 - as StreamConfig has it
    """Create a stream as a server would, but for some of its settings."""
    usual: dict[str, Any] = {
        "name": room,
        "subjects": [f"{room}.>"],
        "storage": StorageType.FILE,
        "num_replicas": 3,
    }
    async with nats.client() as client:
        await client.jetstream().add_stream(StreamConfig(**(usual | config)))


async def check_that_they_share_a_room(*servers: ServerHarness) -> None:
    ann, bob = [await server.join(name) for server, name in zip(servers, ("ann", "bob"), strict=True)]
    await ann.barrier()
    await ann.ask("MSG hello")
    assert await bob.barrier() == ["MSG ann hello"]


def assert_refused(reason: str, *arguments: str) -> None:
    """Check that the program does not start, and gives the reason in one line."""
    ended = run_server_to_exit("--port", "0", *arguments)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert reason in ended.stderr


# The stream


async def test_first_server_creates_the_stream_and_the_second_uses_it(
    nats_cluster: NatsCluster, room_name: str
) -> None:
    async with nats_cluster.client() as client:
        jetstream = client.jetstream()
        async with chat_server(nats_cluster, room_name) as first:
            created = await jetstream.stream_info(room_name)
            config = created.config
            assert (config.storage, config.num_replicas) == (StorageType.FILE, 3)
            assert (config.subjects, config.retention) == ([f"{room_name}.>"], RetentionPolicy.LIMITS)
            async with chat_server(nats_cluster, room_name) as second:
                assert (await jetstream.stream_info(room_name)).created == created.created
                await check_that_they_share_a_room(first, second)


async def test_servers_that_start_at_once_create_one_stream(
    nats_cluster: NatsCluster, room_name: str
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        starting = [stack.enter_async_context(chat_server(nats_cluster, room_name)) for _ in range(2)]
        await check_that_they_share_a_room(*await asyncio.gather(*starting))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"num_replicas": 1}, "num_replicas 1, and should have 3"),
        ({"storage": StorageType.MEMORY}, "storage memory, and should have file"),
        ({"subjects": ["ROOM.log"]}, "subjects ['ROOM.log'], and should have ['ROOM.>']"),
    ],
)
async def test_stream_with_another_configuration_is_refused(
    nats_cluster: NatsCluster, room_name: str, config: dict[str, Any], reason: str
) -> None:
    subjects = [each.replace("ROOM", room_name) for each in config.get("subjects", ["ROOM.>"])]
    await create(nats_cluster, room_name, **(config | {"subjects": subjects}))
    reason = f"the stream {room_name} has {reason.replace('ROOM', room_name)}"
    assert_refused(f"simple_chat: {reason}\n", *cluster_options(nats_cluster, room_name))
    assert await refusal(cluster_settings(nats_cluster, room_name)) == reason


async def test_rooms_on_one_nats_cluster_are_separate(
    nats_cluster: NatsCluster, room_name: str, second_room: str
) -> None:
    async with (
        chat_servers(nats_cluster, room_name, 2) as here,
        chat_servers(nats_cluster, second_room, 2) as there,
    ):
        near = await join_each(here, "ann", "bob")
        far = await join_each(there, "ann", "bob")
        await near[0].ask("MSG here")
        await far[0].ask("MSG there")
        assert await near[1].barrier() == ["MSG ann here"]
        assert await far[1].barrier() == ["MSG ann there"]
        assert (await far[1].ask("WHO"))[-1] == "OK WHO 2"


def test_max_line_above_the_max_payload_of_nats_is_refused(nats_cluster: NatsCluster, room_name: str) -> None:
    reason = "NATS takes 1048576 bytes at a time: too few for lines of 1048576"
    assert_refused(reason, *cluster_options(nats_cluster, room_name), "--max-line", str(2**20))


# One NATS server, with TLS and credentials


async def test_one_nats_server_keeps_one_replica(
    secured_server: NatsCluster, secured_room: str, access: dict[str, Any]
) -> None:
    async with chat_servers(secured_server, secured_room, 2, **access) as servers:
        await check_that_they_share_a_room(*servers)
        async with secured_server.client() as client:
            assert (await client.jetstream().stream_info(secured_room)).config.num_replicas == 1


async def test_permissions_that_the_readme_names_are_enough(
    secured_server: NatsCluster, secured_room: str, access: dict[str, Any], operator: Operator
) -> None:
    calls = ("STREAM.INFO", "STREAM.CREATE", "STREAM.MSG.GET", "CONSUMER.CREATE")
    publish = [f"{secured_room}.>", *(f"$JS.API.{call}.{secured_room}" for call in calls)]
    user = operator.user("narrow", publish=publish, subscribe=["_INBOX.>"])
    async with chat_servers(
        secured_server, secured_room, 2, **{**access, "cluster_creds": str(user)}
    ) as servers:
        await check_that_they_share_a_room(*servers)


def test_program_has_an_option_for_each_setting(
    secured_server: NatsCluster, secured_room: str, access: dict[str, Any]
) -> None:
    more = [f"--{name.replace('_', '-')}={value}" for name, value in access.items()]
    with run_server_process(*cluster_options(secured_server, secured_room), *more) as server:
        server.join("alice")


def test_server_ends_while_nats_hangs(
    secured_server: NatsCluster, secured_room: str, access: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    more = [f"--{name.replace('_', '-')}={value}" for name, value in access.items()]
    with run_server_process(
        *cluster_options(secured_server, secured_room), *more, "--drain", "0.2"
    ) as server:
        secured_server.pause(0)
        request.addfinalizer(secured_server.start)
        server.process.terminate()
        assert server.process.wait(DEADLINE) == 0  # though TLS would wait for both sides


async def test_three_replicas_on_one_nats_server_are_refused(
    secured_server: NatsCluster, secured_room: str, access: dict[str, Any]
) -> None:
    wrong = cluster_settings(secured_server, secured_room, **(access | {"cluster_replicas": 3}))
    assert await refusal(wrong) == "one NATS server alone keeps one replica: --cluster-replicas 1"


@pytest.mark.usefixtures("short_start")
async def test_certificate_of_an_unknown_authority_is_refused(
    secured_server: NatsCluster, secured_room: str, access: dict[str, Any]
) -> None:
    wrong = cluster_settings(secured_server, secured_room, **(access | {"cluster_ca": None}))
    reason = await refusal(wrong)
    assert reason.startswith(f"can't use NATS at {secured_server.url}: ")
    assert "certificate verify failed" in reason


@pytest.mark.usefixtures("short_start")
async def test_server_without_credentials_is_refused(
    secured_server: NatsCluster, secured_room: str, access: dict[str, Any]
) -> None:
    wrong = cluster_settings(secured_server, secured_room, **(access | {"cluster_creds": None}))
    assert "Authorization Violation" in await refusal(wrong)


@pytest.mark.usefixtures("short_start")
async def test_server_with_credentials_of_another_operator_is_refused(
    secured_server: NatsCluster, secured_room: str, access: dict[str, Any], tmp_path: Path
) -> None:
    stranger = Operator(tmp_path).user("stranger")
    wrong = cluster_settings(secured_server, secured_room, **(access | {"cluster_creds": str(stranger)}))
    assert "Authorization Violation" in await refusal(wrong)


@pytest.mark.usefixtures("short_start")
@pytest.mark.parametrize("option", ["cluster_creds", "cluster_ca"])
async def test_missing_file_is_named(
    secured_server: NatsCluster, secured_room: str, access: dict[str, Any], option: str
) -> None:
    reason = await refusal(
        cluster_settings(secured_server, secured_room, **(access | {option: "/no/such/file"}))
    )
    assert "/no/such/file" in reason
    assert "No such file or directory" in reason


@pytest.mark.usefixtures("short_start")
@pytest.mark.parametrize("option", ["cluster_creds", "cluster_ca"])
async def test_file_with_something_else_is_named(
    secured_server: NatsCluster, secured_room: str, access: dict[str, Any], option: str, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    path.write_text("x\n")
    assert str(path) in await refusal(
        cluster_settings(secured_server, secured_room, **(access | {option: str(path)}))
    )


# No NATS server


@pytest.mark.usefixtures("short_start")
async def test_unreachable_nats_is_reported() -> None:
    reason = await refusal(Settings(cluster=(NOWHERE, "nats://127.0.0.1:2")))
    assert reason.startswith(f"can't use NATS at {NOWHERE},nats://127.0.0.1:2: ")
    assert "refused" in reason.lower()


# No client library

WITHOUT_NATS = """
import sys
sys.modules["nats.aio.client"] = None
from simple_chat.server.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def test_missing_client_library_is_named() -> None:
    command = [sys.executable, "-c", WITHOUT_NATS, "--cluster", NOWHERE]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert ended.returncode == 1
    assert ended.stderr == "simple_chat: a cluster needs nats-py: pip install 'simple_chat[cluster]'\n"


# Options


def assert_rejected(capsys: pytest.CaptureFixture[str], reason: str, *arguments: str) -> None:
    """Check that the program rejects its arguments with status 2."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert reason in captured.err


def test_journal_with_a_cluster_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    reason = "--journal and --cluster exclude each other"
    assert_rejected(capsys, reason, "--cluster", NOWHERE, "--journal", "x")


@pytest.mark.parametrize(
    "name", ["", "a.b", "a b", "*", ">", "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "x" * 65]
)
def test_room_name_that_nats_can_not_have_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert_rejected(capsys, "is not a room name", "--cluster", NOWHERE, "--cluster-room", name)


@pytest.mark.parametrize("urls", ["", "localhost:4222", "http://localhost", "nats://", f"{NOWHERE},"])
def test_url_that_is_not_of_nats_is_refused(urls: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert_rejected(capsys, "is not a NATS URL", "--cluster", urls)


def test_two_replicas_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert_rejected(capsys, "--cluster-replicas", "--cluster", NOWHERE, "--cluster-replicas", "2")
