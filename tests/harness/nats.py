"""A real NATS cluster on this machine: servers with JetStream that can be killed, stopped and started again.

What controls it is not asynchronous, so that scripts and fixtures of any scope can use it; a test in which
something else goes on meanwhile calls it by `asyncio.to_thread`. Every wait has a deadline, and whoever
misses one is shown the end of each server's log.
"""

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import ssl
import sysconfig
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from subprocess import DEVNULL, STDOUT, Popen
from time import monotonic, sleep
from typing import Any, Self, TypeVar

from nats.aio.client import Client
from nats.errors import Error
from nats.js.errors import NotFoundError

from tests.harness.nats_credentials import Operator
from tests.harness.programs import find_program

DEADLINE = 60.0
"""Seconds after which a server is no longer waited for. An election takes some of them."""

_PATIENCE = 1.0  # seconds that one question may take before it is asked again
_POLL = 0.02  # seconds between two looks
_TAIL = 4000  # bytes of a log that are shown
_HOST = "127.0.0.1"
_PORTS = range(20000, 32000)  # systems give out none of these to those who take any
_LIMITS = {"max_mem": 2**28, "max_file": 2**32, "sync_interval": "always"}  # bytes
_ONCE = {  # what makes a client give up soon; it tries again where nobody listens, whatever it is told
    "allow_reconnect": False,
    "connect_timeout": _PATIENCE,
    "max_reconnect_attempts": 1,
    "reconnect_time_wait": _POLL,
}

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How servers talk TLS to their clients; among themselves they talk in plain text.

    Attributes:
        certificate: of 127.0.0.1, a PEM file.
        key: its private key, a PEM file.
        authority: whom clients trust, a PEM file.
    """

    certificate: Path
    key: Path
    authority: Path


class _Node:
    """One server, whether it runs or not.

    Args:
        folder: where it has its configuration, its log and what it stores.
        number: from 0 on.
        ports: free ones; three are taken.

    Attributes:
        paused: whether it is stopped, and will go on.
    """

    def __init__(self, folder: Path, number: int, ports: Iterator[int]) -> None:
        self.name = f"n{number + 1}"
        self.client_port, self.cluster_port, self._http_port = next(ports), next(ports), next(ports)
        self.paused = False
        self._process: Popen[bytes] | None = None
        self._configuration = folder / f"{self.name}.conf"
        self._log = folder / f"{self.name}.log"
        self._store = folder / self.name

    @property
    def process(self) -> Popen[bytes]:
        """The last one that was started."""
        assert self._process is not None, f"{self.name} was never started"
        return self._process

    @property
    def running(self) -> bool:
        """Whether there is a process, be it stopped."""
        return self._process is not None and self._process.poll() is None

    @property
    def awake(self) -> bool:
        """Whether it can answer."""
        return self.running and not self.paused

    def configure(self, more: dict[str, Any]) -> None:
        """Write its configuration.

        Args:
            more: what it has beside its own.
        """
        own = {
            "server_name": self.name,
            "listen": f"{_HOST}:{self.client_port}",
            "http": f"{_HOST}:{self._http_port}",
            "jetstream": {"store_dir": str(self._store), **_LIMITS},
        }
        self._configuration.write_text(json.dumps(own | more, indent=2))  # which NATS reads too

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.running:
            return
        command = [_nats_server(), "--config", str(self._configuration)]
        with self._log.open("ab") as log:
            self._process = Popen(command, stdin=DEVNULL, stdout=log, stderr=STDOUT)

    def kill(self) -> None:
        """Kill it, also while it is stopped, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(DEADLINE)
        self.paused = False

    def pause(self) -> None:
        """Stop it: its connections stay, and it does nothing."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)
        self.paused = True

    def resume(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)
        self.paused = False

    def look(self, path: str) -> dict[str, Any]:
        """What it says of itself by HTTP; nothing if it does not, or is not well."""
        connection = HTTPConnection(_HOST, self._http_port, timeout=_PATIENCE)
        with contextlib.closing(connection), contextlib.suppress(OSError, HTTPException):
            connection.request("GET", path)
            answer = connection.getresponse()
            said: dict[str, Any] = json.loads(answer.read())
            return said if answer.status == 200 else {}
        return {}

    def tail(self) -> str:
        """The end of its log."""
        log = self._log.read_bytes() if self._log.exists() else b""
        return f"--- {self.name}\n{log[-_TAIL:].decode(errors='replace')}"


class Engine:
    """Servers that are one cluster, or one server by itself; `with` starts and ends them.

    They are told apart by their index, from 0 on. Their logs and what they stored stay when they have ended.

    Args:
        folder: where they have their configurations, their logs and what they store.
        servers: how many.
        tls: how they talk TLS; None for plain text.
        operator: who says which clients are let in; None for whoever comes.
    """

    def __init__(
        self, folder: Path, *, servers: int = 3, tls: Tls | None = None, operator: Operator | None = None
    ) -> None:
        self._tls = tls
        self._credentials = None if operator is None else operator.user("tests")
        self._reserved = contextlib.ExitStack()
        ports = _free_ports(self._reserved)
        self._nodes = [_Node(folder, number, ports) for number in range(servers)]
        for node in self._nodes:
            node.configure({**self._routes(node), **_encryption(tls), **_authorization(operator)})

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where the servers are, as one text."""
        return ",".join(self.urls)

    @property
    def urls(self) -> list[str]:
        """Where each server is."""
        scheme = "nats" if self._tls is None else "tls"
        return [f"{scheme}://{_HOST}:{node.client_port}" for node in self._nodes]

    @property
    def pids(self) -> list[int]:
        """The processes there are."""
        return [node.process.pid for node in self._nodes if node.running]

    # What is done to the servers

    def start(self) -> None:
        """Start whoever is dead, let go on whoever is stopped, and wait until all are one cluster."""
        for node in self._nodes:
            node.start()
            if node.paused:
                node.resume()
        for node in self._nodes:
            self._wait_for(node)

    def kill(self, index: int) -> None:
        """Kill a server, and wait until it is gone."""
        self._nodes[index].kill()

    def restart(self, index: int) -> None:
        """Start a server that was killed, and wait until it has what the others have.

        While most of them are dead or stopped nobody can tell: it is only waited until it lets clients in.
        """
        self._nodes[index].start()
        self._wait_for(self._nodes[index])

    def pause(self, index: int) -> None:
        """Stop a server in the middle of whatever it does; its connections stay."""
        self._nodes[index].pause()

    def resume(self, index: int) -> None:
        """Let a stopped server go on, and don't wait for anything: `start` does."""
        self._nodes[index].resume()

    def kill_all(self) -> None:
        """Kill all servers, as nearly at once as can be."""
        for node in self._nodes:
            if node.running:
                node.process.kill()
        for node in self._nodes:
            node.kill()

    def restart_all(self) -> None:
        """Start whoever was killed, all at once, and wait until all are one cluster."""
        self.start()

    def close(self) -> None:
        """End all servers, and give their ports back."""
        self.kill_all()
        self._reserved.close()

    # What the servers say

    def leader_of(self, stream: str) -> int:
        """Wait until a stream has a leader, and return which server that is."""

        async def ask(client: Client) -> str | None:
            cluster = (await client.jetstream(timeout=_PATIENCE).stream_info(stream)).cluster
            return cluster.leader if cluster is not None else None

        leader = self._wait_until(f"{stream} has a leader", lambda: self._ask(ask, self._awake()))
        return [node.name for node in self._nodes].index(leader)

    def delete(self, stream: str) -> None:
        """Delete a stream, if there is one."""

        async def ask(client: Client) -> bool:
            with contextlib.suppress(NotFoundError):
                await client.jetstream(timeout=_PATIENCE).delete_stream(stream)
            return True

        self._wait_until(f"{stream} is deleted", lambda: self._ask(ask, self._awake()))

    @contextlib.asynccontextmanager
    async def client(self, *indices: int, **options: Any) -> AsyncIterator[Client]:  # noqa: ANN401 - as NATS has it
        """Connect to the servers, as somebody who may do everything.

        Args:
            indices: to which of them; to any if none is given.
            options: of nats.connect, in place of those that let a client in.
        """
        urls = [self.urls[index] for index in indices] or self.urls
        client = Client()
        try:
            await client.connect(urls, **(self._entry() | options))
        except BaseException:
            await _give_up(client)
            raise
        try:
            yield client
        finally:
            await client.close()

    def tails(self) -> str:
        """The end of each server's log."""
        return "\n".join(node.tail() for node in self._nodes)

    # How to find out

    def _routes(self, node: _Node) -> dict[str, Any]:
        if len(self._nodes) == 1:
            return {}
        routes = [f"nats://{_HOST}:{each.cluster_port}" for each in self._nodes]
        return {"cluster": {"name": "C", "listen": f"{_HOST}:{node.cluster_port}", "routes": routes}}

    def _entry(self) -> dict[str, Any]:
        """What lets a client in."""
        entry: dict[str, Any] = {"error_cb": _ignore}
        if self._tls is not None:
            entry["tls"] = ssl.create_default_context(cafile=self._tls.authority)
        if self._credentials is not None:
            entry["user_credentials"] = self._credentials
        return entry

    def _awake(self) -> list[int]:
        return [index for index, node in enumerate(self._nodes) if node.awake]

    def _wait_for(self, node: _Node) -> None:
        def is_ready() -> bool:
            assert node.running, f"{node.name} has ended\n{self.tails()}"
            return self._is_ready(node)

        self._wait_until(f"{node.name} is ready", is_ready)

    def _is_ready(self, node: _Node) -> bool:
        index = self._nodes.index(node)
        if len(self._awake()) * 2 <= len(self._nodes):
            return bool(self._ask(_is_there, [index]))
        return self._is_current(node) and bool(self._ask(_has_jetstream, [index]))

    def _is_current(self, node: _Node) -> bool:
        """Whether a server has what it must have, and the others know it."""
        if not node.look("/healthz"):
            return False
        return len(self._nodes) == 1 or (self._is_routed(node) and self._is_followed(node))

    def _is_routed(self, node: _Node) -> bool:
        """Whether a server is connected to each of the others, and tells clients where they are."""
        others = {each.name for each in self._nodes if each.awake} - {node.name}
        routes = node.look("/routez").get("routes", ())
        told = node.look("/varz").get("connect_urls", ())
        return others <= {route.get("remote_name") for route in routes} and len(told) > len(others)

    def _is_followed(self, node: _Node) -> bool:
        """Whether all agree on who leads, and whoever that is counts a server among those who follow."""
        views = {each.name: each.look("/jsz").get("meta_cluster", {}) for each in self._nodes if each.awake}
        leaders = {view.get("leader", "") for view in views.values()}
        if len(leaders) != 1:  # who was stopped believes for a while what it knew before
            return False
        (leader,) = leaders
        replicas = views.get(leader, {}).get("replicas", ())
        current = {replica["name"] for replica in replicas if replica["current"]}
        return node.name in current | {leader}

    def _ask(self, question: Callable[[Client], Awaitable[_T]], indices: Sequence[int]) -> _T | None:
        """Ask one of some servers; the answer is None if there is none in time."""

        async def ask() -> _T:
            async with self.client(*indices, **_ONCE) as client:
                return await question(client)

        own_loop = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        with contextlib.suppress(OSError, Error), own_loop as runner:
            return runner.run(ask())
        return None

    def _wait_until(self, what: str, look: Callable[[], _T | None]) -> _T:
        """Look until there is something to see, and return it."""
        deadline = monotonic() + DEADLINE
        while not (seen := look()):
            assert monotonic() < deadline, f"not within {DEADLINE:.0f} s: {what}\n{self.tails()}"
            sleep(_POLL)
        return seen


