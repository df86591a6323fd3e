"""Requests get their own answers, or an error."""

import asyncio
import contextlib
import errno
import gc
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import pytest

from simple_chat import (
    Chat,
    CommandError,
    ConnectionLostError,
    Joined,
    Message,
    MessageRefusedError,
    Notice,
    Reconnected,
    Refused,
    Settings,
)
from simple_chat.client.requests import RequestQueue
from simple_chat.core.commands import Ping
from simple_chat.core.room import BATCH_BYTES
from simple_chat.journal.segment import SegmentWriter
from tests.client.scripted_server import (
    joined,
    next_turn,
    pending_events,
    scripted_server,
    send_until_blocked,
)
from tests.harness.peer import Peer
from tests.harness.server import eventually, run_server_in_loop

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


# Messages that were refused or lost


@pytest.mark.parametrize(("texts", "refused"), [(["one"], 1), (["one", "two"], 1), (["one", "two"], 2)])
async def test_ping_raises_for_messages_that_were_refused(texts: list[str], refused: int) -> None:
    async with scripted_server() as server, joined(server.address) as ann:
        await server.join_requested()
        await ping_behind(ann, server.peer, "zero")
        with pytest.raises(MessageRefusedError) as error:
            await ping_behind(ann, server.peer, *texts, answers=refused * ["ERR busy not now"])
        assert (error.value.code, error.value.advice) == ("busy", "not now")
        assert (error.value.count, error.value.messages) == (refused, tuple(texts))
        assert await anext(ann) == Refused("busy", "not now", refused, tuple(texts))
        await ping_behind(ann, server.peer, "three")


async def ping_behind(chat: Chat, peer: Peer, *texts: str, answers: Sequence[str] = ()) -> None:
    """Send messages and a ping, and answer them."""
    for text in texts:
        await chat.send(text)
    pinging = asyncio.create_task(chat.ping())
    assert await peer.until(f"MSG {texts[-1]}") == [f"MSG {text}" for text in texts[:-1]]
    peer.send(*answers, await pong(peer))
    await pinging


async def pong(peer: Peer) -> str:
    """Return the answer to the PING that comes next."""
    ping = await peer.line()
    assert ping.startswith("PING ")
    return ping.replace("PING", "PONG")


