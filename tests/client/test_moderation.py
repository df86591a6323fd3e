"""What a client makes of an operator who ends its connection: it does not come back."""

from pathlib import Path

import pytest

from simple_chat import ConnectionLostError, JoinRefusedError, KickedError
from tests.client.pipe_client import client_command, joined_peer, run_process, wait_for_outcome
from tests.client.scripted_server import collect_events, joined
from tests.harness.operator_peer import operator
from tests.harness.programs import run_server_process
from tests.harness.server import run_server_in_loop


@pytest.mark.parametrize("reconnect", [False, True])
async def test_kicked_chat_ends_with_the_reason(reconnect: bool) -> None:  # noqa: FBT001
    async with (
        run_server_in_loop() as harness,
        joined(harness.server.address, reconnect=reconnect) as ann,
    ):
        await harness.server.moderation.kick("ann", "be nice")
        with pytest.raises(KickedError, match="kicked: be nice") as raised:
            await collect_events(ann)
        assert (raised.value.code, raised.value.reason) == ("kicked", "be nice")
        for request in (ann.send("hi"), ann.who(), ann.ping()):
            with pytest.raises(ConnectionLostError, match="not connected: kicked: be nice"):
                await request


async def test_banned_chat_ends_and_can_not_join_again() -> None:
    async with run_server_in_loop() as harness:
        async with joined(harness.server.address, reconnect=True) as ann:
            await harness.server.moderation.ban("ann", reason="spam")
            with pytest.raises(KickedError, match="banned: spam"):
                await collect_events(ann)
        with pytest.raises(JoinRefusedError, match="banned: spam"):
            async with joined(harness.server.address):
                pass


async def test_client_in_a_pipe_exits_with_status_1_and_says_why(tmp_path: Path) -> None:
    path = str(tmp_path / "admin")
    with run_server_process("--admin", path) as server:
        async with run_process(*client_command(server, "--follow")) as bot:
            async with joined_peer(server, "ann") as ann:
                while "bot" not in str(await ann.ask("WHO")):
                    pass
            async with operator(path) as admin:
                assert await admin.order("KICK bot be nice") == ["OK KICK bot"]
            outcome = await wait_for_outcome(bot)
            assert outcome.status == 1
            assert outcome.stderr.splitlines()[-1] == "simple_chat: kicked: be nice"
