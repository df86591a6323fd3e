"""The client in a pipe: commands from stdin, messages to stdout.

With ``--json`` every event goes to stdout, otherwise only messages do and the rest goes to stderr.
"""

import asyncio
import errno
import os
import queue
import select
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from io import TextIOWrapper
from typing import TextIO

from simple_chat.client.chat import Chat
from simple_chat.client.commands import HELP, InvalidInput, UserCommand, parse_input
from simple_chat.client.events import ChatEvent, Message
from simple_chat.client.formatting import Formatter, JsonFormatter, PlainFormatter
from simple_chat.core.commands import Help, History, Leave, Msg, Who
from simple_chat.core.detect import PeerProtocol
from simple_chat.core.framing import LineBuffer
from simple_chat.errors import (
    ChatError,
    CommandError,
    ConnectionLostError,
    InvalidMessageError,
    MessageRefusedError,
    describe_error,
)

_READ_SIZE = 64 * 1024  # bytes
_MAX_INPUT_LINE = 2 * 1024 * 1024  # bytes; more than can be sent, so that `Chat.send` reports the size
_GROUP = (
    16  # lines whose messages the server has to accept before more are sent, so that refused ones are few
)

_InputLine = str | CommandError | OSError  # a line, or why it can't be read


async def run(chat: Chat, *, history: int, as_json: bool, follow: bool) -> None:
    """Execute the commands of stdin and print events, until stdin ends or contains leave.

    Args:
        chat: not yet entered.
        history: how many messages of the history to print first.
        as_json: whether to print one JSON object an event.
        follow: whether to stay at the end of stdin, until the server ends the connection.

    Raises:
        ConnectError: there is no server.
        JoinRefusedError: it refuses.
        ConnectionLostError: the connection ended before the input did.
        ChatError: some lines of the input were not carried out; raised at the end.
        BrokenPipeError: stdout is closed.
    """
    if isinstance(sys.stdout, TextIOWrapper):  # JSON is UTF-8; another encoding may lack characters
        sys.stdout.reconfigure(encoding="utf-8" if as_json else None, errors="replace")
    pipe = _Pipe(chat, as_json=as_json)
    async with chat:
        if history:
            await pipe.execute(History(history))
        printing = asyncio.create_task(pipe.print_events())
        executing = asyncio.create_task(pipe.execute_input(follow=follow))
        try:
            await asyncio.wait({printing, executing}, return_when=asyncio.FIRST_COMPLETED)
            (executing if executing.done() else printing).result()
        except BaseException:
            printing.cancel()
            await asyncio.gather(printing, return_exceptions=True)
            raise
        finally:
            executing.cancel()
            await asyncio.gather(executing, return_exceptions=True)
    await printing  # up to the last event before BYE
    if pipe.failures:
        raise ChatError(f"lines of the input that were not carried out: {pipe.failures}")


class _Pipe:
    """Connects a chat with the standard streams.

    Attributes:
        failures: the number of input lines that could not be carried out.
    """

    def __init__(self, chat: Chat, *, as_json: bool) -> None:
        self._chat = chat
        self._as_json = as_json
        self.failures = 0
        self._line = 0  # number of the current one
        self._confirmed = False  # whether the server has processed the input so far
        self._completed = False  # whether it has processed all of it
        self._formatter: Formatter = JsonFormatter() if as_json else PlainFormatter()

    async def print_events(self) -> None:
        """Print events until the chat ends."""
        async for event in self._chat:
            _print(self._stream(event), self._formatter.event(event, datetime.now(UTC)))
        if not self._completed:
            raise ConnectionLostError("the server ended the connection")

    async def execute_input(self, *, follow: bool) -> None:
        """Execute the lines of stdin, and wait until the server has processed them.

        Args:
            follow: whether to stay at the end of stdin.
        """
        left = False
        async for lines in _stdin_lines():
            for start in range(0, len(lines), _GROUP):
                left = left or await self._execute_lines(lines[start : start + _GROUP])
            if left:
                break
        await self._confirm()
        self._completed = True
        if follow and not left:
            await asyncio.Event().wait()

    async def _execute_lines(self, lines: Sequence[_InputLine]) -> bool:
        """Execute lines and wait until the server has processed them; return whether they contain leave."""
        left = False
        for line in lines:
            self._line += 1
            if isinstance(line, Exception):
                self._report_failure(f"it could not be read: {describe_error(line)}")
            elif left := isinstance(command := parse_input(line), Leave):
                break
            elif line.strip():
                self._confirmed = False
                await self.execute(command)
        await self._confirm()
        return left

    async def _confirm(self) -> None:
        """Wait until the server has processed all lines so far."""
        if self._confirmed:
            return
        try:
            await self._chat.ping()
        except MessageRefusedError as error:  # the chat has an event for it too, which is printed
            self.failures += error.count
        self._confirmed = True

    async def execute(self, command: UserCommand) -> None:
        """Execute any command but leave."""
        match command:
            case Msg(text):
                try:
                    await self._chat.send(text)
                except InvalidMessageError as error:
                    self._report_failure(str(error))
            case Who():
                _print(self._stream(), self._formatter.names(await self._chat.who()))
            case History(count):
                for message in await self._chat.history(count):
                    _print(sys.stdout, self._formatter.history_message(message))
            case Help():
                _print(sys.stderr, "\n".join(HELP))
            case InvalidInput(hint):
                self._report_failure(hint)

    def _report_failure(self, reason: str) -> None:
        self.failures += 1
        _print(self._stream(), self._formatter.input_error(self._line, reason, datetime.now(UTC)))

    def _stream(self, event: ChatEvent | None = None) -> TextIO | None:
        return sys.stdout if self._as_json or isinstance(event, Message) else sys.stderr


