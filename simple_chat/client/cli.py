"""Runs the client program: from connecting to the exit status."""

import argparse
import asyncio
import os
import signal
import sys
import traceback
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TextIO

from simple_chat.address import DEFAULT_HOST, DEFAULT_PORT
from simple_chat.client import pipe
from simple_chat.client.auth import configured_password
from simple_chat.client.chat import Chat, connect
from simple_chat.client.formatting import TerminalFormatter
from simple_chat.client.login import Login
from simple_chat.core.text import sanitize
from simple_chat.errors import ChatError, InvalidMessageError, JoinRefusedError, describe_error
from simple_chat.process import heeded
from simple_chat.tls import client_context

_HISTORY = 10  # messages shown on joining at a terminal
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(options: argparse.Namespace, *, on_terminal: bool) -> int:
    """Run the client until the user leaves.

    Args:
        options: the parsed command line.
        on_terminal: whether to show a prompt.

    Returns:
        The exit status: 0 after leaving, 1 if there is no connection or it is lost, and 128 plus the number
        of the signal after a signal.
    """
    try:
        return _run(options, on_terminal=on_terminal)
    except BrokenPipeError:
        _redirect_to_devnull(sys.stdout)
        return 128 + signal.SIGPIPE
    except (ChatError, OSError) as error:
        if isinstance(error, OSError):  # of stdout: errors of the network are ChatErrors
            _redirect_to_devnull(sys.stdout)
        _print_error(error)
        return 1
    except Exception as error:  # noqa: BLE001 - nobody is to see a traceback
        _print_error(_InternalError(error))
        return 1


class _InternalError(Exception):
    """An error of this program, described in one line.

    Args:
        cause: what nobody has caught.
    """

    def __init__(self, cause: BaseException) -> None:
        what = sanitize(str(cause))
        frames = traceback.extract_tb(cause.__traceback__)
        where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
        super().__init__(f"internal error, please report it: {type(cause).__name__}: {what}{where}")


def _run(options: argparse.Namespace, *, on_terminal: bool) -> int:
    """Run the client, again with another name or password where the user is asked for it."""
    tls = client_context(options.tls_ca, options.tls_cert, options.tls_key) if options.tls else None
    password = configured_password(options.password_file)
    login = Login(options.username, password, can_ask=on_terminal, report=_print_error)
    while True:
        chat = connect(
            options.hosts or DEFAULT_HOST,
            DEFAULT_PORT if options.port is None else options.port,
            username=login.username,
            password=login.password,
            unix=options.unix,
            tls=tls,
            reconnect=on_terminal and options.reconnect,
        )
        session = _run_on_terminal if on_terminal else _run_in_pipe
        try:
            return asyncio.run(_run_until_signal(session(chat, options)))
        except (JoinRefusedError, InvalidMessageError) as error:
            login.ask_again(error, chat.server)


def _print_error(error: Exception) -> None:
    if sys.stderr is not None:
        print(f"simple_chat: {describe_error(error)}", file=sys.stderr)


def _flush_output() -> None:
    """Flush stdout and stderr, and give up what can't be written."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            _redirect_to_devnull(stream)


def _redirect_to_devnull(stream: TextIO | None) -> None:
    """Let Python's flush at exit succeed; a failure would print an error and change the exit status."""
    if stream is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


async def _run_until_signal(session: Coroutine[None, None, None]) -> int:
    """Run a session until it ends, or cancel it on a signal; return the exit status.

    A callback of the event loop that fails, as the handler of a key, ends the session too.
    """
    received: list[int] = []
    failures: list[BaseException] = []
    task = asyncio.ensure_future(session)

    def on_signal(number: int) -> None:
        received.append(number)
        task.cancel()

    def on_failure(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if failure := context.get("exception"):
            failures.append(failure)
            task.cancel()

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(on_failure)
    for each in heeded(_SIGNALS):
        loop.add_signal_handler(each, on_signal, each)
    try:
        await task
    except (asyncio.CancelledError, OSError):  # OSError: after SIGHUP the terminal can't be written to
        if received:
            _flush_output()
            return 128 + received[0]
        if failures:
            raise failures[0] from None
        raise
    return 0


async def _run_on_terminal(chat: Chat, options: argparse.Namespace) -> None:
    from simple_chat.client import input_history, terminal  # noqa: PLC0415 - a pipe needs no prompt_toolkit

    await terminal.run(
        chat,
        formatter=TerminalFormatter(chat.username, color=_use_color(options.color)),
        history=_HISTORY if options.history is None else options.history,
        input_history=input_history.open_input_history(save=options.save_input),
        bell=options.bell,
    )


async def _run_in_pipe(chat: Chat, options: argparse.Namespace) -> None:
    await pipe.run(chat, history=options.history or 0, as_json=options.json, follow=options.follow)


def _use_color(choice: str) -> bool:
    """Return whether to use color; ``auto`` respects NO_COLOR (https://no-color.org)."""
    return choice == "always" or (choice == "auto" and not os.environ.get("NO_COLOR"))
