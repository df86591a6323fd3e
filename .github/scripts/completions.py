"""Write the completion scripts of bash and zsh for both programs: python completions.py [FOLDER].

They are made from the parsers by shtab, and checked in: a program that is completed does not run.
"""

import argparse
import sys
from pathlib import Path

import shtab

from simple_chat.client import __main__ as client
from simple_chat.server import cli, ctl
from simple_chat.server.admin_commands import USAGE

FOLDER = Path(__file__).parents[2] / "completions"
FILES = {"FILE": shtab.FILE, "PATH": shtab.FILE, "DIR": shtab.DIRECTORY}


def main(folder: Path) -> None:
    """Write one file for each shell and program."""
    for parser in (_client(), _server()):
        for shell, name in (("bash", f"{parser.prog}.bash"), ("zsh", f"_{parser.prog}")):
            (folder / name).write_text(f"{shtab.complete(parser, shell=shell).strip()}\n")


def _client() -> argparse.ArgumentParser:
    parser = client._parser()  # noqa: SLF001 - what there is of it
    parser.prog = "simple-chat"
    return _completing_files(parser)


def _server() -> argparse.ArgumentParser:
    """Return a parser with what the program decides by its first word as subparsers, which shtab knows."""
    parser = cli._parser()  # noqa: SLF001
    parser.prog = "simple-chat-server"
    _remove_command(parser)
    commands = parser.add_subparsers(parser_class=argparse.ArgumentParser)
    commands.add_parser("hash-password", add_help=False, help="ask for a password and print its hash")
    steer = commands.add_parser("ctl", parents=[ctl._parser()], add_help=False, help="steer a running server")  # noqa: SLF001
    words = next(each for each in steer._actions if each.dest == "words")  # noqa: SLF001
    words.choices, words.nargs = [line.split()[0] for line in USAGE], None
    _completing_files(steer)
    return _completing_files(parser)


def _remove_command(parser: argparse.ArgumentParser) -> None:
    for actions in (parser._actions, parser._positionals._group_actions):  # noqa: SLF001
        actions[:] = [each for each in actions if each.option_strings]


def _completing_files(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    for action in parser._actions:  # noqa: SLF001
        if action.metavar in FILES:
            action.complete = FILES[action.metavar]  # type: ignore[attr-defined] # shtab's
    return parser


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
