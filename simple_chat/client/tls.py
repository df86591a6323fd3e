"""How the client talks TLS: whom it trusts, who it says it is, and in words what went wrong."""

import ssl

from simple_chat.tls import show, trust

_NOT_FOR_THIS_HOST = {62, 64}  # X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH
_NO_TLS = "that is no TLS server"
_REFUSED = "it does not accept the client's certificate"
_CUT_SHORT = "it ended the connection in the middle of TLS"

# By what OpenSSL calls it, an alert of the server's without the prefix that its versions differ in.
_REASONS = {
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "PACKET_LENGTH_TOO_LONG": _NO_TLS,
    "RECORD_LAYER_FAILURE": _NO_TLS,
    "UNKNOWN_PROTOCOL": _NO_TLS,
    "UNSUPPORTED_PROTOCOL": "it knows no TLS that is new enough",
    "PROTOCOL_VERSION": "it has no version of TLS in common with the client",
    "CERTIFICATE_REQUIRED": "it demands a certificate of the client's",
    "HANDSHAKE_FAILURE": "it refused the handshake: perhaps it demands a certificate of the client's",
    "UNKNOWN_CA": _REFUSED,
    "BAD_CERTIFICATE": _REFUSED,
    "CERTIFICATE_EXPIRED": _REFUSED,
    "CERTIFICATE_REVOKED": _REFUSED,
    "CERTIFICATE_UNKNOWN": _REFUSED,
    "UNSUPPORTED_CERTIFICATE": _REFUSED,
    "ACCESS_DENIED": _REFUSED,
    "DECRYPT_ERROR": _REFUSED,
    "UNEXPECTED_EOF_WHILE_READING": _CUT_SHORT,
}


def client_context(
    ca: str | None = None, certificate: str | None = None, key: str | None = None
) -> ssl.SSLContext:
    """Read what is needed to talk TLS, 1.2 or newer, to a server whose certificate is always verified.

    Args:
        ca: a PEM file with the authorities to trust; None for those that the system trusts.
        certificate: a PEM file with the certificate to show, and those between it and its authority.
        key: a PEM file with its private key; None if it is in the same file.

    Raises:
        ConfigError: a file can't be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca is None:
        context.load_default_certs()
    else:
        trust(context, ca)
    if certificate is not None:
        show(context, certificate, key)
    return context


def explain(error: ssl.SSLError) -> str:
    """Say without OpenSSL's words why TLS with a server failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _explain_distrust(error)
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return _CUT_SHORT
    known = (getattr(error, "reason", None) or "").rpartition("ALERT_")[2]
    return _REASONS.get(known) or f"TLS failed: {known.replace('_', ' ').lower() or 'no reason given'}"


def _explain_distrust(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in _NOT_FOR_THIS_HOST:  # "... mismatch, certificate is not valid for ..."
        return f"its {error.verify_message.partition(', ')[2].rstrip('.')}"
    return f"its certificate is not trusted: {error.verify_message}"
