"""What the command lines of server and client have in common."""

import argparse
import os
from collections.abc import Callable
from typing import NoReturn

import simple_chat
from simple_chat.address import DEFAULT_HOST, DEFAULT_PORT


class Parser(argparse.ArgumentParser):
    """Reads options, and says in one line what is wrong with them.

    Args:
        prog: how the program is called.
        description: what it is for.
    """

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)
        self.add_argument("--version", action="version", version=f"simple_chat {simple_chat.__version__}")

    def error(self, message: str) -> NoReturn:
        """Exit with status 2."""
        self.exit(2, f"{self.prog}: {message} (--help shows all options)\n")


def add_address(group: argparse._ArgumentGroup, purpose: str, *more_names: str) -> None:
    """Add ``--host`` and ``--port``, with the environment variables that stand in for them.

    Args:
        group: where to add them.
        purpose: what the address is for.
        more_names: other names of ``--host``.
    """
    group.add_argument(
        "--host",
        *more_names,
        type=filled,
        metavar="HOST",
        default=os.environ.get("SIMPLE_CHAT_SERVER_HOST") or DEFAULT_HOST,
        help=f"name or address {purpose} (default: SIMPLE_CHAT_SERVER_HOST, else {DEFAULT_HOST})",
    )
    group.add_argument(
        "--port",
        type=number(0, 65535),
        metavar="PORT",
        default=os.environ.get("SIMPLE_CHAT_SERVER_PORT") or DEFAULT_PORT,
        help=f"TCP port {purpose} (default: SIMPLE_CHAT_SERVER_PORT, else {DEFAULT_PORT})",
    )


def filled(text: str) -> str:
    """Be an option's type: a text that is not empty."""
    if not text:  # which would be taken for no option at all, or for all addresses of the machine
        raise argparse.ArgumentTypeError("it is empty")
    return text


def number(low: int, high: int | None = None) -> Callable[[str], int]:
    """Make an option's type: a whole number within bounds."""
    bounds = f"at least {low}" if high is None else f"from {low} to {high}"

    def whole_number(text: str) -> int:
        if text.isascii() and text.isdigit() and len(text) < 19:
            value = int(text)
            if low <= value and (high is None or value <= high):
                return value
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {bounds}")

    return whole_number
