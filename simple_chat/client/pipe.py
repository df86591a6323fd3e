"""The client in a pipe: commands from stdin, messages to stdout.

With ``--json`` every event goes to stdout, otherwise only messages do and the rest goes to stderr.
"""

import asyncio
import os
import queue
import sys
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from io import TextIOWrapper
from typing import TextIO

from simple_chat.client.chat import Chat
from simple_chat.client.commands import HELP, InvalidInput, UserCommand, parse_input
from simple_chat.client.events import ChatEvent, Message
from simple_chat.client.formatting import Formatter, JsonFormatter, PlainFormatter
from simple_chat.core.commands import Help, History, Leave, Msg, Who
from simple_chat.core.framing import LineBuffer
from simple_chat.errors import CommandError, ConnectionLostError, InvalidMessageError

_READ_SIZE = 64 * 1024  # bytes
_MAX_INPUT_LINE = 1024 * 1024  # bytes; more than can be sent, so that `Chat.send` reports the size


async def run(chat: Chat, *, history: int, as_json: bool) -> None:
    """Execute the commands of stdin and print events, until stdin ends or contains leave.

    Args:
        chat: not yet entered.
        history: how many messages of the history to print first.
        as_json: whether to print one JSON object an event.

    Raises:
        ConnectError: there is no server.
        JoinRefusedError: it refuses.
        ConnectionLostError: the connection ended before the input did.
        InvalidMessageError: some lines could not be sent; raised at the end.
        BrokenPipeError: stdout is closed.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # its encoding may lack characters
    pipe = _Pipe(chat, as_json=as_json)
    async with chat:
        if history:
            await pipe.execute(History(history))
        printing = asyncio.create_task(pipe.print_events())
        executing = asyncio.create_task(pipe.execute_input())
        try:
            await asyncio.wait({printing, executing}, return_when=asyncio.FIRST_COMPLETED)
            (executing if executing.done() else printing).result()
        except BaseException:
            executing.cancel()
            printing.cancel()
            await asyncio.gather(executing, printing, return_exceptions=True)
            raise
    await printing  # up to the last event before BYE
    if pipe.unsendable:
        raise InvalidMessageError(f"lines that could not be sent: {pipe.unsendable}")


class _Pipe:
    """Connects a chat with the standard streams.

    Attributes:
        unsendable: the number of input lines that could not be sent.
    """

    def __init__(self, chat: Chat, *, as_json: bool) -> None:
        self._chat = chat
        self._as_json = as_json
        self.unsendable = 0
        self._completed = False  # whether the server has processed all input
        self._formatter: Formatter = JsonFormatter() if as_json else PlainFormatter()

    async def print_events(self) -> None:
        """Print events until the chat ends."""
        async for event in self._chat:
            _print(self._stream(event), self._formatter.event(event, datetime.now(UTC)))
        if not self._completed:
            raise ConnectionLostError("the server ended the connection")

    async def execute_input(self) -> None:
        """Execute the lines of stdin, and wait until the server has processed them."""
        async for line in _stdin_lines():
            if isinstance(line, CommandError):
                self._report_unsendable(f"a line of the input could not be read: {line.code}")
            elif isinstance(command := parse_input(line), Leave):
                break
            elif line.strip():
                await self.execute(command)
        await self._chat.ping()
        self._completed = True

    async def execute(self, command: UserCommand) -> None:
        """Execute any command but leave."""
        match command:
            case Msg(text):
                try:
                    await self._chat.send(text)
                except InvalidMessageError as error:
                    self._report_unsendable(str(error))
            case Who():
                _print(self._stream(), self._formatter.names(await self._chat.who()))
            case History(count):
                for message in await self._chat.history(count):
                    _print(sys.stdout, self._formatter.history_message(message))
            case Help():
                _print(sys.stderr, "\n".join(HELP))
            case InvalidInput(hint):
                _print(sys.stderr, f"* {hint}")

    def _report_unsendable(self, reason: str) -> None:
        self.unsendable += 1
        _print(sys.stderr, f"* {reason}")

    def _stream(self, event: ChatEvent | None = None) -> TextIO | None:
        return sys.stdout if self._as_json or isinstance(event, Message) else sys.stderr


def _print(stream: TextIO | None, text: str) -> None:
    if stream is not None:  # it is None if its descriptor was closed when Python started
        stream.write(text + "\n")
        stream.flush()


async def _stdin_lines() -> AsyncIterator[str | CommandError]:
    """Yield the lines of stdin, or why one can't be read. The last one needs no line end."""
    lines = LineBuffer(_MAX_INPUT_LINE)
    async for chunk in _stdin_chunks():
        lines.feed(chunk)
        while (line := _next_line(lines)) is not None:
            yield line


def _next_line(lines: LineBuffer) -> str | CommandError | None:
    try:
        return lines.next_line()
    except CommandError as error:
        return error


async def _stdin_chunks() -> AsyncIterator[bytes]:
    """Yield the data of stdin as it arrives, then a line end.

    A thread reads it, because not every event loop can wait for files and terminals. It reads on request
    only, and as a daemon does not keep the program from exiting.
    """
    if sys.stdin is None:  # closed: its descriptor may have been reused
        return
    loop = asyncio.get_running_loop()
    requests: queue.SimpleQueue[asyncio.Future[bytes]] = queue.SimpleQueue()
    reader = threading.Thread(target=_serve_reads, args=(sys.stdin.fileno(), loop, requests), daemon=True)
    reader.start()
    while True:
        request = loop.create_future()
        requests.put(request)
        if not (chunk := await request):
            yield b"\n"
            return
        yield chunk


def _serve_reads(
    descriptor: int, loop: asyncio.AbstractEventLoop, requests: "queue.SimpleQueue[asyncio.Future[bytes]]"
) -> None:
    while True:
        request = requests.get()
        try:
            chunk = os.read(descriptor, _READ_SIZE)
        except OSError:  # a directory, or a terminal that is closed: the input ends
            chunk = b""
        try:
            loop.call_soon_threadsafe(_set_chunk, request, chunk)
        except RuntimeError:  # the loop is closed: the program is exiting
            return


def _set_chunk(request: asyncio.Future[bytes], chunk: bytes) -> None:
    if not request.done():
        request.set_result(chunk)
