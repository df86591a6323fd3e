"""The server's password: kept as an argon2 hash, and checked where it holds up nobody.

A check takes some 50 ms and 64 MiB by design, so that whoever steals the hash can't try many passwords.
"""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from simple_chat.core.framing import MAX_LINE
from simple_chat.core.protocol import Pass, encode
from simple_chat.errors import ConfigError, describe_error

try:
    import argon2
except ImportError as error:
    raise ConfigError("passwords need argon2: pip install 'simple_chat[auth]'") from error

logger = logging.getLogger(__name__)

_MAX_CONCURRENT_CHECKS = 2


class Password:
    """A password of which only the hash is known.

    Args:
        encoded: the hash, as `hash_password` makes it.

    Raises:
        ConfigError: that is no argon2 hash.
    """

    def __init__(self, encoded: str) -> None:
        try:
            argon2.extract_parameters(encoded)
        except argon2.exceptions.InvalidHashError:
            raise ConfigError("the password's hash is none that hash-password makes") from None
        self._encoded = encoded
        self._hasher = argon2.PasswordHasher()
        self._executor = ThreadPoolExecutor(_MAX_CONCURRENT_CHECKS, thread_name_prefix="password")

    async def check(self, secret: str) -> bool:
        """Tell whether a password is right. At most two are checked at a time; cancelling gives up the place.

        Args:
            secret: what a client says it is.
        """
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._check, secret)

    def _check(self, secret: str) -> bool:
        try:
            return self._hasher.verify(self._encoded, secret)
        except argon2.exceptions.VerifyMismatchError:
            return False
        except argon2.exceptions.VerificationError:
            logger.exception("a password could not be checked")  # for lack of memory, say
            return False

    def close(self) -> None:
        """Give up what was not checked yet."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def hash_password(secret: str) -> str:
    """Make the hash of a password (argon2id, with the parameters of RFC 9106 for little memory).

    Raises:
        ConfigError: no client could send that password.
    """
    if not _can_be_sent(secret):
        raise ConfigError(f"a password is one line of text, of at most {MAX_LINE - len('PASS ')} bytes")
    return argon2.PasswordHasher().hash(secret)


def _can_be_sent(secret: str) -> bool:
    try:
        line = encode(Pass(secret))
    except UnicodeEncodeError:
        return False
    return secret != "" and line.count(b"\n") == 1 and b"\r" not in line and len(line) <= MAX_LINE


def read_hash(path: str | Path) -> str:
    """Read the hash that a file holds.

    Raises:
        ConfigError: the file can't be read.
    """
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"can't read {path}: {describe_error(error)}") from error
