"""The client's command line: ``python -m simple_chat.client``.

It imports little: what the program needs is loaded once it is known that it will run.
"""

import argparse
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Sequence

from simple_chat.cli import Parser, add_addresses, filled, number
from simple_chat.core.text import is_name


def main(arguments: Sequence[str] | None = None) -> int:
    """Chat until the user leaves, and return the exit status."""
    on_terminal = _on_terminal()
    options = _parse(arguments, on_terminal=on_terminal)
    from simple_chat.client import cli  # noqa: PLC0415 - see above

    return cli.run(options, on_terminal=on_terminal)


def _parse(arguments: Sequence[str] | None, *, on_terminal: bool) -> Namespace:
    parser = _parser()
    options = parser.parse_args(arguments)
    if complaint := _complain_about_tls(options):
        parser.error(complaint)
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
    add_addresses(where, "of the server")
    where.add_argument(
        "--unix", metavar="PATH", help="Unix socket of the server, taken instead of host and port"
    )
    where.add_argument(
        "--username",
        metavar="NAME",
        default=os.environ.get("SIMPLE_CHAT_USERNAME") or None,
        help="your name in the room (default: SIMPLE_CHAT_USERNAME, else you are asked)",
    )
    where.add_argument(
        "--password-file",
        type=filled,
        metavar="PATH",
        help="file whose first line is the server's password (default: SIMPLE_CHAT_PASSWORD, else you are "
        "asked if there is one)",
    )
    _add_tls(parser.add_argument_group("TLS, which always verifies the server's certificate"))
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


def _add_tls(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--tls", action="store_true", help="talk TLS")
    for option, purpose in {
        "--tls-ca": "certificates of authorities to trust (default: those that the system trusts)",
        "--tls-cert": "your certificate, if the server demands one",
        "--tls-key": "its private key (default: in the same file)",
    }.items():
        group.add_argument(option, type=filled, metavar="FILE", help=purpose)


def _complain_about_tls(options: Namespace) -> str | None:
    """Say which options of TLS don't go together."""
    for option in ("tls_ca", "tls_cert", "tls_key"):
        if getattr(options, option) is not None and not options.tls:
            return f"--{option.replace('_', '-')} needs --tls"
    if options.tls_key is not None and options.tls_cert is None:
        return "--tls-key needs --tls-cert"
    if options.tls and options.unix is not None:
        return "--tls is for TCP: it does not go with --unix"
    return None


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
