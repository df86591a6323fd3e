"""Runs the client program: from connecting to the exit status."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TextIO

from simple_chat.client import pipe
from simple_chat.client.auth import ENVIRONMENT_VARIABLE, configured_password, prompt_password
from simple_chat.client.chat import Chat, connect
from simple_chat.client.formatting import TerminalFormatter
from simple_chat.core.codes import Code
from simple_chat.errors import ChatError, InvalidMessageError, JoinRefusedError, describe_error
from simple_chat.tls import client_context

_PASSWORD_ATTEMPTS = 3
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


def _run(options: argparse.Namespace, *, on_terminal: bool) -> int:
    """Run the client; prompt for the password if the server requires one that is not configured."""
    tls = client_context(options.tls_ca, options.tls_cert, options.tls_key) if options.tls else None
    password = configured_password(options.password_file)
    prompts_left = _PASSWORD_ATTEMPTS if on_terminal and password is None else 0
    while True:
        chat = connect(
            options.hosts,
            options.port,
            username=options.username,
            password=password,
            unix=options.unix,
            tls=tls,
            reconnect=on_terminal and options.reconnect,
        )
        session = _run_on_terminal if on_terminal else _run_in_pipe
        try:
            return asyncio.run(_run_until_signal(session(chat, options)))
        except (JoinRefusedError, InvalidMessageError) as error:
            _raise_unless_prompt_helps(error, password, prompts_left)
            if password is not None:
                _print_error(error)
        prompts_left -= 1
        password = prompt_password(chat.server)


def _raise_unless_prompt_helps(
    error: JoinRefusedError | InvalidMessageError, password: str | None, prompts_left: int
) -> None:
    """Raise the error that ended the client, unless a prompt for the password may resolve it.

    Args:
        error: the error.
        password: the one that was sent, if any.
        prompts_left: how many prompts are left.
    """
    code = error.code if isinstance(error, JoinRefusedError) else Code.AUTH_FAILED
    if prompts_left and code in {Code.AUTH_REQUIRED, Code.AUTH_FAILED}:
        return
    if code == Code.AUTH_REQUIRED and password is None:  # the server's advice is for users of nc
        advice = f"the server requires a password: {ENVIRONMENT_VARIABLE} or --password-file PATH"
        raise JoinRefusedError(code, advice) from error
    raise error


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
    """Run a session until it ends, or cancel it on a signal; return the exit status."""
    received: list[int] = []
    task = asyncio.ensure_future(session)

    def on_signal(number: int) -> None:
        received.append(number)
        task.cancel()

    for each in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(each, on_signal, each)
    try:
        await task
    except (asyncio.CancelledError, OSError):  # OSError: after SIGHUP the terminal can't be written to
        if not received:
            raise
        _flush_output()
        return 128 + received[0]
    return 0


async def _run_on_terminal(chat: Chat, options: argparse.Namespace) -> None:
    from simple_chat.client import terminal  # noqa: PLC0415 - a pipe does not need prompt_toolkit

    await terminal.run(
        chat,
        formatter=TerminalFormatter(options.username, color=_use_color(options.color)),
        history=_HISTORY if options.history is None else options.history,
        input_history=_state_directory() / "history" if options.save_input else None,
    )


async def _run_in_pipe(chat: Chat, options: argparse.Namespace) -> None:
    await pipe.run(chat, history=options.history or 0, as_json=options.json, follow=options.follow)


def _use_color(choice: str) -> bool:
    """Return whether to use color; ``auto`` respects NO_COLOR (https://no-color.org)."""
    return choice == "always" or (choice == "auto" and not os.environ.get("NO_COLOR"))


def _state_directory() -> Path:
    """Return our directory by the XDG Base Directory Specification."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "simple_chat"
