"""Certificates in PEM files: read for TLS, and in words what is wrong with one."""

import ssl
from pathlib import Path
from typing import NoReturn

from simple_chat.errors import ConfigError, describe_error

_ANOTHER_KEY = {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}
"""What OpenSSL calls a key that is not the certificate's, perhaps not even of its kind."""


def trust(context: ssl.SSLContext, authorities: str | Path) -> None:
    """Let a context trust the authorities whose certificates are in a file.

    Raises:
        ConfigError: the file can't be used.
    """
    try:
        context.load_verify_locations(authorities)
    except ssl.SSLError as error:
        raise ConfigError(f"can't use {authorities}: there is no certificate in it") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"can't use {authorities}: {describe_error(error)}") from error


def show(context: ssl.SSLContext, certificate: str | Path, key: str | Path | None = None) -> None:
    """Let a context show a certificate.

    Args:
        context: of either side.
        certificate: a file with the certificate, and those between it and its authority.
        key: a file with its private key, without a passphrase; None if it is in the same file.

    Raises:
        ConfigError: a file can't be used.
    """
    key = key or certificate

    def refuse() -> NoReturn:  # asked by OpenSSL, which would otherwise ask at the terminal
        raise ConfigError(f"can't use {key}: the key in it is encrypted, and no passphrase is asked for")

    try:
        context.load_cert_chain(certificate, key, password=refuse)
    except ssl.SSLError as error:
        raise ConfigError(_whats_wrong_in(certificate, key, error)) from error
    except (OSError, ValueError) as error:
        path = key if _can_be_opened(certificate) else certificate  # the error names neither
        raise ConfigError(f"can't use {path}: {describe_error(error)}") from error


def _whats_wrong_in(certificate: str | Path, key: str | Path, error: ssl.SSLError) -> str:
    if error.reason in _ANOTHER_KEY:
        return f"can't use {key}: the key in it is not that of the certificate in {certificate}"
    if Path(certificate).is_file():  # and no pipe, which was read already
        trust(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), certificate)  # which finds no certificate either
    return f"can't use {key}: there is no private key in it"


def _can_be_opened(path: str | Path) -> bool:
    try:
        Path(path).open("rb").close()
    except OSError:
        return False
    return True
