"""Join timeout, too many errors, throttling, turns, and failures of one connection."""

import asyncio

import pytest

from simple_chat import Settings
from simple_chat.core.codes import Code
from simple_chat.core.conversation import ERRORS_MAX
from simple_chat.core.scheduler import PRE_JOIN_PER_TURN
from simple_chat.core.session import Session
from simple_chat.server import connection, hub
from tests.harness.peer import DEADLINE, connect
from tests.harness.server import TRANSPORTS, ServerHarness, disconnect_lines, eventually, run_server_in_loop

SMALL = 64 * 1024


@pytest.fixture(autouse=True)
def _short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_SWEEP_INTERVAL", 0.02)
    monkeypatch.setattr(connection, "_THROTTLE", 0.02)


async def wait_for_sweeps(harness: ServerHarness, times: int) -> None:
    """Wait for a number of sweeps."""
    ticks = {harness.server.hub._sweep_timer}

    def enough() -> bool:
        ticks.add(harness.server.hub._sweep_timer)
        return len(ticks) > times

    await eventually(enough)


# How long without joining


async def test_join_timeout_applies_whatever_else_is_sent() -> None:
    async with run_server_in_loop(Settings(join_timeout=0.2)) as harness:
        silent, busy = await harness.connect(), await harness.connect()
        async with asyncio.timeout(DEADLINE):
            busy.send("PING")
            while (line := await busy.line()) == "PONG":
                busy.send("PING")
        assert [line, *await busy.rest()] == disconnect_lines(Code.JOIN_TIMEOUT)
        assert await silent.rest() == disconnect_lines(Code.JOIN_TIMEOUT)


async def test_join_timeout_ends_with_the_first_join() -> None:
    async with run_server_in_loop(Settings(join_timeout=3600.0)) as harness:
        ann, bob = await harness.join_all("ann", "bob")
        assert await bob.ask("LEAVE") == ["OK LEAVE"]
        late = await harness.connect()
        for each in harness.server.hub.connections:
            harness.server.hub._watchdog.start_join_timer(each, -1e9)  # the time is up
        assert await late.rest() == disconnect_lines(Code.JOIN_TIMEOUT)
        await wait_for_sweeps(harness, 2)
        assert await ann.barrier() == ["LEFT bob"]
        assert await bob.ask("JOIN bob") == ["OK JOIN bob"]


async def test_join_timeout_disconnects_any_number_of_connections() -> None:
    async with run_server_in_loop(Settings(join_timeout=0.2)) as harness:
        for peer in [await connect(harness.address) for _ in range(150)]:
            assert (await peer.rest())[1:] == disconnect_lines(Code.JOIN_TIMEOUT)


async def test_join_timeout_zero_disconnects_nobody() -> None:
    async with run_server_in_loop(Settings(join_timeout=0.0)) as harness:
        peer = await harness.connect()
        await wait_for_sweeps(harness, 10)
        assert await peer.barrier() == []


# How wrong


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_too_many_errors_before_join_disconnect(transport: str) -> None:
    async with run_server_in_loop(transport=transport) as harness:
        ann, eve = await harness.join("ann"), await harness.connect()
        errors = await eve.ask(*["rubbish"] * ERRORS_MAX)
        assert [line.split()[1] for line in errors] == ["unknown-command"] * ERRORS_MAX
        eve.send("rubbish", "JOIN eve", "MSG hi")
        assert await eve.rest() == disconnect_lines(Code.TOO_MANY_ERRORS)
        assert await ann.barrier() == []


async def test_members_may_make_any_number_of_errors() -> None:
    async with run_server_in_loop() as harness:
        ann = await harness.join("ann")
        assert len(await ann.ask(*["rubbish"] * 200)) == 200


# How much


async def throttled(harness: ServerHarness, name: str) -> None:
    """Wait until a member is throttled."""
    session = harness.connection(harness.subscriber(name)).session
    await eventually(lambda: session.throttled)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_throttled_client_loses_nothing_and_keeps_its_order(transport: str) -> None:
    async with run_server_in_loop(
        Settings(rate=1000, burst=10), transport=transport, limited=True
    ) as harness:
        witness, flooder = await harness.join_all("witness", "flooder")
        lines = [str(number) for number in range(1200)]
        flooder.send(*(f"MSG {line}" for line in lines), "PING", "QUIT")
        await throttled(harness, "flooder")
        assert await flooder.rest() == ["PONG", "BYE quit"]
        assert await witness.until("LEFT flooder") == [f"MSG flooder {line}" for line in lines]


