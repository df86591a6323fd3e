"""The API for programs: `connect` enters a room, and a `Chat` is being in it.

A task of the chat reads what the server says and sorts it: events for whoever iterates over the chat, and
answers, which come in the order of the questions, for whoever asked.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Self

from simple_chat.address import DEFAULT_HOST, DEFAULT_PORT, read_address
from simple_chat.client.connection import Address, Link, open_link
from simple_chat.client.endpoints import EndpointPool
from simple_chat.client.events import ChatEvent, Disconnected, Notice, Reconnected
from simple_chat.core.framing import MAX_LINE
from simple_chat.core.protocol import (
    Bye,
    Code,
    Err,
    Event,
    Gap,
    History,
    HistoryMessage,
    Info,
    Joined,
    Leave,
    Left,
    Message,
    Msg,
    Names,
    Ok,
    Pass,
    Ping,
    Pong,
    Quit,
    Who,
    encode,
)
from simple_chat.core.text import is_name
from simple_chat.errors import (
    ChatError,
    CommandError,
    ConnectError,
    ConnectionLostError,
    InvalidMessageError,
    JoinRefusedError,
)

_EVENTS_AHEAD = 1_000  # that are read before somebody takes them; then the server has to wait
_JOIN_PATIENCE = 30.0  # seconds that a server has to let us in, or not
_BYE_PATIENCE = 5.0  # seconds that it has to say BYE
_NAME_PATIENCE = 120.0  # seconds for a server to notice that we, who still have our name there, are gone
_FULL = {Code.TOO_MANY_CONNECTIONS, Code.BUSY}  # refusals that need not be the last word


@dataclass(slots=True)
class _Question:
    """Something that the server has yet to answer."""

    command: Who | History | Ping
    answer: asyncio.Future[list[Event]]
    parts: list[Event] = field(default_factory=list)

    def succeed(self) -> None:
        """Give the answer to whoever asked, if they still wait."""
        if not self.answer.done():
            self.answer.set_result(self.parts)

    def fail(self, error: ChatError) -> None:
        """Tell whoever asked that there is no answer."""
        if not self.answer.done():
            self.answer.set_exception(error)


class Chat:
    """Being in a room, for the length of an ``async with`` block; made by `connect`.

    Iterating over it gives the room's events, and ends when the server says BYE. If the connection breaks,
    the iteration raises `ConnectionLostError`, or with `reconnect` gives `Disconnected` and `Reconnected`.

    Args:
        addresses: where the server is, or each of several that have the same room.
        username: the name to be there under.
        password: the server's; None if it has none.
        reconnect: whether to come back when the connection is gone.
    """

    def __init__(
        self, addresses: Sequence[Address], username: str, *, password: str | None, reconnect: bool
    ) -> None:
        self.username = username
        self._rota = EndpointPool(addresses)
        self._password = password
        self._reconnects = reconnect
        self._link: Link | None = None  # None while there is no connection
        self._joined_at = 0.0  # by the event loop's clock
        self._questions: deque[_Question] = deque()
        self._tokens = count(1)
        self._events: deque[ChatEvent] = deque()
        self._news = asyncio.Event()  # something for the iteration
        self._read_on = asyncio.Event()  # something that the reading task may have waited for
        self._leaving = False
        self._ended = False
        self._failure: Exception | None = None
        self._reading: asyncio.Task[None]

    @property
    def server(self) -> str:
        """Where the chat is, or tries to be: ``host:port`` of one of its servers."""
        return str(self._rota.address)

    async def __aenter__(self) -> Self:
        self._link = await self._join_first()
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._leaving = True
        self._read_on.set()
        try:
            if self._link is not None:
                async with asyncio.timeout(_BYE_PATIENCE):
                    await self._link.send(Leave(), Quit())
                    await asyncio.wait({self._reading})
        except (ConnectionLostError, TimeoutError):
            pass  # it has ended already, or does not answer
        finally:
            self._reading.cancel()
            await asyncio.wait({self._reading})
            if self._link is not None:
                self._link.abort()

    async def _join_first(self) -> Link:
        """Join at the first server that answers.

        Raises:
            ConnectError: none does.
        """
        failures: list[ConnectError] = []
        while len(failures) < len(self._rota):
            try:
                return await self._join()
            except ConnectError as error:
                failures.append(error)
                self._rota.move_on()
        if len(failures) == 1:
            raise failures[0]
        raise ConnectError("; ".join(map(str, failures))) from failures[-1]

    async def _join(self) -> Link:
        if not is_name(self.username):
            raise JoinRefusedError(Code.BAD_NAME, Code.BAD_NAME.advice)
        if self._password is not None:
            _check_sendable(Pass(self._password), self._password, "password")
        link = await open_link(self._rota.address)
        try:
            async with asyncio.timeout(_JOIN_PATIENCE):
                await link.join(self.username, self._password)
        except BaseException as error:
            link.abort()
            if isinstance(error, ConnectionLostError | TimeoutError):
                raise ConnectError(f"can't join at {self.server}: {str(error) or 'no answer'}") from error
            raise
        self._joined_at = asyncio.get_running_loop().time()
        return link

    # What programs do

    async def send(self, text: str) -> None:
        """Send a text to everybody else; wait while the server reads too slowly.

        That this returns does not yet mean that the text was taken: `ping` afterwards makes sure.

        Args:
            text: one line.

        Raises:
            InvalidMessageError: it is empty, too long, of several lines or no text at all.
            ConnectionLostError: there is no connection.
        """
        await self._connected().send(_sendable(text))

    async def who(self) -> list[str]:
        """Ask who is in the room.

        Raises:
            ConnectionLostError: there is no connection any more.
        """
        answer = await self._ask(Who())
        return [name for event in answer if isinstance(event, Names) for name in event.names]

    async def history(self, limit: int | None = None) -> list[HistoryMessage]:
        """Ask for the room's last messages, oldest first.

        Args:
            limit: how many at most, or None for all that the server keeps.

        Raises:
            CommandError: the server takes no such number.
            ConnectionLostError: there is no connection any more.
        """
        return [event for event in await self._ask(History(limit)) if isinstance(event, HistoryMessage)]

    async def ping(self) -> None:
        """Wait until the server has taken everything sent before.

        Raises:
            ConnectionLostError: there is no connection any more; what the server took is not known.
        """
        await self._ask(Ping(str(next(self._tokens))))

    def __aiter__(self) -> AsyncIterator[ChatEvent]:
        return self

    async def __anext__(self) -> ChatEvent:
        while not self._events:
            if self._ended:
                raise self._failure or StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        self._read_on.set()
        return self._events.popleft()

    # What goes out

    def _connected(self) -> Link:
        if self._link is None or self._leaving:
            raise ConnectionLostError("not connected")
        return self._link

    async def _ask(self, command: Who | History | Ping) -> list[Event]:
        link = self._connected()
        question = _Question(command, asyncio.get_running_loop().create_future())
        self._questions.append(question)
        self._read_on.set()
        try:
            await link.send(command)
        except ConnectionLostError:
            question.answer.cancel()
            raise
        return await question.answer

    # What comes in

    async def _read(self) -> None:
        """Read until the end and sort what comes."""
        try:
            while self._link is not None:
                end = await self._read_from(self._link)
                self._link.abort()
                self._link = None
                self._give_up_questions()
                if not self._leaving and self._reconnects:
                    await self._come_back(end)
                elif not self._leaving and isinstance(end, ConnectionLostError):
                    raise end
        except (ConnectionLostError, JoinRefusedError) as error:
            self._failure = error
        finally:
            self._give_up_questions()
            self._ended = True
            self._news.set()

    async def _read_from(self, link: Link) -> Bye | ConnectionLostError:
        """Read until the server ends, and return how it does."""
        while True:
            try:
                event = await link.next_event()
            except ConnectionLostError as error:
                return error
            if isinstance(event, Bye):
                return event
            self._sort(event)
            while len(self._events) >= _EVENTS_AHEAD and not (self._questions or self._leaving):
                self._read_on.clear()
                await self._read_on.wait()

    def _sort(self, event: Event) -> None:
        match event:
            case Message() | Joined() | Left() | Gap():
                self._tell(event)
            case Info(text):
                self._tell(Notice(text))
            case Err(code) if self._is_for_question(code):
                self._questions.popleft().fail(CommandError(code))
            case Err(_, text):
                self._tell(Notice(text))
            case Names() | HistoryMessage() if self._questions:
                self._questions[0].parts.append(event)
            case Ok() | Pong() if self._questions:
                self._questions.popleft().succeed()

    def _is_for_question(self, code: str) -> bool:
        """Whether an ERR answers the first question. Of those asked here only HISTORY can be refused."""
        first = self._questions[0].command if self._questions else None
        return isinstance(first, History) and code in {Code.BAD_SYNTAX, Code.NOT_JOINED}

    def _tell(self, event: ChatEvent) -> None:
        if not self._leaving:
            self._events.append(event)
            self._news.set()

    def _give_up_questions(self) -> None:
        for question in self._questions:
            question.fail(ConnectionLostError("connection lost"))
        self._questions.clear()

    async def _come_back(self, end: Bye | ConnectionLostError) -> None:
        """Connect again, however long it takes.

        Raises:
            JoinRefusedError: a server does not let us in again.
        """
        why = f"the server said {end}" if isinstance(end, Bye) else str(end)
        loop = asyncio.get_running_loop()
        lost, lost_at = self.server, loop.time()
        told: set[str] = set()
        self._rota.lose(lost_at - self._joined_at)
        while True:
            delay = self._rota.next_try()
            if len(self._rota) == 1 or why not in told:  # of several each fails again and again: told once
                self._tell(Disconnected(why, delay))
            told.add(why)
            await asyncio.sleep(delay)
            try:
                self._link = await self._join()
            except ConnectError as error:
                why = str(error)
            except JoinRefusedError as error:
                if not _may_change(error.code, loop.time() - lost_at):
                    raise
                why = "the name is not free yet" if error.code == Code.NAME_TAKEN else str(error)
            else:
                self._tell(Reconnected(None if self.server == lost else self.server))
                return


def _may_change(refusal: str, seconds: float) -> bool:
    """Whether a server that has refused us may yet let us in, or another in its place.

    Args:
        refusal: the code.
        seconds: how long ago the connection was lost.
    """
    return refusal in _FULL or (refusal == Code.NAME_TAKEN and seconds <= _NAME_PATIENCE)


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
    """Be in a room for the length of an ``async with`` block, which gives a `Chat`.

    Entering the block connects and joins; leaving it leaves the room in order.

    Args:
        host: name or address of the server, such as ``"chat.example"``, ``"chat.example:8091"``, ``"::1"`` or
            ``"[::1]:8091"``. Or several of servers that have the same room: they are tried in their order
            until one answers, and with `reconnect` the next one when the connection is gone.
        port: the TCP port where `host` names none.
        username: the name to be there under.
        password: the server's; None if it has none. Without `tls` whoever is on the way can read it.
        unix: path of a Unix socket, taken instead of host and port.
        tls: how to talk TLS to the server, such as `ssl.create_default_context()`; None for plain text.
        reconnect: whether to come back when the connection is gone, or while the server is full.

    Raises:
        ValueError: `host` is no address, or `unix` and `tls` are given, but TLS is for TCP.
        ConnectError: on entering, if there is no server.
        JoinRefusedError: on entering, if it does not let us in; its code is auth-required or auth-failed if
            it is for want of the password.
        InvalidMessageError: on entering, if the password is none that can be sent.
    """
    if unix is not None and tls is not None:
        raise ValueError("a Unix socket is not for TLS: give one of unix and tls")
    addresses = [Address("", port, unix)] if unix is not None else _tcp_addresses(host, port, tls)
    return Chat(addresses, username, password=password, reconnect=reconnect)


def _tcp_addresses(hosts: str | Sequence[str], port: int, tls: ssl.SSLContext | None) -> list[Address]:
    if not hosts and not isinstance(hosts, str):
        raise ValueError("there has to be a host")
    each_host = [hosts] if isinstance(hosts, str) else hosts
    return [Address(*read_address(each, port), tls=tls) for each in each_host]


def _sendable(text: str) -> Msg:
    message = Msg(text)
    _check_sendable(message, text, "text")
    return message


def _check_sendable(command: Msg | Pass, text: str, what: str) -> None:
    """Make sure that a command can be sent as one line, and repeat nothing of it if not.

    Args:
        command: what is to be sent.
        text: the part of it that comes from the user.
        what: that this is.

    Raises:
        InvalidMessageError: it is empty, too long, of several lines or no text at all.
    """
    if not text:
        raise InvalidMessageError(f"an empty {what} can't be sent")
    if "\n" in text or "\r" in text:
        raise InvalidMessageError(f"a {what} of several lines can't be sent: it has to be one")
    try:
        size = len(encode(command)) - 1
    except UnicodeEncodeError:
        raise InvalidMessageError(f"the {what} can't be sent: it is not Unicode") from None
    if size > MAX_LINE:
        raise InvalidMessageError(f"the {what} is too long: {size} bytes on the wire, {MAX_LINE} at most")
