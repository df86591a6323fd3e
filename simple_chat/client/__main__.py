"""The client's command line: ``python -m simple_chat.client``.

It imports little: what the program needs is loaded once it is known that it will run.
"""

import os
import signal
import sys
from argparse import Namespace
from collections.abc import Sequence

from simple_chat.command_line import Parser, add_address, number
from simple_chat.text import is_name


def main(arguments: Sequence[str] | None = None) -> int:
    """Chat until the user leaves, and return the exit status."""
    on_terminal = _on_terminal()
    options = _parse(arguments, on_terminal=on_terminal)
    from simple_chat.client import program  # noqa: PLC0415 - see above

    return program.run(options, on_terminal=on_terminal)


def _parse(arguments: Sequence[str] | None, *, on_terminal: bool) -> Namespace:
    parser = _parser()
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


def _parser() -> Parser:
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
        help="messages to show when you join (default: 10 on a terminal, else 0)",
    )
    how.add_argument("--json", action="store_true", help="in a pipe, write one JSON object an event")
    how.add_argument("--color", choices=("auto", "always", "never"), default="auto", help="(default: auto)")
    how.add_argument(
        "--no-reconnect", dest="reconnect", action="store_false", help="end when the connection is lost"
    )
    how.add_argument(
        "--no-history", dest="keep_typed", action="store_false", help="keep no file of what you typed"
    )
    return parser


def _ask_for_name() -> str:
    try:
        return input("Your name in the room: ").strip()
    except (EOFError, KeyboardInterrupt):
        print()
        sys.exit(128 + signal.SIGINT)


def _on_terminal() -> bool:
    """Whether there is somebody to prompt, and a terminal that can be drawn on."""
    can_draw = os.environ.get("TERM", "") not in {"", "dumb"}
    return can_draw and all(each is not None and each.isatty() for each in (sys.stdin, sys.stdout))


if __name__ == "__main__":
    sys.exit(main())
