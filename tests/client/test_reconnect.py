"""Reconnecting: which refusals are retried, in which rhythm, and what is reported."""

import asyncio
import contextlib
import random

import pytest

from simple_chat import (
    ConnectionLostError,
    Disconnected,
    HistoryMessage,
    Joined,
    JoinRefusedError,
    Left,
    Message,
    Missed,
    Reconnected,
    Settings,
    serve,
)
from simple_chat.address import format_address
from simple_chat.client import connection as connection_module
from simple_chat.client import connector as connector_module
from simple_chat.client.connection import Address, ClientConnection
from tests.client.scripted_server import (
    ACCEPT,
    HELLO,
    collect_events,
    joined,
    joined_at_any,
    next_events,
    pending_events,
    scripted_server,
)
from tests.harness.server import eventually, run_server_in_loop

# One server


@pytest.mark.usefixtures("long_delays")
async def test_pause_before_the_next_attempt_can_be_ended() -> None:
    async with scripted_server() as server, joined(server.address, reconnect=True) as ann:
        ann.reconnect_now()  # no pause: without effect
        for _ in range(2):
            await (await server.join_requested()).close()
            assert await anext(ann) == Disconnected("connection lost: the server closed it", 3600.0)
            ann.reconnect_now()
            assert await anext(ann) == Reconnected()


async def test_chat_reconnects_to_a_restarted_server(jitter: list[tuple[float, float]]) -> None:
    async with contextlib.AsyncExitStack() as block:
        async with serve("127.0.0.1", 0) as server:
            host, port = server.address
            ann = await block.enter_async_context(joined((host, port), reconnect=True))
        assert await anext(ann) == Disconnected("the server said BYE shutdown", 0)
        async with serve(host, port) as server:
            while (event := await anext(ann)) != Reconnected():
                assert event == Disconnected(f"can't connect to {host}:{port}: Connection refused", 0)
            async with joined((host, port), "ben") as ben:
                await ann.send("I am back")
                assert await ann.who() == ["ann", "ben"]
                assert await pending_events(ben) == [Message("ann", "I am back")]
                await block.aclose()
                assert await pending_events(ben) == [Left("ann")]
    assert jitter[0] == (0, 1)


async def test_events_continue_after_reconnecting(jitter: list[tuple[float, float]]) -> None:
    async with scripted_server() as server, joined(server.address, reconnect=True) as ann:
        first = await server.join_requested()
        first.send("MSG ben one")
        await first.close()
        lost = Disconnected("connection lost: the server closed it", 0)
        assert await next_events(ann, 3) == [Message("ben", "one"), lost, Reconnected()]
        second = await server.join_requested()
        second.send("MSG ben two")
        assert await anext(ann) == Message("ben", "two")
        await second.reset()
        assert isinstance(await anext(ann), Disconnected)
        assert await anext(ann) == Reconnected()
        third = await server.join_requested()
    assert [await peer.rest() for peer in (first, second, third)] == [
        ["HISTORY 1"],
        ["HISTORY 100"],
        ["HISTORY 100", "LEAVE", "QUIT"],
    ]
    assert jitter == [(0, 1), (0, 1)]


async def test_delays_double_up_to_a_minute_with_full_jitter(
    jitter: list[tuple[float, float]],
) -> None:
    full = b"ERR too-many-connections come back later\n"
    async with scripted_server(ACCEPT, full) as server, joined(server.address, reconnect=True) as ann:
        await server.join_requested()
        await server.peer.close()
        _, *failures = await next_events(ann, 9)
        why = f"can't connect to 127.0.0.1:{server.address[1]}: come back later"
        assert failures == 8 * [Disconnected(why, 0)]
        assert jitter[:9] == [(0, most) for most in (1, 2, 4, 8, 16, 32, 60, 60, 60)]


async def test_disconnected_has_the_seconds_until_the_next_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda _low, high: high / 1024)
    async with (
        scripted_server(ACCEPT, b"ERR busy\n", ACCEPT) as server,
        joined(server.address, reconnect=True) as ann,
    ):
        await server.peer.close()
        first, second, back = await next_events(ann, 3)
        assert isinstance(first, Disconnected)
        assert isinstance(second, Disconnected)
        assert (first.retry_in, second.retry_in, back) == (1 / 1024, 2 / 1024, Reconnected())


@pytest.mark.usefixtures("jitter")
async def test_taken_name_is_retried_after_a_lost_connection() -> None:
    taken = HELLO + b"ERR name-taken somebody has it\n"
    async with (
        scripted_server(ACCEPT, taken, taken, ACCEPT) as server,
        joined(server.address, reconnect=True) as ann,
    ):
        await server.join_requested()
        await server.peer.close()
        _, *events = await next_events(ann, 4)
        assert events == [*2 * [Disconnected("the name is not free yet", 0)], Reconnected()]


