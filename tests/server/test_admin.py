"""The admin socket, as `nc -U` talks to it."""

import contextlib
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from simple_chat import ConfigError, ListenError, serve
from simple_chat.server import admin as admin_module
from simple_chat.server.admin_execution import Controls
from tests.harness.operator_peer import Operator, operator
from tests.harness.server import ServerHarness, run_server_in_loop


@contextlib.asynccontextmanager
async def operated(path: Path) -> AsyncIterator[tuple[ServerHarness, Operator]]:
    """Run a server, with an operator at its admin socket."""
    async with run_server_in_loop(admin=str(path)) as harness, operator(str(path)) as admin:
        yield harness, admin


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of an admin socket."""
    return tmp_path / "admin"


async def test_socket_is_its_owners_alone(path: Path) -> None:
    async with operated(path):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600  # noqa: PTH116


async def test_socket_in_use_is_refused_and_removed_at_the_end(path: Path) -> None:
    async with operated(path) as (_, admin):
        with pytest.raises(ListenError, match="Address already in use"):
            async with serve(port=0, admin=str(path)):
                pass
        assert await admin.order("SAY hi") == ["OK SAY"]
    assert [*os.listdir(path.parent)] == []  # noqa: PTH208


async def test_status_has_figures(path: Path) -> None:
    async with operated(path) as (harness, admin):
        await harness.join_all("ann", "ben")
        *lines, end = await admin.order("STATUS")
        assert end == "OK STATUS"
        figures = dict(line.removeprefix("STATUS ").split(" ", 1) for line in lines)
        host, port = harness.server.address
        assert figures["addresses"] == f"{host}:{port}"
        assert {key: figures[key] for key in ("members", "members_here", "connections", "lines", "bans")} == {
            "members": "2",
            "members_here": "2",
            "connections": "2",
            "lines": "2",
            "bans": "0",
        }


async def test_list_shows_each_connection(path: Path) -> None:
    async with operated(path) as (harness, admin):
        ann, _ben = await harness.join_all("ann", "ben")
        stranger = await harness.connect()
        assert await ann.ask("MSG hi", "LEAVE") == ["OK LEAVE"]
        rows = await admin.order("LIST")
        assert rows[-1] == "OK LIST 3"
        described = [dict(pair.split("=") for pair in row.split()[1:]) for row in rows[:-1]]
        assert [row["name"] for row in described] == ["-", "ben", "-"]
        assert [row["state"] for row in described] == ["left", "joined", "connected"]
        assert {row["face"] for row in described} == {"plain"}
        host, port = stranger.transport.get_extra_info("sockname")
        assert described[2]["address"] == f"{host}:{port}"
        assert int(described[0]["lines_per_minute"]) >= 5


async def test_list_shows_who_is_behind(path: Path) -> None:
    async with operated(path) as (harness, admin):
        mute = await harness.join("mute", receive_buffer=4096)
        harness.set_send_buffer("mute", 4096)
        flooder = await harness.join("flooder")
        mute.pause()
        subscriber = harness.subscriber("mute")
        while not subscriber.blocked:
            await flooder.ask(*["MSG " + 1000 * "x"] * 100)
        await flooder.ask(*["MSG x"] * 50)
        (row, _) = await admin.order("LIST mute")
        described = dict(pair.split("=") for pair in row.split()[1:])
        assert described["state"] == "joined,blocked"
        assert int(described["behind"]) >= 50
        assert int(described["unsent"]) > 0


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*", ["ann", "anna", "ben"]),
        ("AN*", ["ann", "anna"]),
        ("ben", ["ben"]),
        ("127.0.0.1", ["ann", "anna", "ben"]),
        ("x*", []),
    ],
)
async def test_list_can_be_narrowed(path: Path, pattern: str, names: list[str]) -> None:
    async with operated(path) as (harness, admin):
        await harness.join_all("ann", "anna", "ben")
        *rows, end = await admin.order(f"LIST {pattern}")
        assert [row.split()[2] for row in rows] == [f"name={name}" for name in names]
        assert end == f"OK LIST {len(names)}"


@pytest.mark.parametrize("line", ["rubbish", "KICK", "BAN ann for ever", "LOG loud"])
async def test_invalid_command_is_refused_and_the_connection_goes_on(path: Path, line: str) -> None:
    async with operated(path) as (_, admin):
        assert (await admin.order(line))[0].startswith("ERR ")
        assert await admin.order("SAY hi") == ["OK SAY"]


async def test_help_lists_the_commands(path: Path) -> None:
    async with operated(path) as (_, admin):
        *lines, end = await admin.order("HELP")
        assert end == "OK HELP"
        assert lines[0].startswith("INFO STATUS ")


async def test_quit_ends_the_connection(path: Path) -> None:
    async with operated(path) as (_, admin):
        admin.send("", "QUIT", "STATUS")
        assert await admin.rest() == ["BYE quit"]


async def test_line_that_is_too_long_ends_the_connection(path: Path) -> None:
    async with operated(path) as (_, admin):
        admin.send(10_000 * "x")
        assert await admin.rest() == []


async def test_only_some_operators_are_served_at_a_time(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(admin_module, "_MAX_CONNECTIONS", 1)
    async with operated(path) as (_, admin):
        with pytest.raises(AssertionError):
            async with operator(str(path)):
                pass
        assert await admin.order("SAY hi") == ["OK SAY"]
    assert "admin connection closed: there are 1 already" in caplog.text
    caplog.clear()


async def test_notice_reaches_all_members(path: Path) -> None:
    async with operated(path) as (harness, admin):
        ann, ben = await harness.join_all("ann", "ben")
        stranger = await harness.connect()
        assert await admin.order("SAY back at\x1b[1m noon") == ["OK SAY"]
        for peer in (ann, ben):
            assert await peer.barrier() == ["INFO back at␛[1m noon"]
        assert await stranger.barrier() == []


@pytest.mark.parametrize("line", ["DRAIN", "RELOAD", "LOG debug"])
async def test_what_needs_a_program_is_refused_in_a_library(path: Path, line: str) -> None:
    async with operated(path) as (_, admin):
        (answer,) = await admin.order(line)
        assert answer.startswith("ERR unavailable this server is a part of another program")


async def test_program_is_controlled(path: Path) -> None:
    async with operated(path) as (harness, admin):
        done: list[object] = []

        def reload() -> list[str]:
            if done:
                raise ConfigError("chat.toml:3: it's broken")
            return ["rate: 20 -> 50"]

        harness.server.controls = Controls(lambda: done.append("drain"), reload, done.append)
        assert await admin.order("RELOAD") == ["INFO rate: 20 -> 50", "OK RELOAD"]
        assert await admin.order("LOG debug") == ["OK LOG"]
        assert await admin.order("LOG info") == ["OK LOG"]
        assert await admin.order("DRAIN") == ["OK DRAIN"]
        assert done == [True, False, "drain"]
        assert await admin.order("RELOAD") == ["ERR failed chat.toml:3: it's broken"]


async def test_socket_answers_while_the_server_drains(path: Path) -> None:
    async with operated(path) as (harness, admin):
        await harness.server._disconnect_all(0.0)
        assert (await admin.order("STATUS"))[-1] == "OK STATUS"
