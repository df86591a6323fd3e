"""``python -m simple_chat.server ctl``: one command to the admin socket of a running server.

It sends the command, and prints the answer: for people as a table, for programs as JSON.
"""

import argparse
import json
import os
import socket
import sys
from collections.abc import Iterable, Iterator, Sequence

from simple_chat.cli import Parser, non_empty
from simple_chat.core.bans import parse_ban
from simple_chat.core.text import sanitize
from simple_chat.errors import AdminError, ConnectError, describe_error
from simple_chat.server.admin_commands import USAGE, parse_admin_command

_VARIABLE = "SIMPLE_CHAT_SERVER_ADMIN"
_TIMEOUT = 30.0
"""Seconds for each line of an answer: a reload may read slow files."""


def main(arguments: Sequence[str]) -> int:
    """Run a command on a server.

    Args:
        arguments: the command line behind ``ctl``.

    Returns:
        The exit status: 0 if the command was carried out, 1 if the server refused it or does not answer.
    """
    options = _parse(arguments)
    try:
        answer = list(_ask(options.admin, " ".join(options.words)))
    except (AdminError, ConnectError) as error:
        print(f"simple_chat: {error}", file=sys.stderr)
        return 1
    print(json.dumps(_as_json(answer), indent=2) if options.json else _as_text(answer))
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.admin is None:
        parser.error(f"--admin (or {_VARIABLE}) is missing: the path that the server was started with")
    try:
        parse_admin_command(" ".join(options.words))
    except AdminError as error:
        parser.error(str(error))
    return options


def _parser() -> Parser:
    parser = Parser("simple_chat.server ctl", "Steer a running server.")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "commands:\n" + "\n".join(f"  {line}" for line in USAGE)
    parser.add_argument(
        "--admin",
        type=non_empty,
        metavar="PATH",
        default=os.environ.get(_VARIABLE) or None,
        help=f"its admin socket (default: {_VARIABLE})",
    )
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    parser.add_argument("words", nargs="+", metavar="COMMAND", help="what to do, in any case")
    return parser


def _ask(path: str, command: str) -> Iterator[tuple[str, str]]:
    """Send a command, and return the lines of the answer before its OK: the first word, and the rest.

    Raises:
        ConnectError: nobody listens there, or the answer stays away.
        AdminError: the server refuses it.
    """
    try:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(_TIMEOUT)
            sock.connect(path)
            sock.sendall(f"{command}\n".encode())
            with sock.makefile(encoding="utf-8", errors="replace") as lines:
                yield from _read_answer(lines)
    except OSError as error:
        raise ConnectError(f"no answer on unix:{path}: {describe_error(error) or 'timed out'}") from error


def _read_answer(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        verb, _, rest = sanitize(line.removesuffix("\n")).partition(" ")
        match verb:
            case "HELLO":
                continue
            case "OK" | "BYE":
                return
            case "ERR":
                code, _, problem = rest.partition(" ")
                raise AdminError(code, problem)
        yield verb, rest
    raise ConnectionResetError("the server ended the connection")


def _as_json(answer: Sequence[tuple[str, str]]) -> object:
    """Return an answer as an object (STATUS), a list of objects (LIST, BANS), or a list of texts."""
    if answer and answer[0][0] == "STATUS":
        return {key: _number(value) for key, _, value in (rest.partition(" ") for _, rest in answer)}
    return [_row(verb, rest) for verb, rest in answer]


def _row(verb: str, rest: str) -> object:
    match verb:
        case "CONNECTION":
            return {
                key: _number(value) for key, _, value in (pair.partition("=") for pair in rest.split(" "))
            }
        case "BAN":
            name, network, until = rest.split(" ")[:3]
            return {"name": name, "network": network, "until": until, "reason": parse_ban(rest).reason}
    return rest


def _number(value: str) -> int | str:
    return int(value) if value.isdigit() else value


def _as_text(answer: Sequence[tuple[str, str]]) -> str:
    """Return an answer as a table with a head, where it has rows; otherwise as its lines."""
    if answer and answer[0][0] == "STATUS":
        return _table([rest.split(" ", 1) for _, rest in answer])
    rows = [_row(verb, rest) for verb, rest in answer]
    objects = [row for row in rows if isinstance(row, dict)]
    if not objects:
        return "\n".join(map(str, rows)) or "done"
    return _table([[*objects[0]], *([str(value) for value in row.values()] for row in objects)])


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)
