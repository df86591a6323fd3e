"""The server's end: all that was taken reaches all who keep up, then BYE, then the close."""

import asyncio
import socket

import pytest

from simple_chat import Settings, serve
from simple_chat.core.room import Room
from simple_chat.journal.memory import MemoryJournal
from simple_chat.server.connection import Connection
from simple_chat.server.hub import Hub
from simple_chat.server.server import Server
from tests.harness.loops import LOOPS
from tests.harness.peer import DEADLINE, Peer, connect
from tests.harness.programs import run_server_process
from tests.harness.server import TRANSPORTS, run_server_in_loop

UNLIMITED = Settings(rate=0)

FILLER = "x" * 4000


async def enter(server: Server, *names: str, receive_buffer: int | None = None) -> list[Peer]:
    """Let peers in who are still there when the server ends, and have read what was said so far."""
    peers = []
    for name in names:
        peers.append(await connect(server.address, receive_buffer=receive_buffer))
        await peers[-1].ask(f"JOIN {name}")
    for peer in peers:
        await peer.barrier()
    return peers


async def test_everybody_gets_bye_shutdown() -> None:
    async with serve("127.0.0.1", 0, settings=UNLIMITED) as server:
        (ann,) = await enter(server, "ann")
        outside = await connect(server.address)
        await outside.barrier()
    for peer in (ann, outside):
        assert await peer.rest() == ["BYE shutdown"]


async def test_every_line_that_was_taken_reaches_all_who_keep_up() -> None:
    async with serve("127.0.0.1", 0, settings=UNLIMITED) as server:
        ann, bob, eve = await enter(server, "ann", "bob", "eve")
        assert await ann.ask(*(f"MSG {number} {FILLER}" for number in range(1000))) == []
    assert await ann.rest() == ["BYE shutdown"]
    for other in (bob, eve):
        assert await other.rest() == [*(f"MSG ann {each} {FILLER}" for each in range(1000)), "BYE shutdown"]


async def test_all_get_the_same_of_lines_that_are_in_flight_at_the_end() -> None:
    async with serve("127.0.0.1", 0, settings=UNLIMITED) as server:
        ann, bob, eve = await enter(server, "ann", "bob", "eve")
        ann.send(*(f"MSG {number} {FILLER}" for number in range(3000)))
        first = await bob.line()
    taken = [first, *await bob.rest()]
    assert taken == [*(f"MSG ann {each} {FILLER}" for each in range(len(taken) - 1)), "BYE shutdown"]
    assert await eve.rest() == taken
    assert await ann.rest() == ["BYE shutdown"]


def is_blocked(server: Server, name: str) -> bool:
    """Return whether writes to a member are held back."""
    member = server.room.membership.find(name)
    return any(each.blocked for each in server.room.delivery.joined() if each.member is member)


async def test_a_slow_reader_who_reads_within_the_drain_gets_all() -> None:
    async with serve("127.0.0.1", 0, settings=UNLIMITED) as server:
        (ann,) = await enter(server, "ann")
        (slow,) = await enter(server, "slow", receive_buffer=4096)
        slow.pause()
        said = 0
        while not is_blocked(server, "slow"):
            await ann.ask(*(f"MSG {each} {FILLER}" for each in range(said, said + 50)))
            said += 50
        closing = asyncio.create_task(server.close())
        assert (await ann.rest())[-1] == "BYE shutdown"
        assert not closing.done()
        slow.resume()
        assert await slow.rest() == [*(f"MSG ann {each} {FILLER}" for each in range(said)), "BYE shutdown"]
        await closing


async def test_stalled_reader_is_aborted_without_bye_after_the_drain() -> None:
    async with asyncio.timeout(10):
        async with serve("127.0.0.1", 0, settings=Settings(drain=0.1, rate=0)) as server:
            (ann,) = await enter(server, "ann")
            (slow,) = await enter(server, "slow", receive_buffer=4096)
            await ann.barrier()
            slow.pause()
            while not is_blocked(server, "slow"):
                await ann.ask(*[f"MSG {FILLER}"] * 50)
        assert await ann.rest() == ["BYE shutdown"]
    slow.resume()
    await slow.wait_closed()
    assert not slow.received.endswith(b"BYE shutdown\n")


