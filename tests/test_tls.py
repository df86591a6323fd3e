"""What a TLS context knows of its own certificate."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from simple_chat.tls import certificate_end, server_context

NOW = datetime.now(UTC).replace(microsecond=0)
CA = trustme.CA()


def context(directory: Path, end: datetime, *, client_ca: bool = False) -> ssl.SSLContext:
    """Return the context of a server whose certificate ends then."""
    certificate, authority = directory / "certificate", directory / "authority"
    issued = CA.issue_cert("localhost", not_before=datetime(1999, 1, 1, tzinfo=UTC), not_after=end)
    issued.private_key_and_cert_chain_pem.write_to_path(certificate)
    CA.cert_pem.write_to_path(authority)
    return server_context(certificate, client_ca=authority if client_ca else None)


@pytest.mark.parametrize(
    "end",
    [
        NOW + timedelta(days=90),
        NOW - timedelta(days=1),
        datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC),
        datetime(2049, 12, 31, tzinfo=UTC),  # the last year of two digits
        datetime(2050, 1, 1, tzinfo=UTC),
    ],
)
def test_end_of_the_certificate_is_known(end: datetime, tmp_path: Path) -> None:
    assert certificate_end(context(tmp_path, end)) == end.timestamp()


def test_end_is_known_where_clients_need_certificates_too(tmp_path: Path) -> None:
    assert certificate_end(context(tmp_path, NOW, client_ca=True)) == NOW.timestamp()


def test_end_is_known_of_an_older_version_of_tls(tmp_path: Path) -> None:
    older = context(tmp_path, NOW)
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    assert certificate_end(older) == NOW.timestamp()


def test_context_without_a_certificate_has_no_end() -> None:
    assert certificate_end(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)) is None
