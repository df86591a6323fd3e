"""The configuration file: options by name, as ``max-clients = 100``, in TOML without tables."""

import re
import tomllib
from collections.abc import Collection, Iterable
from datetime import timedelta
from pathlib import Path

from simple_chat.errors import ConfigError, describe_error
from simple_chat.layers import Given, OptionValue, hide_passwords, nearest

_PLACE = re.compile(r"(.*) \(at line (\d+), column (\d+)\)")
_ESCAPES = {number: f"\\u{number:04x}" for number in (*range(32), 127)} | {ord('"'): '\\"', ord("\\"): "\\\\"}
_SOURCE_COLUMN_MAX = 60


def read(path: str, names: Collection[str]) -> dict[str, Given]:
    """Read a configuration file.

    Args:
        path: the file; UTF-8, with or without a byte order mark.
        names: of the options that it may have.

    Returns:
        What it has, by option.

    Raises:
        ConfigError: it can't be read, is no TOML, has a table, or what is no option. The message begins with
            file and line.
    """
    text = _read_text(path)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(_syntax_error(path, text, str(error))) from None
    for key, value in values.items():
        _check(key, value, names, _place(path, text, key))
    return {
        name: Given(name, value, source := _place(path, text, name), f"{source}: {name}")
        for name, value in values.items()
    }


def _read_text(path: str) -> str:
    file = Path(path)
    try:
        if file.is_fifo():  # nor could a reload read it again: it would wait for ever
            raise ConfigError(f"can't read {path}: it is a pipe, not a file")
        return file.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"can't use {path}: it is not UTF-8") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"can't read {path}: {describe_error(error)}") from None


def _syntax_error(path: str, text: str, message: str) -> str:
    if place := _PLACE.fullmatch(message):
        return f"{path}:{place[2]}:{place[3]}: {place[1]}"
    return f"{path}:{len(text.splitlines())}: {message}"  # at the end


def _check(key: str, value: object, names: Collection[str], place: str) -> None:
    if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(each, dict) for each in value)):
        raise ConfigError(f"{place}: {key!r} is a table; an option is a line, as max-clients = 100")
    if key not in names:
        close = nearest(key, names)
        raise ConfigError(
            f"{place}: there is no option {key!r}" + (f", did you mean {close}?" if close else "")
        )


def _place(path: str, text: str, key: str) -> str:
    """Return the file and the line that has a key, which tomllib does not tell."""
    line = re.compile(rf"[ \t\[]*([\"']?){re.escape(key)}\1[ \t]*[=.\]]")
    numbers = [number for number, each in enumerate(text.split("\n"), 1) if line.match(each)]
    return f"{path}:{numbers[0]}" if numbers else path


def to_toml(value: object) -> str:
    """Return an option's value as TOML; passwords in URLs are hidden."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return str(int(value)) if value == int(value) else repr(value)
        case list() | tuple():
            return f"[{', '.join(map(to_toml, value))}]"
        case timedelta():
            return f'"{value.days}d"'
        case _:
            return f'"{hide_passwords(str(value)).translate(_ESCAPES)}"'


def write(values: Iterable[OptionValue]) -> str:
    """Return the text of a configuration file; behind each option a comment says where it is from."""
    values = [*values]
    width = max(len(each.name) for each in values)
    rows = [(_line(each, width), each.source) for each in values]
    lengths = [len(line) for line, _ in rows if line[0] != "#"]
    column = max((length for length in lengths if length <= _SOURCE_COLUMN_MAX), default=0)
    return "".join(f"{line}\n" if line[0] == "#" else f"{line:<{column}}  # {each}\n" for line, each in rows)


def _line(value: OptionValue, width: int) -> str:
    if value.value is None:
        return f"# {value.name} is not set" + (f" (default: {value.default})" if value.default else "")
    return f"{value.name:<{width}} = {to_toml(value.value)}"
