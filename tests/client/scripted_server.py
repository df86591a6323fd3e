"""Chats in a block with a deadline, and a server whose lines the test writes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import simple_chat
from simple_chat import Chat, ChatEvent
from simple_chat.address import format_address
from tests.harness.peer import Peer

DEADLINE = 30.0
"""Seconds that a block may take before the test fails. Nothing waits this long when all is well."""

HELLO = b"HELLO simple_chat/1 hi\n"
ACCEPT = HELLO + b"OK JOIN ann\nOK HISTORY 0\n"  # a chat that reconnects asks for the history

Address = tuple[str, int]


@contextlib.asynccontextmanager
async def joined(
    address: Address, name: str = "ann", *, password: str | None = None, reconnect: bool = False
) -> AsyncIterator[Chat]:
    """Join, in a block with a deadline."""
    async with (
        asyncio.timeout(DEADLINE),
        simple_chat.connect(*address, username=name, password=password, reconnect=reconnect) as chat,
    ):
        yield chat


@contextlib.asynccontextmanager
async def joined_at_any(*addresses: Address, reconnect: bool = True) -> AsyncIterator[Chat]:
    """Join the room of several servers, in a block with a deadline."""
    hosts = [format_address(*each) for each in addresses]
    async with (
        asyncio.timeout(DEADLINE),
        simple_chat.connect(hosts, 1, username="ann", reconnect=reconnect) as chat,
    ):
        yield chat


async def join_and_leave(address: Address, name: str = "ann", *, password: str | None = None) -> None:
    """Join and leave at once."""
    async with joined(address, name, password=password):
        pass


async def next_events(chat: Chat, number: int) -> list[ChatEvent]:
    """Wait for the next events."""
    return [await anext(chat) for _ in range(number)]


async def pending_events(chat: Chat) -> list[ChatEvent]:
    """Return all events that the server has sent and the test has not read yet."""
    await chat.ping()
    return await next_events(chat, len(chat._events))


async def collect_events(chat: Chat) -> list[ChatEvent]:
    """Return all events up to the end."""
    return [event async for event in chat]


async def next_turn() -> None:
    """Let every task that is ready run once."""
    await asyncio.sleep(0)


async def send_forever(chat: Chat) -> None:
    """Send until it fails."""
    while True:
        await chat.send(4000 * "x")
        await next_turn()


async def send_until_blocked(chat: Chat, peer: Peer) -> asyncio.Task[None]:
    """Send to a server that does not read until the write buffer is full; return the sending task."""
    peer.pause()
    sending = asyncio.create_task(send_forever(chat))
    transport = chat._connected()._writer.transport
    while transport.get_write_buffer_size() <= transport.get_write_buffer_limits()[1]:
        await next_turn()
    return sending


class ScriptedPeer(Peer):
    """The server's side of a connection. It writes its greeting without waiting for the client.

    Args:
        greeting: bytes to begin with.
        half_close: whether to close this side after the greeting.
        answer_quit: whether to answer QUIT with BYE.
    """

    def __init__(self, greeting: bytes, *, half_close: bool, answer_quit: bool) -> None:
        super().__init__()
        self._greeting = greeting
        self._half_close = half_close
        self._answer_quit = answer_quit

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.write(self._greeting)
        if self._half_close:
            self.half_close()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._answer_quit and self.received.endswith(b"QUIT\n"):
            self.send("OK LEAVE", "BYE quit")
            self.transport.close()


class ScriptedServer:
    """A server whose lines the test writes.

    Args:
        greetings: what each connection begins with; the last one is repeated for all further connections.
        half_close: whether to close this side of each connection after the greeting.
        answer_quit: whether to answer QUIT with BYE.

    Attributes:
        address: where it listens.
        peers: its side of each connection so far.
    """

    address: Address

    def __init__(self, *greetings: bytes, half_close: bool, answer_quit: bool) -> None:
        self._greetings = greetings
        self._half_close = half_close
        self._answer_quit = answer_quit
        self.peers: list[ScriptedPeer] = []
        self._accepted = asyncio.Event()

    @property
    def peer(self) -> ScriptedPeer:
        """Its side of the last connection."""
        return self.peers[-1]

    def accept(self) -> ScriptedPeer:
        greeting = self._greetings[min(len(self.peers), len(self._greetings) - 1)]
        self.peers.append(ScriptedPeer(greeting, half_close=self._half_close, answer_quit=self._answer_quit))
        self._accepted.set()
        return self.peer

    async def connected(self) -> ScriptedPeer:
        """Wait for the first connection, and return the last one."""
        await self._accepted.wait()
        return self.peer

    async def join_requested(self) -> ScriptedPeer:
        """Wait for the JOIN of the last connection."""
        peer = await self.connected()
        assert await peer.line() == "JOIN ann"
        return peer


@contextlib.asynccontextmanager
async def scripted_server(
    *greetings: bytes, half_close: bool = False, answer_quit: bool = True
) -> AsyncIterator[ScriptedServer]:
    """Run a scripted server in a block with a deadline; by default it accepts everybody as ann."""
    server = ScriptedServer(*(greetings or [ACCEPT]), half_close=half_close, answer_quit=answer_quit)
    listener = await asyncio.get_running_loop().create_server(server.accept, "127.0.0.1", 0)
    server.address = listener.sockets[0].getsockname()
    try:
        async with asyncio.timeout(DEADLINE):
            yield server
    finally:
        listener.close()
        for peer in server.peers:
            await peer.close()
        await listener.wait_closed()
