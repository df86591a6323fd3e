"""The bans file: one ban a line, for people to read and to edit."""

import os
from collections.abc import Iterable
from pathlib import Path

from simple_chat.core.bans import Ban, parse_ban
from simple_chat.errors import ConfigError, describe_error

_HEADER = (
    "# name, network, until, reason; - for none. The server replaces this file, and reads it on RELOAD.\n"
)


def read_bans(path: Path) -> list[Ban]:
    """Return the bans in a file; none if there is no file.

    Raises:
        ConfigError: it can't be read, or a line of it is no ban.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"can't read {path}: {describe_error(error)}") from error
    return [_parse(path, number, line) for number, line in enumerate(lines, 1) if _has_ban(line)]


def _has_ban(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("#")


def _parse(path: Path, number: int, line: str) -> Ban:
    try:
        return parse_ban(line)
    except ValueError as error:
        raise ConfigError(f"{path}:{number}: {error}") from None


def write_bans(path: Path, bans: Iterable[Ban]) -> None:
    """Replace a bans file, as a whole or not at all; it survives the machine's crash.

    Raises:
        OSError: it can't be written, and is as it was before.
    """
    temporary = path.with_name(f"{path.name}.new")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(_HEADER + "".join(f"{ban}\n" for ban in bans))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
