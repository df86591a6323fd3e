"""Kicking and banning on one server."""

import asyncio
import time
from pathlib import Path

import pytest

from simple_chat import ConfigError, Settings
from simple_chat.core.bans import Ban
from simple_chat.core.network import parse_network
from simple_chat.errors import AdminError
from simple_chat.server import hub as hub_module
from simple_chat.server import moderation as moderation_module
from simple_chat.server.bans_file import read_bans
from tests.harness.addresses import external_address
from tests.harness.peer import Peer
from tests.harness.server import TRANSPORTS, ServerHarness, eventually, run_server_in_loop

KICKED = ["ERR kicked be nice", "BYE kicked"]
BANNED = ["ERR banned spam", "BYE banned"]


async def join_from(harness: ServerHarness, source: str, name: str) -> Peer:
    peer = await harness.connect_from(source)
    assert await peer.ask(f"JOIN {name}") == [f"OK JOIN {name}"]
    return peer


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_kicked_member_leaves_and_may_come_back(transport: str) -> None:
    async with run_server_in_loop(transport=transport) as harness:
        ann, ben = await harness.join_all("ann", "ben")
        await harness.server.moderation.kick("BEN", "be nice")
        assert await ben.rest() == KICKED
        assert await ann.barrier() == ["LEFT ben"]
        await harness.join("ben")


async def test_kick_of_nobody_is_refused() -> None:
    async with run_server_in_loop() as harness:
        await harness.connect()
        with pytest.raises(AdminError, match="nobody here is called 'ann'"):
            await harness.server.moderation.kick("ann")


async def test_kicked_member_that_reads_nothing_frees_its_name() -> None:
    async with run_server_in_loop(Settings(drain=60)) as harness:
        mute = await harness.join("mute", receive_buffer=4096)
        harness.set_send_buffer("mute", 4096)
        ann = await harness.join("ann")
        mute.pause()
        subscriber = harness.subscriber("mute")
        while not subscriber.blocked:
            await ann.ask(*["MSG " + 1000 * "x"] * 100)
        await harness.server.moderation.kick("mute")
        assert await ann.barrier() == ["LEFT mute"]
        mute.resume()
        assert (await mute.rest())[-1] == "BYE kicked"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_banned_name_is_disconnected_and_kept_out(transport: str) -> None:
    async with run_server_in_loop(transport=transport) as harness:
        ann, ben = await harness.join_all("ann", "ben")
        assert await harness.server.moderation.ban("Ben", reason="spam") == Ban("Ben", None, None, "spam")
        assert await ben.rest() == BANNED
        assert await ann.barrier() == ["LEFT ben"]
        again = await harness.connect()
        again.send("JOIN ben")
        assert await again.rest() == BANNED
        await harness.join("benjamin")
        await harness.server.moderation.unban("ben")
        await harness.join("ben")


async def test_banned_network_is_disconnected_and_kept_out() -> None:
    far = external_address()
    async with run_server_in_loop() as harness:
        ann = await harness.join("ann")
        ben, stranger = await join_from(harness, far, "ben"), await harness.connect_from(far)
        await harness.server.moderation.ban(far, reason="spam")
        for peer in (ben, stranger):
            assert await peer.rest() == BANNED
        assert await (await harness.connect_from(far)).rest() == BANNED
        assert await ann.barrier() == ["JOINED ben", "LEFT ben"]
        await harness.server.moderation.unban(far)
        await join_from(harness, far, "ben")


async def test_ban_of_a_member_is_about_its_network_too() -> None:
    far = external_address()
    async with run_server_in_loop() as harness:
        ben = await join_from(harness, far, "ben")
        ban = await harness.server.moderation.ban("ben", reason="spam")
        assert ban == Ban("ben", parse_network(far), None, "spam")
        assert await ben.rest() == BANNED
        assert await (await harness.connect_from(far)).rest() == BANNED
        await harness.server.moderation.unban(far)
        await join_from(harness, far, "ben")


@pytest.mark.parametrize("target", ["127.0.0.1", "127.0.0.0/8", "::1", "0.0.0.0/0"])
async def test_network_of_this_machine_cannot_be_banned(target: str) -> None:
    async with run_server_in_loop() as harness:
        with pytest.raises(AdminError, match="everybody may come from there"):
            await harness.server.moderation.ban(target)


