"""A password: what can be done without it, and that its checks hold up nobody."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator

import argon2
import pytest

from simple_chat import Settings, serve
from simple_chat.core.codes import Code
from simple_chat.errors import ConfigError
from simple_chat.server import hub
from simple_chat.server.auth import Authenticator, hash_password
from tests.harness.peer import DEADLINE, Peer
from tests.harness.server import CA, TRANSPORTS, eventually, run_server_in_loop, server_tls_context

HASH = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("open sesame")
"""Quickly checked, which a real one is not."""


def codes(lines: list[str]) -> list[str]:
    """What was answered, without the texts for people."""
    return [" ".join(line.split()[:2]) if line.startswith("ERR ") else line for line in lines]


# What is answered


@pytest.mark.parametrize("command", ["JOIN ann", "WHO", "MSG hi", "LEAVE", "HISTORY", "HISTORY 1"])
async def test_room_is_closed_without_the_password(command: str) -> None:
    async with run_server_in_loop(password=HASH) as harness:
        stranger = await harness.connect()
        assert codes(await stranger.ask(command)) == ["ERR auth-required"]
        assert harness.server.room.names() == ()


async def test_ping_help_and_quit_need_no_password() -> None:
    async with run_server_in_loop(password=HASH) as harness:
        stranger = await harness.connect()
        assert (await stranger.ask("PING", "HELP"))[-1] == "OK HELP"
        stranger.send("QUIT")
        assert await stranger.rest() == ["BYE quit"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_right_password_allows_everything(transport: str) -> None:
    async with run_server_in_loop(password=HASH, transport=transport) as harness:
        ann, bob = [await harness.connect() for _ in range(2)]
        assert await ann.ask("PASS open sesame", "JOIN ann") == ["OK PASS", "OK JOIN ann"]
        assert await bob.ask("pass open sesame", "JOIN bob", "MSG hi") == ["OK PASS", "OK JOIN bob"]
        assert await ann.ask("WHO") == ["JOINED bob", "MSG bob hi", "NAMES ann bob", "OK WHO 2"]
        assert await ann.ask("LEAVE", "JOIN anna") == ["OK LEAVE", "OK JOIN anna"]
        assert (await bob.ask("HISTORY"))[-1] == "OK HISTORY 1"


async def test_pass_is_accepted_again_and_without_a_password() -> None:
    async with run_server_in_loop(password=HASH) as harness, run_server_in_loop() as without_password:
        ann, bob = await harness.connect(), await without_password.connect()
        assert await ann.ask("PASS open sesame", "PASS x", "JOIN ann", "PASS x") == [
            *["OK PASS", "OK PASS", "OK JOIN ann", "OK PASS"]
        ]
        assert await bob.ask("PASS x", "JOIN bob", "PASS x") == ["OK PASS", "OK JOIN bob", "OK PASS"]


async def test_third_wrong_password_disconnects() -> None:
    async with run_server_in_loop(password=HASH) as harness:
        stranger = await harness.connect()
        for wrong in ("x", "open sesame "):
            assert codes(await stranger.ask(f"PASS {wrong}", "JOIN ann")) == [
                "ERR auth-failed",
                "ERR auth-required",
            ]
        stranger.send("PASS OPEN SESAME", "PASS open sesame", "JOIN ann")
        assert codes(await stranger.rest()) == ["ERR auth-failed", "BYE auth-failed"]
        assert harness.server.room.names() == ()


async def test_third_attempt_may_be_right() -> None:
    async with run_server_in_loop(password=HASH) as harness:
        ann = await harness.connect()
        answers = await ann.ask("PASS x", "PASS y", "PASS open sesame", "JOIN ann")
        assert codes(answers) == [*["ERR auth-failed"] * 2, "OK PASS", "OK JOIN ann"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_lines_after_pass_keep_their_order(transport: str) -> None:
    async with run_server_in_loop(password=HASH, transport=transport) as harness:
        bob, ann = await harness.connect(), await harness.connect()
        await bob.ask("PASS open sesame", "JOIN bob")
        ann.send("MSG no", "PASS x", "JOIN ann", "PASS open sesame", "JOIN ann", "MSG hi", "PING 1", "WHO")
        answers = codes(await ann.barrier())
        assert answers == [
            *["ERR auth-required", "ERR auth-failed", "ERR auth-required"],
            *["OK PASS", "OK JOIN ann", "PONG 1", "NAMES bob ann", "OK WHO 2"],
        ]
        assert await bob.barrier() == ["JOINED ann", "MSG ann hi"]


async def test_hash_of_hash_password_verifies() -> None:
    async with run_server_in_loop(password=hash_password("ωpen sesame")) as harness:
        ann = await harness.connect()
        assert codes(await ann.ask("PASS x", "PASS ωpen sesame")) == ["ERR auth-failed", "OK PASS"]


# A check that takes its time


class Gate:
    """Holds up every check until it is opened."""

    def __init__(self) -> None:
        self.begun: list[str] = []  # what was to be checked
        self.at_once = 0  # checks, at most
        self._open = threading.Event()
        self._lock = threading.Lock()
        self._running = 0

    def verify(self, secret: str) -> bool:
        with self._lock:
            self.begun.append(secret)
            self._running += 1
            self.at_once = max(self.at_once, self._running)
        opened = self._open.wait(DEADLINE)
        with self._lock:
            self._running -= 1
        return opened and secret == "open sesame"

    async def until(self, number: int, witness: Peer) -> None:
        """Wait until some checks have begun, while somebody else is answered all the time."""
        async with asyncio.timeout(DEADLINE):
            while len(self.begun) < number:
                assert await witness.barrier() == []

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait for what is done once a second."""
    monkeypatch.setattr(hub, "_SWEEP_INTERVAL", 0.01)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    monkeypatch.setattr(Authenticator, "_verify", gate.verify)
    yield gate
    gate.open()


