"""A server that runs out of file descriptors keeps those it has, and takes more when it can."""

import errno
import os
import re
import resource
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NoReturn

import pytest

from simple_chat.server import listeners
from tests.harness import programs
from tests.harness.loops import LOOPS
from tests.harness.peer import BlockingPeer, connect
from tests.harness.programs import DEADLINE, ServerProcess, run_server_process
from tests.harness.server import eventually, run_server_in_loop

FEW = 100
"""File descriptors."""

KEPT_BACK = 64
LINES = 10
"""Lines of one kind that are logged a minute."""


def connect_to(server: ServerProcess) -> BlockingPeer:
    """Connect to a server, and read nothing yet."""
    return BlockingPeer(socket.create_connection((server.host, int(server.port)), DEADLINE))


@pytest.fixture
def peers() -> Iterator[ExitStack]:
    with ExitStack() as peers:
        yield peers


@contextmanager
def no_descriptors(process: int) -> Iterator[None]:
    """Keep a process from opening anything."""
    soft, hard = resource.prlimit(process, resource.RLIMIT_NOFILE)  # type: ignore[attr-defined, unused-ignore]
    resource.prlimit(process, resource.RLIMIT_NOFILE, (0, hard))  # type: ignore[attr-defined, unused-ignore]
    try:
        yield
    finally:
        resource.prlimit(process, resource.RLIMIT_NOFILE, (soft, hard))  # type: ignore[attr-defined, unused-ignore]


QUICK_RETRY = """
import sys
from simple_chat.server import listeners
from simple_chat.server.__main__ import main
listeners._RETRY_DELAY = 0.05
sys.exit(main())
"""


@pytest.fixture
def _quick_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let servers try again soon after they ran out of descriptors."""
    monkeypatch.setattr(programs, "_SERVER", (sys.executable, "-c", QUICK_RETRY))


@pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit")
@pytest.mark.usefixtures("_quick_retry")
@pytest.mark.parametrize("loop", LOOPS)
def test_without_descriptors_members_go_on_and_connections_queue(loop: str, peers: ExitStack) -> None:
    told = "can't accept connections for now: Too many open files\n"
    with run_server_process("--loop", loop) as server:
        ann, bob = peers.enter_context(connect_to(server)), peers.enter_context(connect_to(server))
        assert ann.ask("JOIN ann")[1:] == ["OK JOIN ann"]
        assert bob.ask("JOIN bob")[1:] == ["OK JOIN bob"]
        with no_descriptors(server.process.pid):
            waiting = [peers.enter_context(connect_to(server)) for _ in range(20)]
            for number in range(3):  # it tries again and again
                server.log.expect_exact(told)
                assert ann.ask(f"MSG {number}") == (["JOINED bob"] if number == 0 else [])
                assert bob.ask() == [f"MSG ann {number}"]
            assert all(peer.received_nothing() for peer in waiting)
        for number, peer in enumerate(waiting):
            assert peer.ask(f"JOIN n{number}")[1] == f"OK JOIN n{number}"
        peers.enter_context(connect_to(server)).ask("PING")
        assert ann.ask("WHO")[-1] == "OK WHO 22"
        peers.close()
        log = server.stop()
    assert 3 <= log.count(told) <= LINES
    assert "ERROR" not in log


@pytest.fixture
def few_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let servers that are run from here on have few descriptors."""
    few = ("/bin/sh", "-c", f'ulimit -n {FEW} && exec "$@"', "sh")
    monkeypatch.setattr(programs, "_SERVER", (*few, *programs._SERVER))


