"""The client program: servers, the password, and the exit status."""

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGKILL, SIGTERM, Signals

import pytest

from tests.client.pipe_client import (
    CLIENT,
    JOIN_SEND_LEAVE,
    Outcome,
    assert_error,
    client_command,
    joined_peer,
    read_line,
    run,
    run_process,
    wait_for_outcome,
    write,
)
from tests.harness.peer import Peer
from tests.harness.programs import ServerProcess, run_server_process
from tests.harness.tls_servers import serve_connections

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio"])  # the loop runs the test, not the client


# Servers


@pytest.mark.parametrize("script", ['exec "$@"', 'exec "$@" <&-', 'exec "$@" <&- >&-'])
async def test_missing_server_is_one_line_and_status_1(
    server: ServerProcess, closed_port: int, script: str
) -> None:
    outcome = await run(*client_command(server, "--port", str(closed_port), script=script))
    assert_error(outcome, 1, f"can't connect to 127.0.0.1:{closed_port}: Connection refused")


async def test_first_of_several_servers_that_answers_is_used(
    server: ServerProcess, ann: Peer, closed_port: int
) -> None:
    hosts = ("--host", f"127.0.0.1:{closed_port}", "--host", server.host)
    assert await run(*client_command(server, *hosts), data=b"send hi\n") == Outcome(0)
    assert await ann.barrier() == JOIN_SEND_LEAVE
    variable = f"127.0.0.1:{closed_port},{server.host}:{server.port}"
    command = (*CLIENT, "--port", str(closed_port), "--username", "bot")
    assert await run(*command, data=b"send hi\n", SIMPLE_CHAT_SERVER_HOST=variable) == Outcome(0)
    assert await ann.barrier() == JOIN_SEND_LEAVE


@pytest.mark.usefixtures("ann")
async def test_taken_name_is_one_line_and_status_1(server: ServerProcess) -> None:
    outcome = await run(*client_command(server, "--username", "Ann"), data=b"send hi\n")
    assert_error(outcome, 1, "simple_chat: name-taken: the name 'Ann' is taken, choose another by --username")


@pytest.mark.usefixtures("ann")
async def test_refusal_is_not_printed_to_stdout_if_stderr_is_closed(server: ServerProcess) -> None:
    outcome = await run(*client_command(server, "--username", "ann", script='exec "$@" 2>&-'))
    assert outcome == Outcome(1)


async def test_server_and_name_come_from_the_environment(server: ServerProcess, ann: Peer) -> None:
    variables = {"SIMPLE_CHAT_SERVER_HOST": "localhost", "SIMPLE_CHAT_SERVER_PORT": server.port}
    outcome = await run(*CLIENT, data=b"send hi\n", **variables, SIMPLE_CHAT_USERNAME="bot")
    assert outcome == Outcome(0)
    assert await ann.barrier() == JOIN_SEND_LEAVE


async def test_options_override_the_environment(server: ServerProcess, ann: Peer) -> None:
    variables = {
        "SIMPLE_CHAT_SERVER_HOST": "203.0.113.1",
        "SIMPLE_CHAT_SERVER_PORT": "1",
        "SIMPLE_CHAT_USERNAME": "x",
    }
    outcome = await run(*client_command(server, "--host", "127.0.0.1"), data=b"send hi\n", **variables)
    assert outcome == Outcome(0)
    assert await ann.barrier() == JOIN_SEND_LEAVE


async def test_empty_variables_count_as_unset(server: ServerProcess, ann: Peer) -> None:
    assert await run(*client_command(server), data=b"send hi\n", SIMPLE_CHAT_SERVER_HOST="") == Outcome(0)
    outcome = await run(*CLIENT, "--port", server.port, SIMPLE_CHAT_USERNAME="")
    assert_error(outcome, 2, "the username is missing")
    assert await ann.barrier() == JOIN_SEND_LEAVE


async def test_unix_socket_replaces_host_and_port(tmp_path: Path) -> None:
    path = str(tmp_path / "chat")
    with run_server_process("--unix", path) as server:
        server.log.expect_exact(f"listening on unix:{path}\n")
        async with joined_peer(server, "ann") as ann:
            outcome = await run(
                *CLIENT, "--port", "1", "--unix", path, "--username", "bot", data=b"send hi\n"
            )
            assert outcome == Outcome(0)
            assert await ann.barrier() == JOIN_SEND_LEAVE


# The password


