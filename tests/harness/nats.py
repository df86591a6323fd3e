"""A real NATS cluster on this machine: servers with JetStream that can be killed, paused and started again.

Its methods block, so that scripts and fixtures of any scope can use it; a test in which something else goes
on meanwhile calls them by `asyncio.to_thread`. Every wait has a deadline, and fails with the end of each
server's log.
"""

import asyncio
import contextlib
import random
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Self, TypeVar

import trustme
from nats.aio.client import Client
from nats.errors import Error
from nats.js.errors import NotFoundError

from tests.harness.nats_credentials import Operator
from tests.harness.nats_health import is_current, meta_leaders, responsive
from tests.harness.nats_server import DEADLINE, HOST, NatsServer

_REQUEST_TIMEOUT = 1.0  # seconds
_DISCARD_TIMEOUT = 0.2  # seconds
_POLL_INTERVAL = 0.02  # seconds
_PORTS = range(20000, 32000)  # outside the range from which systems choose ports
_SINGLE_ATTEMPT = {  # the client retries a refused connection in any case
    "allow_reconnect": False,
    "connect_timeout": _REQUEST_TIMEOUT,
    "max_reconnect_attempts": 1,
    "reconnect_time_wait": _POLL_INTERVAL,
}
_CA = trustme.CA()

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsTls:
    """TLS between NATS and its clients; the servers of a cluster talk plain text to each other.

    Attributes:
        certificate: for 127.0.0.1, a PEM file.
        key: its private key, a PEM file.
        ca: what clients trust, a PEM file.
        verify: whether clients need a certificate too; this one will do.
    """

    certificate: Path
    key: Path
    ca: Path
    verify: bool = False

    @classmethod
    def issue(cls, folder: Path) -> Self:
        """Write a new certificate and what belongs to it into a folder."""
        tls = cls(certificate=folder / "cert.pem", key=folder / "key.pem", ca=folder / "ca.pem")
        leaf = _CA.issue_cert(HOST)
        leaf.cert_chain_pems[0].write_to_path(tls.certificate)
        leaf.private_key_pem.write_to_path(tls.key)
        _CA.cert_pem.write_to_path(tls.ca)
        return tls


