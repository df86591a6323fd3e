"""The server's password: from a file, the environment or a prompt, never from the command line."""

import os
import signal
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from getpass import getpass
from pathlib import Path
from types import FrameType

from simple_chat.client.connection import check_sendable
from simple_chat.core.commands import Pass
from simple_chat.core.framing import MAX_LINE
from simple_chat.errors import ConfigError, InvalidMessageError, describe_error
from simple_chat.process import heeded

ENVIRONMENT_VARIABLE = "SIMPLE_CHAT_PASSWORD"

_INVALID_UNICODE = "\udcff"  # stands for input that is not Unicode: it is refused with the same message
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_WAKEUP_INTERVAL = 0.5  # seconds


def configured_password(path: str | None) -> str | None:
    """Return the password from a file or the environment, None if there is none.

    Args:
        path: the file whose first line it is; None for `ENVIRONMENT_VARIABLE`.

    Raises:
        ConfigError: the file has none, or the password can't be sent as one line.
    """
    password = (os.environ.get(ENVIRONMENT_VARIABLE) or None) if path is None else _first_line(path)
    if password is not None:
        try:
            check_sendable(Pass(password), password, "password")
        except InvalidMessageError as error:
            raise ConfigError(f"{path or ENVIRONMENT_VARIABLE}: {error}") from None
    return password


def prompt_password(server: str) -> str:
    """Prompt for the password, without echo.

    Args:
        server: the address, for the prompt.

    Raises:
        SystemExit: the user pressed Ctrl-C or Ctrl-D, or a signal arrived.
    """
    received: list[int] = []
    input_closed = (EOFError, OSError, termios.error)  # the last two if the terminal is closed
    with _signals_raise_eof(received), suppress(*input_closed):
        try:
            return getpass(f"Password of {server}: ")
        except UnicodeDecodeError:
            _end_line()
            return _INVALID_UNICODE
    _end_line()
    sys.exit(128 + (received or [signal.SIGINT])[0])


def _end_line() -> None:
    with suppress(OSError):
        os.write(sys.stdout.fileno(), b"\n")  # unbuffered: a failing flush at exit would change the status


@contextmanager
def _signals_raise_eof(received: list[int]) -> Iterator[None]:
    """Let signals end a prompt as Ctrl-D does, so that `getpass` turns the terminal's echo on again."""

    def raise_eof(number: int, _: FrameType | None) -> None:
        received.append(number)
        raise EOFError

    handlers = {each: signal.signal(each, raise_eof) for each in heeded(_SIGNALS)}
    # Python runs the handler of a signal that arrived just before a blocking read only when another signal
    # interrupts that read.
    handlers[signal.SIGALRM] = signal.signal(signal.SIGALRM, lambda _number, _frame: None)
    signal.setitimer(signal.ITIMER_REAL, _WAKEUP_INTERVAL, _WAKEUP_INTERVAL)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for each, handler in handlers.items():
            signal.signal(each, handler)


def _first_line(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            line = file.readline(MAX_LINE + 2).decode("utf-8-sig")  # a longer one can't be sent anyway
    except UnicodeDecodeError:
        raise ConfigError(f"can't use {path}: its first line is not UTF-8") from None
    except OSError as error:
        raise ConfigError(f"can't read {path}: {describe_error(error)}") from error
    password = line.removesuffix("\n").removesuffix("\r")
    if not password:
        raise ConfigError(f"can't use {path}: its first line, the password, is empty")
    return password
