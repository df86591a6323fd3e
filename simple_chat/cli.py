"""What the command lines have in common: the parser and its layers, address options, option types.

An option's value is that of the first layer that has one: its flag, its environment variable, its line in a
configuration file, its default. All are read by the option's type, so that one name means the same in all.
"""

import argparse
import itertools
import os
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import simple_chat
from simple_chat.address import DEFAULT_HOST, DEFAULT_PORT, parse_address, parse_addresses
from simple_chat.errors import ConfigError
from simple_chat.layers import Given, OptionValue, from_variables, hide_passwords, nearest, to_switch, to_text

_CALLED_BY_MODULE = {"__main__.py", "-c", ""}
_NEGATIVE_NUMBER = re.compile(r"-[0-9.]")
_DEFAULT_TEXT = re.compile(r"\(default: (.+)\)")
_NOT_IN_FILES = {"config", "check-config"}
_UNSET: Any = object()
"""The value of an option that no layer has looked at."""


class Parser(argparse.ArgumentParser):
    """An argument parser with layers, whose errors are one line, and name an unknown option before all else.

    Args:
        module: the program's; it is how the program calls itself, unless a script of another name runs it.
        description: what it does.
        variable_of: returns the environment variable of an option, by its name without dashes; None for none.
        read_file: reads the file that ``--config`` names; is given the path and the names of all options.

    Attributes:
        raises: whether an error is a `ConfigError`, and does not end the program.
    """

    def __init__(
        self,
        module: str,
        description: str,
        *,
        variable_of: Callable[[str], str | None] = lambda _: None,
        read_file: Callable[[str, Collection[str]], Mapping[str, Given]] | None = None,
    ) -> None:
        super().__init__(prog=f"python -m {module}", description=description, allow_abbrev=False)
        self.add_argument("--version", action="version", version=f"simple_chat {simple_chat.__version__}")
        self.raises = False
        self._variable_of = variable_of
        self._read_file = read_file

    def parse_args(  # type: ignore[override] # without a namespace to add to
        self, args: Sequence[str] | None = None
    ) -> argparse.Namespace:
        """Parse the command line, and take from the other layers what it leaves open.

        The result has one more attribute, ``given``: by attribute what layers other than the defaults have.
        An invalid option ends the program with status 2.

        Args:
            args: the arguments; None for ``sys.argv``.

        Raises:
            ConfigError: an option is invalid, and `raises` is set.
        """
        if args is None:
            called_by = sys.argv[0].rpartition(os.sep)[2]
            self.prog = self.prog if called_by in _CALLED_BY_MODULE else called_by
            args = sys.argv[1:]
        flags = [each.partition("=")[0] for each in itertools.takewhile(lambda each: each != "--", args)]
        for each in flags:
            self._check_known(each)
        unset = dict.fromkeys(
            [each.dest for each in self._actions if each.default != argparse.SUPPRESS], _UNSET
        )
        options = super().parse_args(args, argparse.Namespace(**unset))
        options.given = self._flags_given(options, flags)
        for layer in self._layers(options):
            self._apply(options, layer)
        self._apply_defaults(options)
        return options

    def _check_known(self, name: str) -> None:
        """Refuse an unknown option: argparse would rather complain about its value."""
        known = self._option_string_actions
        if name in known or " " in name or not name.startswith("-") or _NEGATIVE_NUMBER.match(name):
            return
        if not name.startswith("--") and all(f"-{letter}" in known for letter in name[1:]):
            return  # short options together, as -vh; none of them takes a value
        words = [option.removeprefix("--") for option in known if option.startswith("--")]
        close = nearest(name.lstrip("-"), words)
        self.error(f"there is no option {name}" + (f", did you mean --{close}?" if close else ""))

    def error(self, message: str) -> NoReturn:
        """Print the message to stderr, without passwords in URLs, and exit with status 2.

        Raises:
            ConfigError: with the message, if `raises` is set.
        """
        message = hide_passwords(message)
        if self.raises:
            raise ConfigError(message)
        self.exit(2, f"{self.prog}: {message} (--help shows all options)\n")

    # Layers

    def _named(self) -> dict[str, argparse.Action]:
        """Return the options by name, which is their long flag without dashes."""
        return {
            flags[0].removeprefix("--"): action
            for action in self._actions
            if action.default != argparse.SUPPRESS
            and (flags := [each for each in action.option_strings if each.startswith("--")])
        }

    def _flags_given(self, options: argparse.Namespace, flags: Collection[str]) -> dict[str, Given]:
        given: dict[str, Given] = {}
        for name, action in self._named().items():
            is_first = action.dest not in given  # --cluster and --cluster-file have one attribute
            if getattr(options, action.dest) is not _UNSET and (is_first or f"--{name}" in flags):
                given[action.dest] = Given(name, None, f"--{name}", f"--{name}")
        return given

    def _layers(self, options: argparse.Namespace) -> Iterator[Mapping[str, Given]]:
        """Yield what is below the flags; which file there is shows once the variables were applied."""
        yield {given.name: given for given in from_variables(self._named(), self._variable_of)}
        if self._read_file is not None and options.config is not _UNSET:
            names = [name for name in self._named() if name not in _NOT_IN_FILES]
            try:
                yield self._read_file(options.config, names)
            except ConfigError as error:
                self.error(str(error))

    def _apply(self, options: argparse.Namespace, layer: Mapping[str, Given]) -> None:
        """Give the options that no layer above has their values of this one."""
        named = self._named()
        applied: dict[str, Given] = {}
        for name, given in layer.items():
            action = named[name]
            if action.dest in applied:
                self.error(f"{given.label}: not allowed with {applied[action.dest].label}")
            if getattr(options, action.dest) is _UNSET:
                applied[action.dest] = given
                setattr(options, action.dest, self._convert(action, given))
        options.given |= applied

    def _convert(self, action: argparse.Action, given: Given) -> object:
        """Return a value as the option's flag would have it."""
        try:
            return self._parse_value(action, given.value)
        except argparse.ArgumentTypeError as error:
            self.error(f"{given.label}: {error}")
        except argparse.ArgumentError as error:
            self.error(f"{given.label}: {error.message}")

    def _parse_value(self, action: argparse.Action, given: object) -> object:
        if action.nargs == 0:
            return to_switch(given)
        text = to_text(given, of_list=isinstance(action.type, CommaSeparated))
        value = self._get_value(action, text)
        self._check_value(action, value)
        if isinstance(given, int | float) and isinstance(value, str | os.PathLike):
            raise argparse.ArgumentTypeError(f"{text} is a number, a text has quotes")
        return value

    def _apply_defaults(self, options: argparse.Namespace) -> None:
        for action in self._actions:
            if getattr(options, action.dest, None) is _UNSET:
                default = action.default
                value = self._get_value(action, default) if isinstance(default, str) else default
                setattr(options, action.dest, value)

    def values(self, options: argparse.Namespace) -> Iterator[OptionValue]:
        """Yield the value in force of every option that a configuration file can have.

        Args:
            options: what `parse_args` returned.
        """
        seen = set(_NOT_IN_FILES)
        for name, action in self._named().items():
            if name in seen or action.dest in seen:
                continue
            seen.add(action.dest)
            given = options.given.get(action.dest)
            default = _DEFAULT_TEXT.search(action.help or "")
            yield OptionValue(
                name=given.name if given else name,
                dest=action.dest,
                value=getattr(options, action.dest),
                source=given.source if given else "default",
                default=default[1] if default else "",
            )


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
    group.add_argument(
        "--host",
        *aliases,
        type=CommaSeparated(_hosts),
        dest="hosts",
        action=_ExtendAction,
        nargs=1,
        metavar="HOST[:PORT]",
        help=f"name or address {purpose}; repeat it, or separate by commas, {more}"
        f" (default: SIMPLE_CHAT_SERVER_HOST, else {DEFAULT_HOST})",
    )
    if positional:
        group.add_argument(
            "hosts",
            action=_ExtendAction,
            nargs="*",
            type=_hosts,
            metavar="HOST[:PORT]",
            help="the same as --host",
        )
    group.add_argument(
        "--port",
        type=number(0, 65535),
        metavar="PORT",
        help=f"TCP port of each host without one (default: SIMPLE_CHAT_SERVER_PORT, else {DEFAULT_PORT})",
    )


class _ExtendAction(argparse.Action):
    """Like ``action="extend"``, but each value is a list, and the first replaces what is there."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,  # noqa: ARG002 - the signature is argparse's
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        """Add the values of one more occurrence; a positional argument that is not given has none."""
        before = getattr(namespace, self.dest)
        if values:
            hosts = [host for each in values for host in each]
            setattr(namespace, self.dest, [*(before if isinstance(before, list) else []), *hosts])


# Option types


class CommaSeparated:
    """Option type of one value or several, separated by commas; a list in a configuration file.

    Args:
        parse: parses the text with all of them.
    """

    __slots__ = ("_parse",)

    def __init__(self, parse: Callable[[str], object]) -> None:
        self._parse = parse

    def __call__(self, text: str) -> object:
        """Parse the text."""
        return self._parse(text)


def _accepted_by(parse: Callable[[str, int], object]) -> Callable[[str], str]:
    """Return an option type: a text that a parser of addresses accepts."""

    def check(text: str) -> str:
        try:
            parse(text, DEFAULT_PORT)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return text

    return check


def _hosts(text: str) -> list[str]:
    """Option type: addresses, separated by commas."""
    _accepted_by(parse_addresses)(text)
    return [each.strip() for each in text.split(",")]


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
