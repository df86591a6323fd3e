"""Password authentication: one argon2 hash for the whole server, verified in threads.

A verification takes some 50 ms and 64 MiB by design, which makes guessing expensive for whoever steals the
hash. In a thread it blocks no other connection, and two at a time bound the memory.
"""

import asyncio
import logging
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

from simple_chat.core.commands import Pass
from simple_chat.core.framing import MAX_LINE
from simple_chat.core.protocol import encode
from simple_chat.errors import ConfigError, describe_error

try:
    import argon2
except ImportError as error:
    raise ConfigError("passwords need argon2: pip install 'simple_chat[auth]'") from error

logger = logging.getLogger(__name__)

_MAX_CONCURRENT_CHECKS = 2
_BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"  # as a byte order mark


class Authenticator:
    """Verify the passwords that connections send, at most two at a time; the others queue.

    All methods are called in the event loop's thread.

    Args:
        encoded: the argon2 hash of the password, as `hash_password` makes it.

    Raises:
        ConfigError: `encoded` is not an argon2 hash.
    """

    def __init__(self, encoded: str) -> None:
        self.replace_hash(encoded)
        self._hasher = argon2.PasswordHasher()
        self._executor = ThreadPoolExecutor(_MAX_CONCURRENT_CHECKS, thread_name_prefix="password")
        self._pending: dict[Hashable, tuple[Future[bool], asyncio.Future[bool]]] = {}

    def replace_hash(self, encoded: str) -> None:
        """Check passwords against another hash from now on.

        Raises:
            ConfigError: `encoded` is not an argon2 hash.
        """
        if not _is_hash(encoded):
            raise ConfigError("the password's hash is not an argon2 hash, make one with hash-password")
        self._encoded = encoded

    def start(self, connection: Hashable, secret: str, on_checked: Callable[[bool], object]) -> None:
        """Start a check, unless one of that connection is pending.

        Args:
            connection: identifies the check.
            secret: the password to verify.
            on_checked: called in the event loop with whether it is right, unless `cancel` comes first.
        """
        if connection in self._pending:
            return
        check = self._executor.submit(self._verify, secret)
        result = asyncio.wrap_future(check)
        self._pending[connection] = check, result
        result.add_done_callback(partial(self._finish, connection, on_checked))

    def cancel(self, connection: Hashable) -> None:
        """Cancel a connection's check, if one is pending. One that has started still occupies its thread."""
        # Cancelling only the result would leave a queued check to start before the loop's next iteration.
        for future in self._pending.pop(connection, ()):
            future.cancel()

    def close(self) -> None:
        """Cancel all checks, without waiting for those that have started."""
        for connection in [*self._pending]:
            self.cancel(connection)
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _finish(
        self, connection: Hashable, on_checked: Callable[[bool], object], result: asyncio.Future[bool]
    ) -> None:
        if not result.cancelled():
            del self._pending[connection]
            on_checked(result.result())

    def _verify(self, secret: str) -> bool:
        try:
            return self._hasher.verify(self._encoded, secret)
        except argon2.exceptions.VerifyMismatchError:
            return False
        except argon2.exceptions.VerificationError:
            logger.exception("password check failed")  # out of memory, say
            return False


def hash_password(secret: str) -> str:
    """Return the hash of a password: argon2id with the low-memory parameters of RFC 9106.

    Args:
        secret: the password; a byte order mark at its start, as a text file may have one, is no part of it.

    Raises:
        ConfigError: no client can send that password.
    """
    secret = secret.removeprefix(_BOM)
    if not _fits_in_a_line(secret):
        raise ConfigError(f"a password is one line of text, of at most {MAX_LINE - len('PASS ')} bytes")
    return argon2.PasswordHasher().hash(secret)


def _fits_in_a_line(secret: str) -> bool:
    try:
        line = encode(Pass(secret))
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return secret != "" and line.count(b"\n") == 1 and b"\r" not in line and len(line) <= MAX_LINE


def read_hash(path: str | Path) -> str:
    """Read a password's hash from a file, without the byte order mark that an editor may have put there.

    Raises:
        ConfigError: the file can't be read, or has something else.
    """
    try:
        encoded = Path(path).read_text("utf-8-sig", errors="replace").strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"can't read {path}: {describe_error(error)}") from error
    if not _is_hash(encoded):
        raise ConfigError(f"can't read {path}: no password's hash, make one with hash-password")
    return encoded


def _is_hash(encoded: str) -> bool:
    try:
        argon2.extract_parameters(encoded)
    except argon2.exceptions.InvalidHashError:
        return False
    return encoded.isascii()