async def test_throttled_lines_before_a_half_close_are_carried_out() -> None:
    async with run_server_in_loop(Settings(rate=1000, burst=10), limited=True) as harness:
        witness, flooder = await harness.join_all("witness", "flooder")
        flooder.send(*(f"MSG {number}" for number in range(1200)))
        flooder.half_close()
        assert await flooder.rest() == ["BYE quit"]
        assert len(await witness.until("LEFT flooder")) == 1200


async def test_flood_delays_nobody_else_and_stays_in_the_kernel() -> None:
    async with run_server_in_loop(limited=True) as harness:
        witness, other, flooder = await harness.join_all("witness", "other", "flooder")
        flooder.send(*["MSG flood"] * 300_000)  # 3 MB, which would take hours
        await throttled(harness, "flooder")
        for number in range(50):
            other.send(f"MSG {number}", "PING")
            await other.until("PONG")
            assert set(await witness.until(f"MSG other {number}")) <= {"MSG flooder flood"}
        side = harness.connection(harness.subscriber("flooder"))
        assert not side._reading
        assert side.session._codec.held <= 8 * SMALL
        await flooder.reset()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_throttled_client_that_is_reset_leaves_at_once(transport: str) -> None:
    async with run_server_in_loop(Settings(rate=1), transport=transport, limited=True) as harness:
        witness, flooder = await harness.join_all("witness", "flooder")
        flooder.send(*["MSG flood"] * 100_000)
        await throttled(harness, "flooder")
        flooder.pause()
        said = await witness.ask("MSG never read")  # which makes the end of a Unix socket a reset, too
        await flooder.reset()
        said += await witness.until("LEFT flooder")
        assert 0 < len(said) < 10_000
        assert set(said) == {"MSG flooder flood"}
        assert await (await harness.connect()).ask("JOIN flooder") == ["OK JOIN flooder"]


async def test_rate_zero_throttles_nobody() -> None:
    async with run_server_in_loop(Settings(rate=0, burst=1), limited=True) as harness:
        ann, bob = await harness.join_all("ann", "bob")
        assert await ann.ask(*(f"MSG {number}" for number in range(20_000))) == []
        assert len(await bob.barrier()) == 20_000


async def test_members_come_first_and_few_others_have_a_turn() -> None:
    async with run_server_in_loop() as harness:
        ann = await harness.join("ann")
        newcomers = [await harness.connect() for _ in range(100)]
        member = harness.connection(harness.subscriber("ann"))
        for each in (*{*harness.server.hub.connections} - {member}, member):
            harness.server.hub.schedule(each)
        harness.server.hub._run_turn()
        assert not harness.server.hub._scheduler._ready
        assert len(harness.server.hub._scheduler._ready_pre_join) == 100 - PRE_JOIN_PER_TURN
        for peer in (ann, *newcomers):
            assert await peer.barrier() == []


# Failures


class Planted(RuntimeError):  # noqa: N818 - it is no error of ours
    """Not anything that the server could expect."""


def plant(monkeypatch: pytest.MonkeyPatch, step: str, name: str) -> None:
    """Make a step of one member's session fail."""
    real = getattr(Session, step)

    def fail_or_go_on(session: Session, *arguments: object) -> object:
        if session.subscriber.member and session.subscriber.member.name == name:
            raise Planted
        return real(session, *arguments)

    monkeypatch.setattr(Session, step, fail_or_go_on)


@pytest.mark.parametrize(("step", "said"), [("process_input", []), ("flush", ["MSG eve hello?"])])
async def test_exception_aborts_its_connection_only_and_is_logged(
    step: str, said: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with run_server_in_loop() as harness:
        ann, bob, eve = await harness.join_all("ann", "bob", "eve")
        plant(monkeypatch, step, "eve")
        eve.send("MSG hello?")
        assert await eve.rest() == []
        for other in (ann, bob):
            assert await other.until("LEFT eve") == said
        assert await ann.ask("MSG we go on") == []
        assert await bob.barrier() == ["MSG ann we go on"]
        assert await (await harness.connect()).ask("JOIN Eve") == ["OK JOIN Eve"]
    (record,) = caplog.get_records("call")
    assert record.exc_info is not None
    assert record.exc_info[0] is Planted
    assert "hello?" not in record.getMessage()
    caplog.clear()
