"""Requests to the server and their answers, which come in the order of the requests.

Answers are barriers too: an ERR that comes before one is about a message that was sent before its request.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import astuple, dataclass, field

from simple_chat.client.events import Refused
from simple_chat.core.codes import Code
from simple_chat.core.commands import History, Ping, Who
from simple_chat.core.protocol import Err, Event, HistoryMessage, Names, Ok, Pong
from simple_chat.errors import ChatError, CommandError, ConnectionLostError, MessageRefusedError

Request = Who | History | Ping

_MESSAGES_MAX = 100  # texts that are kept to name those that were refused

_VERBS: dict[str, type[Request]] = {"WHO": Who, "HISTORY": History}
_HISTORY_ERRORS = {Code.BAD_SYNTAX, Code.NOT_JOINED, Code.UNKNOWN_COMMAND}  # the others are never refused

# These are about the connection, and end it.
_ENDING = {
    *(Code.AUTH_FAILED, Code.TOO_MANY_CONNECTIONS, Code.TOO_MANY_ERRORS, Code.JOIN_TIMEOUT, Code.NOT_CHAT),
    *(Code.KICKED, Code.BANNED),
}


@dataclass(slots=True)
class _Group:
    """Messages that were sent between two requests, without those of which it is told that they were refused.

    Attributes:
        messages: the last ones.
        sent: how many they are.
        refused: how many were refused so far.
        error: why, for the first.
    """

    messages: deque[str] = field(default_factory=lambda: deque(maxlen=_MESSAGES_MAX))
    sent: int = 0
    refused: int = 0
    error: Err | None = None


@dataclass(slots=True)
class _PendingRequest:
    command: Request
    answer: asyncio.Future[list[Event]]
    group: _Group  # sent before it
    parts: list[Event] = field(default_factory=list)

    def succeed(self) -> None:
        if not self.answer.done():  # a cancelled request keeps its place in the order
            self.answer.set_result(self.parts)

    def fail(self, error: ChatError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class RequestQueue:
    """The requests that the server has not answered yet, oldest first, and the messages between them.

    Args:
        report: called when messages were refused, once it is certain how many.
    """

    def __init__(self, report: Callable[[Refused], None]) -> None:
        self._report = report
        self._pending: deque[_PendingRequest] = deque()
        self._group = _Group()  # messages behind the last request
        self._refused: Refused | None = None  # since the last ping that was answered
        self._lost: deque[str] = deque(maxlen=_MESSAGES_MAX)

    @property
    def uncertain(self) -> bool:
        """Whether some messages behind the last request were refused: only another answer tells how many."""
        return self._group.refused > 0

    def add(self, command: Request) -> asyncio.Future[list[Event]]:
        """Add a request, and return its answer: the events before the OK or PONG that completes it.

        The answer raises `CommandError` if the server refuses the request, `MessageRefusedError` if it is a
        ping and the server refused messages before it, and `ConnectionLostError` if the connection ends
        first.
        """
        answer: asyncio.Future[list[Event]] = asyncio.get_running_loop().create_future()
        self._pending.append(_PendingRequest(command, answer, self._group))
        self._group = _Group()
        return answer

    def add_message(self, text: str) -> None:
        """Note a message that is about to be sent."""
        self._group.messages.append(text)
        self._group.sent += 1

    def discard_message(self, text: str) -> None:
        """Forget a message that could not be sent, which its sender knows."""
        for group in (self._group, *(each.group for each in self._pending)):
            if text in group.messages:
                group.messages.remove(text)
                group.sent -= 1
                return
        if text in self._lost:
            self._lost.remove(text)

    def process(self, event: Event) -> bool:
        """Return whether an event belongs to the answer of a request, and if so add it there."""
        match event:
            case Names():
                return self._add_part(Who, event)
            case HistoryMessage():
                return self._add_part(History, event)
            case Ok(verb) if verb in _VERBS:
                return self._complete(_VERBS[verb])
            case Pong():
                return self._complete(Ping)
            case Err(code) if code in _HISTORY_ERRORS and self._pending:
                return isinstance(self._pending[0].command, History) and self._complete(History, code)
            case _:
                return False

    def _add_part(self, kind: type[Request], part: Event) -> bool:
        request = next((each for each in self._pending if isinstance(each.command, kind)), None)
        if request is not None:
            request.parts.append(part)
        return request is not None

    def _complete(self, kind: type[Request], error_code: str | None = None) -> bool:
        """Complete the oldest request of a kind, and fail those before it, which were not answered."""
        if not any(isinstance(each.command, kind) for each in self._pending):
            return False
        while not isinstance(self._pending[0].command, kind):
            self._pop().fail(ConnectionLostError("the server has not answered"))
        request = self._pop()
        if error_code is not None:
            request.fail(CommandError(error_code))
        elif kind is Ping and self._refused is not None and not request.answer.done():
            refused, self._refused = self._refused, None
            request.fail(MessageRefusedError(*astuple(refused)))
        else:
            request.succeed()
        return True

    def _pop(self) -> _PendingRequest:
        request = self._pending.popleft()
        self._report_group(request.group)
        return request

    # Messages that were refused or lost

    def refuse(self, error: Err) -> bool:
        """Return whether an ERR that answers no request is about a message, and if so note that.

        It is reported at once if it is certain which message that is: when all of the group are refused.
        """
        group = self._pending[0].group if self._pending else self._group
        if not group.messages or error.code in _ENDING:
            return False
        group.error = group.error or error
        group.refused += 1
        if group.refused == group.sent:
            self._report_group(group)
        return True

    def _report_group(self, group: _Group) -> None:
        """Report what was refused of a group, and forget the group."""
        if group.error is None:
            return
        refused = Refused(group.error.code, group.error.advice, group.refused, tuple(group.messages))
        group.messages.clear()
        group.sent, group.refused, group.error = 0, 0, None
        before, self._refused = self._refused, refused
        if before is not None:
            messages = (*before.messages, *refused.messages)[-_MESSAGES_MAX:]
            self._refused = Refused(before.code, before.advice, before.count + refused.count, messages)
        self._report(refused)

    def fail_all(self, reason: str) -> None:
        """Fail all requests, because the connection is lost; remember the messages that none was behind.

        Args:
            reason: how it ended.
        """
        while self._pending:
            group = self._pending[0].group
            self._lost += group.messages
            request = self._pop()
            if not request.answer.done():
                self._lost.clear()
            request.fail(ConnectionLostError(reason))
        self._lost += self._group.messages
        self._report_group(self._group)
        self._group = _Group()

    def take_lost(self) -> tuple[str, ...]:
        """Return the messages of lost connections that no answer followed, and forget them."""
        lost, self._lost = tuple(self._lost), deque(maxlen=_MESSAGES_MAX)
        return lost
