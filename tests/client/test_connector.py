"""How a chat gets into the room: servers, refusals and the password."""

import asyncio
import logging
import socket
import struct
import traceback
from pathlib import Path

import pytest

import simple_chat
from simple_chat import (
    ConnectError,
    Disconnected,
    InvalidMessageError,
    Joined,
    JoinRefusedError,
    Message,
    Reconnected,
)
from simple_chat.address import format_address
from simple_chat.client import connector as connector_module
from tests.client.scripted_server import (
    DEADLINE,
    HELLO,
    join_and_leave,
    joined,
    joined_at_any,
    next_events,
    pending_events,
    scripted_server,
)
from tests.harness.server import run_server_in_loop

# Joining


async def test_block_is_entered_after_ok_join() -> None:
    async with run_server_in_loop() as home:
        peer = await home.join("ben")
        async with joined(home.server.address) as chat:
            assert chat.username == "ann"
            assert "ann" in home.server.room.names()
            assert await peer.barrier() == ["JOINED ann"]


async def test_taken_name_is_refused_and_its_holder_gets_no_event() -> None:
    async with run_server_in_loop() as home, joined(home.server.address, "ann") as chat:
        with pytest.raises(JoinRefusedError, match=r"^name-taken: somebody here has that name") as refused:
            await join_and_leave(home.server.address, "ANN")
        assert refused.value.code == "name-taken"
        assert await pending_events(chat) == []


@pytest.mark.parametrize(
    "name",
    ["two words", "-dash", "é", 33 * "x", "two\nlines", "\udc80"],
    ids=["words", "dash", "accent", "long", "lines", "surrogate"],
)
async def test_bad_name_is_refused(name: str) -> None:
    async with run_server_in_loop() as home:
        with pytest.raises(JoinRefusedError) as refused:
            await join_and_leave(home.server.address, name)
        assert refused.value.code == "bad-name"


@pytest.mark.parametrize("code", ["too-many-connections", "busy", "auth-required", "whatever"])
async def test_refusal_has_the_code_and_advice_of_the_server(code: str) -> None:
    async with scripted_server(HELLO + f"ERR {code} come back later\nBYE {code}\n".encode()) as server:
        with pytest.raises(JoinRefusedError, match=f"^{code}: come back later$") as refused:
            await join_and_leave(server.address)
        assert (refused.value.code, refused.value.advice) == (code, "come back later")
        assert await server.peer.rest() == ["JOIN ann"]


async def test_refusal_that_arrived_before_a_reset_is_raised() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        entering = asyncio.create_task(join_and_leave(listener.getsockname()))
        async with asyncio.timeout(DEADLINE):
            connection, _ = await asyncio.get_running_loop().sock_accept(listener)
            connection.send(HELLO + b"ERR too-many-connections come back later\nBYE too-many-connections\n")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
            with pytest.raises(JoinRefusedError, match="come back later"):
                await entering


async def test_unanswered_join_times_out_with_a_connect_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector_module, "_JOIN_TIMEOUT", 0.05)
    async with scripted_server(HELLO) as server:
        with pytest.raises(ConnectError, match="no answer"):
            await join_and_leave(server.address)
        await server.peer.rest()


@pytest.mark.parametrize("greeting", [b"", HELLO], ids=["before HELLO", "before OK JOIN"])
async def test_cancelled_join_closes_the_connection(greeting: bytes) -> None:
    async with scripted_server(greeting) as server:
        entering = asyncio.create_task(join_and_leave(server.address))
        peer = await (server.join_requested() if greeting else server.connected())
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        assert await peer.rest() == []


# Addresses


@pytest.mark.parametrize("host", ["127.0.0.1", "a..b"], ids=["address", "bad name"])
async def test_connect_error_names_the_address(host: str, closed_port: int) -> None:
    with pytest.raises(ConnectError, match=f"^can't connect to {host}:{closed_port}: ."):
        await join_and_leave((host, closed_port))


async def test_connect_error_has_an_ipv6_address_in_brackets(closed_port: int) -> None:
    with pytest.raises(ConnectError, match=rf"^can't connect to \[::1\]:{closed_port}: "):
        await join_and_leave(("::1", closed_port))


async def test_port_out_of_range_is_a_connect_error() -> None:
    with pytest.raises(ConnectError, match=r"127\.0\.0\.1:65536"):
        await join_and_leave(("127.0.0.1", 65536))


async def test_unix_socket_replaces_host_and_port(tmp_path: Path) -> None:
    path = str(tmp_path / "chat")
    async with (
        run_server_in_loop(unix=path) as home,
        asyncio.timeout(DEADLINE),
        simple_chat.connect("203.0.113.1", 1, unix=path, username="ann") as ann,
        joined(home.server.address, "ben") as ben,
    ):
        await ben.send("hello")
        assert await next_events(ann, 2) == [Joined("ben"), Message("ben", "hello")]


async def test_missing_unix_socket_is_a_connect_error_with_its_path(tmp_path: Path) -> None:
    path = str(tmp_path / "chat")
    with pytest.raises(ConnectError, match=f"^can't connect to unix:{path}: No such file or directory$"):
        async with simple_chat.connect(unix=path, username="ann"):
            pass


async def test_servers_are_tried_in_order_until_one_answers(closed_port: int) -> None:
    async with (
        scripted_server(b"220 mail.example ESMTP\r\n", half_close=True) as other,
        scripted_server() as second,
        scripted_server() as third,
    ):
        nobody = ("127.0.0.1", closed_port)
        async with joined_at_any(nobody, other.address, second.address, third.address) as ann:
            assert ann.server == format_address(*second.address)
            await second.join_requested()
        assert (len(other.peers), third.peers) == (1, [])


