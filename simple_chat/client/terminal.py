"""The client on a terminal: a prompt that what others say never touches.

The prompt is one application of prompt_toolkit that runs from joining to leaving: the terminal is in raw
mode all the time, so that no key is ever echoed into the middle of a message. What is to be shown is
gathered for a moment and written above the prompt in one piece, between erasing it and drawing it again.
"""

import asyncio
import contextlib
import os
import sys
from datetime import datetime
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import has_focus
from prompt_toolkit.history import FileHistory, InMemoryHistory
from prompt_toolkit.history import History as TypedBefore
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.output.vt100 import Vt100_Output

from simple_chat.client.chat import Chat
from simple_chat.client.commands import HELP, Hint, Typed, complete, read_pasted
from simple_chat.client.events import Joined, Left, Reconnected
from simple_chat.client.formatting import TerminalView
from simple_chat.core.protocol import Help, History, Leave, Msg, Who
from simple_chat.core.text import sanitize
from simple_chat.errors import ConnectionLostError, InvalidMessageError, describe_error

_GATHER = 0.03  # seconds that lines are gathered for one redrawing
_PASTE_MAX = 3  # lines that are sent without asking

# Synchronized output: a terminal that knows it shows everything in between at once.
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"


async def run(chat: Chat, *, view: TerminalView, history: int, typed_before: Path | None) -> None:
    """Let a user chat until they leave.

    Args:
        chat: not yet entered.
        view: how things look.
        history: how many of the room's last messages are shown first.
        typed_before: the file that keeps what was typed, for the arrow keys; None for no file.

    Raises:
        ConnectError: there is no server.
        JoinRefusedError: it does not let us in, now or after the connection was lost.
        ConnectionLostError: the connection ended, and is not to be made again.
    """
    async with chat:
        terminal = _Terminal(chat, view, _typed_before(typed_before))
        await terminal.run(history)