@pytest.mark.parametrize("code", ["too-many-connections", "busy"])
async def test_full_server_is_retried_without_a_time_limit(
    code: str, jitter: list[tuple[float, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector_module, "_NAME_TAKEN_TIMEOUT", -1.0)
    full = HELLO + f"ERR {code} come back later\nBYE {code}\n".encode()
    async with (
        scripted_server(ACCEPT, *7 * [full], ACCEPT) as server,
        joined(server.address, reconnect=True) as ann,
    ):
        await server.join_requested()
        await server.peer.close()
        _, *events = await next_events(ann, 9)
        assert events == [*7 * [Disconnected(f"{code}: come back later", 0)], Reconnected()]
    assert jitter == [(0, most) for most in (1, 2, 4, 8, 16, 32, 60, 60)]


@pytest.mark.usefixtures("jitter")
@pytest.mark.parametrize(
    ("code", "patience"), [("name-taken", -1.0), ("auth-required", 120.0), ("auth-failed", 120.0)]
)
async def test_permanent_refusal_ends_the_iteration(
    code: str, patience: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector_module, "_NAME_TAKEN_TIMEOUT", patience)
    refusal = HELLO + f"ERR {code} not you\n".encode()
    async with scripted_server(ACCEPT, refusal) as server, joined(server.address, reconnect=True) as ann:
        await server.join_requested()
        await server.peer.close()
        assert isinstance(await anext(ann), Disconnected)
        with pytest.raises(JoinRefusedError, match=f"^{code}: not you$") as refused:
            await anext(ann)
        assert refused.value.code == code
        with pytest.raises(ConnectionLostError):
            await ann.ping()


def test_taken_name_is_retried_for_longer_than_the_lease_of_a_node() -> None:
    assert connector_module._is_retryable("name-taken", 45.0)
    assert connector_module._is_retryable("busy", 45.0)


@pytest.mark.usefixtures("long_delays")
async def test_requests_fail_and_leaving_is_immediate_while_disconnected() -> None:
    async with scripted_server() as server, joined(server.address, reconnect=True) as ann:
        await server.join_requested()
        asking = asyncio.create_task(ann.who())
        await server.peer.until("WHO")
        await server.peer.close()
        assert await anext(ann) == Disconnected("connection lost: the server closed it", 3600)
        for late in (asking, ann.send("hello"), ann.who(), ann.history(), ann.ping()):
            with pytest.raises(ConnectionLostError):
                await late
    assert await collect_events(ann) == []
    assert len(server.peers) == 1


# Several servers


async def test_chat_moves_to_the_next_server_without_delay(jitter: list[tuple[float, float]]) -> None:
    async with (
        scripted_server() as first,
        scripted_server() as second,
        joined_at_any(first.address, second.address) as ann,
    ):
        await (await first.join_requested()).close()
        where = format_address(*second.address)
        assert await next_events(ann, 2) == [
            Disconnected("connection lost: the server closed it", 0),
            Reconnected(where),
        ]
        assert ann.server == where
        (await second.join_requested()).send("MSG ben hello")
        assert await anext(ann) == Message("ben", "hello")
        assert jitter == []


async def test_attempts_are_delayed_after_each_row_of_all_servers(
    jitter: list[tuple[float, float]],
) -> None:
    full = b"ERR too-many-connections come back later\n"
    async with (
        scripted_server(ACCEPT, full, full, ACCEPT) as first,
        scripted_server(full) as second,
        joined_at_any(first.address, second.address) as ann,
    ):
        await (await first.join_requested()).close()
        _, *failures, back = await next_events(ann, 4)  # each failure is reported once
        assert failures == [
            Disconnected(f"can't connect to {format_address(*each)}: come back later", 0)
            for each in (second.address, first.address)
        ]
        assert back == Reconnected()  # where it was before
        assert (len(first.peers), len(second.peers)) == (4, 3)
    assert jitter == [(0, 1), (0, 2), (0, 4)]


@pytest.mark.parametrize(
    ("code", "reason"), [("name-taken", "the name is not free yet"), ("busy", "busy: not now")]
)
async def test_repeated_refusals_of_several_servers_are_reported_once(
    code: str, reason: str, jitter: list[tuple[float, float]]
) -> None:
    refusal = HELLO + f"ERR {code} not now\n".encode()
    async with (
        scripted_server(ACCEPT, *5 * [refusal], ACCEPT) as first,
        scripted_server(refusal) as second,
        joined_at_any(first.address, second.address) as ann,
    ):
        await (await first.join_requested()).close()
        _, *events = await next_events(ann, 3)
        assert events == [Disconnected(reason, 0), Reconnected()]
        assert (len(first.peers), len(second.peers)) == (7, 6)
    assert jitter == [(0, most) for most in (1, 2, 4, 8, 16, 32)]


@pytest.mark.usefixtures("jitter")
async def test_name_taken_at_several_servers_for_too_long_ends_the_iteration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connector_module, "_NAME_TAKEN_TIMEOUT", -1.0)
    refusal = HELLO + b"ERR name-taken not now\n"
    async with (
        scripted_server() as first,
        scripted_server(refusal) as second,
        joined_at_any(first.address, second.address) as ann,
    ):
        await (await first.join_requested()).close()
        assert isinstance(await anext(ann), Disconnected)
        with pytest.raises(JoinRefusedError, match=r"^name-taken: not now$"):
            await anext(ann)


async def test_next_server_is_not_tried_without_reconnect() -> None:
    async with (
        scripted_server() as first,
        scripted_server() as second,
        joined_at_any(first.address, second.address, reconnect=False) as ann,
    ):
        await (await first.join_requested()).close()
        with pytest.raises(ConnectionLostError):
            await anext(ann)
        assert second.peers == []


# A program that only sends


async def test_program_that_never_reads_events_goes_on_after_a_restart(
    jitter: list[tuple[float, float]],
) -> None:
    async with contextlib.AsyncExitStack() as block:
        async with serve("127.0.0.1", 0, settings=Settings(rate=0)) as server:
            host, port = server.address
            ann = await block.enter_async_context(joined((host, port), reconnect=True))
            async with joined((host, port), "ben") as ben:
                for number in range(1100):
                    await ben.send(str(number))
                await ben.ping()
        async with serve(host, port), joined((host, port), "ben") as ben:
            await eventually(lambda: ann._connection is not None)
            for text in ("one", "two", "three"):
                await ann.send(text)
            await ann.ping()
            texts = [event.text for event in await pending_events(ben) if isinstance(event, Message)]
            assert texts == ["one", "two", "three"]
    assert jitter


# What was missed


@pytest.mark.usefixtures("jitter")
@pytest.mark.parametrize("seen", [[], ["seen"]], ids=["nothing seen", "seen"])
async def test_missed_messages_follow_after_reconnecting_without_doubles(
    seen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    connected = connection_module.open_connection
    reachable = asyncio.Event()
    reachable.set()

    async def open_connection(address: Address) -> ClientConnection:
        await reachable.wait()
        return await connected(address)

    monkeypatch.setattr(connector_module, "open_connection", open_connection)
    async with run_server_in_loop() as home, joined(home.server.address, "ben") as ben:
        await ben.send("before ann")
        await ben.ping()
        async with joined(home.server.address, reconnect=True) as ann:
            for text in seen:
                await ben.send(text)
            await ben.ping()
            await ann.send("mine")
            assert await pending_events(ann) == [Message("ben", text) for text in seen]
            reachable.clear()
            home.connection(home.subscriber("ann")).abort()
            assert isinstance(await anext(ann), Disconnected)
            for text in ("one", "two"):
                await ben.send(text)
            await ben.ping()
            reachable.set()
            assert await anext(ann) == Reconnected()
            await ann.ping()
            await ben.send("live")
            assert await anext(ann) == Missed(2, complete=True)
            past = [event for event in await next_events(ann, 2) if isinstance(event, HistoryMessage)]
            assert [(each.name, each.text) for each in past] == [("ben", "one"), ("ben", "two")]
            assert await anext(ann) == Message("ben", "live")


@pytest.mark.usefixtures("jitter")
async def test_messages_that_arrive_before_the_history_follow_it_once() -> None:
    first = HELLO + b"OK JOIN ann\nPAST 2030-01-02T00:00:00.000Z ben old\nOK HISTORY 1\n"
    async with (
        scripted_server(first, HELLO + b"OK JOIN ann\nJOINED cleo\nMSG ben new\n") as server,
        joined(server.address, reconnect=True) as ann,
    ):
        await server.join_requested()
        await server.peer.close()
        while await anext(ann) != Reconnected():
            pass
        await server.peer.until("HISTORY 100")
        server.peer.send(
            "PAST 2030-01-02T00:00:00.000Z ben old",
            "PAST 2030-01-02T00:00:01.000Z ben missed",
            "PAST 2030-01-02T00:00:02.000Z ben new",
            "OK HISTORY 3",
            "MSG ben newer",
        )
        assert await anext(ann) == Missed(1, complete=True)
        (missed,) = await next_events(ann, 1)
        assert isinstance(missed, HistoryMessage)
        assert missed.text == "missed"
        assert await next_events(ann, 3) == [Joined("cleo"), Message("ben", "new"), Message("ben", "newer")]


@pytest.mark.usefixtures("jitter")
@pytest.mark.parametrize("answer", ["", "ERR unknown-command what?"], ids=["lost", "refused"])
async def test_events_go_on_where_the_history_is_not_answered(answer: str) -> None:
    unanswered = HELLO + b"OK JOIN ann\nMSG ben new\n"
    async with (
        scripted_server(ACCEPT, unanswered, ACCEPT) as server,
        joined(server.address, reconnect=True) as ann,
    ):
        await server.join_requested()
        await server.peer.close()
        while await anext(ann) != Reconnected():
            pass
        await server.peer.until("HISTORY 100")
        server.peer.send(answer)
        if not answer:
            await server.peer.close()
        assert await anext(ann) == Message("ben", "new")
