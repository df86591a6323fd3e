"""The load tool against servers that make mistakes."""

import asyncio
import resource
import sys
from collections.abc import Iterator

import pytest

from simple_chat.bench import clients as crowd
from simple_chat.bench import load
from simple_chat.bench.clients import allow_files
from simple_chat.bench.dialect import Dialect
from simple_chat.bench.errors import LoadError
from simple_chat.bench.load import Plan, run
from simple_chat.bench.result import Result
from simple_chat.bench.server_process import Target, own_server
from tests.harness.bench_server import Deliver, fake_server

DEADLINE = 20.0
WRONG = 5  # the number of the message that something happens to
VICTIM = 4  # who it happens to: client 3


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "WARM_UP", 0.05)
    monkeypatch.setattr(load, "_DRAIN", 0.3)
    monkeypatch.setattr(crowd, "PATIENCE", 0.5)


async def measure(deliver: Deliver, plan: Plan | None = None) -> Result:
    plan = plan or Plan(clients=6, senders=2, seconds=0.1, window=4)
    async with fake_server(deliver) as port, asyncio.timeout(DEADLINE):
        return await run(plan, Target("127.0.0.1", port), lambda _what, _share: None)


def right(_number: int, _to: int, line: bytes) -> bytes:
    return line


def swallow_for_one(number: int, to: int, line: bytes) -> bytes:
    return b"" if (number, to) == (WRONG, VICTIM) else line


def double_for_one(number: int, to: int, line: bytes) -> bytes:
    return 2 * line if (number, to) == (WRONG, VICTIM) else line


def change_for_one(number: int, to: int, line: bytes) -> bytes:
    return line.replace(b"x", b"y") if (number, to) == (WRONG, VICTIM) else line


def disconnect_one(number: int, to: int, line: bytes) -> bytes | None:
    return None if (number, to) == (WRONG, VICTIM) else line


def swallow_for_all(number: int, _to: int, line: bytes) -> bytes:
    return b"" if number == WRONG else line


def double_for_all(number: int, _to: int, line: bytes) -> bytes:
    return 2 * line if number == WRONG else line


def fall_silent(number: int, _to: int, line: bytes) -> bytes:
    return b"" if number >= WRONG else line


async def test_right_server_is_right() -> None:
    result = await measure(right)
    assert result.right
    assert result.deliveries >= 6
    assert (result.cpu_us_per_delivery, result.kib_per_member, result.server_cpu) == (None, None, None)


async def test_one_client_is_heard_by_the_observer_alone() -> None:
    result = await measure(right, Plan(clients=1, seconds=0.1))
    assert result.right
    assert result.latency_us == {}


@pytest.mark.parametrize(
    ("deliver", "fault"),
    [
        (swallow_for_one, "client 3: got b'MSG name @"),
        (double_for_one, "client 3: got b'MSG name @"),
        (change_for_one, "client 3: got b'MSG name @"),
        (disconnect_one, "client 3: was disconnected"),
    ],
)
async def test_mistake_with_one_client_is_told(deliver: Deliver, fault: str) -> None:
    result = await measure(deliver)
    assert (result.right, result.faults) == (False, 1)
    assert result.lost > 0
    assert result.first_faults[0].startswith(fault)


@pytest.mark.parametrize(("deliver", "lost"), [(swallow_for_all, 6), (double_for_all, 0)])
async def test_mistake_with_all_alike_is_told(deliver: Deliver, lost: int) -> None:
    result = await measure(deliver)
    assert (result.right, result.faults, result.lost) == (False, 1, lost)
    assert result.first_faults[0].startswith("observer: ")


async def test_what_never_comes_is_lost() -> None:
    result = await measure(fall_silent)
    assert (result.right, result.faults, result.lost) == (False, 0, 4 * 6)
    assert result.deliveries == 0


async def test_disconnected_observer_is_told() -> None:
    result = await measure(lambda number, to, line: None if (number, to) == (WRONG, 0) else line)
    assert "observer: was disconnected" in result.first_faults


async def test_disconnected_sender_is_told() -> None:
    result = await measure(lambda number, to, line: None if number >= WRONG and to == 1 else line)
    assert "client 0: was disconnected" in result.first_faults


async def test_client_that_is_not_let_in_is_told() -> None:
    with pytest.raises(LoadError, match=r"observer is not in the room; the server's last line: b''"):
        await measure(right, Plan(clients=3, dialect=Dialect("HELLO {name}\n", "MSG {text}\n")))


async def test_client_that_is_thrown_out_before_the_start_is_told() -> None:
    with pytest.raises(LoadError, match=r"client 1 was disconnected; the server's last line: b'BYE'"):
        await measure(right, Plan(clients=3, dialect=Dialect("JOIN {name}\n", "QUIT {text}\n")))


async def test_connections_have_names_of_their_own() -> None:
    seen = crowd.Crowd(500, Dialect("{name}", ""))
    names = set(seen._names)
    assert len(names) == 502
    assert max(map(len, names)) <= 9


@pytest.fixture
def _few_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("_few_files")
def test_soft_limit_of_files_is_raised() -> None:
    allow_files(300)
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 300


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the limits of another process")
@pytest.mark.usefixtures("_few_files")
async def test_own_server_inherits_the_limit_of_files() -> None:
    async with asyncio.timeout(DEADLINE), own_server(300) as target:
        assert target.pid is not None
        assert resource.prlimit(target.pid, resource.RLIMIT_NOFILE)[0] >= 300


def test_hard_limit_of_files_is_told() -> None:
    with pytest.raises(LoadError, match="open files are needed"):
        allow_files(2**40)


async def test_process_that_is_not_there_is_told() -> None:
    with pytest.raises(LoadError, match="there is no process 4194305"):
        await run(Plan(), Target("127.0.0.1", 1, 4194305), lambda _what, _share: None)
