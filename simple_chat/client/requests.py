"""Requests to the server and their answers, which come in the order of the requests."""

import asyncio
from collections import deque
from dataclasses import dataclass, field

from simple_chat.core.codes import Code
from simple_chat.core.commands import History, Ping, Who
from simple_chat.core.protocol import Err, Event, HistoryMessage, Names, Ok, Pong
from simple_chat.errors import ChatError, CommandError, ConnectionLostError

Request = Who | History | Ping

_HISTORY_ERRORS = {Code.BAD_SYNTAX, Code.NOT_JOINED}  # WHO and PING are never answered ERR


@dataclass(slots=True)
class _PendingRequest:
    command: Request
    answer: asyncio.Future[list[Event]]
    parts: list[Event] = field(default_factory=list)

    def succeed(self) -> None:
        if not self.answer.done():  # a cancelled request keeps its place in the order
            self.answer.set_result(self.parts)

    def fail(self, error: ChatError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class RequestQueue:
    """The requests that the server has not answered yet, oldest first."""

    def __init__(self) -> None:
        self._pending: deque[_PendingRequest] = deque()

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, command: Request) -> asyncio.Future[list[Event]]:
        """Add a request, and return its answer: the events before the OK or PONG that completes it.

        The answer raises `CommandError` if the server refuses the request, and `ConnectionLostError` if the
        connection ends first.
        """
        answer: asyncio.Future[list[Event]] = asyncio.get_running_loop().create_future()
        self._pending.append(_PendingRequest(command, answer))
        return answer

    def process(self, event: Event) -> bool:
        """Return whether an event belongs to the answer of the oldest request, and if so add it there."""
        if not self._pending:
            return False
        match event:
            case Names() | HistoryMessage():
                self._pending[0].parts.append(event)
            case Ok() | Pong():
                self._pending.popleft().succeed()
            case Err(code) if isinstance(self._pending[0].command, History) and code in _HISTORY_ERRORS:
                self._pending.popleft().fail(CommandError(code))
            case _:
                return False
        return True

    def fail_all(self) -> None:
        """Fail all requests, because the connection is lost."""
        for request in self._pending:
            request.fail(ConnectionLostError("connection lost"))
        self._pending.clear()
