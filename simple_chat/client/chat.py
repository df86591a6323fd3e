"""The client API for programs: `connect` makes a `Chat`, which is in the room within ``async with``.

A task reads from the connection and dispatches what arrives: room events to the iteration over the chat,
answers to the request that is first in line. It never waits for the program, so that the end of a connection
is noticed and answers arrive however slowly, or never, the program iterates.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from itertools import count
from typing import Self

from simple_chat.address import DEFAULT_HOST, DEFAULT_PORT, parse_addresses
from simple_chat.client.connection import Address, ClientConnection, check_sendable
from simple_chat.client.connector import Connector
from simple_chat.client.event_queue import EventQueue
from simple_chat.client.events import ChatEvent, Missed, Notice, Reconnected
from simple_chat.client.history_position import MISSED_MAX, HistoryPosition
from simple_chat.client.requests import Request, RequestQueue
from simple_chat.core.codes import Code
from simple_chat.core.commands import History, Leave, Msg, Ping, Quit, Who
from simple_chat.core.protocol import Bye, Err, Event, Gap, HistoryMessage, Info, Joined, Left, Message, Names
from simple_chat.errors import ConnectionLostError, JoinRefusedError, KickedError, quote_messages

_BYE_TIMEOUT = 5.0  # seconds for BYE after QUIT
_FINAL_CODES = {Code.KICKED, Code.BANNED}  # who comes back after these fights an operator


class Chat:
    """A member of the room within an ``async with`` block; made by `connect`.

    Iterating over it yields the room's events, and ends after the server's BYE. If the connection is lost,
    the iteration raises `ConnectionLostError`, or with `reconnect` yields `Disconnected` and `Reconnected`.
    Nobody has to iterate: of events that are not read the oldest are dropped, and `Gap` says so.

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
        self._requests = RequestQueue(self._emit)
        self._tokens = count(1)
        self._events = EventQueue()
        self._event_added = asyncio.Event()
        self._position = HistoryPosition(username)
        self._history: asyncio.Future[list[Event]] | None = None  # asked for since the last JOIN
        self._held: EventQueue | None = None  # events that follow what was missed
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
        self._request_history(self._connection)
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._leaving = True
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
            self._drop_connection()

    async def send(self, text: str) -> None:
        """Send a message to everybody else; wait while the write buffer is full.

        The server may not have received it when this returns: call `ping` to make sure.

        Args:
            text: one line.

        Raises:
            InvalidMessageError: it is empty, too long for the server, not one line or not valid Unicode.
            ConnectionLostError: there is no connection.
        """
        message = Msg(text)
        connection = self._connected()
        check_sendable(message, text, "text", connection.max_line)
        self._requests.add_message(text)
        try:
            await connection.send(message)
        except ConnectionLostError:
            self._requests.discard_message(text)
            raise

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
            MessageRefusedError: it refused messages since the last ping.
            ConnectionLostError: there is no connection, or it is lost before the answer, or it was lost
                behind messages that no answer followed, even if there is another one now; how much the
                server has processed is unknown.
        """
        if lost := self._requests.take_lost():
            raise ConnectionLostError(f"connection lost: perhaps not sent: {quote_messages(lost)}")
        await self._request(self._next_ping())

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
        return self._events.get()

    def _connected(self) -> ClientConnection:
        if self._connection is None or self._leaving:
            reason = "" if self._failure is None else f": {self._failure}"
            raise ConnectionLostError(f"not connected{reason}") from self._failure
        return self._connection

    def _next_ping(self) -> Ping:
        return Ping(str(next(self._tokens)))

    async def _request(self, command: Request) -> list[Event]:
        connection = self._connected()
        answer = self._requests.add(command)
        try:
            with contextlib.suppress(ConnectionLostError):  # the answer, or how it ends, is still to be read
                await connection.send(command)
            return await answer
        finally:
            answer.cancel()

    # Reading

    async def _read(self) -> None:
        """Read and dispatch until the chat ends, over reconnects."""
        try:
            while self._connection is not None:
                end = await self._read_connection(self._connection)
                self._drop_connection()
                reason = f"the server said {end}" if isinstance(end, Bye) else str(end)
                self._requests.fail_all(reason)
                self._process_history()
                if self._leaving:
                    return
                if isinstance(end, KickedError) or (isinstance(end, Exception) and not self._reconnects):
                    raise end
                if self._reconnects:
                    await self._reconnect(reason)
        except (ConnectionLostError, JoinRefusedError, KickedError) as error:
            self._failure = error
        finally:
            self._drop_connection()
            self._requests.fail_all("connection lost")
            self._ended = True
            self._event_added.set()

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.abort()
            self._connection = None

    async def _read_connection(self, connection: ClientConnection) -> Bye | ConnectionLostError | KickedError:
        """Read and dispatch until the connection ends, and return how it does."""
        while True:
            try:
                event = await connection.next_event()
            except ConnectionLostError as error:
                return error
            if isinstance(event, Bye):
                return event
            if isinstance(event, Err) and event.code in _FINAL_CODES:
                return KickedError(event.code, event.advice)
            self._dispatch(event, connection)

    def _dispatch(self, event: Event, connection: ClientConnection) -> None:
        match event:
            case Message():
                self._position.on_message(event)
                self._emit(event)
            case Joined() | Left() | Gap():
                self._emit(event)
            case Info(text):
                self._emit(Notice(text))
            case _ if self._requests.process(event):
                self._process_history()
            case Err():
                self._process_error(event, connection)

    def _process_error(self, error: Err, connection: ClientConnection) -> None:
        """Process an ERR that answers no request."""
        if not self._requests.refuse(error):
            self._emit(Notice(error.advice))
        elif self._requests.uncertain:
            ping = self._next_ping()
            self._requests.add(ping).cancel()
            connection.write(ping)

    def _emit(self, event: ChatEvent) -> None:
        if not self._leaving:
            (self._events if self._held is None else self._held).put(event)
            self._event_added.set()

    async def _reconnect(self, reason: str) -> None:
        lost_server = self.server
        self._connection = await self._connector.reconnect(reason, self._emit)
        self._emit(Reconnected(None if self.server == lost_server else self.server))
        self._request_history(self._connection)

    # What was missed

    def _request_history(self, connection: ClientConnection) -> None:
        """Ask for the history after a JOIN: at first to know its end, later for what was missed."""
        if not self._reconnects:
            return
        command = History(1)
        if self._position.known:
            command = History(MISSED_MAX)
            self._held = EventQueue()
        self._position.on_join()
        self._history = self._requests.add(command)
        connection.write(command)

    def _process_history(self) -> None:
        """Emit what was missed, and what was held back for it, once the history is here or will not come."""
        if self._history is None or not self._history.done():
            return
        answer, self._history = self._history, None
        held, self._held = self._held, None
        if answer.exception() is None:
            history = [event for event in answer.result() if isinstance(event, HistoryMessage)]
            missed, complete = self._position.on_history(history)
            if missed:
                self._emit(Missed(len(missed), complete))
            for message in missed:
                self._emit(message)
        else:
            self._position.on_no_history()
        while held:
            self._emit(held.get())


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
