"""What an option was given, and where: by its flag, its environment variable or a configuration file."""

import argparse
import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

_CREDENTIALS = re.compile(r"://\S*@")
_SERVICE_LINK = re.compile(r"(?:tcp|udp|sctp)://")
"""Kubernetes sets SIMPLE_CHAT_SERVER_PORT to tcp://10.96.0.5:8090 for a service called simple-chat-server."""

_SWITCHES = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


class Given(NamedTuple):
    """What was given for an option.

    Attributes:
        name: the option's, without dashes.
        value: a text, or what a configuration file has; None for a flag, which argparse has read.
        source: the flag, the variable, or the file with the line.
        label: how an error begins: the same, with the option's name if the source lacks it.
    """

    name: str
    value: object
    source: str
    label: str


class OptionValue(NamedTuple):
    """An option's value in force.

    Attributes:
        name: the option's, without dashes.
        dest: its attribute among the options.
        value: as its type made it; None if it is not set.
        source: where it is from.
        default: what its help says about its default; empty for nothing.
    """

    name: str
    dest: str
    value: object
    source: str
    default: str


def from_variables(names: Iterable[str], variable_of: Callable[[str], str | None]) -> Iterator[Given]:
    """Yield what the environment has for options. An empty variable counts as unset.

    Args:
        names: of the options.
        variable_of: returns the variable of each, or None.
    """
    for name in names:
        variable = variable_of(name)
        value = os.environ.get(variable, "") if variable else ""
        if variable and value and not (variable.endswith("_PORT") and _SERVICE_LINK.match(value)):
            yield Given(name, value, variable, variable)


def nearest(word: str, words: Iterable[str]) -> str | None:
    """Return what a word was meant to be, if one of `words` is close: longer, or with a letter wrong."""
    import difflib  # noqa: PLC0415 - seldom needed

    words = [*words]
    longer = [each for each in words if each.startswith(word)]
    return next(iter(longer or difflib.get_close_matches(word, words, n=1, cutoff=0.65)), None)


def hide_passwords(text: str) -> str:
    """Return a text without the users and passwords of the URLs in it."""
    return _CREDENTIALS.sub("://***@", text)


def to_switch(value: object) -> bool:
    """Read the value of an option that is a flag alone."""
    if isinstance(value, bool):
        return value
    switch = _SWITCHES.get(str(value).lower())
    if switch is None:
        raise argparse.ArgumentTypeError(f"{value!r} is neither true nor false")
    return switch


def to_text(value: object, *, of_list: bool) -> str:
    """Return a value as the text that its flag would have.

    Args:
        value: what a layer has.
        of_list: whether the option takes several, with commas.
    """
    if isinstance(value, bool):
        raise argparse.ArgumentTypeError(f"{str(value).lower()} is for a switch, this takes a text or number")
    if isinstance(value, str | int | float):
        return str(value)
    if not of_list or not isinstance(value, list):
        raise argparse.ArgumentTypeError("this takes one text or number, and no list, date or table")
    if not all(isinstance(each, str) for each in value):
        raise argparse.ArgumentTypeError("this takes a list of texts")
    return ",".join(value)
