"""What the command lines have in common: the parser, environment variables, address options, option types."""

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn, Self

import simple_chat
from simple_chat.address import DEFAULT_HOST, DEFAULT_PORT, parse_address, parse_addresses

_CALLED_BY_MODULE = {"__main__.py", "-c", ""}
_CREDENTIALS = re.compile(r"://\S*@")
_NEGATIVE_NUMBER = re.compile(r"-[0-9.]")
_SERVICE_LINK = re.compile(r"(?:tcp|udp|sctp)://")
"""Kubernetes sets SIMPLE_CHAT_SERVER_PORT to tcp://10.96.0.5:8090 for a service called simple-chat-server."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and name an unknown option before all else.

    Args:
        module: the program's; it is how the program calls itself, unless a script of another name runs it.
        description: what it does.
    """

    def __init__(self, module: str, description: str) -> None:
        super().__init__(prog=f"python -m {module}", description=description, allow_abbrev=False)
        self.add_argument("--version", action="version", version=f"simple_chat {simple_chat.__version__}")

    def parse_args(  # type: ignore[override] # without a namespace to add to
        self, args: Sequence[str] | None = None
    ) -> argparse.Namespace:
        """Parse the command line; exit with status 2 if it is invalid.

        Args:
            args: the arguments; None for ``sys.argv``.
        """
        if args is None:
            called_by = sys.argv[0].rpartition(os.sep)[2]
            self.prog = self.prog if called_by in _CALLED_BY_MODULE else called_by
            args = sys.argv[1:]
        for each in args:
            if each == "--":
                break
            self._check_known(each)
        return super().parse_args(args)

    def _check_known(self, argument: str) -> None:
        """Refuse an unknown option: argparse would rather complain about its value."""
        known = self._option_string_actions
        name = argument.partition("=")[0]
        if name in known or " " in name or not name.startswith("-") or _NEGATIVE_NUMBER.match(name):
            return
        if not name.startswith("--") and all(f"-{letter}" in known for letter in name[1:]):
            return  # short options together, as -vh; none of them takes a value
        nearest = _nearest(name, known)
        self.error(f"there is no option {name}" + (f", did you mean {nearest}?" if nearest else ""))

    def error(self, message: str) -> NoReturn:
        """Print the message to stderr, without passwords in URLs, and exit with status 2."""
        message = _CREDENTIALS.sub("://***@", message)
        self.exit(2, f"{self.prog}: {message} (--help shows all options)\n")


def _nearest(name: str, options: Iterable[str]) -> str | None:
    """Return the option that a name was meant to be, if one is close: longer, or with a letter wrong."""
    import difflib  # noqa: PLC0415 - seldom needed

    words = {option.lstrip("-"): option for option in options if option.startswith("--")}
    word = name.lstrip("-")
    longer = [each for each in words if each.startswith(word)]
    close = longer or difflib.get_close_matches(word, words, n=1, cutoff=0.65)
    return words[close[0]] if close else None


# Environment variables


class _Variable(str):
    """The value of an environment variable as the default of an option.

    Attributes:
        name: the variable's.
    """

    __slots__ = ("name",)
    name: str

    def __new__(cls, name: str, value: str) -> Self:
        """Make one.

        Args:
            name: the variable's.
            value: the text.
        """
        self = super().__new__(cls, value)
        self.name = name
        return self


def add_option_with_variable(
    group: argparse._ActionsContainer,
    *flags: str,
    variable: str,
    type_: Callable[[str], object],
    ignore: re.Pattern[str] | None = None,
    **more: Any,  # noqa: ANN401 - argparse's
) -> None:
    """Add an option that takes its default from an environment variable, and None if that is unset or empty.

    Args:
        group: where to add it.
        flags: its names.
        variable: the variable's name; an error in its value begins with it.
        type_: parses the value of both.
        ignore: how values of the variable begin that are not meant for us.
        more: as for `add_argument`.
    """

    def parse(text: str) -> object:
        try:
            return type_(text)
        except argparse.ArgumentTypeError as error:
            if isinstance(text, _Variable):
                raise argparse.ArgumentError(None, f"{text.name}: {error}") from None
            raise

    value = os.environ.get(variable, "")
    unset = not value or (ignore is not None and ignore.match(value))
    group.add_argument(*flags, type=parse, default=None if unset else _Variable(variable, value), **more)


# Addresses


def add_address_options(
    group: argparse._ActionsContainer, purpose: str, more: str, *aliases: str, positional: bool = False
) -> None:
    """Add ``--host``, in ``hosts`` as `parse_addresses` takes it, and ``--port``; each is None if not given.

    Args:
        group: where to add them.
        purpose: what the addresses are for.
        more: what several are for.
        aliases: more names of ``--host``.
        positional: whether arguments without an option are hosts too.
    """
    add_option_with_variable(
        group,
        "--host",
        *aliases,
        variable="SIMPLE_CHAT_SERVER_HOST",
        type_=_accepted_by(parse_addresses),
        dest="hosts",
        action=_ExtendAction,
        nargs=1,
        metavar="HOST[:PORT]",
        help=f"name or address {purpose}; repeat it, or separate by commas, {more}"
        f" (default: SIMPLE_CHAT_SERVER_HOST, else {DEFAULT_HOST})",
    )
    if positional:  # behind --host, whose default it must not replace
        group.add_argument(
            "hosts",
            action=_ExtendAction,
            nargs="*",
            type=_accepted_by(parse_addresses),
            metavar="HOST[:PORT]",
            help="the same as --host",
        )
    _add_port(group)


def _add_port(group: argparse._ActionsContainer) -> None:
    add_option_with_variable(
        group,
        "--port",
        variable="SIMPLE_CHAT_SERVER_PORT",
        type_=number(0, 65535),
        ignore=_SERVICE_LINK,
        metavar="PORT",
        help=f"TCP port of each host without one (default: SIMPLE_CHAT_SERVER_PORT, else {DEFAULT_PORT})",
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
        """Add the values of one more occurrence; a positional argument that is not given has none."""
        before = getattr(namespace, self.dest)
        if values:
            setattr(namespace, self.dest, [*(before if isinstance(before, list) else []), *values])


# Option types


def _accepted_by(parse: Callable[[str, int], object]) -> Callable[[str], str]:
    """Return an option type: a text that a parser of addresses accepts."""

    def check(text: str) -> str:
        try:
            parse(text, DEFAULT_PORT)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return text

    return check


address = _accepted_by(parse_address)
"""Option type: HOST or HOST:PORT."""


def non_empty(text: str) -> str:
    """Option type: a text that is not empty."""
    if not text:  # it would count as no option
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
