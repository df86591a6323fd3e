"""The `Chat` API, with the real server and with scripted ones."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from simple_chat import (
    Chat,
    ConnectionLostError,
    Gap,
    InvalidMessageError,
    Joined,
    Left,
    Message,
    Notice,
    Settings,
)
from simple_chat.client import event_queue as event_queue_module
from simple_chat.client.event_queue import EVENT_SIZE
from tests.client.scripted_server import (
    DEADLINE,
    Address,
    collect_events,
    join_and_leave,
    joined,
    next_events,
    pending_events,
    scripted_server,
    send_until_blocked,
)
from tests.harness.peer import Peer
from tests.harness.server import run_server_in_loop

# Messages


async def test_chats_get_the_events_of_each_other_in_order_and_never_their_own() -> None:
    async with run_server_in_loop() as home, joined(home.server.address) as ann:
        async with joined(home.server.address, "ben") as ben:
            for number in range(100):
                await ann.send(f"{number} from ann")
                await ben.send(f"{number} from ben")
            assert await next_events(ben, 100) == [
                Message("ann", f"{number} from ann") for number in range(100)
            ]
        messages = [Message("ben", f"{number} from ben") for number in range(100)]
        assert await pending_events(ann) == [Joined("ben"), *messages, Left("ben")]


async def test_all_members_see_concurrent_messages_in_the_same_order() -> None:
    async with (
        run_server_in_loop() as home,
        joined(home.server.address, "eve") as eve,
        joined(home.server.address, "ann") as ann,
        joined(home.server.address, "ben") as ben,
    ):

        async def talk(chat: Chat) -> None:
            for number in range(200):
                await chat.send(str(number))

        await asyncio.gather(talk(ann), talk(ben))
        await asyncio.gather(ann.ping(), ben.ping())
        received = await pending_events(eve)
        for chat in (ann, ben):
            others = [event for event in received if getattr(event, "name", None) != chat.username]
            assert [event for event in await pending_events(chat) if isinstance(event, Message)] == [
                event for event in others if isinstance(event, Message)
            ]


async def test_error_about_no_line_of_the_client_is_a_notice() -> None:
    async with scripted_server() as server, joined(server.address) as ann:
        await server.join_requested()
        server.peer.send("ERR busy nobody asked")
        assert await anext(ann) == Notice("nobody asked")
        await ann.send("hello")
        server.peer.send("ERR too-many-errors enough", "BYE too-many-errors")
        assert await collect_events(ann) == [Notice("enough")]


@pytest.mark.parametrize(
    "text",
    [" ", "x", "\t", "MSG hi", 4092 * "x", 2046 * "é", 1023 * "\N{PARTY POPPER}", "two\u2028lines"],
    ids=["blank", "letter", "tab", "command", "longest", "longest é", "longest emoji", "separator"],
)
async def test_valid_text_arrives(text: str) -> None:
    async with run_server_in_loop() as home, joined(home.server.address) as ann:
        ben = await home.join("ben")
        await ann.send(text)
        await ann.ping()
        assert await ben.barrier() == [f"MSG ann {text}".replace("\u2028", "\ufffd")]


@pytest.mark.parametrize(
    "text",
    ["", "\n", "a\n", "a\nb", "\r", "a\r", "a\rb", 4093 * "x", 2046 * "é" + "x", "\ud800", "a\udcffb"],
    ids=ascii,
)
async def test_invalid_text_is_refused_and_not_sent(text: str) -> None:
    async with run_server_in_loop() as home, joined(home.server.address) as ann:
        ben = await home.join("ben")
        with pytest.raises(InvalidMessageError):
            await ann.send(text)
        await ann.ping()
        assert await ben.barrier() == []


# The end of the iteration


async def test_iteration_ends_after_bye() -> None:
    async with run_server_in_loop() as home, joined(home.server.address) as ann:
        ben = await home.join("ben")
        await ben.ask("MSG one", "MSG two")
        await home.server.close()
        assert await collect_events(ann) == [Joined("ben"), Message("ben", "one"), Message("ben", "two")]
        assert await collect_events(ann) == []
        with pytest.raises(ConnectionLostError):
            await ann.send("too late")


@pytest.mark.parametrize("end", [Peer.close, Peer.reset], ids=["closed", "reset"])
async def test_iteration_raises_after_the_last_event_without_bye(
    end: Callable[[Peer], Awaitable[None]],
) -> None:
    async with scripted_server() as server, joined(server.address) as ann:
        await server.join_requested()
        server.peer.send("MSG ben one")
        assert await anext(ann) == Message("ben", "one")
        server.peer.send("JOINED cleo")
        assert await anext(ann) == Joined("cleo")
        await end(server.peer)
        for _ in range(2):
            with pytest.raises(ConnectionLostError, match=r"^connection lost: "):
                await anext(ann)


async def test_end_of_the_connection_is_told_whatever_was_not_read() -> None:
    async with scripted_server() as server, joined(server.address) as ann:
        await server.join_requested()
        server.peer.send(*(f"MSG ben {number}" for number in range(2000)))
        await server.peer.reset()
        with pytest.raises(ConnectionLostError, match="connection lost: "):
            await ann.ping()
        with pytest.raises(ConnectionLostError, match="not connected: connection lost: "):
            await ann.send("too late")


# Leaving


async def test_leaving_the_block_leaves_the_room_once() -> None:
    async with run_server_in_loop() as home:
        ben = await home.join("ben")
        async with joined(home.server.address) as ann:
            await ann.send("hello")
        assert await ben.barrier() == ["JOINED ann", "MSG ann hello", "LEFT ann"]


async def test_leaving_sends_leave_and_quit_and_waits_for_bye() -> None:
    async with scripted_server(answer_quit=False) as server:
        leaving = asyncio.create_task(join_and_leave(server.address))
        assert await (await server.join_requested()).lines(2) == ["LEAVE", "QUIT"]
        assert not leaving.done()
        server.peer.send("OK LEAVE")
        assert not leaving.done()
        server.peer.send("BYE quit")
        await leaving


@pytest.mark.usefixtures("short_bye_timeout")
async def test_leaving_times_out_without_bye() -> None:
    async with scripted_server(answer_quit=False) as server:
        await join_and_leave(server.address)
        assert await server.peer.rest() == ["JOIN ann", "LEAVE", "QUIT"]


@pytest.mark.usefixtures("short_bye_timeout")
async def test_leaving_times_out_if_the_server_does_not_read() -> None:
    async with scripted_server(answer_quit=False) as server, joined(server.address) as ann:
        await server.join_requested()
        sending = await send_until_blocked(ann, server.peer)
        sending.cancel()
        await asyncio.wait({sending})
    with pytest.raises(ConnectionLostError):
        await ann.send("too late")


async def test_exception_in_the_block_leaves_and_propagates() -> None:
    async with run_server_in_loop() as home:
        ben = await home.join("ben")
        with pytest.raises(ZeroDivisionError):
            async with joined(home.server.address):
                raise ZeroDivisionError
        assert await ben.barrier() == ["JOINED ann", "LEFT ann"]


async def test_cancellation_in_the_block_leaves_and_propagates() -> None:
    async with scripted_server() as server:
        leaving = asyncio.create_task(stay(server.address))
        await server.join_requested()
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert await server.peer.rest() == ["LEAVE", "QUIT"]


async def test_second_cancellation_does_not_wait_for_bye() -> None:
    async with scripted_server(answer_quit=False) as server:
        leaving = asyncio.create_task(join_and_leave(server.address))
        await (await server.join_requested()).until("QUIT")
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert await server.peer.rest() == []


async def stay(address: Address) -> None:
    """Be in a room, for ever."""
    async with joined(address):
        await asyncio.Event().wait()


async def test_leaving_after_a_reset_is_no_error() -> None:
    async with scripted_server() as server, joined(server.address) as ann:
        await server.join_requested()
        await server.peer.reset()
        with pytest.raises(ConnectionLostError):
            await anext(ann)


async def test_leaving_ends_an_iteration_in_another_task() -> None:
    async with run_server_in_loop() as home, asyncio.timeout(DEADLINE):
        async with joined(home.server.address) as ann:
            listening = asyncio.create_task(collect_events(ann))
            await ann.ping()
        assert await listening == []


async def test_leaving_with_a_full_event_queue_leaves_the_room() -> None:
    async with run_server_in_loop() as home:
        ben = await home.join("ben")
        async with joined(home.server.address) as ann:
            await ben.ask(*(f"MSG {number}" for number in range(5000)))
            await anext(ann)
        assert await ben.barrier() == ["LEFT ann"]


# Events that nobody reads


async def test_unread_events_are_bounded_and_a_gap_tells_how_many_were_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_queue_module, "MAX_SIZE", 1000 * (EVENT_SIZE + 4))
    async with run_server_in_loop() as home, joined(home.server.address) as ann:
        ben = await home.join("ben")
        for start in range(1000, 6000, 1000):
            await ben.ask(*(f"MSG {number}" for number in range(start, start + 1000)))
            await ann.ping()
            assert len(ann._events) <= 1001
        messages = [Message("ben", str(number)) for number in range(5000, 6000)]
        assert await pending_events(ann) == [Gap(4001), *messages]  # the other one is ben's JOINED


async def test_events_that_are_read_as_they_come_are_all_there() -> None:
    async with scripted_server() as server, joined(server.address) as ann:
        await server.join_requested()
        server.peer.send(*(f"MSG ben {number}" for number in range(5000)))
        assert await next_events(ann, 5000) == [Message("ben", str(number)) for number in range(5000)]


# How long a line may be


@pytest.mark.parametrize("max_line", [64, 10_000])
async def test_longest_line_is_that_of_the_server(max_line: int) -> None:
    async with run_server_in_loop(Settings(max_line=max_line)) as home, joined(home.server.address) as ann:
        ben = await home.join("ben")
        longest = (max_line - len("MSG ")) * "x"
        await ann.send(longest)
        too_long = f"too long: {max_line + 1} bytes on the wire, {max_line} at most"
        with pytest.raises(InvalidMessageError, match=too_long):
            await ann.send(f"{longest}x")
        await ann.ping()
        assert await ben.barrier() == [f"MSG ann {longest}"]
