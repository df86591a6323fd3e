"""TLS for both sides: contexts from PEM files, and what a TLS failure means.

Importing this module teaches `simple_chat.errors.describe_error` to describe `ssl.SSLError`.
"""

import contextlib
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from simple_chat.errors import ConfigError, describe_error

HANDSHAKE_TIMEOUT = 10.0
"""Seconds that a server gives a client for its TLS handshake."""

_KEY_MISMATCH = {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}
"""OpenSSL's reasons for a private key that does not belong to the certificate."""

_NO_TLS = "the peer does not speak TLS"
_NO_COMMON_VERSION = "no TLS version in common with the peer"
_REJECTED = "the peer rejected the certificate"
_TRUNCATED = "connection closed in the middle of TLS"

# By OpenSSL's reason. For an alert of the peer that is without the prefix, which differs between versions.
_REASONS = {
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "HTTP_REQUEST": _NO_TLS,
    "PACKET_LENGTH_TOO_LONG": _NO_TLS,
    "RECORD_LAYER_FAILURE": _NO_TLS,
    "UNKNOWN_PROTOCOL": _NO_TLS,
    "UNSUPPORTED_PROTOCOL": _NO_COMMON_VERSION,
    "PROTOCOL_VERSION": _NO_COMMON_VERSION,
    "CERTIFICATE_REQUIRED": "the peer requires a certificate",
    "HANDSHAKE_FAILURE": "the peer refused the handshake, perhaps it requires a certificate",
    "UNKNOWN_CA": _REJECTED,
    "BAD_CERTIFICATE": _REJECTED,
    "CERTIFICATE_EXPIRED": _REJECTED,
    "CERTIFICATE_REVOKED": _REJECTED,
    "CERTIFICATE_UNKNOWN": _REJECTED,
    "UNSUPPORTED_CERTIFICATE": _REJECTED,
    "ACCESS_DENIED": _REJECTED,
    "DECRYPT_ERROR": _REJECTED,
    "UNEXPECTED_EOF_WHILE_READING": _TRUNCATED,
}


def server_context(
    certificate: str | Path, key: str | Path | None = None, client_ca: str | Path | None = None
) -> ssl.SSLContext:
    """Make the context of a server: TLS 1.2 or newer.

    Args:
        certificate: a PEM file with the certificate chain.
        key: a PEM file with the private key; None if it is in the same file.
        client_ca: a PEM file with the CA certificates that every client's certificate is verified against;
            None to require no client certificate.

    Raises:
        ConfigError: a file can't be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    load_cert_chain(context, certificate, key)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        load_ca(context, client_ca)
    return context


def client_context(
    ca: str | None = None, certificate: str | None = None, key: str | None = None
) -> ssl.SSLContext:
    """Make the context of a client: TLS 1.2 or newer, the server's certificate is always verified.

    Args:
        ca: a PEM file with the CA certificates to trust; None for those of the system.
        certificate: a PEM file with the client's certificate chain; None for no client certificate.
        key: a PEM file with the private key; None if it is in the same file.

    Raises:
        ConfigError: a file can't be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca is None:
        context.load_default_certs()
    else:
        load_ca(context, ca)
    if certificate is not None:
        load_cert_chain(context, certificate, key)
    return context


def load_ca(context: ssl.SSLContext, path: str | Path) -> None:
    """Load the CA certificates that a context trusts.

    Raises:
        ConfigError: the file can't be used.
    """
    try:
        context.load_verify_locations(path)
    except ssl.SSLError as error:
        raise ConfigError(f"can't use {path}: there is no certificate in it") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"can't use {path}: {describe_error(error)}") from error


def load_cert_chain(context: ssl.SSLContext, certificate: str | Path, key: str | Path | None = None) -> None:
    """Load the certificate that a context presents.

    Args:
        context: of either side.
        certificate: a PEM file with the certificate chain.
        key: a PEM file with the private key, not encrypted; None if it is in the same file.

    Raises:
        ConfigError: a file can't be used.
    """
    key = key or certificate

    def refuse_passphrase() -> NoReturn:  # without a callback OpenSSL would prompt on the terminal
        raise ConfigError(f"can't use {key}: the key in it is encrypted, store it without a passphrase")

    try:
        context.load_cert_chain(certificate, key, password=refuse_passphrase)
    except ssl.SSLError as error:
        raise ConfigError(_cert_chain_problem(certificate, key, error)) from error
    except (OSError, ValueError) as error:
        path = key if _is_readable(certificate) else certificate  # the error names neither
        raise ConfigError(f"can't use {path}: {describe_error(error)}") from error


def _cert_chain_problem(certificate: str | Path, key: str | Path, error: ssl.SSLError) -> str:
    if error.reason in _KEY_MISMATCH:
        return f"can't use {key}: the key in it does not match the certificate in {certificate}"
    if Path(certificate).is_file():  # a pipe can't be read again
        load_ca(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), certificate)  # raises if it has no certificate
    return f"can't use {key}: there is no private key in it"


def _is_readable(path: str | Path) -> bool:
    try:
        Path(path).open("rb").close()
    except OSError:
        return False
    return True


@describe_error.register
def _(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return _TRUNCATED
    reason = (getattr(error, "reason", None) or "").rpartition("ALERT_")[2]
    return _REASONS.get(reason) or f"TLS failed: {reason.replace('_', ' ').lower() or 'unknown reason'}"


@describe_error.register
def _(error: ssl.SSLCertVerificationError) -> str:
    return f"certificate verify failed: {error.verify_message.rstrip('.')}"


# When a certificate ends

_VERSION = 0xA0  # tags of DER
_UTC_TIME = 0x17


def certificate_end(context: ssl.SSLContext) -> float | None:
    """Return when the certificate that a server's context shows ends, in seconds since the epoch.

    A context tells it to nobody but a client: there is a handshake, within this process.

    Returns:
        None if it shows none to a client that trusts anything.
    """
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client, server, client):
        with contextlib.suppress(ssl.SSLError):
            side.do_handshake()
    try:
        certificate = client.getpeercert(binary_form=True)
    except ValueError:  # the handshake failed
        return None
    return None if certificate is None else _not_after(certificate)


def _not_after(certificate: bytes) -> float:
    """Return the end of a certificate's validity (RFC 5280, section 4.1)."""
    ((_, signed),) = _elements(certificate)
    _, to_be_signed = _elements(signed)[0]
    fields = [content for tag, content in _elements(to_be_signed) if tag != _VERSION]
    _, (tag, time) = _elements(fields[3])  # after serial number, algorithm and issuer
    text = time.decode("ascii")
    if tag == _UTC_TIME:  # years from 1950 to 2049, in two digits
        text = ("19" if text >= "5" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _elements(der: bytes) -> list[tuple[int, bytes]]:
    """Return the tag and the content of each of the elements that follow each other in DER."""
    found: list[tuple[int, bytes]] = []
    while der:
        tag, length, begin = der[0], der[1], 2
        if length & 0x80:  # it is the length of the length
            begin += length & 0x7F
            length = int.from_bytes(der[2:begin])
        found.append((tag, der[begin : begin + length]))
        der = der[begin + length :]
    return found