class _Screen:
    """The lines above the prompt."""

    def __init__(self, application: Application[str]) -> None:
        self._application = application
        self._lines: list[str] = []
        self._flushing: asyncio.TimerHandle | None = None

    def show(self, *lines: str) -> None:
        """Show lines soon, together with those that come meanwhile."""
        self._lines += lines
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_later(_GATHER, self.flush)

    def flush(self) -> None:
        """Show now what is to be shown."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        text = "".join(f"{line}\r\n" for line in self._lines)
        self._lines.clear()
        if not text:
            return
        application, output = self._application, self._application.output
        if not application.is_running:
            output.write_raw(text)
            output.flush()
            return
        output.write_raw(_BEGIN)
        application.renderer.erase()
        output.write_raw(text)
        application._redraw()  # noqa: SLF001 - the public way to redraw comes a turn later: flicker
        output.write_raw(_END)
        output.flush()


class _Terminal:
    def __init__(self, chat: Chat, view: TerminalView, typed_before: TypedBefore) -> None:
        self._chat = chat
        self._view = view
        self._names: set[str] = set()
        self._typed: asyncio.Queue[list[Typed]] = asyncio.Queue()
        self._in_question = ""  # a paste that may not have been meant
        output = Vt100_Output.from_pty(sys.stdout, term=os.environ.get("TERM"))
        output.enable_cpr = False  # nothing here needs to know where the cursor is
        self._session: PromptSession[str] = PromptSession(
            self._prompt,
            history=typed_before,
            key_bindings=self._key_bindings(),
            output=output,
            erase_when_done=True,
            enable_suspend=True,
        )
        self._session.default_buffer.accept_handler = self._on_accept
        self._screen = _Screen(self._session.app)

    async def run(self, history: int) -> None:
        """Let the user chat."""
        if history:
            await self._carry_out(History(history))
        self._names = set(await self._chat.who())
        self._screen.flush()
        tasks = [
            asyncio.create_task(self._session.prompt_async(handle_sigint=False, set_exception_handler=False)),
            asyncio.create_task(self._show_events()),
            asyncio.create_task(self._carry_out_typed()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            done.pop().result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._screen.flush()

    # What happens

    async def _show_events(self) -> None:
        async for event in self._chat:
            self._screen.show(self._view.event(event, datetime.now().astimezone()))
            match event:
                case Joined(name):
                    self._names.add(name)
                case Left(name):
                    self._names.discard(name)
                case Reconnected():
                    with contextlib.suppress(ConnectionLostError):  # lost again: the next event says so
                        self._names = set(await self._chat.who())
        raise ConnectionLostError("the server ended the connection")

    # What is typed

    def _prompt(self) -> str:
        if self._in_question:
            return f"send these {len(read_pasted(self._in_question))} lines? [y/N] "
        return f"{self._chat.username}> "

    def _key_bindings(self) -> KeyBindings:
        bindings = KeyBindings()
        not_searching = has_focus(DEFAULT_BUFFER)
        bindings.add(Keys.BracketedPaste)(_paste)
        bindings.add("tab", filter=not_searching)(self._on_tab)
        bindings.add("c-c", filter=not_searching)(self._on_interrupt)
        bindings.add("c-d", filter=not_searching)(self._on_end)
        return bindings

    def _on_accept(self, buffer: Buffer) -> bool:
        """Take what was typed, whatever key entered it; the prompt stays."""
        if self._in_question:
            self._take_answer(buffer.text)
        else:
            self._take(buffer.text)
            self._remember(buffer)
        buffer.reset()
        self._screen.flush()
        return True  # nothing is left to clear, nor to remember: answers to questions are not

    def _remember(self, buffer: Buffer) -> None:
        try:
            buffer.append_to_history()
        except OSError as error:
            self._screen.show(self._view.hint(f"what you type can't be kept: {describe_error(error)}"))

    def _take(self, text: str) -> None:
        if len(read_pasted(text)) > _PASTE_MAX:
            self._in_question = text
        else:
            self._put_in_line(text)

    def _take_answer(self, answer: str) -> None:
        text, self._in_question = self._in_question, ""
        if answer.strip().lower() in {"y", "yes"}:
            self._put_in_line(text)
        else:
            self._screen.show(self._view.hint("nothing was sent"))

    def _put_in_line(self, text: str) -> None:
        self._screen.show(*(self._view.typed(f"> {each}") for each in text.split("\n") if each.strip()))
        if typed := read_pasted(text):
            self._typed.put_nowait(typed)

    def _on_tab(self, event: KeyPressEvent) -> None:
        others = self._names - {self._chat.username}
        addition, words = complete(event.current_buffer.document.text_before_cursor, others)
        event.current_buffer.insert_text(addition)
        if not addition and words:
            self._screen.show("  ".join(words))

    def _on_interrupt(self, event: KeyPressEvent) -> None:
        if self._in_question or event.current_buffer.text:
            self._in_question = ""
            event.current_buffer.reset()
        else:
            event.app.exit(result="")

    def _on_end(self, event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.delete()
        else:
            event.app.exit(result="")

    async def _carry_out_typed(self) -> None:
        """Carry out what is typed, until it is leave."""
        while Leave() not in (group := await self._typed.get()):
            await self._carry_out_group(group)
        await self._carry_out_group(group[: group.index(Leave())])

    async def _carry_out_group(self, group: list[Typed]) -> None:
        """Carry out what was typed at once, and make sure that it was taken, or say what was not."""
        passed = 0
        try:
            for each in group:
                await self._carry_out(each)
                passed += 1
            if any(isinstance(each, Msg) for each in group):  # all else is answered, or needs no server
                await self._chat.ping()
        except ConnectionLostError as error:
            self._screen.show(self._view.hint(str(error)))
            for at, each in enumerate(group):
                if isinstance(each, Msg):
                    fate = "not sent" if at >= passed else "perhaps not sent"
                    self._screen.show(self._view.hint(f"{fate}: {each.text}"))

    async def _carry_out(self, typed: Typed) -> None:
        match typed:
            case Msg(text):
                try:
                    await self._chat.send(text)
                except InvalidMessageError as error:
                    self._screen.show(self._view.hint(str(error)))
            case Who():
                self._names = set(names := await self._chat.who())
                self._screen.show(self._view.names(names))
            case History(count):
                self._screen.show(*map(self._view.past, await self._chat.history(count)))
            case Help():
                self._screen.show(*HELP)
            case Hint(text):
                self._screen.show(self._view.hint(text))


def _paste(event: KeyPressEvent) -> None:
    """Insert what is pasted, sanitized: the prompt shows it before anything is sent."""
    lines = event.data.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    event.current_buffer.insert_text("\n".join(map(sanitize, lines)))


def _typed_before(path: Path | None) -> TypedBefore:
    """Open the file that keeps what was typed: only its owner may read it."""
    if path is None:
        return InMemoryHistory()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.chmod(0o600)  # it may have been there
        path.open("r+b").close()  # now: prompt_toolkit would fail in the middle of things
    except OSError:
        return InMemoryHistory()
    return FileHistory(path)
