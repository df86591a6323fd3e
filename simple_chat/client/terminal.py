"""The client on a terminal: a prompt at the bottom, and the chat scrolling above it.

One prompt_toolkit application runs from joining to leaving, so the terminal is in raw mode all the time and
no key is ever echoed into the middle of a message.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable
from datetime import datetime
from typing import TypeVarTuple

from prompt_toolkit import PromptSession
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import has_focus
from prompt_toolkit.history import History as InputHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.output.vt100 import Vt100_Output

from simple_chat.client.chat import Chat
from simple_chat.client.commands import HELP, InvalidInput, UserCommand, complete, parse_lines
from simple_chat.client.events import ChatEvent, Joined, Left, Message, Reconnected
from simple_chat.client.formatting import TerminalFormatter
from simple_chat.client.reflow import terminal_reflows
from simple_chat.client.scrollback import Scrollback
from simple_chat.core.commands import Help, History, Leave, Msg, Who
from simple_chat.core.text import sanitize
from simple_chat.errors import (
    CommandError,
    ConnectionLostError,
    InvalidMessageError,
    MessageRefusedError,
    describe_error,
)

_PASTE_LINES = 3  # lines that are sent without confirmation

_Values = TypeVarTuple("_Values")


async def run(
    chat: Chat, *, formatter: TerminalFormatter, history: int, input_history: InputHistory, bell: str
) -> None:
    """Run the prompt until the user leaves.

    Args:
        chat: not yet entered.
        formatter: formats the output.
        history: how many messages of the room's history to show first.
        input_history: what the user has typed before, for the arrow keys.
        bell: for which messages to ring the terminal's bell: ``mention``, ``all`` or ``never``.

    Raises:
        ConnectError: there is no server.
        JoinRefusedError: it refuses, at first or on reconnecting.
        ConnectionLostError: the connection is lost, and the chat does not reconnect.
    """
    async with chat:
        await _Terminal(chat, formatter, input_history, bell).run(history)


class _Terminal:
    def __init__(
        self, chat: Chat, formatter: TerminalFormatter, input_history: InputHistory, bell: str
    ) -> None:
        self._chat = chat
        self._formatter = formatter
        self._bell = bell
        self._today = _now().date()
        self._names: set[str] = set()
        self._commands: asyncio.Queue[list[UserCommand]] = asyncio.Queue()  # a list for each input
        self._pending_paste = ""  # waits for the user's confirmation
        output = Vt100_Output.from_pty(sys.stdout, term=os.environ.get("TERM"))
        output.enable_cpr = False  # the cursor position is not needed
        self._session: PromptSession[str] = PromptSession(
            self._prompt,
            history=input_history,
            key_bindings=self._key_bindings(),
            output=output,
            erase_when_done=True,
            enable_suspend=True,
        )
        self._session.default_buffer.accept_handler = self._on_accept
        self._scrollback = Scrollback(self._session.app, reflows=terminal_reflows(os.environ))

    async def run(self, history: int) -> None:
        """Show the history, then run the prompt until the user leaves."""
        if history:
            await self._execute(History(history))
        self._names = set(names := await self._chat.who())
        self._print(self._formatter.connected, self._chat.server, names)
        self._scrollback.flush()
        tasks = [
            asyncio.create_task(self._session.prompt_async(handle_sigint=False, set_exception_handler=False)),
            asyncio.create_task(self._print_events()),
            asyncio.create_task(self._execute_commands()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            done.pop().result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._scrollback.flush()

    async def _print_events(self) -> None:
        async for event in self._chat:
            self._print(self._formatter.event, event)
            if self._rings(event):
                self._scrollback.ring()
            match event:
                case Joined(name):
                    self._names.add(name)
                case Left(name):
                    self._names.discard(name)
                case Reconnected():
                    with contextlib.suppress(ConnectionLostError):  # lost again: an event follows
                        self._names = set(await self._chat.who())
        raise ConnectionLostError("the server ended the connection")

    def _rings(self, event: ChatEvent) -> bool:
        if not isinstance(event, Message):
            return False
        return self._bell == "all" or (self._bell == "mention" and self._formatter.mentions(event.text))

    def _print(self, line: Callable[[*_Values, datetime], str], *values: *_Values) -> None:
        """Print a line with the time, and before the first one of a day the date."""
        now = _now()
        if now.date() != self._today:
            self._today = now.date()
            self._scrollback.print(self._formatter.day_change(now))
        self._scrollback.print(line(*values, now))

    def _print_hint(self, text: str) -> None:
        self._print(self._formatter.hint, text)

    # Input

    def _prompt(self) -> str:
        if self._pending_paste:
            return f"send these {len(parse_lines(self._pending_paste))} lines? [y/N/view] "
        return f"{self._chat.username}> "

    def _key_bindings(self) -> KeyBindings:
        bindings = KeyBindings()
        not_searching = has_focus(DEFAULT_BUFFER)
        bindings.add(Keys.BracketedPaste)(_on_paste)
        bindings.add(Keys.Vt100MouseEvent)(_ignore)
        bindings.add("tab", filter=not_searching)(self._on_tab)
        bindings.add("c-c", filter=not_searching)(self._on_interrupt)
        bindings.add("c-d", filter=not_searching)(self._on_eof)
        return bindings

    def _on_accept(self, buffer: Buffer) -> bool:
        """Process the input, whichever key entered it; the prompt stays."""
        self._chat.reconnect_now()
        if self._pending_paste:
            self._confirm_paste(buffer.text)
        elif _is_unicode(buffer.text):
            self._process_input(buffer.text)
            self._save_input(buffer)
        else:
            self._print_hint("nothing was sent: what you typed is not UTF-8, set your terminal to it")
        buffer.reset()
        self._scrollback.flush()
        return True  # prompt_toolkit must not save the input: it may be a confirmation

    def _save_input(self, buffer: Buffer) -> None:
        try:
            buffer.append_to_history()
        except OSError as error:
            self._print_hint(f"your input can't be saved: {describe_error(error)}")

    def _process_input(self, text: str) -> None:
        if len(parse_lines(text)) > _PASTE_LINES:
            self._pending_paste = text
        else:
            self._enqueue(text)

    def _confirm_paste(self, answer: str) -> None:
        text = self._pending_paste
        answer = answer.strip().lower()
        if answer in {"v", "view"}:
            self._scrollback.print(*(f"| {line}" for line in _lines(text)))
            return
        self._pending_paste = ""
        if answer in {"y", "yes"}:
            self._enqueue(text)
        else:
            self._print_hint("nothing was sent")

    def _enqueue(self, text: str) -> None:
        for line in _lines(text):
            self._print(self._formatter.input_line, line)
        if commands := parse_lines(text):
            self._commands.put_nowait(commands)

    def _on_tab(self, event: KeyPressEvent) -> None:
        others = self._names - {self._chat.username}
        insertion, candidates = complete(event.current_buffer.document.text_before_cursor, others)
        event.current_buffer.insert_text(insertion)
        if not insertion and candidates:
            self._scrollback.print("  ".join(candidates))

    def _on_interrupt(self, event: KeyPressEvent) -> None:
        if self._pending_paste or event.current_buffer.text:
            self._pending_paste = ""
            event.current_buffer.reset()
        else:
            event.app.exit(result="")

    def _on_eof(self, event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.delete()
        else:
            event.app.exit(result="")

    # Execution

    async def _execute_commands(self) -> None:
        """Execute the commands of the user, up to leave."""
        while Leave() not in (commands := await self._commands.get()):
            await self._execute_all(commands)
        await self._execute_all(commands[: commands.index(Leave())])

    async def _execute_all(self, commands: list[UserCommand]) -> None:
        """Execute the commands of one input, and report messages that may not have been sent."""
        completed = 0
        try:
            for command in commands:
                await self._execute(command)
                completed += 1
            if any(isinstance(each, Msg) for each in commands):  # the other commands wait for an answer
                with contextlib.suppress(MessageRefusedError):  # the chat has an event for it too
                    await self._chat.ping()
        except ConnectionLostError as error:
            self._print_hint(str(error))
            for index, command in enumerate(commands):
                if isinstance(command, Msg):
                    outcome = "not sent" if index >= completed else "perhaps not sent"
                    self._print_hint(f"{outcome}: {command.text}")

    async def _execute(self, command: UserCommand) -> None:
        match command:
            case Msg(text):
                try:
                    await self._chat.send(text)
                except InvalidMessageError as error:
                    self._print_hint(str(error))
            case Who():
                self._names = set(names := await self._chat.who())
                self._print(self._formatter.names, names)
            case History(count):
                await self._print_history(count)
            case Help():
                self._scrollback.print(*HELP)
            case InvalidInput(hint):
                self._print_hint(hint)

    async def _print_history(self, count: int | None) -> None:
        try:
            messages = await self._chat.history(count)
        except CommandError as error:
            self._print_hint(f"the server refused {str(History(count))!r}: {error.code}")
        else:
            self._scrollback.print(*map(self._formatter.history_message, messages))


def _on_paste(event: KeyPressEvent) -> None:
    """Insert the pasted text, sanitized: the prompt displays it before it is sent."""
    lines = event.data.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    event.current_buffer.insert_text("\n".join(map(sanitize, lines)))


def _ignore(_: KeyPressEvent) -> None:
    """Ignore a report of the mouse, which another program left switched on: not all are understood."""


def _lines(text: str) -> list[str]:
    """Return the lines of an input that are not blank, sanitized."""
    return [sanitize(line) for line in text.split("\n") if line.strip()]


def _is_unicode(text: str) -> bool:
    """Return whether a text can be encoded: a byte that was not UTF-8 is a lone surrogate."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _now() -> datetime:
    return datetime.now().astimezone()