async def test_connect_error_of_several_servers_has_the_reason_of_each(closed_port: int) -> None:
    where = f"127.0.0.1:{closed_port}"
    with pytest.raises(ConnectError) as failed:
        async with simple_chat.connect(["127.0.0.1", "::1"], closed_port, username="ann"):
            pytest.fail("nobody is there")
    first, second = str(failed.value).split("; ")
    assert first == f"can't connect to {where}: Connection refused"
    assert second.startswith(f"can't connect to [::1]:{closed_port}: ")


async def test_servers_may_be_separated_by_commas(closed_port: int) -> None:
    async with run_server_in_loop() as home, asyncio.timeout(DEADLINE):
        hosts = f"127.0.0.1:{closed_port}, {format_address(*home.server.address)}"
        async with simple_chat.connect(hosts, username="ann") as ann:
            assert ann.server == format_address(*home.server.address)


async def test_refusal_ends_the_search_for_a_server() -> None:
    refusal = HELLO + b"ERR name-taken somebody has it\n"
    async with scripted_server(refusal) as first, scripted_server() as second:
        with pytest.raises(JoinRefusedError, match=r"^name-taken: "):
            async with joined_at_any(first.address, second.address):
                pytest.fail("the name is taken")
        assert second.peers == []


async def test_host_may_include_its_port_and_must_be_an_address() -> None:
    async with (
        run_server_in_loop() as home,
        asyncio.timeout(DEADLINE),
        simple_chat.connect(format_address(*home.server.address), 1, username="ann") as ann,
    ):
        assert await ann.who() == ["ann"]
    for host in ("here:there", "", "127.0.0.1,"):
        with pytest.raises(ValueError, match="is neither HOST nor HOST:PORT"):
            simple_chat.connect(host, username="ann")
    with pytest.raises(ValueError, match="the list of hosts is empty"):
        simple_chat.connect([], username="ann")


# The password


async def test_password_is_sent_before_join() -> None:
    async with scripted_server(HELLO, answer_quit=True) as server:
        entering = asyncio.create_task(join_and_leave(server.address, password="s3 crét "))
        peer = await server.connected()
        assert await peer.line() == "PASS s3 crét "
        peer.send("OK PASS")
        assert await peer.line() == "JOIN ann"
        peer.send("OK JOIN ann")
        await entering


async def test_password_is_accepted_by_a_server_that_requires_none() -> None:
    async with run_server_in_loop() as home, joined(home.server.address, password="s3cret") as ann:
        assert await ann.who() == ["ann"]


@pytest.mark.parametrize("code", ["auth-failed", "unknown-command"])
async def test_wrong_password_is_refused_and_join_is_not_sent(code: str) -> None:
    async with scripted_server(HELLO + f"ERR {code} no\n".encode()) as server:
        with pytest.raises(JoinRefusedError, match=f"^{code}: no$") as refused:
            await join_and_leave(server.address, password="wr0ng")
        assert refused.value.code == code
        assert await server.peer.rest() == ["PASS wr0ng"]


@pytest.mark.parametrize(
    ("password", "message"),
    [
        ("", "empty"),
        ("s3cret\nJOIN eve", "several lines"),
        ("s3cret\r", "several lines"),
        ("s3cret\udc80", "not valid Unicode"),
        (4092 * "s", "too long: 4097 bytes on the wire, 4096 at most"),
    ],
    ids=["empty", "lines", "carriage return", "surrogate", "long"],
)
async def test_invalid_password_is_neither_sent_nor_in_the_error(password: str, message: str) -> None:
    async with scripted_server() as server:
        with pytest.raises(InvalidMessageError, match=message) as failed:
            await join_and_leave(server.address, password=password)
        assert "password" in str(failed.value)
        assert password == "" or password not in str(failed.value)
        assert "s3cret" not in "".join(traceback.format_exception(failed.value))
        assert server.peers == []


async def test_longest_password_is_sent() -> None:
    longest = 4091 * "s"
    async with (
        scripted_server(HELLO + b"OK PASS\nOK JOIN ann\n") as server,
        joined(server.address, password=longest),
    ):
        assert await server.peer.line() == f"PASS {longest}"


async def test_password_is_in_no_log_and_no_repr(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    asyncio.get_running_loop().slow_callback_duration = DEADLINE  # how long things take is no matter here
    refusal = HELLO + b"OK PASS\nERR name-taken somebody has it\n"
    async with scripted_server(refusal) as server:
        chat = simple_chat.connect(*server.address, username="ann", password="s3cret")
        with pytest.raises(JoinRefusedError) as refused:
            await chat.__aenter__()
        assert "s3cret" not in "".join(map(repr, [chat, refused.value, *asyncio.all_tasks()])) + caplog.text


@pytest.mark.usefixtures("jitter")
async def test_password_is_sent_again_on_reconnecting() -> None:
    let_in = HELLO + b"OK PASS\nOK JOIN ann\n"
    async with (
        scripted_server(let_in) as server,
        joined(server.address, password="s3cret", reconnect=True) as ann,
    ):
        for _ in range(2):
            assert await server.peer.lines(2) == ["PASS s3cret", "JOIN ann"]
            await server.peer.close()
            assert isinstance(await anext(ann), Disconnected)
            assert await anext(ann) == Reconnected()
        assert await server.peer.lines(2) == ["PASS s3cret", "JOIN ann"]
