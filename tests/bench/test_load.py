"""The load generator reports every fault that is planted in a server."""

import asyncio
import resource
import sys
from collections.abc import Iterator

import pytest

from simple_chat.bench import clients, load
from simple_chat.bench.clients import ClientPool, raise_file_limit
from simple_chat.bench.dialect import Dialect
from simple_chat.bench.errors import LoadError
from simple_chat.bench.load import Workload, run_load
from simple_chat.bench.result import Result
from simple_chat.bench.server_process import Target, run_server
from tests.harness.bench_server import Deliver, run_faulty_server

DEADLINE = 20.0
FAULTY = 5  # number of the message with the fault
VICTIM = 4  # its receiver: client 3


@pytest.fixture(autouse=True)
def _short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "WARM_UP", 0.05)
    monkeypatch.setattr(load, "DRAIN_TIMEOUT", 0.3)
    monkeypatch.setattr(clients, "SETUP_TIMEOUT", 0.5)


async def measure(deliver: Deliver, workload: Workload | None = None) -> Result:
    workload = workload or Workload(clients=6, senders=2, seconds=0.1, window=4)
    async with run_faulty_server(deliver) as port, asyncio.timeout(DEADLINE):
        return await run_load(workload, Target("127.0.0.1", port), lambda _phase, _done: None)


def deliver_correctly(_number: int, _to: int, line: bytes) -> bytes:
    return line


def drop_for_one(number: int, to: int, line: bytes) -> bytes:
    return b"" if (number, to) == (FAULTY, VICTIM) else line


def duplicate_for_one(number: int, to: int, line: bytes) -> bytes:
    return 2 * line if (number, to) == (FAULTY, VICTIM) else line


def change_for_one(number: int, to: int, line: bytes) -> bytes:
    return line.replace(b"x", b"y") if (number, to) == (FAULTY, VICTIM) else line


def disconnect_one(number: int, to: int, line: bytes) -> bytes | None:
    return None if (number, to) == (FAULTY, VICTIM) else line


def drop_for_all(number: int, _to: int, line: bytes) -> bytes:
    return b"" if number == FAULTY else line


def duplicate_for_all(number: int, _to: int, line: bytes) -> bytes:
    return 2 * line if number == FAULTY else line


def stop_delivering(number: int, _to: int, line: bytes) -> bytes:
    return b"" if number >= FAULTY else line


async def test_result_of_a_correct_server_is_correct() -> None:
    result = await measure(deliver_correctly)
    assert result.correct
    assert result.deliveries >= 6
    assert (result.cpu_us_per_delivery, result.kib_per_member, result.server_cpu) == (None, None, None)


async def test_messages_of_a_single_client_reach_the_observer_only() -> None:
    result = await measure(deliver_correctly, Workload(clients=1, seconds=0.1))
    assert result.correct
    assert result.latency_us == {}


@pytest.mark.parametrize(
    ("deliver", "fault"),
    [
        (drop_for_one, "client 3: received b'MSG name @"),
        (duplicate_for_one, "client 3: received b'MSG name @"),
        (change_for_one, "client 3: received b'MSG name @"),
        (disconnect_one, "client 3: was disconnected"),
    ],
)
async def test_fault_of_one_client_is_reported(deliver: Deliver, fault: str) -> None:
    result = await measure(deliver)
    assert (result.correct, result.faults) == (False, 1)
    assert result.lost > 0
    assert result.first_faults[0].startswith(fault)


@pytest.mark.parametrize(("deliver", "lost"), [(drop_for_all, 6), (duplicate_for_all, 0)])
async def test_fault_of_all_clients_is_reported(deliver: Deliver, lost: int) -> None:
    result = await measure(deliver)
    assert (result.correct, result.faults, result.lost) == (False, 1, lost)
    assert result.first_faults[0].startswith("observer: ")


async def test_messages_that_never_arrive_are_lost() -> None:
    result = await measure(stop_delivering)
    assert (result.correct, result.faults, result.lost) == (False, 0, 4 * 6)
    assert result.deliveries == 0


async def test_disconnected_observer_is_reported() -> None:
    result = await measure(lambda number, to, line: None if (number, to) == (FAULTY, 0) else line)
    assert "observer: was disconnected" in result.first_faults


async def test_disconnected_sender_is_reported() -> None:
    result = await measure(lambda number, to, line: None if number >= FAULTY and to == 1 else line)
    assert "client 0: was disconnected" in result.first_faults


async def test_failed_join_is_reported() -> None:
    with pytest.raises(LoadError, match=r"observer could not join the room; the server's last line: b''"):
        await measure(
            deliver_correctly, Workload(clients=3, dialect=Dialect("HELLO {name}\n", "MSG {text}\n"))
        )


async def test_client_disconnected_before_the_start_is_reported() -> None:
    with pytest.raises(LoadError, match=r"client 1 was disconnected; the server's last line: b'BYE'"):
        await measure(
            deliver_correctly, Workload(clients=3, dialect=Dialect("JOIN {name}\n", "QUIT {text}\n"))
        )


async def test_connections_have_unique_names_that_irc_servers_accept() -> None:
    names = {connection.login for connection in ClientPool(500, Dialect("{name}", "")).all}
    assert len(names) == 502
    assert max(map(len, names)) <= 9


@pytest.fixture
def _low_file_limit() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("_low_file_limit")
def test_soft_file_limit_is_raised() -> None:
    raise_file_limit(300)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 300


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the limits of another process")
@pytest.mark.usefixtures("_low_file_limit")
async def test_started_server_inherits_the_file_limit() -> None:
    async with asyncio.timeout(DEADLINE), run_server(300) as target:
        assert target.pid is not None
        assert resource.prlimit(target.pid, resource.RLIMIT_NOFILE)[0] >= 300


def test_low_hard_file_limit_is_reported() -> None:
    with pytest.raises(LoadError, match="open files are needed"):
        raise_file_limit(2**40)


async def test_unknown_process_is_reported() -> None:
    with pytest.raises(LoadError, match="can't measure process 4194305"):
        await run_load(Workload(), Target("127.0.0.1", 1, 4194305), lambda _phase, _done: None)
