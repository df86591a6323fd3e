"""The programs in examples/ do what they say they do."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from pathlib import Path

import pytest

import simple_chat
from simple_chat import Joined, Left, Message
from tests.programs import Server, running_server

DEADLINE = 30.0
"""Seconds that an example may take before the test is failed."""

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def server() -> Iterator[Server]:
    with running_server() as server:
        yield server


async def start(name: str, *arguments: str, port: str = "") -> asyncio.subprocess.Process:
    """Start an example, with the Python of the tests as ``python3``."""
    interpreter = "/bin/sh" if name.endswith(".sh") else sys.executable
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {
        "PATH": path,
        "SIMPLE_CHAT_SERVER_HOST": "127.0.0.1",
        "SIMPLE_CHAT_SERVER_PORT": port,
    }
    return await asyncio.create_subprocess_exec(
        interpreter, str(EXAMPLES / name), *arguments, env=environment, stdout=PIPE, stderr=PIPE
    )


def test_every_example_is_run_here() -> None:
    examples = {"benchmark", "bot.py", "demo", "room_in_one_file.py", "say.sh"}
    assert {path.name for path in EXAMPLES.iterdir()} == examples


async def test_bot_welcomes_newcomers_and_answers_who_mentions_it(server: Server) -> None:
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


async def test_say_says_one_thing(server: Server) -> None:
    async with (
        asyncio.timeout(DEADLINE),
        simple_chat.connect(server.host, int(server.port), username="ann") as ann,
    ):
        say = await start("say.sh", "ci", "the build", "is  green %s", port=server.port)
        assert await say.communicate() == (b"", b"")
        assert say.returncode == 0
        events = [await anext(ann) for _ in range(3)]
        assert events == [Joined("ci"), Message("ci", "the build is  green %s"), Left("ci")]


async def test_say_fails_where_no_server_takes_it(server: Server) -> None:
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


async def test_usual_room_that_servers_are_compared_with_is_a_right_one(server: Server) -> None:
    port = server.port
    server.stop()
    room = await start("benchmark/usual_room.py", port)
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