async def test_ban_expires() -> None:
    async with run_server_in_loop() as harness:
        await harness.server.moderation.ban("ben", time.time() - 1)
        await eventually(lambda: not [*harness.server.moderation.bans])
        await harness.join("ben")


@pytest.mark.parametrize("target", ["ben", "192.0.2.7"])
async def test_unban_of_who_is_not_banned_is_refused(target: str) -> None:
    async with run_server_in_loop() as harness:
        with pytest.raises(AdminError, match=f"'{target}' is not banned"):
            await harness.server.moderation.unban(target)


@pytest.mark.parametrize("target", ["", "_ben", "192.0.2.0/33"])
async def test_what_is_no_target_is_refused(target: str) -> None:
    async with run_server_in_loop() as harness:
        for order in (harness.server.moderation.ban, harness.server.moderation.unban):
            with pytest.raises(AdminError, match="is neither a name nor an address nor a network"):
                await order(target)


async def test_bans_outlive_the_server(tmp_path: Path) -> None:
    settings = Settings(bans=str(tmp_path / "bans"))
    async with run_server_in_loop(settings) as harness:
        await harness.server.moderation.ban("ben", reason="spam")
        await harness.server.moderation.ban("192.0.2.7", 4_000_000_000)
        await harness.server.moderation.ban("cleo")
        await harness.server.moderation.unban("cleo")
    async with run_server_in_loop(settings) as harness:
        assert [*harness.server.moderation.bans] == [
            Ban("ben", None, None, "spam"),
            Ban(None, parse_network("192.0.2.7"), 4_000_000_000),
        ]
        ben = await harness.connect()
        ben.send("JOIN ben")
        assert await ben.rest() == BANNED


async def test_edited_file_is_read_on_demand_and_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "bans"
    async with run_server_in_loop(Settings(bans=str(path))) as harness:
        ann, ben = await harness.join_all("ann", "ben")
        path.write_text("ben - - spam\nann\n")
        with pytest.raises(ConfigError, match=f"{path}:2: 'ann' has not the columns"):
            harness.server.moderation.read_file()
        assert await ben.barrier() == []
        path.write_text("ben - - spam\n")
        harness.server.moderation.replace(harness.server.moderation.read_file() or [])
        assert await ben.rest() == BANNED
        assert await ann.barrier() == ["LEFT ben"]


async def test_broken_file_ends_the_start(tmp_path: Path) -> None:
    path = tmp_path / "bans"
    path.write_text("rubbish\n")
    with pytest.raises(ConfigError, match=f"{path}:1: 'rubbish' has not the columns"):
        async with run_server_in_loop(Settings(bans=str(path))):
            pass


async def test_ban_that_cannot_be_stored_holds_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "bans"
    async with run_server_in_loop(Settings(bans=str(path))) as harness:
        with pytest.raises(AdminError, match=f"done, but not stored: can't write {path}: No such file"):
            await harness.server.moderation.ban("ben", reason="spam")
        ben = await harness.connect()
        ben.send("JOIN ben")
        assert await ben.rest() == BANNED


async def test_kick_that_is_not_carried_out_in_time_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moderation_module, "_TIMEOUT", 0.01)
    monkeypatch.setattr(hub_module.Hub, "disconnect", lambda *_: None)
    async with run_server_in_loop() as harness:
        await harness.join("ann")
        with pytest.raises(AdminError, match="ann is still there: this server has not removed it"):
            await harness.server.moderation.kick("ann")


async def test_ban_is_stored_even_if_its_target_is_still_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moderation_module, "_TIMEOUT", 0.01)
    monkeypatch.setattr(hub_module.Hub, "disconnect", lambda *_: None)
    path = tmp_path / "bans"
    async with run_server_in_loop(Settings(bans=str(path))) as harness:
        await harness.join("ann")
        with pytest.raises(AdminError, match="ann is still there"):
            await harness.server.moderation.ban("ann")
    assert read_bans(path) == [Ban("ann", None)]


async def test_many_are_kicked_at_once() -> None:
    async with run_server_in_loop() as harness:
        peers = await harness.join_all(*(f"peer{number}" for number in range(20)))
        await asyncio.gather(*(harness.server.moderation.kick(f"peer{number}") for number in range(1, 20)))
        assert await peers[0].barrier() == [f"LEFT peer{number}" for number in range(1, 20)]
