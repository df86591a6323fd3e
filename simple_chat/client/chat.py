"""The client API for programs: `connect` makes a `Chat`, which is in the room within ``async with``.

A task reads from the connection and dispatches what arrives: room events to the iteration over the chat,
answers to the request that is first in line.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Sequence
from itertools import count
from typing import Self

from simple_chat.address import DEFAULT_HOST, DEFAULT_PORT, parse_addresses
from simple_chat.client.connection import Address, ClientConnection, check_sendable
from simple_chat.client.connector import Connector
from simple_chat.client.events import ChatEvent, Notice, Reconnected
from simple_chat.client.requests import Request, RequestQueue
from simple_chat.core.commands import History, Leave, Msg, Ping, Quit, Who
from simple_chat.core.protocol import Bye, Err, Event, Gap, HistoryMessage, Info, Joined, Left, Message, Names
from simple_chat.errors import ConnectionLostError, JoinRefusedError

_MAX_EVENTS = 1_000  # in the queue; a full queue stops reading, which is backpressure on the server
_BYE_TIMEOUT = 5.0  # seconds for BYE after QUIT


class Chat:
    """A member of the room within an ``async with`` block; made by `connect`.

    Iterating over it yields the room's events, and ends after the server's BYE. If the connection is lost,
    the iteration raises `ConnectionLostError`, or with `reconnect` yields `Disconnected` and `Reconnected`.

    Args:
        addresses: of the server, or of several servers of the same room.
        username: the name to join under.
        password: the server's; None to send none.
        reconnect: whether to reconnect when the connection is lost.
    """

    def __init__(
        self, addresses: Sequence[Address], username: str, *, password: str | None, reconnect: bool
    ) -> None:
        self.username = username
        self._connector = Connector(addresses, username, password)
        self._reconnects = reconnect
        self._connection: ClientConnection | None = None
        self._requests = RequestQueue()
        self._tokens = count(1)
        self._events: deque[ChatEvent] = deque()
        self._event_added = asyncio.Event()
        self._resume_reading = asyncio.Event()
        self._leaving = False
        self._ended = False
        self._failure: Exception | None = None
        self._reader: asyncio.Task[None]

    @property
    def server(self) -> str:
        """The address of the current server, connected or not: ``host:port`` or ``unix:path``."""
        return str(self._connector.address)

    async def __aenter__(self) -> Self:
        self._connection = await self._connector.connect()
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._leaving = True
        self._resume_reading.set()
        try:
            if self._connection is not None:
                async with asyncio.timeout(_BYE_TIMEOUT):
                    await self._connection.send(Leave(), Quit())
                    await asyncio.wait({self._reader})
        except (ConnectionLostError, TimeoutError):
            pass  # there is no BYE to wait for
        finally:
            self._reader.cancel()
            await asyncio.wait({self._reader})
            if self._connection is not None:
                self._connection.abort()

    async def send(self, text: str) -> None:
        """Send a message to everybody else; wait while the write buffer is full.

        The server may not have received it when this returns: call `ping` to make sure.

        Args:
            text: one line.

        Raises:
            InvalidMessageError: it is empty, too long, not one line or not valid Unicode.
            ConnectionLostError: there is no connection.
        """
        message = Msg(text)
        check_sendable(message, text, "text")
        await self._connected().send(message)

    async def who(self) -> list[str]:
        """Return the names of all members.

        Raises:
            ConnectionLostError: there is no connection, or it is lost before the answer.
        """
        answer = await self._request(Who())
        return [name for event in answer if isinstance(event, Names) for name in event.names]

    async def history(self, limit: int | None = None) -> list[HistoryMessage]:
        """Return the room's last messages, oldest first.

        Args:
            limit: how many at most; None for all that the server keeps.

        Raises:
            CommandError: the server refuses the limit.
            ConnectionLostError: there is no connection, or it is lost before the answer.
        """
        answer = await self._request(History(limit))
        return [event for event in answer if isinstance(event, HistoryMessage)]

    async def ping(self) -> None:
        """Wait until the server has processed everything sent before.

        Raises:
            ConnectionLostError: there is no connection, or it is lost before the answer; how much the server
                has processed is unknown.
        """
        await self._request(Ping(str(next(self._tokens))))

    def reconnect_now(self) -> None:
        """Try to reconnect at once, if the chat waits for the next attempt."""
        self._connector.retry_now()

    def __aiter__(self) -> AsyncIterator[ChatEvent]:
        return self

    async def __anext__(self) -> ChatEvent:
        while not self._events:
            if self._ended:
                raise self._failure or StopAsyncIteration
            self._event_added.clear()
            await self._event_added.wait()
        self._resume_reading.set()
        return self._events.popleft()

    def _connected(self) -> ClientConnection:
        if self._connection is None or self._leaving:
            raise ConnectionLostError("not connected")
        return self._connection

    async def _request(self, command: Request) -> list[Event]:
        connection = self._connected()
        answer = self._requests.add(command)
        self._resume_reading.set()
        try:
            await connection.send(command)
        except ConnectionLostError:
            answer.cancel()
            raise
        return await answer

    # Reading

    async def _read(self) -> None:
        """Read and dispatch until the chat ends, over reconnects."""
        try:
            while self._connection is not None:
                end = await self._read_connection(self._connection)
                self._connection.abort()
                self._connection = None
                self._requests.fail_all()
                if not self._leaving and self._reconnects:
                    await self._reconnect(end)
                elif not self._leaving and isinstance(end, ConnectionLostError):
                    raise end
        except (ConnectionLostError, JoinRefusedError) as error:
            self._failure = error
        finally:
            self._requests.fail_all()
            self._ended = True
            self._event_added.set()

    async def _read_connection(self, connection: ClientConnection) -> Bye | ConnectionLostError:
        """Read and dispatch until the connection ends, and return how it does."""
        while True:
            try:
                event = await connection.next_event()
            except ConnectionLostError as error:
                return error
            if isinstance(event, Bye):
                return event
            self._dispatch(event)
            while len(self._events) >= _MAX_EVENTS and not (self._requests or self._leaving):
                self._resume_reading.clear()
                await self._resume_reading.wait()

    def _dispatch(self, event: Event) -> None:
        match event:
            case Message() | Joined() | Left() | Gap():
                self._emit(event)
            case Info(text):
                self._emit(Notice(text))
            case _ if self._requests.process(event):
                pass
            case Err(_, text):
                self._emit(Notice(text))

    def _emit(self, event: ChatEvent) -> None:
        if not self._leaving:
            self._events.append(event)
            self._event_added.set()

    async def _reconnect(self, end: Bye | ConnectionLostError) -> None:
        reason = f"the server said {end}" if isinstance(end, Bye) else str(end)
        lost_server = self.server
        self._connection = await self._connector.reconnect(reason, self._emit)
        self._emit(Reconnected(None if self.server == lost_server else self.server))


def connect(  # noqa: PLR0913 - all but the address have to be named
    host: str | Sequence[str] = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    *,
    username: str,
    password: str | None = None,
    unix: str | None = None,
    tls: ssl.SSLContext | None = None,
    reconnect: bool = False,
) -> Chat:
    """Return a `Chat`: entering its ``async with`` block connects and joins, leaving it leaves the room.

    Args:
        host: name or IP address of the server, such as ``"chat.example"``, ``"chat.example:8091"``, ``"::1"``
            or ``"[::1]:8091"``; or several of servers of the same room, as a list or separated by commas.
            Those are tried in order until one answers, and with `reconnect` the next one is tried when the
            connection is lost.
        port: the TCP port where `host` has none.
        username: the name to join under.
        password: the server's; None to send none. Without `tls` it crosses the network in plain text.
        unix: path of a Unix socket; replaces host and port.
        tls: context for TLS, such as `ssl.create_default_context()`; None for plain text.
        reconnect: whether to reconnect when the connection is lost.

    Raises:
        ValueError: `host` is not an address, or both `unix` and `tls` are given.
        ConnectError: on entering, if there is no server.
        JoinRefusedError: on entering, if the server refuses; the code is auth-required or auth-failed if the
            password is missing or wrong.
        InvalidMessageError: on entering, if the password can't be sent as one line.
    """
    if unix is not None and tls is not None:
        raise ValueError("a Unix socket has no TLS: give one of unix and tls")
    if unix is not None:
        addresses = [Address("", port, unix)]
    else:
        addresses = [Address(*each, tls=tls) for each in parse_addresses(host, port)]
    return Chat(addresses, username, password=password, reconnect=reconnect)