class NatsCluster:
    """NATS servers that form a cluster, or one standalone server; `with` starts and kills them.

    Servers are numbered from 0 on. Their logs and stores stay behind.

    Args:
        folder: for their configurations, logs and stores.
        servers: how many.
        tls: None for plain text.
        operator: issues the credentials that clients need; None to let in everybody.
        login: user and password that clients need instead.
        sync: whether what is acknowledged is stored at once; only if nobody kills them it need not be.
    """

    def __init__(
        self,
        folder: Path,
        *,
        servers: int = 3,
        tls: NatsTls | None = None,
        operator: Operator | None = None,
        login: tuple[str, str] | None = None,
        sync: bool = True,
    ) -> None:
        self._tls = tls
        self._login = {} if login is None else {"user": login[0], "password": login[1]}
        self._credentials = None if operator is None else operator.user("tests")
        self._reserved = contextlib.ExitStack()
        ports = _free_ports(self._reserved)
        self._servers = [NatsServer(folder, number, ports) for number in range(servers)]
        self._names = [server.name for server in self._servers]
        for server in self._servers:
            server.configure(
                {
                    **_routes(server, self._servers),
                    **_encryption(tls),
                    **_authorization(operator),
                    **({"authorization": self._login} if self._login else {}),
                },
                sync=sync,
            )

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._servers)

    @property
    def url(self) -> str:
        """The URLs of all servers, joined by commas."""
        return ",".join(self.urls)

    @property
    def urls(self) -> list[str]:
        """The URL of each server."""
        scheme = "nats" if self._tls is None else "tls"
        return [f"{scheme}://{HOST}:{server.client_port}" for server in self._servers]

    @property
    def pids(self) -> list[int]:
        """The processes that run."""
        return [server.process.pid for server in self._servers if server.running]

    # Control

    def start(self) -> None:
        """Start all servers that don't run, resume the paused ones, and wait until all are one cluster."""
        for server in self._servers:
            server.start()
        for server in self._servers:
            self._wait_until_ready(server)

    def kill(self, index: int) -> None:
        """Kill a server, and wait for its end."""
        self._servers[index].kill()

    def restart(self, index: int) -> None:
        """Start a server that was killed, and wait until it has caught up.

        Without a majority it is only waited until it accepts clients.
        """
        self._servers[index].start()
        self._wait_until_ready(self._servers[index])

    def pause(self, *indices: int) -> None:
        """Stop servers by SIGSTOP: their connections stay open."""
        for index in indices:
            self._servers[index].pause()

    def pause_all(self) -> None:
        """Stop all servers by SIGSTOP."""
        self.pause(*range(len(self)))

    def resume(self, index: int) -> None:
        """Let a paused server go on, without waiting for anything as `start` does."""
        self._servers[index].resume()

    def kill_all(self) -> None:
        """Kill all servers, as nearly at once as can be."""
        for server in self._servers:
            if server.running:
                server.process.kill()
        for server in self._servers:
            server.kill()

    def close(self) -> None:
        """Kill all servers, and release their ports."""
        self.kill_all()
        self._reserved.close()

    # Requests

    def leader_of(self, stream: str) -> int:
        """Wait until a stream has a leader, and return the leader's index."""

        async def ask(client: Client) -> str | None:
            cluster = (await client.jetstream(timeout=_REQUEST_TIMEOUT).stream_info(stream)).cluster
            return cluster.leader if cluster is not None else None

        leader = self._wait_until(f"{stream} has a leader", lambda: self._ask(ask, responsive(self._servers)))
        return self._names.index(leader)

    def follower_of(self, stream: str) -> int:
        """Return the index of a server that leads neither a stream nor the cluster."""
        leaders = {self._names[self.leader_of(stream)], *meta_leaders(self._servers)}
        return next(index for index, name in enumerate(self._names) if name not in leaders)

    def delete(self, stream: str) -> None:
        """Delete a stream if there is one."""

        async def ask(client: Client) -> bool:
            with contextlib.suppress(NotFoundError):
                await client.jetstream(timeout=_REQUEST_TIMEOUT).delete_stream(stream)
            return True

        self._wait_until(f"{stream} is deleted", lambda: self._ask(ask, responsive(self._servers)))

    @contextlib.asynccontextmanager
    async def client(self, *indices: int, **options: Any) -> AsyncIterator[Client]:  # noqa: ANN401 - as NATS has it
        """Connect with all rights.

        Args:
            indices: servers to connect to; any if none is given.
            options: of nats.connect, instead of TLS and credentials of this cluster.
        """
        urls = [self.urls[index] for index in indices] or self.urls
        client = Client()
        try:
            await client.connect(urls, **(self._client_options() | options))
        except BaseException:
            await _discard(client)
            raise
        try:
            yield client
        finally:
            await client.close()

    def log_tails(self) -> str:
        """Return the end of each server's log."""
        return "\n".join(server.log_tail() for server in self._servers)

    # Internals

    def _client_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"error_cb": _ignore_error, **self._login}
        if self._tls is not None:
            options["tls"] = ssl.create_default_context(cafile=self._tls.ca)
            options["tls"].load_cert_chain(self._tls.certificate, self._tls.key)
        if self._credentials is not None:
            options["user_credentials"] = self._credentials
        return options

    def _wait_until_ready(self, server: NatsServer) -> None:
        def is_ready() -> bool:
            assert server.running, f"{server.name} has ended\n{self.log_tails()}"
            return self._is_ready(server)

        self._wait_until(f"{server.name} is ready", is_ready)

    def _is_ready(self, server: NatsServer) -> bool:
        index = self._servers.index(server)
        if len(responsive(self._servers)) * 2 <= len(self):
            return bool(self._ask(_accepts_clients, [index]))
        return is_current(server, self._servers) and bool(self._ask(_has_jetstream, [index]))

    def _ask(self, question: Callable[[Client], Awaitable[_T]], indices: Sequence[int]) -> _T | None:
        """Ask one of some servers; return None if it does not answer in time."""

        async def ask() -> _T:
            async with self.client(*indices, **_SINGLE_ATTEMPT) as client:
                return await question(client)

        own_loop = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        with contextlib.suppress(OSError, Error), own_loop as runner:
            return runner.run(ask())
        return None

    def _wait_until(self, condition: str, check: Callable[[], _T | None]) -> _T:
        """Poll until a check returns something, and return that."""
        deadline = monotonic() + DEADLINE
        while not (found := check()):
            assert monotonic() < deadline, f"not within {DEADLINE:.0f} s: {condition}\n{self.log_tails()}"
            sleep(_POLL_INTERVAL)
        return found


def _free_ports(reserved: contextlib.ExitStack) -> Iterator[int]:
    """Find free ports, and reserve them also while nobody listens there.

    Args:
        reserved: holds UDP ports of the same numbers, which other clusters find taken, until it is closed.
    """
    for port in random.sample(_PORTS, len(_PORTS)):
        with contextlib.suppress(OSError), contextlib.ExitStack() as attempt:
            attempt.enter_context(socket.socket(type=socket.SOCK_DGRAM)).bind((HOST, port))
            socket.create_server((HOST, port)).close()
            reserved.push(attempt.pop_all())
            yield port


def _routes(server: NatsServer, servers: Sequence[NatsServer]) -> dict[str, Any]:
    if len(servers) == 1:
        return {}
    routes = [f"nats://{HOST}:{each.cluster_port}" for each in servers]
    return {"cluster": {"name": "C", "listen": f"{HOST}:{server.cluster_port}", "routes": routes}}


def _encryption(tls: NatsTls | None) -> dict[str, Any]:
    if tls is None:
        return {}
    files = {"cert_file": str(tls.certificate), "key_file": str(tls.key), "ca_file": str(tls.ca)}
    return {"tls": {**files, "verify": tls.verify}}


def _authorization(operator: Operator | None) -> dict[str, Any]:
    return {} if operator is None else operator.configuration


async def _ignore_error(_: Exception) -> None:
    """Drop an error, which the client would log."""


async def _discard(client: Client) -> None:
    """Close the socket of a client that could not connect, which it leaves open.

    After a TLS handshake that failed it would wait for ever for the end of a connection that it closed.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD_TIMEOUT):
            await client.close()


async def _accepts_clients(client: Client) -> bool:
    await client.flush()
    return True


async def _has_jetstream(client: Client) -> bool:
    await client.jetstream(timeout=_REQUEST_TIMEOUT).account_info()
    return True