def _nats_server() -> str:
    """The server of this environment, or else whichever is installed."""
    return shutil.which("nats-server", path=sysconfig.get_path("scripts")) or find_program("nats-server")


def _free_ports(reserved: contextlib.ExitStack) -> Iterator[int]:
    """Find ports, and keep other engines off them, also while nobody listens there.

    Args:
        reserved: has them until it is closed: the UDP ports of the same numbers, which nobody else wants.
    """
    for port in random.sample(_PORTS, len(_PORTS)):
        with contextlib.suppress(OSError), contextlib.ExitStack() as attempt:
            attempt.enter_context(socket.socket(type=socket.SOCK_DGRAM)).bind((_HOST, port))
            socket.create_server((_HOST, port)).close()
            reserved.push(attempt.pop_all())
            yield port


def _encryption(tls: Tls | None) -> dict[str, Any]:
    return {} if tls is None else {"tls": {"cert_file": str(tls.certificate), "key_file": str(tls.key)}}


def _authorization(operator: Operator | None) -> dict[str, Any]:
    return {} if operator is None else operator.configuration


async def _ignore(_: Exception) -> None:
    """Take what a client complains of, which it would log."""


async def _give_up(client: Client) -> None:
    """Close the socket of a client that could not connect, which it leaves open.

    After a TLS handshake that failed it would wait for ever for the end of what it has closed.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            await client.close()


async def _is_there(client: Client) -> bool:
    await client.flush()
    return True


async def _has_jetstream(client: Client) -> bool:
    await client.jetstream(timeout=_PATIENCE).account_info()
    return True
