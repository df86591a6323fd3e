"""What the command lines have in common: the parser, address options and option types."""

import argparse
import os
from collections.abc import Callable, Sequence
from typing import NoReturn

import simple_chat
from simple_chat.address import DEFAULT_HOST, DEFAULT_PORT, parse_address


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line.

    Args:
        prog: the program's name.
        description: what it does.
    """

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)
        self.add_argument("--version", action="version", version=f"simple_chat {simple_chat.__version__}")

    def error(self, message: str) -> NoReturn:
        """Print the message to stderr and exit with status 2."""
        self.exit(2, f"{self.prog}: {message} (--help shows all options)\n")


def open_standard_descriptors() -> None:
    """Open stdin, stdout and stderr on the null device where they are closed.

    Otherwise the next socket or file would take their number, and be read from or written to in their place.
    """
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)


def add_address_options(group: argparse._ArgumentGroup, purpose: str, *aliases: str) -> None:
    """Add ``--host`` and ``--port``, whose defaults come from the environment.

    Args:
        group: where to add them.
        purpose: what the address is for.
        aliases: more names of ``--host``.
    """
    group.add_argument(
        "--host",
        *aliases,
        type=non_empty,
        metavar="HOST",
        default=_default_host(),
        help=f"name or address {purpose} (default: SIMPLE_CHAT_SERVER_HOST, else {DEFAULT_HOST})",
    )
    _add_port(group, purpose)


def add_server_options(group: argparse._ArgumentGroup, purpose: str) -> None:
    """Add a repeatable ``--host``, whose values are in ``hosts``, and ``--port``.

    Args:
        group: where to add them.
        purpose: what the addresses are for.
    """
    group.add_argument(
        "--host",
        dest="hosts",
        action=_ExtendAction,
        type=_addresses,
        metavar="HOST[:PORT]",
        default=_default_host(),
        help=f"name or address {purpose}; repeat it for more servers of the same room, which are tried when "
        f"this one fails (default: SIMPLE_CHAT_SERVER_HOST, separated by commas, else {DEFAULT_HOST})",
    )
    _add_port(group, purpose)


def _default_host() -> str:
    return os.environ.get("SIMPLE_CHAT_SERVER_HOST") or DEFAULT_HOST


def _add_port(group: argparse._ArgumentGroup, purpose: str) -> None:
    group.add_argument(
        "--port",
        type=number(0, 65535),
        metavar="PORT",
        default=os.environ.get("SIMPLE_CHAT_SERVER_PORT") or DEFAULT_PORT,
        help=f"TCP port {purpose} (default: SIMPLE_CHAT_SERVER_PORT, else {DEFAULT_PORT})",
    )


class _ExtendAction(argparse.Action):
    """Like ``action="extend"``, but the first value replaces the default."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 - the signature is argparse's
        namespace: argparse.Namespace,
        values: str | Sequence[str] | None,
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        """Add the values of one more occurrence."""
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [*([] if before is self.default else before), *(values or [])])


def _addresses(text: str) -> list[str]:
    """Option type: one address, or several separated by commas."""
    addresses = [non_empty(each.strip()) for each in text.split(",")]
    for each in addresses:
        try:
            parse_address(each, DEFAULT_PORT)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
    return addresses


def non_empty(text: str) -> str:
    """Option type: a text that is not empty."""
    if not text:  # it would count as no option, or for a host as all addresses of the machine
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def number(low: int, high: int | None = None) -> Callable[[str], int]:
    """Return an option type: a whole number from `low` to `high`, both included."""
    bounds = f"at least {low}" if high is None else f"from {low} to {high}"

    def parse(text: str) -> int:
        if text.isascii() and text.isdigit() and len(text) < 19:
            value = int(text)
            if low <= value and (high is None or value <= high):
                return value
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number {bounds}")

    return parse