# The authenticator alone


class Results:
    """The results that an authenticator has reported, by connection."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self.reported: list[tuple[str, bool]] = []

    def start(self, connection: str, secret: str = "open sesame") -> None:
        self._authenticator.start(connection, secret, lambda right: self.reported.append((connection, right)))


@pytest.fixture
async def authenticator() -> AsyncIterator[Authenticator]:
    authenticator = Authenticator(HASH)
    yield authenticator
    authenticator.close()


@pytest.fixture
def results(authenticator: Authenticator) -> Results:
    return Results(authenticator)


async def test_result_of_a_check_is_reported_once(results: Results) -> None:
    results.start("ann")
    results.start("bob", "x")
    await eventually(lambda: len(results.reported) == 2)
    assert sorted(results.reported) == [("ann", True), ("bob", False)]
    results.start("ann", "x")
    await eventually(lambda: len(results.reported) == 3)
    assert results.reported[-1] == ("ann", False)


async def test_two_checks_run_at_a_time_and_the_others_queue(gate: Gate, results: Results) -> None:
    for number in range(6):
        results.start(f"{number}")
    await eventually(lambda: len(gate.begun) == 2)
    gate.open()
    await eventually(lambda: len(results.reported) == 6)
    assert gate.at_once == 2


async def test_pending_check_is_not_started_again(gate: Gate, results: Results) -> None:
    results.start("ann")
    results.start("ann", "x")
    gate.open()
    await eventually(lambda: bool(results.reported))
    assert (results.reported, gate.begun) == ([("ann", True)], ["open sesame"])


async def test_cancelled_checks_report_nothing_and_queued_ones_never_run(
    gate: Gate, results: Results, authenticator: Authenticator
) -> None:
    for connection in ("ann", "bob", "cleo", "dora"):
        results.start(connection, connection)
    await eventually(lambda: len(gate.begun) == 2)
    for connection in ("ann", "cleo", "nobody"):
        authenticator.cancel(connection)
    results.start("ann", "open sesame")
    gate.open()
    await eventually(lambda: len(results.reported) == 3)
    assert sorted(results.reported) == [("ann", True), ("bob", False), ("dora", False)]
    assert sorted(gate.begun) == ["ann", "bob", "dora", "open sesame"]
    assert not authenticator._pending


async def test_closed_authenticator_reports_nothing(
    gate: Gate, results: Results, authenticator: Authenticator
) -> None:
    for connection in ("ann", "bob", "cleo"):
        results.start(connection)
    await eventually(lambda: len(gate.begun) == 2)
    authenticator.close()
    gate.open()
    authenticator._executor.shutdown(wait=True)
    await asyncio.sleep(0)  # in which results would arrive
    assert (results.reported, len(gate.begun)) == ([], 2)
    assert not authenticator._pending


# While a check is pending


async def linger(witness: Peer) -> None:
    """Let the server have many turns."""
    for _ in range(50):
        assert await witness.barrier() == []


async def test_checks_block_nobody_else_and_two_run_at_a_time(gate: Gate) -> None:
    async with run_server_in_loop(password=HASH) as harness:
        witness = await harness.connect()
        peers = [await harness.connect() for _ in range(6)]
        for peer in peers:
            peer.send("PASS open sesame", "WHO")
        await gate.until(2, witness)
        await linger(witness)
        assert len(gate.begun) == 2
        gate.open()
        for peer in peers:
            assert await peer.barrier() == ["OK PASS", "OK WHO 0"]
        assert (len(gate.begun), gate.at_once) == (6, 2)


async def test_lines_after_pass_wait_for_its_check(gate: Gate) -> None:
    async with run_server_in_loop(password=HASH) as harness:
        witness, ann = await harness.connect(), await harness.connect()
        ann.send("PASS open sesame", "PING 1")
        await gate.until(1, witness)
        ann.send("JOIN ann", "PING 2")
        before = len(ann.received)
        await linger(witness)
        assert len(ann.received) == before
        assert harness.server.room.names() == ()
        gate.open()
        assert await ann.barrier() == ["OK PASS", "PONG 1", "OK JOIN ann", "PONG 2"]


@pytest.mark.parametrize("transport", ["tcp", "unix"])
async def test_lines_before_a_half_close_during_the_check_are_carried_out(gate: Gate, transport: str) -> None:
    async with run_server_in_loop(password=HASH, transport=transport) as harness:
        witness, ann = await harness.connect(), await harness.connect()
        ann.send("PASS open sesame", "JOIN ann", "PING 1", "MSG hi")
        ann.half_close()
        await gate.until(1, witness)
        gate.open()
        assert await ann.rest() == ["OK PASS", "OK JOIN ann", "PONG 1", "BYE quit"]
        assert len(gate.begun) == 1


async def test_lines_before_a_tls_close_during_the_check_are_carried_out(gate: Gate) -> None:
    async with run_server_in_loop(password=HASH, transport="tls") as harness:
        witness, ann = await harness.connect(), await harness.connect()
        ann.send("PASS open sesame", "JOIN ann", "MSG hi", "LEAVE")
        await ann.close()
        await gate.until(1, witness)
        await linger(witness)
        gate.open()
        await harness.wait_for_connections(1)
        assert await witness.ask("PASS open sesame", "JOIN bob") == ["OK PASS", "OK JOIN bob"]
        assert (await witness.ask("HISTORY"))[0].endswith(" ann hi")


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_close_during_the_check_leaves_no_state(gate: Gate, transport: str) -> None:
    async with run_server_in_loop(password=HASH, transport=transport) as harness:
        witness, *peers = [await harness.connect() for _ in range(4)]
        tasks = asyncio.all_tasks()
        for peer in peers:
            peer.send("PASS open sesame")
        await gate.until(2, witness)
        for peer in peers:
            await peer.close()
        gate.open()
        await harness.wait_for_connections(1)
        await linger(witness)
        assert asyncio.all_tasks() == tasks
        assert len(gate.begun) == 3


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_reset_during_the_check_leaves_no_state_and_saves_queued_checks(
    gate: Gate, transport: str
) -> None:
    async with run_server_in_loop(password=HASH, transport=transport) as harness:
        witness, *peers = [await harness.connect() for _ in range(5)]
        tasks = asyncio.all_tasks()
        for peer in peers:
            peer.send("PASS open sesame")
        await gate.until(2, witness)
        for peer in peers:
            await peer.reset()
        await harness.wait_for_connections(1)
        await linger(witness)
        assert asyncio.all_tasks() == tasks
        gate.open()
        assert codes(await witness.ask("PASS x")) == ["ERR auth-failed"]
        assert gate.begun == ["open sesame", "open sesame", "x"]


async def test_disconnect_during_the_check_starts_no_other(gate: Gate) -> None:
    async with run_server_in_loop(password=HASH) as harness:
        witness, ann = await harness.connect(), await harness.connect()
        ann.pause()  # so that it does not close
        ann.send("PASS open sesame", "JOIN ann")
        await gate.until(1, witness)
        connection = next(each for each in harness.server.hub.connections if each.session.secret)
        harness.server.hub.disconnect(connection, Code.JOIN_TIMEOUT)
        gate.open()
        await linger(witness)
        ann.resume()
        assert codes(await ann.rest()) == ["ERR join-timeout", "BYE join-timeout"]
        await harness.wait_for_connections(1)
        assert gate.begun == ["open sesame"]
        assert harness.server.room.names() == ()


async def test_close_does_not_wait_for_checks(gate: Gate) -> None:
    async with run_server_in_loop(password=HASH) as harness:
        witness, *peers = [await harness.connect() for _ in range(4)]
        for peer in peers:
            peer.send("PASS open sesame", "JOIN ann")
        await gate.until(2, witness)
        async with asyncio.timeout(DEADLINE):
            await harness.server.close()
        for peer in (witness, *peers):
            assert await peer.rest() == ["BYE shutdown"]
        await asyncio.sleep(0)  # in which the tasks of the checks end
        assert len(gate.begun) == 2


# What is logged


@pytest.fixture
def _everything_is_logged() -> Iterator[None]:
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.DEBUG)
    yield
    logger.setLevel(level)


@pytest.mark.usefixtures("_everything_is_logged")
async def test_passwords_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with run_server_in_loop(password=HASH) as harness:
        one, two = [await harness.connect() for _ in range(2)]
        await one.ask("PASS sesame street", "PASS open sesame", "PASS sesame street", "JOIN ann")
        two.send(*["PASS sesame street"] * 3)
        await two.rest()
    text = caplog.text + "".join(repr(record.args) for record in caplog.records)
    assert "disconnected: auth-failed" in text
    assert "sesame" not in text


async def test_failing_check_is_logged_and_refuses_the_password(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> bool:
        raise argon2.exceptions.VerificationError("Memory allocation error")

    monkeypatch.setattr(argon2.PasswordHasher, "verify", fail)
    async with run_server_in_loop(password=HASH) as harness:
        assert codes(await (await harness.connect()).ask("PASS open sesame")) == ["ERR auth-failed"]
    (record,) = [each for each in caplog.get_records("call") if each.levelno >= logging.WARNING]
    assert record.getMessage() == "password check failed"
    assert "sesame" not in caplog.text
    caplog.clear()


# Where it is needed


@pytest.mark.parametrize(
    "encoded", ["", "open sesame", "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ", "\0", "$" * 5]
)
async def test_invalid_hash_is_refused(encoded: str) -> None:
    with pytest.raises(ConfigError, match="hash"):
        async with serve("127.0.0.1", 0, password=encoded):
            pytest.fail("nobody could come in")


async def test_password_in_clear_text_on_a_network_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"on 0\.0\.0\.0:\d+ a password needs TLS"):
        async with serve("0.0.0.0", 0, password=HASH):
            pytest.fail("everybody could read it")


@pytest.mark.parametrize("tls", [False, True])
async def test_password_is_allowed_on_a_network_with_tls_or_insecure(tls: bool) -> None:  # noqa: FBT001 (a parameter)
    settings = Settings(insecure=not tls)
    async with serve(
        "0.0.0.0", 0, password=HASH, tls=server_tls_context() if tls else None, settings=settings
    ) as server:
        assert server.hub.auth_required  # and nothing was logged as wrong


@pytest.mark.parametrize("tls", [False, True])
async def test_open_server_on_a_network_is_warned_once(
    tls: bool,  # noqa: FBT001 (a parameter)
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serve("0.0.0.0", 0, tls=server_tls_context() if tls else None) as server:
        port = server.address[1]
    (record,) = [each for each in caplog.get_records("call") if each.levelno >= logging.WARNING]
    assert record.getMessage() == f"no password: anybody who reaches 0.0.0.0:{port} can join"
    caplog.clear()


async def test_required_client_certificates_need_no_password_warning() -> None:
    async with serve("0.0.0.0", 0, tls=server_tls_context(client_ca=CA)) as server:
        assert not server.hub.auth_required  # and nothing was logged as wrong
