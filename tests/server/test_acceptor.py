"""A server that runs out of file descriptors keeps those it has, and takes more when it can."""

import errno
import os
import re
import resource
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from typing import NoReturn, Self

import pytest

from simple_chat.server import listeners
from tests.harness import programs
from tests.harness.peer import connect
from tests.harness.programs import DEADLINE, ServerProcess, run_server_process
from tests.harness.server import eventually, run_server_in_loop

LOOPS = ["asyncio"]
with suppress(ImportError):
    import uvloop  # noqa: F401 - not installed everywhere

    LOOPS.append("uvloop")

FEW = 100
"""File descriptors."""

KEPT_BACK = 64
LINES = 10
"""Lines of one kind that are logged a minute."""

_tokens = count()


class Guest:
    """Somebody who is connected to a server that is another process."""

    def __init__(self, server: ServerProcess) -> None:
        self._sock = socket.create_connection((server.host, int(server.port)), DEADLINE)
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def send(self, *lines: str) -> None:
        self._sock.sendall("".join(f"{line}\n" for line in lines).encode())

    def line(self) -> str:
        """The next line; empty at the end."""
        while b"\n" not in self._received:
            if not (data := self._sock.recv(4096)):
                return ""
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return line.decode()

    def ask(self, *lines: str) -> list[str]:
        """Send lines, and return what came until they were carried out."""
        token = f"PONG {next(_tokens)}"
        self.send(*lines, token.replace("PONG", "PING"))
        return list(iter(self.line, token))

    def is_not_greeted(self) -> bool:
        """Whether nothing has come."""
        self._sock.settimeout(0)
        try:
            return self._sock.recv(1) is None
        except BlockingIOError:
            return True
        finally:
            self._sock.settimeout(DEADLINE)


@pytest.fixture
def guests() -> Iterator[ExitStack]:
    with ExitStack() as guests:
        yield guests


@contextmanager
def no_descriptors(process: int) -> Iterator[None]:
    """Keep a process from opening anything."""
    soft, hard = resource.prlimit(process, resource.RLIMIT_NOFILE)  # type: ignore[attr-defined, unused-ignore]
    resource.prlimit(process, resource.RLIMIT_NOFILE, (0, hard))  # type: ignore[attr-defined, unused-ignore]
    try:
        yield
    finally:
        resource.prlimit(process, resource.RLIMIT_NOFILE, (soft, hard))  # type: ignore[attr-defined, unused-ignore]


@pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit")
@pytest.mark.parametrize("loop", LOOPS)
def test_without_descriptors_members_go_on_and_those_who_come_wait(loop: str, guests: ExitStack) -> None:
    told = "can't accept connections for now: Too many open files\n"
    with run_server_process("--loop", loop) as server:
        ann, bob = guests.enter_context(Guest(server)), guests.enter_context(Guest(server))
        assert ann.ask("JOIN ann")[1:] == ["OK JOIN ann"]
        assert bob.ask("JOIN bob")[1:] == ["OK JOIN bob"]
        with no_descriptors(server.process.pid):
            waiting = [guests.enter_context(Guest(server)) for _ in range(20)]
            for number in range(3):  # it tries again and again
                server.log.expect_exact(told)
                assert ann.ask(f"MSG {number}") == (["JOINED bob"] if number == 0 else [])
                assert bob.ask() == [f"MSG ann {number}"]
            assert all(guest.is_not_greeted() for guest in waiting)
        for number, guest in enumerate(waiting):
            assert guest.ask(f"JOIN n{number}")[1] == f"OK JOIN n{number}"
        guests.enter_context(Guest(server)).ask("PING")
        assert ann.ask("WHO")[-1] == "OK WHO 22"
        guests.close()
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
def test_so_many_come_in_as_there_are_descriptors_for(
    loop: str, options: tuple[str, ...], guests: ExitStack
) -> None:
    with run_server_process("--loop", loop, *options) as server:
        crowd = [guests.enter_context(Guest(server)) for _ in range(2 * FEW)]
        greeted = [guest.line() for guest in crowd]
        inside, others = crowd[: FEW - KEPT_BACK], crowd[FEW - KEPT_BACK :]
        for number, guest in enumerate(inside):
            assert guest.ask(f"JOIN n{number}")[0] == f"OK JOIN n{number}"
        told = [guest for guest, line in zip(others, greeted[FEW - KEPT_BACK :], strict=True) if line]
        assert len(told) >= 48
        for guest in told:
            assert guest.line().startswith("ERR too-many-connections ")
            assert (guest.line(), guest.line()) == ("BYE too-many-connections", "")
        assert inside[0].ask("WHO")[-1] == f"OK WHO {len(inside)}"
        guests.close()
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
def test_places_are_free_again_when_a_crowd_has_gone(loop: str, guests: ExitStack) -> None:
    with run_server_process("--loop", loop) as server:
        observer = guests.enter_context(Guest(server))
        observer.ask("JOIN observer")
        for round_ in range(3):
            with ExitStack() as crowd:
                for number in range(FEW - KEPT_BACK - 1):
                    guest = crowd.enter_context(Guest(server))
                    assert guest.ask(f"JOIN n{number}")[1] == f"OK JOIN n{number}", round_
            left = 0
            while left < FEW - KEPT_BACK - 1:
                left += observer.line().startswith("LEFT ")
        guests.close()
        assert "WARNING" not in server.stop()


@pytest.mark.parametrize("lack", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_out_of_descriptors_it_does_not_try_all_the_time(
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
async def test_who_went_while_it_was_accepted_keeps_nobody_else_out(
    passing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
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
