"""A server in this process, and the peers who are connected to it."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import replace

from simple_chat import Server, Settings, serve
from simple_chat.room import Member
from simple_chat.server.connection import Connection
from tests.peer import Peer, connect


class House:
    """A server and its peers.

    Args:
        server: the server, which listens on a TCP address at least.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self._peers: list[Peer] = []

    async def connect(self, *, receive_buffer: int | None = None) -> Peer:
        """Connect a peer, who has read its HELLO."""
        peer = await connect(self.server.address, receive_buffer=receive_buffer)
        self._peers.append(peer)
        assert (await peer.line()).startswith("HELLO simple_chat/1 ")
        return peer

    async def join(self, name: str, *, receive_buffer: int | None = None) -> Peer:
        """Connect a peer and let it in; those who are in already are told."""
        peer = await self.connect(receive_buffer=receive_buffer)
        assert await peer.ask(f"JOIN {name}") == [f"OK JOIN {name}"]
        return peer

    async def gather(self, *names: str) -> list[Peer]:
        """Let several peers in, each of whom has read that the others joined."""
        peers = [await self.join(name) for name in names]
        for place, peer in enumerate(peers):
            assert await peer.barrier() == [f"JOINED {name}" for name in names[place + 1 :]]
        return peers

    def member(self, name: str) -> Member:
        """What the room knows of a member: tests of slow readers must know when they are behind."""
        return self.server.room._members[name.lower()]

    def connection(self, member: Member) -> Connection:
        """The server's side of a member's connection: tests of memory must know what it holds."""
        return next(each for each in self.server._connections if each.session.member is member)

    def send_buffer(self, name: str, size: int) -> None:
        """Set how many bytes the kernel may take from the server for a member, roughly."""
        sock = self.connection(self.member(name)).transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)

    async def close_peers(self) -> None:
        """Close all connections."""
        for peer in self._peers:
            await peer.close()


@contextlib.asynccontextmanager
async def house(
    settings: Settings | None = None, *, unix: str | None = None, limited: bool = False
) -> AsyncIterator[House]:
    """Run a server; at the end of the block all peers close, then the server does, and nothing is left.

    Args:
        settings: of the server.
        unix: path of a Unix socket to listen on as well.
        limited: whether peers may say only as many lines a second as the settings allow.
    """
    settings = settings or Settings()
    if not limited:
        settings = replace(settings, rate=0)
    tasks = asyncio.all_tasks()
    async with serve("127.0.0.1", 0, unix=unix, settings=settings) as server:
        inside = House(server)
        try:
            yield inside
        finally:
            await inside.close_peers()
    assert asyncio.all_tasks() == tasks
    assert not server._connections
