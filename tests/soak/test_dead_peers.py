"""The name of a member whose network fails is free within 90 s, though no packet closes its connection.

DEAD_PEERS=1 pytest -s tests/soak/test_dead_peers.py, as root on Linux; takes some minutes, and prints the
measured times.
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

NAME_FREE_TIMEOUT = 90.0
"""Seconds from the failure until the name is free, with the server's default settings."""

SERVER_ADDRESS, CLIENT_ADDRESS = "192.0.2.1", "192.0.2.2"  # reserved for documentation (RFC 5737)
_CLONE_NEWNET = 0x40000000


class Network:
    """Two network namespaces, of a server and of a client, connected by a veth pair."""

    def __init__(self) -> None:
        self.server, self.client = (f"chat-{os.getpid()}-{side}" for side in ("server", "client"))

    def __enter__(self) -> Self:
        ip("netns", "add", self.server)
        ip("netns", "add", self.client)
        veth = ["name", "chat0", "type", "veth", "peer", "name", "chat0", "netns", self.client]
        ip("link", "add", *veth, netns=self.server)
        for netns, address in ((self.server, SERVER_ADDRESS), (self.client, CLIENT_ADDRESS)):
            ip("address", "add", f"{address}/24", "dev", "chat0", netns=netns)
            ip("link", "set", "chat0", "up", netns=netns)
            ip("link", "set", "lo", "up", netns=netns)
        return self

    def __exit__(self, *_: object) -> None:
        for netns in (self.server, self.client):
            with suppress(OSError):
                ip("netns", "delete", netns)

    def fail(self) -> None:
        """Take the client's end of the connection down."""
        ip("link", "set", "chat0", "down", netns=self.client)

    def connect(self, port: int) -> socket.socket:
        """Connect to the server from the client's namespace."""
        with ThreadPoolExecutor(1) as threads:  # setns stays in effect for the thread
            return threads.submit(self._connect, port).result()

    def _connect(self, port: int) -> socket.socket:
        with Path(f"/run/netns/{self.client}").open("rb") as netns:
            libc = ctypes.CDLL(None, use_errno=True)
            assert libc.setns(netns.fileno(), _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        return socket.create_connection((SERVER_ADDRESS, port), DEADLINE)


def ip(*arguments: str, netns: str | None = None) -> None:
    """Run iproute2's ip, in a namespace if one is given."""
    namespace = [] if netns is None else ["-netns", netns]
    run([find_program("ip"), *namespace, *arguments], check=True, timeout=DEADLINE)


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network:
        yield network


@contextmanager
def run_server_in(network: Network, *options: str) -> Iterator[ServerProcess]:
    """Run a server in the server's namespace."""
    command = [
        find_program("ip"),
        "netns",
        "exec",
        network.server,
        sys.executable,
        "-m",
        "simple_chat.server",
    ]
    with Popen([*command, "--host", SERVER_ADDRESS, "--port", "0", *options], stderr=PIPE) as process:
        try:
            with ExitStack() as terminals:
                yield ServerProcess(process, terminals)
        finally:
            process.kill()


class Client:
    """A client that has joined."""

    def __init__(self, sock: socket.socket, name: str) -> None:
        self._sock = sock
        self._received = b""
        sock.settimeout(NAME_FREE_TIMEOUT + DEADLINE)
        self.send(f"JOIN {name}")
        self.wait_for(f"OK JOIN {name}")

    def send(self, line: str) -> None:
        self._sock.sendall(f"{line}\n".encode())

    def wait_for(self, line: str) -> None:
        expected = f"{line}\n".encode()
        while expected not in self._received:
            data = self._sock.recv(65_536)
            assert data, f"the connection ended before {line!r}"
            self._received += data
        self._received = self._received.partition(expected)[2]

    def close(self) -> None:
        self._sock.close()


def send_nothing(witness: Client) -> None:
    """Leave the detection to keepalive."""


def send_one_message(witness: Client) -> None:
    """Leave the detection to retransmissions."""
    witness.send("MSG hello")


def send_many_messages(witness: Client) -> None:
    """Send more than the kernel buffers for the dead peer."""
    for _ in range(100):
        witness.send("MSG " + 4000 * "x")


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("send", [send_nothing, send_one_message, send_many_messages])
def test_name_of_a_dead_peer_is_free_in_time(
    network: Network, tmp_path: Path, send: Callable[[Client], None], loop: str
) -> None:
    path = str(tmp_path / "chat")
    with run_server_in(network, "--unix", path, "--loop", loop) as server:
        server.log.expect_exact(f"listening on unix:{path}\n")
        unix = socket.socket(socket.AF_UNIX)  # a file: reachable from every namespace
        unix.connect(path)
        witness = Client(unix, "witness")
        dead = Client(network.connect(int(server.port)), "dead")
        witness.wait_for("JOINED dead")
        network.fail()
        begin = monotonic()
        send(witness)
        witness.wait_for("LEFT dead")
        seconds = monotonic() - begin
        dead.close()
        witness.close()
        server.stop()
    print(f"{loop}, {send.__name__}: free after {seconds:.0f} s")  # noqa: T201 - with pytest -s
    assert seconds <= NAME_FREE_TIMEOUT
