"""A server ends in order while people connect and talk, and while nobody reads its log.

Long run: ENDS=100 pytest -s tests/soak/test_ends.py.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from time import monotonic

import pytest

from tests.harness.line_socket import connect
from tests.harness.loops import LOOPS
from tests.harness.programs import DEADLINE, ServerProcess, run_server_process

ENDS = int(os.environ.get("ENDS", "1"))
CONNECTING = 4  # threads
STALLED = 1000  # connections, whose log lines are more than a pipe holds


@contextmanager
def people_connecting(server: ServerProcess) -> Iterator[None]:
    """Connect from several threads all the time."""
    stopped = Event()

    def connect_again_and_again() -> None:
        while not stopped.is_set():
            with suppress(OSError):
                socket.create_connection((server.host, int(server.port)), DEADLINE).close()

    threads = [Thread(target=connect_again_and_again) for _ in range(CONNECTING)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join(DEADLINE)


@pytest.mark.parametrize("log", ["read", "stalled"])
@pytest.mark.parametrize("loop", LOOPS)
def test_server_ends_in_time_with_status_zero(loop: str, log: str) -> None:
    options = ("--loop", loop, *(["--verbose"] if log == "stalled" else []))
    slowest = 0.0
    for _ in range(ENDS):
        with run_server_process(*options) as server, people_connecting(server):
            if log == "stalled":
                fill_log(server)
            slowest = max(slowest, end(server))
    print(f"{loop}, log {log}: {ENDS} ends, the slowest took {slowest:.2f} s")  # noqa: T201 - shown with -s


def fill_log(server: ServerProcess) -> None:
    """Have more logged than a pipe holds."""
    for _ in range(STALLED):
        socket.create_connection((server.host, int(server.port)), DEADLINE).close()


def end(server: ServerProcess) -> float:
    """Shut a server down while a member talks; return the seconds it took."""
    with connect(server.port) as ann, connect(server.port) as ben:
        ben.join("ben")
        ann.join("ann")
        ann.send("PING 1")
        ann.wait_for("PONG 1")
        ann.send("MSG at the end")
        begin = monotonic()
        server.process.terminate()
        ben.wait_for("BYE shutdown")
    assert server.process.wait(DEADLINE) == 0
    return monotonic() - begin