@pytest.mark.usefixtures("few_descriptors")
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("options", [(), ("--max-clients", "1000")], ids=["default", "wanted"])
def test_connections_are_limited_by_descriptors(
    loop: str, options: tuple[str, ...], peers: ExitStack
) -> None:
    with run_server_process("--loop", loop, *options) as server:
        crowd = [peers.enter_context(connect_to(server)) for _ in range(2 * FEW)]
        greeted = [peer.line() for peer in crowd]
        inside, others = crowd[: FEW - KEPT_BACK], crowd[FEW - KEPT_BACK :]
        for number, peer in enumerate(inside):
            assert peer.ask(f"JOIN n{number}")[0] == f"OK JOIN n{number}"
        told = [peer for peer, line in zip(others, greeted[FEW - KEPT_BACK :], strict=True) if line]
        assert len(told) >= 48
        for peer in told:
            assert peer.line().startswith("ERR too-many-connections ")
            assert (peer.line(), peer.line()) == ("BYE too-many-connections", "")
        assert inside[0].ask("WHO")[-1] == f"OK WHO {len(inside)}"
        peers.close()
        log = server.stop()
    warned = re.findall("WARNING (.*)\n", log)
    assert [line for line in warned if "more like this" not in line] == (
        [f"1000 clients need more than {FEW} file descriptors: limited to {FEW - KEPT_BACK}"]
        if options
        else []
    )


def test_as_many_descriptors_as_the_system_allows_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if sys.platform != "linux" or hard <= FEW:
        pytest.skip("needs prlimit, and a hard limit that is not low")
    at_first = ("/bin/sh", "-c", f'ulimit -S -n {FEW} && exec "$@"', "sh")
    monkeypatch.setattr(programs, "_SERVER", (*at_first, *programs._SERVER))
    with run_server_process() as server:
        assert resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)


@pytest.mark.usefixtures("few_descriptors")
@pytest.mark.parametrize("loop", LOOPS)
def test_slots_are_free_again_after_many_connections_ended(loop: str, peers: ExitStack) -> None:
    with run_server_process("--loop", loop) as server:
        observer = peers.enter_context(connect_to(server))
        observer.ask("JOIN observer")
        for round_ in range(3):
            with ExitStack() as crowd:
                for number in range(FEW - KEPT_BACK - 1):
                    peer = crowd.enter_context(connect_to(server))
                    assert peer.ask(f"JOIN n{number}")[1] == f"OK JOIN n{number}", round_
            left = 0
            while left < FEW - KEPT_BACK - 1:
                left += observer.line().startswith("LEFT ")
        peers.close()
        assert "WARNING" not in server.stop()


@pytest.mark.parametrize("lack", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_accept_is_not_retried_at_once_without_descriptors(
    lack: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[socket.socket] = []

    def fail(sock: socket.socket) -> NoReturn:
        tries.append(sock)
        raise OSError(lack, os.strerror(lack))

    monkeypatch.setattr(listeners, "_RETRY_DELAY", 3600.0)
    async with run_server_in_loop() as harness:
        ann = await harness.join("ann")
        with monkeypatch.context() as patch:
            patch.setattr(socket.socket, "accept", fail)
            waiting = await connect(harness.address)
            await eventually(lambda: bool(tries))
            for _ in range(50):
                assert await ann.barrier() == []
        (listener,) = harness.server._acceptor._listeners
        assert tries == [listener.sock]
        assert not waiting.received
        assert listener._retry is not None
        listener._retry.cancel()
        listener._resume()
        assert (await waiting.line()).startswith("HELLO ")
        await waiting.close()
    (record,) = caplog.get_records("call")
    assert record.getMessage() == f"can't accept connections for now: {os.strerror(lack)}"
    caplog.clear()


@pytest.mark.parametrize("passing", [errno.ECONNABORTED, errno.EINTR, errno.EAGAIN])
async def test_failed_accept_is_retried(passing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    accept = socket.socket.accept
    failures = [OSError(passing, os.strerror(passing))]

    def fail_first(sock: socket.socket) -> tuple[socket.socket, object]:
        if failures:
            raise failures.pop()
        return accept(sock)

    async with run_server_in_loop() as harness:
        monkeypatch.setattr(socket.socket, "accept", fail_first)
        assert await (await harness.connect()).ask("JOIN ann") == ["OK JOIN ann"]
        assert not failures
