"""Members whose cable is cut: their name must be free again though no packet tells that they are gone.

DEAD_PEERS=1 pytest -s tests/soak/test_dead_peers.py, as root on Linux; it takes some minutes, and tells how
many seconds it was.
"""

import ctypes
import os
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from subprocess import PIPE, Popen, run
from time import monotonic
from typing import Self

import pytest

from tests.harness.programs import DEADLINE, ServerProcess, find_program

pytestmark = pytest.mark.skipif(
    not os.environ.get("DEAD_PEERS") or sys.platform != "linux" or os.geteuid() != 0,
    reason="needs DEAD_PEERS=1, Linux and root",
)

FREE_WITHIN = 90.0
"""Seconds from the cut to the moment the name is free, with the server's own settings."""

HERE, THERE = "192.0.2.1", "192.0.2.2"  # set aside for documentation (RFC 5737)
_CLONE_NEWNET = 0x40000000


class Network:
    """A server's machine and a client's, with a cable between them."""

    def __init__(self) -> None:
        self.server, self.client = (f"chat-{os.getpid()}-{side}" for side in ("server", "client"))

    def __enter__(self) -> Self:
        ip("netns", "add", self.server)
        ip("netns", "add", self.client)
        cable = ["name", "cable", "type", "veth", "peer", "name", "cable", "netns", self.client]
        ip("link", "add", *cable, netns=self.server)
        for netns, address in ((self.server, HERE), (self.client, THERE)):
            ip("address", "add", f"{address}/24", "dev", "cable", netns=netns)
            ip("link", "set", "cable", "up", netns=netns)
            ip("link", "set", "lo", "up", netns=netns)
        return self

    def __exit__(self, *_: object) -> None:
        for netns in (self.server, self.client):
            with suppress(OSError):
                ip("netns", "delete", netns)

    def cut(self) -> None:
        """Cut the cable, at the client's end."""
        ip("link", "set", "cable", "down", netns=self.client)

    def connect(self, port: int) -> socket.socket:
        """Connect to the server from the client's machine."""
        with ThreadPoolExecutor(1) as threads:  # a thread of its own, which ends there
            return threads.submit(self._connect, port).result()

    def _connect(self, port: int) -> socket.socket:
        with Path(f"/run/netns/{self.client}").open("rb") as netns:
            libc = ctypes.CDLL(None, use_errno=True)
            assert libc.setns(netns.fileno(), _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        return socket.create_connection((HERE, port), DEADLINE)


def ip(*arguments: str, netns: str | None = None) -> None:
    """Run iproute2's ip, where it is told."""
    where = [] if netns is None else ["-netns", netns]
    run([find_program("ip"), *where, *arguments], check=True, timeout=DEADLINE)


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network:
        yield network


@contextmanager
def server_in(network: Network, *options: str) -> Iterator[ServerProcess]:
    """Run a server on the server's machine."""
    command = [
        find_program("ip"),
        "netns",
        "exec",
        network.server,
        sys.executable,
        "-m",
        "simple_chat.server",
    ]
    with Popen([*command, "--host", HERE, "--port", "0", *options], stderr=PIPE) as process:
        try:
            with ExitStack() as terminals:
                yield ServerProcess(process, terminals)
        finally:
            process.kill()


class Guest:
    """Somebody who is connected to the server, and has joined."""

    def __init__(self, sock: socket.socket, name: str) -> None:
        self._sock = sock
        self._received = b""
        sock.settimeout(FREE_WITHIN + DEADLINE)
        self.send(f"JOIN {name}")
        self.wait_for(f"OK JOIN {name}")

    def send(self, line: str) -> None:
        self._sock.sendall(f"{line}\n".encode())

    def wait_for(self, line: str) -> None:
        mark = f"{line}\n".encode()
        while mark not in self._received:
            data = self._sock.recv(65_536)
            assert data, f"the connection ended before {line!r}"
            self._received += data
        self._received = self._received.partition(mark)[2]

    def close(self) -> None:
        self._sock.close()


def stay_silent(witness: Guest) -> None:
    """Say nothing to the one who is gone."""


def say_once(witness: Guest) -> None:
    """Say something that the one who is gone would get."""
    witness.send("MSG are you there?")


def say_much(witness: Guest) -> None:
    """Say more than the kernel takes for one who is gone."""
    for _ in range(100):
        witness.send("MSG " + 4000 * "x")


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("do", [stay_silent, say_once, say_much])
def test_name_of_a_member_whose_cable_is_cut_is_free(
    network: Network, tmp_path: Path, do: Callable[[Guest], None], loop: str
) -> None:
    path = str(tmp_path / "chat")
    with server_in(network, "--unix", path, "--loop", loop) as server:
        server.log.expect_exact(f"listening on unix:{path}\n")
        inside = socket.socket(socket.AF_UNIX)  # a file: it leads into the server's machine
        inside.connect(path)
        witness = Guest(inside, "witness")
        gone = Guest(network.connect(int(server.port)), "gone")
        witness.wait_for("JOINED gone")
        network.cut()
        begin = monotonic()
        do(witness)
        witness.wait_for("LEFT gone")
        seconds = monotonic() - begin
        gone.close()
        witness.close()
        server.stop()
    print(f"{loop}, {do.__name__}: free after {seconds:.0f} s")  # noqa: T201 - with pytest -s
    assert seconds <= FREE_WITHIN