async def test_messages_that_a_busy_room_refuses_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "")

    async with (
        run_server_in_loop(Settings(journal=str(tmp_path))) as home,
        joined(home.server.address) as ann,
    ):
        with monkeypatch.context() as full:
            full.setattr(SegmentWriter, "append", fail)
            texts = [f"{number} {4000 * 'x'}" for number in range(2 * BATCH_BYTES // 4000)]
            await ann.send("first")
            await eventually(lambda: home.server.room.delivery.suspended)
            for text in texts:
                await ann.send(text)
            pinging = asyncio.create_task(ann.ping())
            await eventually(lambda: home.subscriber("ann").response is not None)
        with pytest.raises(MessageRefusedError, match=": busy: ") as error:
            await pinging
        assert 0 < error.value.count < len(texts)
        assert error.value.messages == ("first", *texts)
        refused = [event for event in await pending_events(ann) if isinstance(event, Refused)]
        assert [(event.code, event.count) for event in refused] == [("busy", error.value.count)]
    caplog.clear()  # that the disk failed


@pytest.mark.parametrize(
    ("count", "messages", "text"),
    [
        (1, ["hello"], "'hello' was refused: busy: not now"),
        (2, ["hi", "ho"], "'hi', 'ho' were refused: busy: not now"),
        (1, ["hi", "ho"], "1 of 'hi', 'ho' was refused: busy: not now"),
        (2, list("abcdef"), "2 of the messages from 'a' to 'f' were refused: busy: not now"),
        (1, [101 * "x"], f"'{100 * 'x'}…' was refused: busy: not now"),
        (1, ["\x1b\u202e"], r"'\x1b\u202e' was refused: busy: not now"),
    ],
)
def test_error_of_a_refusal_quotes_the_messages(count: int, messages: list[str], text: str) -> None:
    assert str(MessageRefusedError("busy", "not now", count, messages)) == text


async def test_refusal_is_told_though_nobody_pings() -> None:
    async with scripted_server() as server, joined(server.address) as ann:
        await server.join_requested()
        for text in ("one", "two"):
            await ann.send(text)
        await server.peer.until("MSG two")
        server.peer.send("ERR busy not now")
        answer = await pong(server.peer)
        await ann.send("three")
        server.peer.send("ERR busy not now", answer)
        assert await anext(ann) == Refused("busy", "not now", 2, ("one", "two"))
        await server.peer.until("MSG three")
        pinging = asyncio.create_task(ann.ping())
        server.peer.send("ERR line-too-long shorter", await pong(server.peer))
        assert await anext(ann) == Refused("line-too-long", "shorter", 1, ("three",))
        with pytest.raises(MessageRefusedError, match="'one', 'two', 'three' were refused") as error:
            await pinging
        assert error.value.count == 3


async def test_refusal_of_all_messages_is_told_before_the_answer() -> None:
    async with scripted_server() as server, joined(server.address) as ann:
        await server.join_requested()
        await ann.send("one")
        server.peer.send("ERR busy not now")
        assert await anext(ann) == Refused("busy", "not now", 1, ("one",))
        await ann.send("two")
        pinging = asyncio.create_task(ann.ping())
        await server.peer.until("MSG two")
        ping = await server.peer.line()
        server.peer.send("ERR busy not now")
        assert await anext(ann) == Refused("busy", "not now", 1, ("two",))
        assert not pinging.done()
        server.peer.send(ping.replace("PING", "PONG"))
        with pytest.raises(MessageRefusedError, match="'one', 'two' were refused"):
            await pinging


async def test_any_answer_tells_which_messages_an_error_is_about() -> None:
    async with scripted_server() as server, joined(server.address) as ann:
        await server.join_requested()
        await ann.send("one")
        who = asyncio.create_task(ann.who())
        await server.peer.until("WHO")
        await ann.send("two")
        server.peer.send("ERR busy not now", "NAMES ann", "OK WHO 1")
        assert await who == ["ann"]
        assert await anext(ann) == Refused("busy", "not now", 1, ("one",))
        pinging = asyncio.create_task(ann.ping())
        await server.peer.until("MSG two")
        server.peer.send(await pong(server.peer))
        with pytest.raises(MessageRefusedError, match="'one' was refused"):
            await pinging


async def test_refusals_of_a_cancelled_ping_are_raised_by_the_next() -> None:
    async with scripted_server() as server, joined(server.address) as ann:
        await server.join_requested()
        await ann.send("one")
        cancelled = asyncio.create_task(ann.ping())
        await server.peer.until("MSG one")
        answer = await pong(server.peer)
        cancelled.cancel()
        await asyncio.wait({cancelled})
        server.peer.send("ERR busy not now", answer)
        pinging = asyncio.create_task(ann.ping())
        server.peer.send(await pong(server.peer))
        with pytest.raises(MessageRefusedError, match="'one' was refused"):
            await pinging


async def test_unanswered_request_does_not_shift_the_answers_of_others() -> None:
    async with scripted_server() as server, joined(server.address) as ann:
        await server.join_requested()
        unanswered, who = asyncio.create_task(ann.history()), asyncio.create_task(ann.who())
        await server.peer.until("WHO")
        server.peer.send("NAMES ann", "OK WHO 1")
        assert await who == ["ann"]
        with pytest.raises(ConnectionLostError, match="not answered"):
            await unanswered


@pytest.mark.usefixtures("jitter")
async def test_ping_after_a_reconnect_raises_for_messages_before_it() -> None:
    async with scripted_server() as server, joined(server.address, reconnect=True) as ann:
        await server.join_requested()
        await ann.send("one")
        await server.peer.until("MSG one")
        await server.peer.close()
        while await anext(ann) != Reconnected():
            pass
        with pytest.raises(ConnectionLostError, match="perhaps not sent: 'one'"):
            await ann.ping()
        pinging = asyncio.create_task(ann.ping())
        await server.peer.until("HISTORY 100")
        server.peer.send(await pong(server.peer))
        await pinging


@pytest.mark.usefixtures("jitter")
async def test_ping_that_was_lost_has_told_of_the_messages_before_it() -> None:
    async with scripted_server() as server, joined(server.address, reconnect=True) as ann:
        await server.join_requested()
        await ann.send("one")
        lost = asyncio.create_task(ann.ping())
        await server.peer.until("MSG one")
        server.peer.send("ERR busy not now")
        await server.peer.close()
        with pytest.raises(ConnectionLostError):
            await lost
        assert await anext(ann) == Refused("busy", "not now", 1, ("one",))
        while await anext(ann) != Reconnected():
            pass
        pinging = asyncio.create_task(ann.ping())
        await server.peer.until("HISTORY 100")
        server.peer.send(await pong(server.peer))
        with pytest.raises(MessageRefusedError):
            await pinging


async def test_message_that_could_not_be_sent_is_not_told_again() -> None:
    for lose_first in (False, True):
        requests = RequestQueue(lambda refused: pytest.fail(str(refused)))
        for text in ("one", "two"):
            requests.add_message(text)
        if lose_first:
            requests.fail_all("connection lost")
        requests.discard_message("two")
        requests.discard_message("unknown")
        requests.fail_all("connection lost")
        assert requests.take_lost() == ("one",)
        assert requests.take_lost() == ()


async def test_messages_behind_which_a_ping_was_cancelled_are_told_by_the_next() -> None:
    requests = RequestQueue(lambda refused: pytest.fail(str(refused)))
    requests.add_message("one")
    requests.add(Ping("1")).cancel()
    requests.fail_all("connection lost")
    assert requests.take_lost() == ("one",)
