"""Who is let in, for how long without joining, and how much one may say."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable

import pytest

from simple_chat import Settings
from simple_chat.core.conversation import ERRORS_MAX
from simple_chat.core.protocol import Code, Err
from simple_chat.core.scheduler import PRE_JOIN_PER_TURN
from simple_chat.server import acceptor, connection, hub
from tests.harness.peer import DEADLINE, Peer, connect
from tests.harness.server import TRANSPORTS, ServerHarness, eventually, run_server_in_loop

TOLD = 48
SMALL = 64 * 1024

NEAR, ELSEWHERE = "127.0.0.2", "127.0.0.3"


def refusal(code: Code) -> list[str]:
    """What somebody is told who is sent away."""
    return [str(Err(code, code.advice)), f"BYE {code}"]


FULL = refusal(Code.TOO_MANY_CONNECTIONS)


@pytest.fixture(autouse=True)
def look_around_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_SWEEP_INTERVAL", 0.02)


async def let_in(harness: ServerHarness, name: str) -> Peer:
    """Come again until there is a place."""
    async with asyncio.timeout(DEADLINE):
        while True:
            peer = await harness.connect()
            peer.send(f"JOIN {name}")
            if (line := await peer.line()) == f"OK JOIN {name}":
                return peer
            assert line == FULL[0]
            await peer.close()


async def look_around(harness: ServerHarness, times: int) -> None:
    """Wait until the server has looked around so many times."""
    ticks = {harness.server._hub._sweep_timer}

    def enough() -> bool:
        ticks.add(harness.server._hub._sweep_timer)
        return len(ticks) > times

    await eventually(enough)


# How many


async def test_whoever_is_one_too_many_is_told_and_nobody_else_is_disturbed() -> None:
    async with run_server_in_loop(Settings(max_clients=2)) as harness:
        ann, bob = await harness.join_all("ann", "bob")
        eve = await harness.connect()
        eve.send("JOIN eve", "PING")
        assert await eve.rest() == FULL
        assert await ann.ask("MSG we go on") == []
        assert await bob.ask("WHO") == ["MSG ann we go on", "NAMES ann bob", "OK WHO 2"]


async def test_whoever_is_refused_and_does_not_go_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LINGER", 0.1)
    async with run_server_in_loop(Settings(max_clients=1)) as harness:
        await harness.join("ann")
        stuck = await connect(harness.address)
        stuck.pause()
        await eventually(lambda: len(harness.server._hub.connections) == 2)
        await eventually(lambda: len(harness.server._hub.connections) == 1)
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
    next(iter(harness.server._hub.connections)).abort()
    await peer.wait_closed()


async def err(harness: ServerHarness, peer: Peer) -> None:  # noqa: ARG001
    peer.send(*["rubbish"] * (ERRORS_MAX + 1))
    assert (await peer.rest())[ERRORS_MAX:] == refusal(Code.TOO_MANY_ERRORS)


async def browse(harness: ServerHarness, peer: Peer) -> None:  # noqa: ARG001
    peer.write(b"GET / HTTP/1.1\r\n\r\n")
    assert (await peer.rest())[-2:] == [f"{line}\r" for line in refusal(Code.NOT_CHAT)]


async def loiter(harness: ServerHarness, peer: Peer) -> None:
    harness.server._hub._watchdog.start_join_timer(next(iter(harness.server._hub.connections)), -1e9)
    assert await peer.rest() == refusal(Code.JOIN_TIMEOUT)


async def flood(harness: ServerHarness, peer: Peer) -> None:
    peer.send("JOIN flooder", *["MSG flood"] * 1000)
    session = next(iter(harness.server._hub.connections)).session
    await eventually(lambda: session.throttled)
    await peer.reset()


@pytest.mark.parametrize("end", [quit_, half_close, close, reset, cut, err, browse, loiter, flood])
async def test_every_end_makes_a_place_free(end: Callable[[ServerHarness, Peer], Awaitable[None]]) -> None:
    async with run_server_in_loop(Settings(max_clients=1, burst=20), limited=True) as harness:
        for name in ("one", "two"):
            peer = await harness.connect()
            await end(harness, peer)
            await (await let_in(harness, name)).close()
            await eventually(lambda: not harness.server._hub.connections)
        assert harness.server._acceptor._admission._admitted == 0
        assert harness.server._acceptor._admission._refused.count == 0


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


async def test_of_many_who_are_refused_at_once_so_many_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LINGER", 600.0)
    async with run_server_in_loop(Settings(max_clients=1)) as harness:
        ann = await harness.join("ann")
        crowd = [await stay(harness) for _ in range(TOLD + 20)]
        told = [await read_to_end(sock) for sock in crowd]
        assert [lines[1:] for lines in told[:TOLD]] == [FULL] * TOLD
        assert told[TOLD:] == [[]] * 20
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


async def come_from(harness: ServerHarness, source: str) -> Peer:
    """Connect from an address of this machine, and read what one is greeted with."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(DEADLINE):
        _, peer = await loop.create_connection(Peer, *harness.server.address, local_addr=(source, 0))
    harness._peers.append(peer)
    assert (await peer.line()).startswith("HELLO ")
    return peer


