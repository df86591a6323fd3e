"""What `serve` refuses, and what can change while a server runs."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from simple_chat import Server, Settings, Sync, serve
from simple_chat.core.codes import Code
from simple_chat.core.room import Room
from simple_chat.errors import ConfigError
from simple_chat.server import hub
from tests.harness.peer import connect
from tests.harness.server import disconnect_lines, run_server_in_loop


async def test_journal_and_cluster_exclude_each_other_and_leave_no_directory(tmp_path: Path) -> None:
    settings = Settings(journal=str(tmp_path / "journal"), cluster=("nats://127.0.0.1:1",))
    with pytest.raises(ConfigError, match="exclude each other"):
        async with serve("127.0.0.1", 0, settings=settings):
            pass
    assert not (tmp_path / "journal").exists()


async def test_settings_change_while_it_runs_and_nobody_is_dropped() -> None:
    settings = Settings(rate=0)
    async with run_server_in_loop(settings, limited=True) as harness:
        ann, bob = await harness.join_all("ann", "bob")
        changed = replace(settings, max_clients=1, presence_limit=1, history=1, max_line=100, drain=0.5)
        harness.server.reconfigure(changed)
        assert harness.server.settings is changed
        assert await ann.ask("MSG one", "MSG two") == []
        assert [line.split(" ", 2)[2] for line in await bob.ask("HISTORY")] == ["one", "two", "ann two", "1"]
        full = await connect(harness.address)
        assert (await full.rest())[1:] == [
            "LIMITS max-line=100",
            *disconnect_lines(Code.TOO_MANY_CONNECTIONS),
        ]
        assert await ann.ask("MSG " + "x" * 1000) == []  # its own limit is the old one
        await bob.close()
        await harness.wait_for_connections(1)
        assert await ann.ask("WHO") == ["NAMES ann", "OK WHO 1"]  # and no LEFT: there were two


async def test_changed_join_timeout_is_for_connections_to_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_SWEEP_INTERVAL", 0.01)
    async with run_server_in_loop(Settings(join_timeout=0)) as harness:
        before = await harness.connect()
        harness.server.reconfigure(replace(harness.server.settings, join_timeout=0.001))
        after = await harness.connect()
        assert await after.rest() == disconnect_lines(Code.JOIN_TIMEOUT)
        assert await before.ask("JOIN ann") == ["OK JOIN ann"]


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no TCP_USER_TIMEOUT")
async def test_changed_stall_timeout_is_the_kernels_for_connections_to_come(tmp_path: Path) -> None:
    async with run_server_in_loop(Settings(stall_timeout=5), unix=str(tmp_path / "socket")) as harness:
        await harness.join("ann")
        harness.server.reconfigure(replace(harness.server.settings, stall_timeout=7.5))
        await harness.join("bob")
        socks = [harness.connection(harness.subscriber(name)).sock for name in ("ann", "bob")]
        timeouts = [each.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) for each in socks]
        assert timeouts == [5000, 7500]


@pytest.mark.parametrize(
    ("before", "after", "names"),
    [
        (Settings(), Settings(backlog=1), "backlog"),
        (Settings(), Settings(insecure=True, reuse_port=True, rate=1), "insecure, reuse_port"),
        (Settings(), Settings(journal="x", sync=Sync.DISK), "journal, sync"),
        (Settings(cluster=("nats://a",)), Settings(cluster=("nats://b",)), "cluster"),
        (Settings(cluster=("nats://a",)), Settings(cluster=("nats://a",), max_line=100), "max_line"),
    ],
)
def test_setting_that_can_not_change_is_named_and_nothing_changes(
    before: Settings, after: Settings, names: str
) -> None:
    server = Server(before, Room())
    with pytest.raises(ConfigError) as caught:
        server.reconfigure(after)
    assert str(caught.value) == f"this can't change while a server runs: {names}"
    assert server.settings is before
