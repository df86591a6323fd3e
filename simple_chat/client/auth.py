"""Where the client has the server's password from: a file, a variable or the user, never its command line."""

import os
import signal
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from getpass import getpass
from pathlib import Path
from types import FrameType

from simple_chat.core.framing import MAX_LINE
from simple_chat.errors import ConfigError, describe_error

VARIABLE = "SIMPLE_CHAT_PASSWORD"

_NO_TEXT = "\udcff"  # what was typed is not Unicode, and neither is this: it is refused in the same words
_ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOOK = 0.5  # seconds


def given(path: str | None) -> str | None:
    """Return the password that was put somewhere for the client, if there is one.

    Args:
        path: the file whose first line it is; None for the variable.

    Raises:
        ConfigError: there is none in the file.
    """
    return (os.environ.get(VARIABLE) or None) if path is None else _first_line(path)


def ask(where: str) -> str:
    """Ask the user, without showing what they type; who does not answer ends the program.

    Args:
        where: what it is the password of.

    Raises:
        SystemExit: they pressed Ctrl-C or Ctrl-D, or a signal came.
    """
    received: list[int] = []
    no_more_input = (EOFError, OSError, termios.error)  # the last two of a terminal that is gone
    with _ending_the_input(received), suppress(*no_more_input):
        try:
            return getpass(f"Password of {where}: ")
        except UnicodeDecodeError:
            _end_line()
            return _NO_TEXT
    _end_line()
    sys.exit(128 + (received or [signal.SIGINT])[0])


def _end_line() -> None:
    with suppress(OSError):
        os.write(sys.stdout.fileno(), b"\n")  # unbuffered: nothing is left that can't be written at the end


@contextmanager
def _ending_the_input(received: list[int]) -> Iterator[None]:
    """Let signals end a question as Ctrl-D does, so that the terminal shows again what is typed."""

    def end(number: int, _: FrameType | None) -> None:
        received.append(number)
        raise EOFError

    before = {each: signal.signal(each, end) for each in _ENDING_SIGNALS}
    # Python would not see a signal that comes just before it begins to read until another one interrupts it.
    before[signal.SIGALRM] = signal.signal(signal.SIGALRM, lambda _number, _frame: None)
    signal.setitimer(signal.ITIMER_REAL, _LOOK, _LOOK)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for each, handler in before.items():
            signal.signal(each, handler)


def _first_line(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            line = file.readline(MAX_LINE + 2).decode()  # one that is longer can't be sent anyway
    except UnicodeDecodeError:
        raise ConfigError(f"can't use {path}: its first line is not UTF-8") from None
    except OSError as error:
        raise ConfigError(f"can't read {path}: {describe_error(error)}") from error
    password = line.removesuffix("\n").removesuffix("\r")
    if not password:
        raise ConfigError(f"can't use {path}: its first line, which would be the password, is empty")
    return password
