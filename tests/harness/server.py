"""A server in the test's own event loop, and peers that are connected to it."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import trustme

from simple_chat import Server, Settings, serve
from simple_chat.core.codes import Code
from simple_chat.core.delivery import Subscriber
from simple_chat.core.framing import MAX_LINE
from simple_chat.core.protocol import Err
from simple_chat.server.connection import Connection
from simple_chat.tls import server_context
from tests.harness.peer import DEADLINE, Peer, connect

CA = trustme.CA()
"""The CA that peers trust, and that issues the servers' certificates."""

TRANSPORTS = ("tcp", "tls", "unix")
"""The transports that peers can connect by."""


def server_tls_context(client_ca: trustme.CA | None = None) -> ssl.SSLContext:
    """Return the TLS context of a server, with a new certificate.

    Args:
        client_ca: require client certificates of this CA; None for none.
    """
    with TemporaryDirectory() as directory:
        certificate, authority = Path(directory) / "certificate", Path(directory) / "authority"
        CA.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(certificate)
        if client_ca is not None:
            client_ca.cert_pem.write_to_path(authority)
        return server_context(certificate, client_ca=None if client_ca is None else authority)


def client_tls_context(issuer: trustme.CA | None = None) -> ssl.SSLContext:
    """Return the TLS context of a peer.

    Args:
        issuer: of the peer's own certificate; None if it has none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # without the system's CAs, which take 20 ms to load
    CA.configure_trust(context)
    if issuer is not None:
        issuer.issue_cert("ann@example.org").configure_cert(context)
    return context


_CLIENT_TLS = client_tls_context()


def disconnect_lines(code: Code) -> list[str]:
    """Return the last lines of a client that is disconnected with an error."""
    return [str(Err(code, code.advice)), f"BYE {code}"]


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for a condition of the server's state that no event reports."""
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.001)


class ServerHarness:
    """A server and its peers.

    Args:
        server: listens on a TCP address at least.
        unix: path of the Unix socket that peers connect to; None for TCP.

    Attributes:
        server: the server.
        address: where peers connect to.
    """

    def __init__(self, server: Server, unix: str | None = None) -> None:
        self.server = server
        self.address = unix or server.address
        self._peers: list[Peer] = []

    async def connect(
        self, *, receive_buffer: int | None = None, tls: ssl.SSLContext | None = _CLIENT_TLS
    ) -> Peer:
        """Connect a peer, and read its HELLO."""
        plain = self.server.tls is None or isinstance(self.address, str)
        peer = await connect(self.address, receive_buffer=receive_buffer, tls=None if plain else tls)
        self._peers.append(peer)
        assert (await peer.line()).startswith("HELLO simple_chat/1 ")
        if (max_line := self.server.settings.max_line) != MAX_LINE:
            assert await peer.line() == f"LIMITS max-line={max_line}"
        return peer

    async def connect_from(self, source: str) -> Peer:
        """Connect a peer from an address of this machine, and read its HELLO."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(DEADLINE):
            _, peer = await loop.create_connection(Peer, *self.server.address, local_addr=(source, 0))
        self._peers.append(peer)
        assert (await peer.line()).startswith("HELLO simple_chat/1 ")
        return peer

    async def join(self, name: str, *, receive_buffer: int | None = None) -> Peer:
        """Connect a peer and join; the JOINED of the others is not read."""
        peer = await self.connect(receive_buffer=receive_buffer)
        assert await peer.ask(f"JOIN {name}") == [f"OK JOIN {name}"]
        return peer

    async def join_all(self, *names: str) -> list[Peer]:
        """Connect several peers and join; each has read the JOINED of those after it."""
        peers = [await self.join(name) for name in names]
        for index, peer in enumerate(peers):
            assert await peer.barrier() == [f"JOINED {name}" for name in names[index + 1 :]]
        return peers

    def subscriber(self, name: str) -> Subscriber:
        """Return what delivery knows of a member: tests of slow readers must know when they are behind."""
        member = self.server.room.membership.find(name)
        return next(each for each in self.server.room.delivery.joined() if each.member is member)

    def connection(self, subscriber: Subscriber) -> Connection:
        """Return the server's side of a connection: tests of memory must know what it holds."""
        return next(each for each in self.server.hub.connections if each.session.subscriber is subscriber)

    def set_send_buffer(self, name: str, size: int) -> None:
        """Set how many bytes the kernel buffers from the server to a member, roughly."""
        sock = self.connection(self.subscriber(name)).transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)

    async def wait_for_connections(self, number: int) -> None:
        """Wait until a number of connections is left, and the server keeps nothing of any other."""
        await eventually(lambda: self._keeps_only(number))

    def _keeps_only(self, number: int) -> bool:
        server, watchdog, scheduler = self.server, self.server.hub._watchdog, self.server.hub._scheduler
        known = {
            *(*scheduler._ready, *scheduler._ready_pre_join, *scheduler._awaiting),
            *(*watchdog._join_deadlines, *watchdog._backpressured, *watchdog._closing_since),
        }
        admitted = server._acceptor.admission.admitted
        return len(server.hub.connections) == admitted == number and known <= {*server.hub.connections}

    async def close_peers(self) -> None:
        """Close all connections."""
        for peer in self._peers:
            await peer.close()


@contextlib.asynccontextmanager
async def run_server_in_loop(
    settings: Settings | None = None,
    *,
    unix: str | None = None,
    limited: bool = False,
    tls: ssl.SSLContext | None = None,
    password: str | None = None,
    admin: str | None = None,
    metrics: int | None = None,
    transport: str = "tcp",
) -> AsyncIterator[ServerHarness]:
    """Run a server; on exit the peers close, then the server, and no task or connection may be left.

    Args:
        settings: of the server.
        unix: path of a Unix socket to listen on as well.
        limited: whether the rate limit of the settings applies to peers.
        tls: for the TCP port; None for plain text.
        password: its hash; None for none.
        admin: path of the admin socket; None for none.
        metrics: port for metrics and health; None for none.
        transport: by which peers connect, one of `TRANSPORTS`; a certificate or path is made if needed.
    """
    settings = settings or Settings()
    if not limited:
        settings = replace(settings, rate=0)
    if transport == "tls" and tls is None:
        tls = server_tls_context()
    tasks = asyncio.all_tasks()
    with contextlib.ExitStack() as stack:
        if transport == "unix" and unix is None:
            directory = stack.enter_context(
                TemporaryDirectory(prefix="chat")
            )  # a socket's path has 107 bytes
            unix = str(Path(directory) / "socket")
        async with serve(
            "127.0.0.1",
            0,
            unix=unix,
            tls=tls,
            password=password,
            admin=admin,
            metrics=metrics,
            settings=settings,
        ) as server:
            harness = ServerHarness(server, unix if transport == "unix" else None)
            try:
                yield harness
            finally:
                await harness.close_peers()
    assert asyncio.all_tasks() == tasks
    assert not server.hub.connections
