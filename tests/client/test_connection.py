"""One connection: other servers, and lines of servers that nobody trusts."""

import asyncio

import pytest

from simple_chat import (
    ChatEvent,
    ConnectError,
    ConnectionLostError,
    Gap,
    Message,
    Notice,
)
from simple_chat.client import connection as connection_module
from tests.client.scripted_server import (
    HELLO,
    join_and_leave,
    joined,
    next_events,
    next_turn,
    scripted_server,
)

# HELLO


@pytest.mark.parametrize(
    ("greeting", "reason"),
    [
        (b"", "closed"),
        (b"220 mail.example ESMTP\r\n", "closed"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "closed"),
        (b"INFO hello\n", "no simple_chat server"),
        (b"HELLO other/2 hello\n", "no simple_chat server"),
        (b"\xff\xfb\x01\n", "no simple_chat server"),
        (b"ERR too-many-connections come back later\nBYE too-many-connections\n", "come back later"),
        (HELLO, "can't join"),
        (HELLO + b"BYE shutdown\n", "can't join"),
    ],
    ids=["silence", "smtp", "http", "other", "version", "bytes", "full", "hangs-up", "shuts-down"],
)
async def test_other_servers_are_a_connect_error_and_get_disconnected(greeting: bytes, reason: str) -> None:
    async with scripted_server(greeting, half_close=True) as server:
        with pytest.raises(ConnectError, match=reason) as failed:
            await join_and_leave(server.address)
        assert f"127.0.0.1:{server.address[1]}" in str(failed.value)
        await server.peer.rest()  # we have closed our side too


@pytest.mark.parametrize("greeting", [b"", b"SSH-2.0-OpenSSH_9.9\r\n"], ids=["silent", "ssh"])
async def test_missing_hello_times_out_with_a_connect_error(
    greeting: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "_HELLO_TIMEOUT", 0.05)
    async with scripted_server(greeting) as server:
        with pytest.raises(ConnectError, match="no answer"):
            await join_and_leave(server.address)
        await server.peer.rest()


# Events


@pytest.mark.parametrize(
    ("line", "events"),
    [
        (b"NEWS from a newer server", []),
        (b"", []),
        (b"msg ben in small letters", []),
        (b"HELLO simple_chat/1 again", []),
        (b"OK WHO 3", []),
        (b"PONG nobody-asked", []),
        (b"NAMES ben", []),
        (b"PAST 2024-05-06T07:08:09.123Z ben hi", []),
        (b"GAP 3", [Gap(3)]),
        (b"INFO \x1b[2J", [Notice("\u241b[2J")]),
        (b"ERR code \xc2\x9b31m", [Notice("\ufffd31m")]),
        (b"ERR code", [Notice("")]),
        (b"MSG ben \x1b]0;title\x07", [Message("ben", "\u241b]0;title\u2407")]),
        (b"MSG ben \xe2\x80\xaeevil\r", [Message("ben", "\ufffdevil")]),
        (b"MSG ben a\rb", [Message("ben", "a\u240db")]),
    ],
    ids=ascii,
)
async def test_line_becomes_sanitized_events(line: bytes, events: list[ChatEvent]) -> None:
    assert await events_of(line) == events


@pytest.mark.parametrize(
    "line",
    [
        b"MSG",
        b"MSG ben",
        b"MSG ben ",
        b"MSG  hi",
        b"MSG \x1b[2J hi",
        b"JOINED",
        b"JOINED two words",
        b"LEFT \xc3\xa9",
        b"GAP",
        b"GAP -1",
        b"GAP 1" + 30 * b"0",
        b"GAP \xd9\xa3",
        b"NAMES",
        b"NAMES ann  ben",
        b"OK",
        b"ERR",
        b"HELLO",
        b"HELLO other/2",
        b"PAST",
        b"PAST yesterday ben hi",
        b"PAST 0001-01-01T00:00:00+14:00 ben hi",
        b"PAST 0001-01-01 ben hi",
        b"PAST 9999-12-31T23:59:59-14:00 ben hi",
        b"PAST 2024-05-06T07:08:09Z ben",
        b"\xff\xfe\xfd",
        b"MSG ben \xed\xa0\x80",
        b"MSG ben " + 5 * 2**20 * b"x",
    ],
    ids=lambda line: ascii(line[:40]),
)
async def test_malformed_line_becomes_one_notice_and_the_chat_continues(line: bytes) -> None:
    (event,) = await events_of(line)
    assert isinstance(event, Notice)
    assert event.text.startswith("a line of the server could not be read (")
    assert event.text.isprintable()


async def events_of(line: bytes) -> list[ChatEvent]:
    """Return the events of a line of the server, after which the chat has to work as before."""
    async with scripted_server() as server, joined(server.address) as ann:
        await server.join_requested()
        server.peer.write(line + b"\n")
        server.peer.send("MSG ben the end")
        events: list[ChatEvent] = []
        while (event := await anext(ann)) != Message("ben", "the end"):
            events.append(event)
        who = asyncio.create_task(ann.who())
        await server.peer.until("WHO")
        server.peer.send("NAMES ann", "OK WHO 1")
        assert await who == ["ann"]
    return events


async def test_all_events_received_before_a_reset_are_delivered() -> None:
    messages = [Message("ben", str(number)) for number in range(3000)]
    async with scripted_server() as server, joined(server.address) as ann:
        await server.join_requested()
        server.peer.send(*map(str, messages))
        while len(ann._events) < 3000:
            await next_turn()
        await server.peer.reset()
        assert await next_events(ann, 3000) == messages
        with pytest.raises(ConnectionLostError):
            await anext(ann)


async def test_incomplete_last_line_is_no_event() -> None:
    async with scripted_server() as server, joined(server.address) as ann:
        await server.join_requested()
        server.peer.write(b"MSG ben one\nMSG ben tw")
        await server.peer.close()
        assert await anext(ann) == Message("ben", "one")
        with pytest.raises(ConnectionLostError):
            await anext(ann)