async def check_one_place(harness: ServerHarness, here: str, there: str) -> None:
    """Check that two may come from one place, whoever comes from elsewhere."""
    ann, bob, eve = [await come_from(harness, here) for _ in range(3)]
    assert await eve.rest() == FULL
    cleo = await come_from(harness, there)
    assert await cleo.ask("JOIN cleo") == ["OK JOIN cleo"]
    assert await bob.ask("JOIN bob") == ["OK JOIN bob"]
    await ann.close()
    async with asyncio.timeout(DEADLINE):
        while True:
            dora = await come_from(harness, here)
            dora.send("JOIN dora")
            if (line := await dora.line()) == "OK JOIN dora":
                break
            assert line == FULL[0]
            await dora.wait_closed()
    assert await (await come_from(harness, here)).rest() == FULL
    assert await dora.ask("WHO") == ["NAMES cleo bob dora", "OK WHO 3"]


async def test_from_one_place_no_more_come_in_than_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor, "network_of", lambda host: host)
    async with run_server_in_loop(Settings(max_per_ip=2)) as harness:
        await check_one_place(harness, NEAR, ELSEWHERE)


def far_address() -> str:
    """An address by which this machine is known to others."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.1", 9))  # set aside for documentation (RFC 5737); nothing is sent
        except OSError as error:
            pytest.skip(f"this machine is in no network: {error}")
        return str(probe.getsockname()[0])


async def test_a_far_address_is_counted_and_this_machines_own_are_not() -> None:
    far = far_address()
    async with run_server_in_loop(Settings(max_per_ip=2)) as harness:
        near = [await come_from(harness, NEAR) for _ in range(5)]
        try:
            await check_one_place(harness, far, "127.0.0.1")
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            pytest.skip(f"this system does not connect {far} with itself")
        for peer in near:
            assert await peer.ask("PING") == ["PONG"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_this_machines_own_are_not_counted(transport: str) -> None:
    async with run_server_in_loop(Settings(max_per_ip=1), transport=transport) as harness:
        peers = [await harness.join(f"peer{number}") for number in range(3)]
        assert (await peers[0].ask("WHO"))[-1] == "OK WHO 3"


# How long without joining


async def test_who_does_not_join_in_time_is_sent_away_whatever_else_it_says() -> None:
    async with run_server_in_loop(Settings(join_timeout=0.2)) as harness:
        silent, busy = await harness.connect(), await harness.connect()
        async with asyncio.timeout(DEADLINE):
            busy.send("PING")
            while (line := await busy.line()) == "PONG":
                busy.send("PING")
        assert [line, *await busy.rest()] == refusal(Code.JOIN_TIMEOUT)
        assert await silent.rest() == refusal(Code.JOIN_TIMEOUT)


async def test_who_joined_in_time_may_stay_and_even_leave() -> None:
    async with run_server_in_loop(Settings(join_timeout=1.0)) as harness:
        ann, bob = await harness.join_all("ann", "bob")
        assert await bob.ask("LEAVE") == ["OK LEAVE"]
        late = await harness.connect()
        assert await late.rest() == refusal(Code.JOIN_TIMEOUT)
        await look_around(harness, 2)
        assert await ann.barrier() == ["LEFT bob"]
        assert await bob.ask("JOIN bob") == ["OK JOIN bob"]


async def test_all_who_are_late_are_sent_away_however_many() -> None:
    async with run_server_in_loop(Settings(join_timeout=0.2)) as harness:
        for peer in [await connect(harness.address) for _ in range(150)]:
            assert (await peer.rest())[1:] == refusal(Code.JOIN_TIMEOUT)


async def test_without_a_time_to_join_one_may_stay_as_one_likes() -> None:
    async with run_server_in_loop(Settings(join_timeout=0.0)) as harness:
        peer = await harness.connect()
        await look_around(harness, 10)
        assert await peer.barrier() == []


# How wrong


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_whoever_says_nothing_but_rubbish_is_sent_away(transport: str) -> None:
    async with run_server_in_loop(transport=transport) as harness:
        ann, eve = await harness.join("ann"), await harness.connect()
        errors = await eve.ask(*["rubbish"] * ERRORS_MAX)
        assert [line.split()[1] for line in errors] == ["unknown-command"] * ERRORS_MAX
        eve.send("rubbish", "JOIN eve", "MSG hi")
        assert await eve.rest() == refusal(Code.TOO_MANY_ERRORS)
        assert await ann.barrier() == []


async def test_of_members_any_number_of_errors_is_answered() -> None:
    async with run_server_in_loop() as harness:
        ann = await harness.join("ann")
        assert len(await ann.ask(*["rubbish"] * 200)) == 200


# How much


async def slowed(harness: ServerHarness, name: str) -> None:
    """Wait until a member has said more than it may."""
    session = harness.connection(harness.subscriber(name)).session
    await eventually(lambda: session.throttled)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_flood_is_taken_slowly_whole_and_in_order(transport: str) -> None:
    async with run_server_in_loop(
        Settings(rate=1000, burst=10), transport=transport, limited=True
    ) as harness:
        witness, flooder = await harness.join_all("witness", "flooder")
        lines = [str(number) for number in range(1500)]
        flooder.send(*(f"MSG {line}" for line in lines), "PING", "QUIT")
        await slowed(harness, "flooder")
        assert await flooder.rest() == ["PONG", "BYE quit"]
        assert await witness.until("LEFT flooder") == [f"MSG flooder {line}" for line in lines]


async def test_half_a_connection_closed_behind_a_flood_has_all_of_it_carried_out() -> None:
    async with run_server_in_loop(Settings(rate=1000, burst=10), limited=True) as harness:
        witness, flooder = await harness.join_all("witness", "flooder")
        flooder.send(*(f"MSG {number}" for number in range(1500)))
        flooder.half_close()
        assert await flooder.rest() == ["BYE quit"]
        assert len(await witness.until("LEFT flooder")) == 1500


async def test_a_flood_delays_nobody_else_and_is_left_with_the_kernel() -> None:
    async with run_server_in_loop(limited=True) as harness:
        witness, other, flooder = await harness.join_all("witness", "other", "flooder")
        flooder.send(*["MSG flood"] * 300_000)  # 3 MB, which would take hours
        await slowed(harness, "flooder")
        for number in range(50):
            other.send(f"MSG {number}", "PING")
            await other.until("PONG")
            assert set(await witness.until(f"MSG other {number}")) <= {"MSG flooder flood"}
        side = harness.connection(harness.subscriber("flooder"))
        assert not side._reading
        assert side.session._codec.held <= 8 * SMALL
        await flooder.reset()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_flooder_who_is_reset_has_left_though_more_of_it_waits(transport: str) -> None:
    async with run_server_in_loop(Settings(rate=1), transport=transport, limited=True) as harness:
        witness, flooder = await harness.join_all("witness", "flooder")
        flooder.send(*["MSG flood"] * 100_000)
        await slowed(harness, "flooder")
        flooder.pause()
        said = await witness.ask("MSG never read")  # which makes the end of a Unix socket a reset, too
        await flooder.reset()
        said += await witness.until("LEFT flooder")
        assert 0 < len(said) < 10_000
        assert set(said) == {"MSG flooder flood"}
        assert await (await harness.connect()).ask("JOIN flooder") == ["OK JOIN flooder"]


async def test_without_a_rate_nobody_is_slowed() -> None:
    async with run_server_in_loop(Settings(rate=0, burst=1), limited=True) as harness:
        ann, bob = await harness.join_all("ann", "bob")
        assert await ann.ask(*(f"MSG {number}" for number in range(20_000))) == []
        assert len(await bob.barrier()) == 20_000


async def test_of_a_crowd_of_newcomers_only_some_have_a_turn_and_members_come_first() -> None:
    async with run_server_in_loop() as harness:
        ann = await harness.join("ann")
        newcomers = [await harness.connect() for _ in range(100)]
        member = harness.connection(harness.subscriber("ann"))
        for each in (*{*harness.server._hub.connections} - {member}, member):
            harness.server._hub.schedule(each)
        harness.server._hub._run_turn()
        assert not harness.server._hub._scheduler._ready
        assert len(harness.server._hub._scheduler._ready_pre_join) == 100 - PRE_JOIN_PER_TURN
        for peer in (ann, *newcomers):
            assert await peer.barrier() == []
