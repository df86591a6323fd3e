"""Whoever takes nothing of what it is sent is cut, and whoever takes it slowly is not."""

import asyncio
import errno
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path

import pytest

from simple_chat import Settings
from simple_chat.server import hub
from simple_chat.server.watchdog import Watchdog
from tests.harness.peer import DEADLINE, Peer
from tests.harness.server import TRANSPORTS, ServerHarness, eventually, run_server_in_loop
from tests.server.test_backpressure import Talk

TIMEOUT = 60.0


class Stalled:
    """A member who reads nothing, and those around it.

    Attributes:
        harness: where.
        talk: of the member who talks.
        peer: the one who does not read.
        connection: the server's side of it.
    """

    def __init__(self, harness: ServerHarness, talk: Talk, peer: Peer) -> None:
        self.harness = harness
        self.talk = talk
        self.peer = peer
        self.connection = harness.connection(harness.subscriber("stalled"))

    def pending(self) -> int | None:
        """Bytes that are on their way to it."""
        watchdog = Watchdog(0, TIMEOUT)
        watchdog.track_backpressured(self.connection)
        watchdog.stalled(0.0)
        return watchdog._backpressured[self.connection][0]

    async def take_a_bit(self) -> None:
        """Take bytes from the kernel until the server's side knows that some were taken."""
        before = self.pending()
        number = self.peer.transport.get_extra_info("socket").fileno()

        def knows() -> bool:
            with suppress(BlockingIOError):
                os.read(number, 512)
            return self.pending() != before

        await eventually(knows)
        await eventually(lambda: self.harness.subscriber("stalled").blocked)


