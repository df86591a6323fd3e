"""What the command lines of server and client have in common."""

import argparse
import os
from collections.abc import Callable, Sequence
from typing import NoReturn

import simple_chat
from simple_chat.address import DEFAULT_HOST, DEFAULT_PORT, read_address


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
        default=_default_host(),
        help=f"name or address {purpose} (default: SIMPLE_CHAT_SERVER_HOST, else {DEFAULT_HOST})",
    )
    _add_port(group, purpose)


def add_addresses(group: argparse._ArgumentGroup, purpose: str) -> None:
    """Add a ``--host`` that may be given more than once, whose values are in ``hosts``, and ``--port``.

    Args:
        group: where to add them.
        purpose: what the addresses are for.
    """
    group.add_argument(
        "--host",
        dest="hosts",
        action=_AppendAll,
        type=_addresses,
        metavar="HOST[:PORT]",
        default=_default_host(),
        help=f"name or address {purpose}; given again, another that is tried when this one is not there "
        f"(default: SIMPLE_CHAT_SERVER_HOST, with commas between several, else {DEFAULT_HOST})",
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


class _AppendAll(argparse.Action):
    """Gathers the lists that an option is given, where argparse's own would begin with the default."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 - the signature is argparse's
        namespace: argparse.Namespace,
        values: str | Sequence[str] | None,
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        """Take what the option is given once more."""
        before = getattr(namespace, self.dest)
        setattr(namespace, self.dest, [*([] if before is self.default else before), *(values or [])])


def _addresses(text: str) -> list[str]:
    """Be an option's type: one address, or several with commas between them."""
    addresses = [filled(each.strip()) for each in text.split(",")]
    for each in addresses:
        try:
            read_address(each, DEFAULT_PORT)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
    return addresses


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
