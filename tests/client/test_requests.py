"""Requests get their own answers, or an error."""

import asyncio
import contextlib
import gc
from datetime import UTC, datetime, timedelta

import pytest

from simple_chat import (
    Chat,
    CommandError,
    ConnectionLostError,
    Joined,
    Message,
    Notice,
)
from tests.client.scripted_server import (
    joined,
    next_turn,
    pending_events,
    scripted_server,
    send_until_blocked,
)
from tests.harness.server import run_server_in_loop

# Answers


async def test_ping_returns_after_the_server_has_processed_everything() -> None:
    async with run_server_in_loop() as home, joined(home.server.address) as ann:
        ben = await home.join("ben")
        for number in range(1000):
            await ann.send(str(number))
        await ann.ping()
        assert home.server.room.sequence.end == 1002
        assert await ben.barrier() == [f"MSG ann {number}" for number in range(1000)]


async def test_who_returns_all_names_in_the_order_of_joining() -> None:
    names = [f"Guest-{number}" for number in range(40)]  # more than fit in one line of the answer
    async with run_server_in_loop() as home, contextlib.AsyncExitStack() as chats:
        for name in names:
            await chats.enter_async_context(joined(home.server.address, name))
        async with joined(home.server.address) as ann:
            assert await ann.who() == [*names, "ann"]


async def test_history_returns_the_last_messages_oldest_first_with_their_time() -> None:
    async with run_server_in_loop() as home, joined(home.server.address) as ann:
        before = datetime.now(UTC) - timedelta(milliseconds=1)  # times have milliseconds
        for number in range(5):
            await ann.send(f"number {number}")
        everything = await ann.history()
        assert [(past.name, past.text) for past in everything] == [
            ("ann", f"number {number}") for number in range(5)
        ]
        assert all(before <= past.time <= datetime.now(UTC) for past in everything)
        assert await ann.history(2) == everything[-2:]
        assert await ann.history(99) == everything
        assert await ann.history(0) == []


async def test_concurrent_requests_get_their_own_answers() -> None:
    texts = [str(number) for number in range(20)]
    async with run_server_in_loop() as home, joined(home.server.address) as ann:
        for text in texts:
            await ann.send(text)

        async def ask(number: int) -> None:
            assert [past.text for past in await ann.history(number)] == texts[20 - number :]
            assert await ann.who() == ["ann"]
            await ann.ping()

        await asyncio.gather(*map(ask, range(20)))


async def test_request_is_answered_while_the_event_queue_is_full() -> None:
    async with run_server_in_loop() as home, joined(home.server.address) as ann:
        ben = await home.join("ben")
        await ben.ask(*(f"MSG {number}" for number in range(5000)))
        assert await ann.who() == ["ann", "ben"]
        messages = [Message("ben", str(number)) for number in range(5000)]
        assert await pending_events(ann) == [Joined("ben"), *messages]


# Errors


async def test_refused_request_raises_and_the_next_gets_its_own_answer() -> None:
    async with run_server_in_loop() as home, joined(home.server.address) as ann:
        refused = asyncio.create_task(ann.history(-1))
        who = asyncio.create_task(ann.who())
        await asyncio.wait({refused, who})
        assert isinstance(refused.exception(), CommandError)
        assert who.result() == ["ann"]


async def test_refused_request_raises_without_a_later_request() -> None:
    async with run_server_in_loop() as home, joined(home.server.address) as ann:
        refused = asyncio.create_task(ann.history(-1))
        await asyncio.wait({refused}, timeout=5)
        assert refused.done()
        assert isinstance(refused.exception(), CommandError)


async def test_error_for_another_line_does_not_fail_the_pending_request() -> None:
    async with scripted_server() as server, joined(server.address) as ann:
        await server.join_requested()
        pending = asyncio.create_task(ann.history())
        await server.peer.until("HISTORY")
        server.peer.send("ERR line-too-long shorter", "PAST 2024-05-06T07:08:09.123Z ben hi", "OK HISTORY 1")
        assert [past.text for past in await pending] == ["hi"]
        assert await anext(ann) == Notice("shorter")


async def test_cancelled_request_keeps_its_place_in_the_order() -> None:
    async with scripted_server() as server, joined(server.address) as ann:
        await server.join_requested()
        cancelled = asyncio.create_task(ann.who())
        await server.peer.until("WHO")
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        later = asyncio.create_task(ann.who())
        assert await server.peer.line() == "WHO"
        server.peer.send("NAMES ann ben", "OK WHO 2", "NAMES ann", "OK WHO 1")
        assert await later == ["ann"]


async def test_pending_requests_fail_when_the_connection_is_lost() -> None:
    async with scripted_server() as server, joined(server.address) as ann:
        await server.join_requested()
        requests = [asyncio.create_task(ask) for ask in (ann.who(), ann.history(), ann.ping())]
        await server.peer.until("PING 1")
        await server.peer.close()
        for request in requests:
            with pytest.raises(ConnectionLostError):
                await request
        for late in (ann.who(), ann.history(), ann.ping()):
            with pytest.raises(ConnectionLostError, match="not connected"):
                await late


async def test_unsent_request_raises_and_logs_nothing() -> None:
    async with scripted_server() as server, joined(server.address) as ann:
        await server.join_requested()
        sending = await send_until_blocked(ann, server.peer)
        pending = asyncio.create_task(ann.who())
        await next_turn()
        await server.peer.reset()
        for task in (pending, sending):
            with pytest.raises(ConnectionLostError):
                await task
        del pending
        gc.collect()  # asyncio logs exceptions that were never retrieved here


async def test_request_while_leaving_raises() -> None:
    async with scripted_server(answer_quit=False) as server:
        leave = asyncio.Event()
        chats: list[Chat] = []

        async def stay() -> None:
            async with joined(server.address) as chat:
                chats.append(chat)
                await leave.wait()

        staying = asyncio.create_task(stay())
        await server.join_requested()
        leave.set()
        await server.peer.until("QUIT")
        late = asyncio.create_task(chats[0].who())
        await next_turn()
        server.peer.send("OK LEAVE", "BYE quit")
        await staying
        with pytest.raises(ConnectionLostError):
            await late


@pytest.mark.usefixtures("short_bye_timeout")
async def test_unanswered_request_fails_when_the_block_ends() -> None:
    async with scripted_server(answer_quit=False) as server:
        async with joined(server.address) as ann:
            await server.join_requested()
            pending = asyncio.create_task(ann.who())
            await server.peer.until("WHO")
        await asyncio.wait({pending}, timeout=1)
        assert isinstance(pending.exception(), ConnectionLostError)