@contextlib.asynccontextmanager
async def password_server() -> AsyncIterator[tuple[str, list[str]]]:
    """Run a server with the password s3cret; yield its port and the lines that it receives."""
    received: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HELLO simple_chat/1 welcome\n")
        known = False
        async for data in reader:
            received.append(line := data.decode().removesuffix("\n"))
            verb, _, argument = line.partition(" ")
            known = known or line == "PASS s3cret"
            refused = "ERR auth-failed no" if verb == "PASS" else "ERR auth-required PASS <secret> first"
            done = "BYE quit" if verb == "QUIT" else f"PONG {argument}" if verb == "PING" else f"OK {verb}"
            writer.write(f"{done if known else refused}\n".encode() if verb != "MSG" else b"")
            if verb == "QUIT":
                return

    async with serve_connections(handle) as (_, port):
        yield str(port), received


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("line_end", ["", "\n", "\r\n", "\nanother line\n\xff"])
async def test_password_is_the_first_line_of_a_file(mark: bytes, line_end: str, tmp_path: Path) -> None:
    (tmp_path / "password").write_bytes(mark + f"s3cret{line_end}".encode("latin-1"))
    async with password_server() as (port, received):
        options = ("--username", "bot", "--password-file", str(tmp_path / "password"))
        outcome = await run(
            *CLIENT, "--port", port, *options, data=b"send hi\n", SIMPLE_CHAT_PASSWORD="wr0ng"
        )
    assert outcome == Outcome(0)
    assert received == ["PASS s3cret", "JOIN bot", "MSG hi", "PING 1", "LEAVE", "QUIT"]


async def test_password_comes_from_the_environment() -> None:
    async with password_server() as (port, received):
        command = (*CLIENT, "--port", port, "--username", "bot")
        assert await run(*command, SIMPLE_CHAT_PASSWORD="s3cret") == Outcome(0)
    assert received[:2] == ["PASS s3cret", "JOIN bot"]


async def test_wrong_password_is_status_1_and_not_printed() -> None:
    async with password_server() as (port, received):
        outcome = await run(*CLIENT, "--port", port, "--username", "bot", SIMPLE_CHAT_PASSWORD="wr0ng")
    assert_error(outcome, 1, "simple_chat: auth-failed: no")
    assert "wr0ng" not in outcome.stderr
    assert received == ["PASS wr0ng"]


@pytest.mark.parametrize("variables", [{}, {"SIMPLE_CHAT_PASSWORD": ""}], ids=["unset", "empty"])
async def test_missing_password_error_says_how_to_configure_it(variables: dict[str, str]) -> None:
    async with password_server() as (port, received):
        outcome = await run(*CLIENT, "--port", port, "--username", "bot", data=b"", **variables)
    where = "SIMPLE_CHAT_PASSWORD or --password-file PATH"
    assert_error(outcome, 1, f"simple_chat: auth-required: the server requires a password: {where}")
    assert received == ["JOIN bot"]


# Exit status


@pytest.mark.parametrize(("signal", "status"), [(SIGTERM, 143), (SIGINT, 130), (SIGHUP, 129)])
async def test_signal_leaves_the_room_and_sets_the_status(
    server: ServerProcess, ann: Peer, signal: Signals, status: int
) -> None:
    async with run_process(*client_command(server)) as bot:
        assert await ann.line() == "JOINED bot"
        bot.send_signal(signal)
        assert await ann.line() == "LEFT bot"
        assert await wait_for_outcome(bot) == Outcome(status)


async def test_signals_that_were_ignored_at_start_stay_ignored(server: ServerProcess, ann: Peer) -> None:
    command = client_command(server, script='trap "" HUP INT && exec "$@"')
    async with run_process(*command) as bot:
        assert await ann.line() == "JOINED bot"
        for number in (SIGHUP, SIGINT):
            bot.send_signal(number)
        await ann.ask("MSG still here?")
        assert await read_line(bot.stdout) == "ann: still here?\n"
        write(bot, b"send yes\n")
        assert await ann.line() == "MSG bot yes"


async def test_server_shutdown_ends_the_client_while_stdin_is_open() -> None:
    with run_server_process() as server:
        async with joined_peer(server, "ann") as ann, run_process(*client_command(server)) as bot:
            assert await ann.line() == "JOINED bot"
            await ann.ask("MSG last words")
            await asyncio.to_thread(server.stop)
            outcome = await wait_for_outcome(bot)
            assert await ann.rest() == ["BYE shutdown"]
    assert outcome == Outcome(1, "ann: last words\n", "simple_chat: the server ended the connection\n")


async def test_killed_server_is_one_line_and_status_1() -> None:
    async with run_process(sys.executable, "-m", "simple_chat.server", "--port", "0") as server:
        found = re.search(r":(\d+)\n", await read_line(server.stderr))
        assert found
        async with run_process(*CLIENT, "--port", found[1], "--username", "bot") as bot:
            write(bot, b"who\n")
            assert await read_line(bot.stderr) == "* 1 here: bot\n"
            server.send_signal(SIGKILL)
            outcome = await wait_for_outcome(bot)
    assert_error(outcome, 1, "simple_chat: connection lost: ")