async def test_abort_all_ends_every_connection_at_once() -> None:
    async with serve("127.0.0.1", 0, settings=UNLIMITED) as server:
        ann, bob = await enter(server, "ann", "bob")
        server.abort_all()
        for peer in (ann, bob):
            assert await peer.rest() == []


async def test_nobody_can_connect_any_more() -> None:
    async with serve("127.0.0.1", 0, settings=UNLIMITED) as server:
        address = server.address
    with pytest.raises(ConnectionRefusedError):
        await connect(address)


async def test_a_server_may_be_closed_twice() -> None:
    async with serve("127.0.0.1", 0, settings=UNLIMITED) as server:
        (ann,) = await enter(server, "ann")
        await server.close()
    assert await ann.rest() == ["BYE shutdown"]


async def test_an_exception_in_the_block_ends_the_server_in_order() -> None:
    serving = serve("127.0.0.1", 0, settings=UNLIMITED)
    (ann,) = await enter(await serving.__aenter__(), "ann")
    error = ZeroDivisionError()
    assert not await serving.__aexit__(ZeroDivisionError, error, None)
    assert await ann.rest() == ["BYE shutdown"]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("loop", LOOPS)
def test_connections_that_start_at_the_end_do_not_hold_it_up(loop: str, transport: str) -> None:
    async def end_while_connections_start(turns: int) -> None:
        async with run_server_in_loop(Settings(drain=600.0), transport=transport) as harness:
            await harness.join("ann")
            connecting = [asyncio.create_task(harness.connect()) for _ in range(8)]
            for _ in range(turns):
                await asyncio.sleep(0)
            async with asyncio.timeout(DEADLINE):
                await harness.server.close()
            assert not harness.server.hub.connections
            await asyncio.gather(*connecting, return_exceptions=True)

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        for turns in range(1, 9):
            runner.run(end_while_connections_start(turns))


@pytest.mark.parametrize("loop", LOOPS)
def test_log_that_nobody_reads_holds_up_neither_members_nor_the_end(loop: str) -> None:
    with run_server_process("--verbose", "--loop", loop) as server:
        ann = server.join("ann")
        for _ in range(1000):  # a pipe holds 64 KiB
            socket.create_connection((server.host, int(server.port)), DEADLINE).close()
        assert ann.barrier() == []
        server.process.terminate()
        ann.wait_for("BYE shutdown")
        ann.close()
        assert server.process.wait(DEADLINE) == 0


async def test_journal_is_closed_though_connections_fail_to_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class FailingJournal(MemoryJournal):
        closed = False

        async def close(self, end: int = 0) -> None:  # noqa: ARG002 - the signature is the journal's
            self.closed = True

    def fail(connection: Connection) -> None:
        raise RuntimeError(str(connection))

    server = Server(Settings(drain=0.0), Room(), journal=(journal := FailingJournal()))
    await server.open()
    await server.listen("127.0.0.1", 0)
    ann, bob = await enter(server, "ann", "bob")
    with monkeypatch.context() as patch:
        patch.setattr(Hub, "abort_all", lambda _: fail(next(iter(server.hub.connections))))
        patch.setattr(Hub, "_start_close", lambda _, connection: fail(connection))
        with pytest.raises(RuntimeError):
            await server.close()
    assert journal.closed
    assert [record.message.endswith("failed, connection aborted") for record in caplog.records] == [
        True,
        True,
    ]
    for peer in (ann, bob):
        await peer.wait_closed()
    caplog.clear()


async def test_no_task_is_left() -> None:
    tasks = asyncio.all_tasks()
    async with serve("127.0.0.1", 0, settings=UNLIMITED) as server:
        peers = await enter(server, *(f"user{number}" for number in range(20)))
        await peers[0].ask("MSG hi")
        await peers[1].reset()
    assert asyncio.all_tasks() == tasks
    for peer in peers[2:]:
        assert (await peer.rest())[-1] == "BYE shutdown"
