"""How the server talks TLS."""

import ssl
from pathlib import Path

from simple_chat.errors import SetupError, reason

HANDSHAKE = 10.0
"""Seconds that a client has for its TLS handshake."""


def server_context(
    certificate: str | Path, key: str | Path | None = None, client_ca: str | Path | None = None
) -> ssl.SSLContext:
    """Read what is needed to talk TLS: 1.2 or newer.

    Args:
        certificate: a PEM file with the certificate, and those between it and its authority.
        key: a PEM file with the private key; None if it is in the same file.
        client_ca: a PEM file with the authorities of whom every client must show a certificate; None to
            let in those who have none.

    Raises:
        SetupError: a file can't be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except (OSError, ValueError) as error:
        raise SetupError(f"can't use {_names(certificate, key)}: {_why(error)}") from error
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(client_ca)
        except (OSError, ValueError) as error:
            raise SetupError(f"can't use {client_ca}: {_why(error)}") from error
    return context


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase, which a server can't type")


def _names(certificate: str | Path, key: str | Path | None) -> str:
    return str(certificate) if key is None else f"{certificate} with {key}"


def _why(error: Exception) -> str:
    if not isinstance(error, ssl.SSLError):
        return reason(error)
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the key is not the certificate's"
    return "there is no certificate or no key in it"
