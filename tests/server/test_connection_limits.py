"""Connection limits: in total and for each network; refused connections are told, and slots are released."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable

import pytest

from simple_chat import Settings
from simple_chat.core.codes import Code
from simple_chat.core.conversation import ERRORS_MAX
from simple_chat.server import acceptor, connection, hub
from tests.harness.addresses import external_address
from tests.harness.peer import DEADLINE, Peer, connect
from tests.harness.server import TRANSPORTS, ServerHarness, disconnect_lines, eventually, run_server_in_loop

REFUSED = 48

NEAR, ELSEWHERE = "127.0.0.2", "127.0.0.3"


FULL = disconnect_lines(Code.TOO_MANY_CONNECTIONS)


@pytest.fixture(autouse=True)
def _short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_SWEEP_INTERVAL", 0.02)
    monkeypatch.setattr(connection, "_THROTTLE", 0.02)


async def join_when_free(harness: ServerHarness, name: str) -> Peer:
    """Come again until there is a place."""
    async with asyncio.timeout(DEADLINE):
        while True:
            peer = await harness.connect()
            peer.send(f"JOIN {name}")
            if (line := await peer.line()) == f"OK JOIN {name}":
                return peer
            assert line == FULL[0]
            await peer.close()


# How many


async def test_connection_over_the_limit_is_refused_with_an_error() -> None:
    async with run_server_in_loop(Settings(max_clients=2)) as harness:
        ann, bob = await harness.join_all("ann", "bob")
        eve = await harness.connect()
        eve.send("JOIN eve", "PING")
        assert await eve.rest() == FULL
        assert await ann.ask("MSG we go on") == []
        assert await bob.ask("WHO") == ["MSG ann we go on", "NAMES ann bob", "OK WHO 2"]


async def test_refused_connection_that_stays_is_aborted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LINGER", 0.1)
    async with run_server_in_loop(Settings(max_clients=1)) as harness:
        await harness.join("ann")
        stuck = await connect(harness.address)
        stuck.pause()
        await eventually(lambda: len(harness.server.hub.connections) == 2)
        await eventually(lambda: len(harness.server.hub.connections) == 1)
        await stuck.reset()


async def quit_(harness: ServerHarness, peer: Peer) -> None:  # noqa: ARG001 - one of many ways
    peer.send("QUIT")
    assert await peer.rest() == ["BYE quit"]


async def half_close(harness: ServerHarness, peer: Peer) -> None:  # noqa: ARG001
    peer.half_close()
    assert await peer.rest() == ["BYE quit"]


async def close(harness: ServerHarness, peer: Peer) -> None:  # noqa: ARG001
    await peer.close()


async def reset(harness: ServerHarness, peer: Peer) -> None:  # noqa: ARG001
    await peer.reset()


async def cut(harness: ServerHarness, peer: Peer) -> None:
    next(iter(harness.server.hub.connections)).abort()
    await peer.wait_closed()


async def err(harness: ServerHarness, peer: Peer) -> None:  # noqa: ARG001
    peer.send(*["rubbish"] * (ERRORS_MAX + 1))
    assert (await peer.rest())[ERRORS_MAX:] == disconnect_lines(Code.TOO_MANY_ERRORS)


async def send_http(harness: ServerHarness, peer: Peer) -> None:  # noqa: ARG001
    peer.write(b"GET / HTTP/1.1\r\n\r\n")
    assert (await peer.rest())[-2:] == [f"{line}\r" for line in disconnect_lines(Code.NOT_CHAT)]


async def time_out(harness: ServerHarness, peer: Peer) -> None:
    harness.server.hub._watchdog.start_join_timer(next(iter(harness.server.hub.connections)), -1e9)
    assert await peer.rest() == disconnect_lines(Code.JOIN_TIMEOUT)


async def flood(harness: ServerHarness, peer: Peer) -> None:
    peer.send("JOIN flooder", *["MSG flood"] * 1000)
    session = next(iter(harness.server.hub.connections)).session
    await eventually(lambda: session.throttled)
    await peer.reset()


@pytest.mark.parametrize("end", [quit_, half_close, close, reset, cut, err, send_http, time_out, flood])
async def test_slot_is_released_however_a_connection_ends(
    end: Callable[[ServerHarness, Peer], Awaitable[None]],
) -> None:
    async with run_server_in_loop(Settings(max_clients=1, burst=20), limited=True) as harness:
        for name in ("one", "two"):
            peer = await harness.connect()
            await end(harness, peer)
            await (await join_when_free(harness, name)).close()
            await eventually(lambda: not harness.server.hub.connections)
        assert harness.server._acceptor.admission.admitted == 0
        assert harness.server._acceptor.admission.refused == 0


async def read_to_end(sock: socket.socket) -> list[str]:
    """All lines that come, from a socket that stays open behind its end."""
    received = b""
    async with asyncio.timeout(DEADLINE):
        while data := await asyncio.get_running_loop().sock_recv(sock, 4096):
            received += data
    return received.decode().splitlines()


async def stay(harness: ServerHarness) -> socket.socket:
    """Connect somebody who does not go when told."""
    sock = socket.socket()
    sock.settimeout(0)
    async with asyncio.timeout(DEADLINE):
        await asyncio.get_running_loop().sock_connect(sock, harness.server.address)
    return sock


async def test_limited_number_of_refused_connections_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LINGER", 600.0)
    async with run_server_in_loop(Settings(max_clients=1)) as harness:
        ann = await harness.join("ann")
        crowd = [await stay(harness) for _ in range(REFUSED + 20)]
        told = [await read_to_end(sock) for sock in crowd]
        assert [lines[1:] for lines in told[:REFUSED]] == [FULL] * REFUSED
        assert told[REFUSED:] == [[]] * 20
        assert await ann.ask("WHO") == ["NAMES ann", "OK WHO 1"]
        crowd.pop(0).close()
        async with asyncio.timeout(DEADLINE):
            while True:  # there is room again for one who is told
                crowd.append(await stay(harness))
                if lines := await read_to_end(crowd[-1]):
                    break
        assert lines[1:] == FULL
        for sock in crowd:
            sock.close()


# How many from one place


async def check_network_limit(harness: ServerHarness, here: str, there: str) -> None:
    """Check that two may come from one place, whoever comes from elsewhere."""
    ann, bob, eve = [await harness.connect_from(here) for _ in range(3)]
    assert await eve.rest() == FULL
    cleo = await harness.connect_from(there)
    assert await cleo.ask("JOIN cleo") == ["OK JOIN cleo"]
    assert await bob.ask("JOIN bob") == ["OK JOIN bob"]
    await ann.close()
    async with asyncio.timeout(DEADLINE):
        while True:
            dora = await harness.connect_from(here)
            dora.send("JOIN dora")
            if (line := await dora.line()) == "OK JOIN dora":
                break
            assert line == FULL[0]
            await dora.wait_closed()
    assert await (await harness.connect_from(here)).rest() == FULL
    assert await dora.ask("WHO") == ["NAMES cleo bob dora", "OK WHO 3"]


async def test_connections_from_one_network_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor, "network_of", lambda host: host)
    async with run_server_in_loop(Settings(max_per_ip=2)) as harness:
        await check_network_limit(harness, NEAR, ELSEWHERE)


async def test_external_address_is_limited_and_loopback_is_not() -> None:
    far = external_address()
    async with run_server_in_loop(Settings(max_per_ip=2)) as harness:
        near = [await harness.connect_from(NEAR) for _ in range(5)]
        try:
            await check_network_limit(harness, far, "127.0.0.1")
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            pytest.skip(f"this system does not connect {far} with itself")
        for peer in near:
            assert await peer.ask("PING") == ["PONG"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_loopback_is_not_limited_by_network(transport: str) -> None:
    async with run_server_in_loop(Settings(max_per_ip=1), transport=transport) as harness:
        peers = [await harness.join(f"peer{number}") for number in range(3)]
        assert (await peers[0].ask("WHO"))[-1] == "OK WHO 3"
