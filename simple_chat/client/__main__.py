"""The client's command line: ``python -m simple_chat.client``.

Parsing imports little, so that ``--help`` and errors come at once; `simple_chat.client.cli` runs the client.
"""

import argparse
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Sequence

from simple_chat.cli import (
    Parser,
    add_address_options,
    non_empty,
    number,
)
from simple_chat.core.text import is_name, name_problem
from simple_chat.process import open_standard_descriptors

_VARIABLES = {
    "host": "SIMPLE_CHAT_SERVER_HOST",
    "port": "SIMPLE_CHAT_SERVER_PORT",
    "username": "SIMPLE_CHAT_USERNAME",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the client until the user leaves, and return the exit status."""
    open_standard_descriptors()
    try:
        on_terminal = _on_terminal()
        options = _parse(arguments, on_terminal=on_terminal)
        from simple_chat.client import cli  # noqa: PLC0415 - see above

        return cli.run(options, on_terminal=on_terminal and not options.json)
    except KeyboardInterrupt:  # before there was a handler for SIGINT
        return 128 + signal.SIGINT


def _parse(arguments: Sequence[str] | None, *, on_terminal: bool) -> Namespace:
    parser = _parser()
    options = parser.parse_args(arguments)
    if problem := _tls_problem(options):
        parser.error(problem)
    if options.username is None and (options.json or not on_terminal):
        parser.error("the username is missing: --username NAME, or SIMPLE_CHAT_USERNAME")
    return options


def _parser() -> Parser:
    parser = Parser(
        "simple_chat.client",
        "Chat at a prompt, or through pipes where stdin or stdout is not a terminal.",
        variable_of=_VARIABLES.get,
    )
    server = parser.add_argument_group("server and user")
    more = "for more servers of the same room, which are tried when this one fails"
    add_address_options(server, "of the server", more, positional=True)
    server.add_argument(
        "--unix", type=non_empty, metavar="PATH", help="Unix socket of the server; replaces host and port"
    )
    server.add_argument(
        "--username",
        type=_name,
        metavar="NAME",
        help="your name in the room (default: SIMPLE_CHAT_USERNAME, else you are asked)",
    )
    server.add_argument(
        "--password-file",
        type=non_empty,
        metavar="PATH",
        help="file whose first line is the server's password (default: SIMPLE_CHAT_PASSWORD, else you are "
        "asked if the server requires one)",
    )
    _add_tls_options(parser.add_argument_group("TLS (the server's certificate is always verified)"))
    _add_display_options(parser.add_argument_group("display and connection"))
    return parser


def _add_tls_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--tls", action="store_true", help="use TLS")
    for option, purpose in {
        "--tls-ca": "CA certificates to trust (default: those of the system)",
        "--tls-cert": "your certificate, if the server requires one",
        "--tls-key": "its private key (default: in the same file)",
    }.items():
        group.add_argument(option, type=non_empty, metavar="FILE", help=purpose)


def _add_display_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--history",
        type=number(0),
        metavar="COUNT",
        help="messages to show when you join (default: 10 on a terminal, else 0)",
    )
    group.add_argument(
        "--json", action="store_true", help="write one JSON object an event, even at a terminal"
    )
    group.add_argument(
        "--follow", action="store_true", help="in a pipe, stay when the input ends, until you interrupt it"
    )
    group.add_argument("--color", choices=("auto", "always", "never"), default="auto", help="(default: auto)")
    group.add_argument(
        "--bell",
        choices=("mention", "all", "never"),
        default="never",
        help="messages that ring the bell at the prompt: those with your name, or all (default: never)",
    )
    group.add_argument(
        "--no-reconnect", dest="reconnect", action="store_false", help="exit when the connection is lost"
    )
    group.add_argument(
        "--no-history", dest="save_input", action="store_false", help="do not save what you type to a file"
    )


def _tls_problem(options: Namespace) -> str | None:
    """Return what is wrong with the combination of TLS options."""
    for option in ("tls_ca", "tls_cert", "tls_key"):
        if getattr(options, option) is not None and not options.tls:
            return f"--{option.replace('_', '-')} needs --tls"
    if options.tls_key is not None and options.tls_cert is None:
        return "--tls-key needs --tls-cert"
    if options.tls and options.unix is not None:
        return "--tls is for TCP: it can't be used with --unix"
    return None


def _name(text: str) -> str:
    """Option type: a name in the room."""
    if not is_name(text):
        raise argparse.ArgumentTypeError(name_problem(text))
    return text


def _on_terminal() -> bool:
    """Return whether stdin and stdout are a terminal that can position the cursor."""
    can_position = os.environ.get("TERM", "") not in {"", "dumb"}
    return can_position and all(each is not None and each.isatty() for each in (sys.stdin, sys.stdout))


if __name__ == "__main__":
    sys.exit(main())
