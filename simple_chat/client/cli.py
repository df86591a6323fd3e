"""The client as a program: from connecting to the exit status."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TextIO

from simple_chat.client import auth as password
from simple_chat.client import pipe
from simple_chat.client.chat import Chat, connect
from simple_chat.client.formatting import TerminalView
from simple_chat.client.tls import client_context
from simple_chat.core.protocol import Code
from simple_chat.errors import ChatError, InvalidMessageError, JoinRefusedError, describe_error

_QUESTIONS = 3  # for a password
_HISTORY = 10  # messages that people are shown when they join
_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(options: argparse.Namespace, *, on_terminal: bool) -> int:
    """Chat until the user leaves.

    Args:
        options: as the command line gives them.
        on_terminal: whether to prompt.

    Returns:
        The exit status: 0 after leaving, 1 if there is no connection or none any more, and 128 and the
        number of the signal after a signal.
    """
    try:
        return _chat(options, on_terminal=on_terminal)
    except BrokenPipeError:
        _let_go_of(sys.stdout)
        return 128 + signal.SIGPIPE
    except (ChatError, OSError) as error:
        if isinstance(error, OSError):  # of our own files: what the network does is a ChatError
            _let_go_of(sys.stdout)
        _complain(error)
        return 1


def _chat(options: argparse.Namespace, *, on_terminal: bool) -> int:
    """Chat until the user leaves; ask for the password if the server demands one that nobody gave."""
    tls = client_context(options.tls_ca, options.tls_cert, options.tls_key) if options.tls else None
    secret = password.given(options.password_file)
    questions = _QUESTIONS if on_terminal and secret is None else 0
    while True:
        chat = connect(
            options.hosts,
            options.port,
            username=options.username,
            password=secret,
            unix=options.unix,
            tls=tls,
            reconnect=on_terminal and options.reconnect,
        )
        talk = _talk_on_terminal if on_terminal else _talk_in_pipe
        try:
            return asyncio.run(_until_signal(talk(chat, options)))
        except (JoinRefusedError, InvalidMessageError) as error:
            _raise_unless_password_helps(error, secret, questions)
            if secret is not None:
                _complain(error)
        questions -= 1
        secret = password.ask(chat.server)


def _raise_unless_password_helps(
    error: JoinRefusedError | InvalidMessageError, secret: str | None, questions: int
) -> None:
    """Raise what ended a chat, unless the user is to be asked for the password.

    Args:
        error: what it was.
        secret: the password so far.
        questions: how often the user may be asked yet.
    """
    code = error.code if isinstance(error, JoinRefusedError) else Code.AUTH_FAILED
    if questions and code in {Code.AUTH_REQUIRED, Code.AUTH_FAILED}:
        return
    if code == Code.AUTH_REQUIRED and secret is None:  # the server's advice is for people with nc
        advice = f"there is a password here: {password.VARIABLE} or --password-file PATH"
        raise JoinRefusedError(code, advice) from error
    raise error


def _complain(error: Exception) -> None:
    if sys.stderr is not None:
        print(f"simple_chat: {describe_error(error)}", file=sys.stderr)


def _flush_what_can_be() -> None:
    """Write what waits in stdout and stderr, unless they lead nowhere any more."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            _let_go_of(stream)


def _let_go_of(stream: TextIO | None) -> None:
    """Keep Python from complaining once more when it flushes at its end what can't be written."""
    if stream is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


async def _until_signal(talk: Coroutine[None, None, None]) -> int:
    """Run until the end or until a signal, which ends the chat in order too."""
    received: list[int] = []
    talking = asyncio.ensure_future(talk)

    def end(number: int) -> None:
        received.append(number)
        talking.cancel()

    for each in _ENDING_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(each, end, each)
    try:
        await talking
    except (asyncio.CancelledError, OSError):  # after SIGHUP the terminal is gone and can't be written to
        if not received:
            raise
        _flush_what_can_be()
        return 128 + received[0]
    return 0


async def _talk_on_terminal(chat: Chat, options: argparse.Namespace) -> None:
    from simple_chat.client import terminal  # noqa: PLC0415 - a pipe has no use for what it imports

    await terminal.run(
        chat,
        view=TerminalView(options.username, colour=_wants_colour(options.color)),
        history=_HISTORY if options.history is None else options.history,
        typed_before=_state_directory() / "history" if options.keep_typed else None,
    )


async def _talk_in_pipe(chat: Chat, options: argparse.Namespace) -> None:
    await pipe.run(chat, history=options.history or 0, as_json=options.json)


def _wants_colour(choice: str) -> bool:
    return choice == "always" or (choice == "auto" and not os.environ.get("NO_COLOR"))


def _state_directory() -> Path:
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "simple_chat"
