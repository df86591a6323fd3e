"""The client without a terminal: commands come from a pipe or a file, messages go to one.

Messages are lines on stdout, or with ``--json`` every event is; what is for people is on stderr.
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
from simple_chat.client.commands import HELP, Hint, Typed, read_typed
from simple_chat.client.events import ChatEvent, Message
from simple_chat.client.formatting import JsonView, PlainView, View
from simple_chat.core.framing import LineBuffer
from simple_chat.core.protocol import Help, History, Leave, Msg, Who
from simple_chat.errors import CommandError, ConnectionLostError, InvalidMessageError

_READ_SIZE = 64 * 1024
_LONGEST_LINE = 1024 * 1024  # bytes; longer than anything that can be sent, so that it is `send` that says so


async def run(chat: Chat, *, history: int, as_json: bool) -> None:
    """Carry out what comes in and write what happens, until the input ends or says leave.

    Args:
        chat: not yet entered.
        history: how many of the room's last messages are shown first.
        as_json: whether to write one JSON object an event.

    Raises:
        ConnectError: there is no server.
        JoinRefusedError: it does not let us in.
        ConnectionLostError: the connection ended before the input did.
        InvalidMessageError: at the end, if there were lines that could not be sent.
        BrokenPipeError: nobody reads what is written.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # not every output knows every letter
    pipe = _Pipe(chat, as_json=as_json)
    async with chat:
        if history:
            await pipe.carry_out(History(history))
        showing = asyncio.create_task(pipe.show_events())
        typing = asyncio.create_task(pipe.carry_out_input())
        try:
            await asyncio.wait({showing, typing}, return_when=asyncio.FIRST_COMPLETED)
            (typing if typing.done() else showing).result()
        except BaseException:
            typing.cancel()
            showing.cancel()
            await asyncio.gather(typing, showing, return_exceptions=True)
            raise
    await showing  # until the last event before the end is written
    if pipe.unsendable:
        raise InvalidMessageError(f"lines that could not be sent: {pipe.unsendable}")


class _Pipe:
    """Between a chat and the standard streams.

    Attributes:
        unsendable: how many lines of the input could not be sent.
    """

    def __init__(self, chat: Chat, *, as_json: bool) -> None:
        self._chat = chat
        self._as_json = as_json
        self.unsendable = 0
        self._done = False  # whether the server has taken all there was
        self._view: View = JsonView() if as_json else PlainView()

    async def show_events(self) -> None:
        """Write events as they come, until there are no more."""
        async for event in self._chat:
            _write(self._stream(event), self._view.event(event, datetime.now(UTC)))
        if not self._done:
            raise ConnectionLostError("the server ended the connection")

    async def carry_out_input(self) -> None:
        """Carry out the lines of stdin, and wait until the server has taken them."""
        async for line in _stdin_lines():
            if isinstance(line, CommandError):
                self._complain(f"a line of the input could not be read: {line.code}")
            elif isinstance(typed := read_typed(line), Leave):
                break
            elif line.strip():
                await self.carry_out(typed)
        await self._chat.ping()
        self._done = True

    async def carry_out(self, typed: Typed) -> None:
        """Carry out one command but leave."""
        match typed:
            case Msg(text):
                try:
                    await self._chat.send(text)
                except InvalidMessageError as error:
                    self._complain(str(error))
            case Who():
                _write(self._stream(), self._view.names(await self._chat.who()))
            case History(count):
                for past in await self._chat.history(count):
                    _write(sys.stdout, self._view.past(past))
            case Help():
                _write(sys.stderr, "\n".join(HELP))
            case Hint(text):
                _write(sys.stderr, f"* {text}")

    def _complain(self, text: str) -> None:
        self.unsendable += 1
        _write(sys.stderr, f"* {text}")

    def _stream(self, event: ChatEvent | None = None) -> TextIO | None:
        return sys.stdout if self._as_json or isinstance(event, Message) else sys.stderr


def _write(stream: TextIO | None, text: str) -> None:
    if stream is not None:  # as it is when the program was started without it
        stream.write(text + "\n")
        stream.flush()


async def _stdin_lines() -> AsyncIterator[str | CommandError]:
    """The lines that come in, or why one can't be read. The last one needs no line end."""
    lines = LineBuffer(_LONGEST_LINE)
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
    """What comes in, as it comes: files and terminals can't be waited for by every event loop, a thread can.

    The thread reads only when it is asked to, and does not keep the program from ending.
    """
    if sys.stdin is None:  # closed: its number may belong to something else by now
        return
    loop = asyncio.get_running_loop()
    requests: queue.SimpleQueue[asyncio.Future[bytes]] = queue.SimpleQueue()
    reader = threading.Thread(target=_read_on_request, args=(sys.stdin.fileno(), loop, requests), daemon=True)
    reader.start()
    while True:
        request = loop.create_future()
        requests.put(request)
        if not (chunk := await request):
            yield b"\n"
            return
        yield chunk


def _read_on_request(
    descriptor: int, loop: asyncio.AbstractEventLoop, requests: "queue.SimpleQueue[asyncio.Future[bytes]]"
) -> None:
    while True:
        request = requests.get()
        try:
            chunk = os.read(descriptor, _READ_SIZE)
        except OSError:  # a directory, a terminal that is gone: nothing more will come
            chunk = b""
        try:
            loop.call_soon_threadsafe(_answer, request, chunk)
        except RuntimeError:  # the program has ended meanwhile
            return


def _answer(request: asyncio.Future[bytes], chunk: bytes) -> None:
    if not request.done():
        request.set_result(chunk)
