"""The client's command line: ``python -m simple_chat.client``."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TextIO

from simple_chat.client import pipe
from simple_chat.client.chat import Chat, connect
from simple_chat.client.view import TerminalView
from simple_chat.command_line import Parser, add_address, number
from simple_chat.errors import ChatError
from simple_chat.text import is_name

_HISTORY = 10  # messages that people are shown when they join
_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main(arguments: Sequence[str] | None = None) -> int:
    """Chat until the user leaves.

    Returns:
        The exit status: 0 after leaving, 1 if there is no connection or none any more, and 128 and the
        number of the signal after a signal.
    """
    on_terminal = _on_terminal()
    options = _parse(arguments, on_terminal=on_terminal)
    chat = connect(
        options.host,
        options.port,
        username=options.username,
        unix=options.unix,
        reconnect=on_terminal and options.reconnect,
    )
    talk = _talk_on_terminal if on_terminal else _talk_in_pipe
    try:
        return asyncio.run(_until_signal(talk(chat, options)))
    except BrokenPipeError:
        # Python would complain once more when it flushes what nobody reads.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except ChatError as error:
        print(f"simple_chat: {error}", file=sys.stderr)
        return 1


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
        return 128 + received[0]
    return 0


async def _talk_on_terminal(chat: Chat, options: argparse.Namespace) -> None:
    from simple_chat.client import terminal  # noqa: PLC0415 - it takes its time, which --help must not

    await terminal.run(
        chat,
        view=TerminalView(options.username, colour=_wants_colour(options.color)),
        history=_HISTORY if options.history is None else options.history,
        typed_before=_state_directory() / "history" if options.keep_typed else None,
    )


async def _talk_in_pipe(chat: Chat, options: argparse.Namespace) -> None:
    await pipe.run(chat, history=options.history or 0, as_json=options.json)


def _parse(arguments: Sequence[str] | None, *, on_terminal: bool) -> argparse.Namespace:
    parser = Parser(
        "python -m simple_chat.client",
        "Chat at a prompt; or, where stdin or stdout is no terminal, from a pipe or a file.",
    )
    where = parser.add_argument_group("where to chat, and as whom")
    add_address(where, "of the server")
    where.add_argument(
        "--unix", metavar="PATH", help="Unix socket of the server, taken instead of host and port"
    )
    where.add_argument(
        "--username",
        metavar="NAME",
        default=os.environ.get("SIMPLE_CHAT_USERNAME") or None,
        help="your name in the room (default: SIMPLE_CHAT_USERNAME, else you are asked)",
    )
    how = parser.add_argument_group("how")
    how.add_argument(
        "--history",
        type=number(0),
        metavar="COUNT",
        help=f"messages to show when you join (default: {_HISTORY} on a terminal, else 0)",
    )
    how.add_argument("--json", action="store_true", help="in a pipe, write one JSON object an event")
    how.add_argument("--color", choices=("auto", "always", "never"), default="auto", help="(default: auto)")
    how.add_argument(
        "--no-reconnect", dest="reconnect", action="store_false", help="end when the connection is lost"
    )
    how.add_argument(
        "--no-history", dest="keep_typed", action="store_false", help="keep no file of what you typed"
    )
    options = parser.parse_args(arguments)
    if options.username is None and on_terminal:
        options.username = _ask_for_name()
    if options.username is None:
        parser.error("say who you are: --username NAME, or SIMPLE_CHAT_USERNAME")
    if not is_name(options.username):
        parser.error(
            f"{options.username!r} can't be a name: 1 to 32 of A-Z a-z 0-9 . _ -, first a letter or digit"
        )
    return options


def _ask_for_name() -> str:
    try:
        return input("Your name in the room: ").strip()
    except (EOFError, KeyboardInterrupt):
        print()
        sys.exit(128 + signal.SIGINT)


def _on_terminal() -> bool:
    """Whether there is somebody to prompt, and a terminal that can be drawn on."""
    streams: tuple[TextIO | None, ...] = (sys.stdin, sys.stdout)
    return os.environ.get("TERM", "") not in {"", "dumb"} and all(each and each.isatty() for each in streams)


def _wants_colour(choice: str) -> bool:
    return choice == "always" or (choice == "auto" and not os.environ.get("NO_COLOR"))


def _state_directory() -> Path:
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "simple_chat"


if __name__ == "__main__":
    sys.exit(main())
