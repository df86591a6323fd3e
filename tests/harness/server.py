"""A server in this process, and the peers who are connected to it."""

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
from simple_chat.core.delivery import Subscriber
from simple_chat.server.connection import Connection
from simple_chat.tls import server_context
from tests.harness.peer import DEADLINE, Peer, connect

CA = trustme.CA()
"""Whom peers trust, and whose certificate a house has that talks TLS."""

TRANSPORTS = ("tcp", "tls", "unix")
"""How peers can come in."""


def server_tls_context(demands: trustme.CA | None = None) -> ssl.SSLContext:
    """How a house talks TLS, with a new certificate.

    Args:
        demands: of whom every peer must have a certificate, if of anybody.
    """
    with TemporaryDirectory() as folder:
        certificate, authority = Path(folder) / "certificate", Path(folder) / "authority"
        CA.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(certificate)
        if demands is not None:
            demands.cert_pem.write_to_path(authority)
        return server_context(certificate, client_ca=None if demands is None else authority)


def client_tls_context(shows: trustme.CA | None = None) -> ssl.SSLContext:
    """How a peer talks TLS.

    Args:
        shows: of whom it has a certificate of its own, if of anybody.
    """
    context = ssl.create_default_context()
    CA.configure_trust(context)
    if shows is not None:
        shows.issue_cert("ann@example.org").configure_cert(context)
    return context


_TRUSTING = client_tls_context()


async def eventually(holds: Callable[[], bool]) -> None:
    """Wait for what the server will know in a moment, and tells nobody."""
    async with asyncio.timeout(DEADLINE):
        while not holds():  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0)


class ServerHarness:
    """A server and its peers.

    Args:
        server: the server, which listens on a TCP address at least.
        unix: path of the Unix socket by which peers come; None for those who come by TCP.
    """

    def __init__(self, server: Server, unix: str | None = None) -> None:
        self.server = server
        self.address = unix or server.address
        self._peers: list[Peer] = []

    async def connect(
        self, *, receive_buffer: int | None = None, tls: ssl.SSLContext | None = _TRUSTING
    ) -> Peer:
        """Connect a peer, who has read its HELLO."""
        plain = self.server.tls is None or isinstance(self.address, str)
        peer = await connect(self.address, receive_buffer=receive_buffer, tls=None if plain else tls)
        self._peers.append(peer)
        assert (await peer.line()).startswith("HELLO simple_chat/1 ")
        return peer

    async def join(self, name: str, *, receive_buffer: int | None = None) -> Peer:
        """Connect a peer and let it in; those who are in already are told."""
        peer = await self.connect(receive_buffer=receive_buffer)
        assert await peer.ask(f"JOIN {name}") == [f"OK JOIN {name}"]
        return peer

    async def join_all(self, *names: str) -> list[Peer]:
        """Let several peers in, each of whom has read that the others joined."""
        peers = [await self.join(name) for name in names]
        for place, peer in enumerate(peers):
            assert await peer.barrier() == [f"JOINED {name}" for name in names[place + 1 :]]
        return peers

    def subscriber(self, name: str) -> Subscriber:
        """Return what delivery knows of a member: tests of slow readers must know when they are behind."""
        member = self.server.room.membership.find(name)
        return next(each for each in self.server.room.delivery.joined() if each.member is member)

    def connection(self, subscriber: Subscriber) -> Connection:
        """Return the server's side of a connection: tests of memory must know what it holds."""
        return next(each for each in self.server._hub.connections if each.session.subscriber is subscriber)

    def set_send_buffer(self, name: str, size: int) -> None:
        """Set how many bytes the kernel may take from the server for a member, roughly."""
        sock = self.connection(self.subscriber(name)).transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)

    async def wait_for_connections(self, number: int) -> None:
        """Wait until nothing is left in the server of any connection but some: a matter of a few turns."""
        async with asyncio.timeout(DEADLINE):
            while not self._holds_no_more_than(number):  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0)

    def _holds_no_more_than(self, number: int) -> bool:
        server, watchdog = self.server, self.server._hub._watchdog
        known = {
            *server._hub._scheduler._ready,
            *server._hub._scheduler._ready_pre_join,
            *server._hub._scheduler._awaiting,
            *watchdog._join_deadlines,
            *watchdog._backpressured,
            *watchdog._closing_since,
        }
        admitted = server._acceptor._admission._admitted
        return len(server._hub.connections) == admitted == number and known <= {*server._hub.connections}

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
    way: str = "tcp",
) -> AsyncIterator[ServerHarness]:
    """Run a server; at the end of the block all peers close, then the server does, and nothing is left.

    Args:
        settings: of the server.
        unix: path of a Unix socket to listen on as well.
        limited: whether peers may say only as many lines a second as the settings allow.
        tls: how to talk TLS on the TCP port; None for plain text.
        password: its hash, if the house has one.
        way: by which peers come in, one of `TRANSPORTS`; for tls and unix the house is made to have it.
    """
    settings = settings or Settings()
    if not limited:
        settings = replace(settings, rate=0)
    if way == "tls" and tls is None:
        tls = server_tls_context()
    tasks = asyncio.all_tasks()
    with TemporaryDirectory(prefix="chat") as folder:  # a Unix socket's path can't be long
        if way == "unix" and unix is None:
            unix = str(Path(folder) / "socket")
        async with serve("127.0.0.1", 0, unix=unix, tls=tls, password=password, settings=settings) as server:
            inside = ServerHarness(server, unix if way == "unix" else None)
            try:
                yield inside
            finally:
                await inside.close_peers()
    assert asyncio.all_tasks() == tasks
    assert not server._hub.connections