@asynccontextmanager
async def stalled(
    transport: str, *, sweeping: bool = True, stall_timeout: float = TIMEOUT
) -> AsyncIterator[Stalled]:
    """Run a house with a member who reads nothing, for whom there is more than the kernel takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub, "_SWEEP_INTERVAL", 0.02 if sweeping else 3600.0)
        async with run_server_in_loop(Settings(stall_timeout=stall_timeout), transport=transport) as harness:
            talker, listener = await harness.join_all("talker", "listener")
            peer = await harness.join("stalled", receive_buffer=4096)
            peer.pause()
            harness.set_send_buffer("stalled", 16 * 1024)  # a Unix socket's would have room for much
            await talker.barrier()
            await listener.barrier()
            if (sock := harness.connection(harness.subscriber("stalled")).sock).family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 0)  # the kernel would be first
            talk = Talk(harness, talker, listener)
            while not harness.subscriber("stalled").blocked:
                await talk.say(5)
            await talk.say(100)  # so that it stays behind though it takes some of it
            yield Stalled(harness, talk, peer)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_stalled_reader_is_reset_and_leaves(transport: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub, "_SWEEP_INTERVAL", 0.02)
        async with run_server_in_loop(Settings(stall_timeout=0.2), transport=transport) as harness:
            talker = await harness.join("talker")
            peer = await harness.join("stalled", receive_buffer=4096)
            peer.pause()
            assert await talker.line() == "JOINED stalled"
            async with asyncio.timeout(DEADLINE):
                while "LEFT stalled" not in await talker.ask(*["MSG " + "x" * 4000] * 50):
                    pass
            assert await (await harness.connect()).ask("JOIN stalled") == ["OK JOIN stalled"]
            peer.resume()
            await peer.wait_closed()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_stall_is_reported_exactly_after_the_timeout(transport: str) -> None:
    async with stalled(transport, sweeping=False) as scene:

        def cut() -> list[bool]:
            watchdog = Watchdog(0, TIMEOUT)
            watchdog.track_backpressured(scene.connection)
            return [watchdog.stalled(now) == [scene.connection] for now in (100.0, 130.0, 159.9, 160.0)]

        # Between two looks the kernel may have moved a last bit into the peer's buffer.
        await eventually(lambda: cut() == [False, False, False, True])


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_slow_but_steady_reader_is_not_stalled(transport: str) -> None:
    async with stalled(transport, sweeping=False) as scene:
        watchdog = Watchdog(0, TIMEOUT)
        watchdog.track_backpressured(scene.connection)
        watchdog.stalled(0.0)
        for minute in range(1, 6):
            await scene.take_a_bit()
            assert watchdog.stalled(minute * TIMEOUT) == []
        later = count(6)  # than the last bit, which the kernel may still be moving
        await eventually(lambda: watchdog.stalled(next(later) * TIMEOUT) == [scene.connection])


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_stall_timer_restarts_when_everything_was_read(transport: str) -> None:
    async with stalled(transport, sweeping=False) as scene:
        watchdog = Watchdog(0, TIMEOUT)
        watchdog.track_backpressured(scene.connection)
        watchdog.stalled(0.0)
        scene.peer.resume()
        await eventually(lambda: scene.harness.subscriber("stalled").caught_up)
        assert watchdog.stalled(TIMEOUT) == []
        watchdog.dead_peers()  # which forgets whoever is held up no more
        assert not watchdog._backpressured


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_stall_timeout_zero_aborts_nobody(transport: str) -> None:
    async with stalled(transport, stall_timeout=0.0) as scene:
        for _ in range(10):
            tick = scene.harness.server.hub._sweep_timer
            await eventually(lambda: scene.harness.server.hub._sweep_timer is not tick)  # noqa: B023
            await scene.talk.say(1)
        assert scene.harness.subscriber("stalled").blocked
        watchdog = Watchdog(0, 0.0)
        watchdog.track_backpressured(scene.connection)
        assert watchdog.stalled(0.0) == watchdog.stalled(1e9) == []


# A sweep


def log_of_stalls(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if " stalled, reset" in record.getMessage()]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_sweep_resets_stalled_connections(transport: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with stalled(transport, sweeping=False) as scene:
        times = count(step=TIMEOUT)

        def swept() -> bool:
            assert not log_of_stalls(caplog)
            assert watchdog.sweep([], next(times)) == []
            return scene.connection.transport.is_closing()

        watchdog = Watchdog(0, TIMEOUT)
        watchdog.track_backpressured(scene.connection)
        await eventually(swept)
        reason = f"nothing acknowledged for {TIMEOUT:g} s (--stall-timeout)"
        assert log_of_stalls(caplog) == [f"{scene.connection} write stalled, reset: {reason}"]
        assert await scene.talk.talker.until("LEFT stalled") == []


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_sweep_aborts_connections_whose_peer_was_reset(transport: str) -> None:
    async with stalled(transport, sweeping=False) as scene:
        watchdog = Watchdog(0, 0)
        watchdog.track_backpressured(scene.connection)
        assert watchdog.sweep([], 0.0) == []
        assert not scene.connection.transport.is_closing()
        await scene.peer.reset()

        def swept() -> bool:
            watchdog.sweep([], 0.0)
            return scene.connection.lost

        await eventually(swept)
        assert await scene.talk.talker.until("LEFT stalled") == []


async def test_sweep_returns_each_connection_once_that_has_not_joined_in_time() -> None:
    async with run_server_in_loop(Settings(join_timeout=0)) as harness:
        await harness.join("ann")
        await harness.connect()
        (ann,) = (each for each in harness.server.hub.connections if each.session.subscriber.member)
        (stranger,) = {*harness.server.hub.connections} - {ann}
        watchdog = Watchdog(30.0, 0)
        for connection in (ann, stranger):
            watchdog.start_join_timer(connection, 100.0)
        assert [watchdog.sweep([], now) for now in (100.0, 129.9, 130.0, 131.0)] == [[], [], [stranger], []]


async def test_sweep_removes_a_connection_that_is_stuck_in_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a TLS connection of which the event loop never reports the end."""
    async with run_server_in_loop() as harness:
        ann = await harness.join("ann")
        bob = await harness.join("bob")
        assert await ann.line() == "JOINED bob"
        stuck = harness.connection(harness.subscriber("bob"))
        watchdog = Watchdog(0, 0, close_timeout=10.0)
        assert watchdog.sweep(harness.server.hub.connections, 100.0) == []
        with monkeypatch.context() as patch:
            patch.setattr(type(stuck), "connection_lost", lambda *_: None)
            stuck.abort()
            await bob.wait_closed()
            for now in (200.0, 209.9):
                watchdog.sweep([*harness.server.hub.connections], now)
                assert await ann.barrier() == []
        watchdog.sweep([*harness.server.hub.connections], 210.0)
        assert await ann.line() == "LEFT bob"
        await harness.wait_for_connections(1)


def kernel_has(side: tuple[str, int], peer: tuple[str, int]) -> bool:
    """Whether the kernel knows anything of a connection."""
    ports = f":{side[1]:04X}", f":{peer[1]:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[1].endswith(ports[0]) and row[2].endswith(ports[1]) for row in rows)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/net/tcp")
async def test_kernel_forgets_an_aborted_connection() -> None:
    async with stalled("tcp", sweeping=False) as scene:
        sides = scene.harness.server.address, scene.peer.transport.get_extra_info("sockname")
        assert kernel_has(*sides)
        scene.connection.abort()
        await eventually(lambda: len(scene.harness.server.hub.connections) == 2)
        assert not kernel_has(*sides)
        sock = scene.peer.transport.get_extra_info("socket")
        assert reset_is_read(sock.fileno())


def reset_is_read(number: int) -> bool:
    """Whether a connection ends by a reset, and not in order."""
    with socket.socket(fileno=socket.dup(number)) as sock:
        sock.settimeout(DEADLINE)
        try:
            while sock.recv(65_536):
                pass
        except OSError as error:
            return error.errno == errno.ECONNRESET
    return False