def _print(stream: TextIO | None, text: str) -> None:
    if stream is not None:  # it is None if its descriptor was closed when Python started
        stream.write(text + "\n")
        stream.flush()


async def _stdin_lines() -> AsyncIterator[list[_InputLine]]:
    """Yield the lines of stdin that came together, or why one can't be read. The last needs no line end."""
    buffer = LineBuffer(_MAX_INPUT_LINE)
    buffer.peer = PeerProtocol.CHAT  # "send a HTTP/1" is no request
    first = True
    async for chunk in _stdin_chunks():
        if isinstance(chunk, bytes):
            buffer.feed(chunk)
        elif buffer.held:  # the last line was not complete
            buffer.feed(b"\n")
        lines: list[_InputLine] = []
        while (line := _next_line(buffer)) is not None:
            lines.append(line)
        if isinstance(chunk, OSError):
            lines.append(chunk)
        if first and lines:
            first, lines[0] = False, _without_byte_order_mark(lines[0])
        yield lines


def _without_byte_order_mark(line: _InputLine) -> _InputLine:
    return line.removeprefix("\ufeff") if isinstance(line, str) else line


def _next_line(lines: LineBuffer) -> _InputLine | None:
    try:
        return lines.next_line()
    except CommandError as error:
        return error


async def _stdin_chunks() -> AsyncIterator[bytes | OSError]:
    """Yield the data of stdin as it arrives, then a line end, or why it can't be read.

    A thread reads it, because not every event loop can wait for files and terminals. It reads on request
    only, and as a daemon does not keep the program from exiting.
    """
    if sys.stdin is None:  # closed: its descriptor may have been reused
        return
    loop = asyncio.get_running_loop()
    requests: queue.SimpleQueue[_ReadRequest] = queue.SimpleQueue()
    reader = threading.Thread(target=_serve_reads, args=(sys.stdin.fileno(), loop, requests), daemon=True)
    reader.start()
    while True:
        request = loop.create_future()
        requests.put(request)
        chunk = await request
        yield chunk or b"\n"
        if not chunk or isinstance(chunk, OSError):
            return


_ReadRequest = asyncio.Future[bytes | OSError]


def _serve_reads(
    descriptor: int, loop: asyncio.AbstractEventLoop, requests: "queue.SimpleQueue[_ReadRequest]"
) -> None:
    while True:
        request = requests.get()
        try:
            loop.call_soon_threadsafe(_set_chunk, request, _read(descriptor))
        except RuntimeError:  # the loop is closed: the program is exiting
            return


def _read(descriptor: int) -> bytes | OSError:
    while True:
        try:
            return os.read(descriptor, _READ_SIZE)
        except BlockingIOError:  # another program, which has the same file, does not want to wait
            select.select([descriptor], [], [])
        except OSError as error:
            return b"" if error.errno == errno.EBADF else error  # not open for reading: there is no input


def _set_chunk(request: _ReadRequest, chunk: bytes | OSError) -> None:
    if not request.done():
        request.set_result(chunk)
