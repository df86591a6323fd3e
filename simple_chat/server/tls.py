"""How the server talks TLS."""

import ssl
from pathlib import Path

from simple_chat.tls import show, trust

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
        ConfigError: a file can't be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    show(context, certificate, key)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        trust(context, client_ca)
    return context
