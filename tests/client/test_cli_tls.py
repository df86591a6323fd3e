"""The client program over TLS."""

import ssl
from pathlib import Path

import pytest
import trustme

from tests.client.pipe_client import CLIENT, JOIN_SEND_LEAVE, Outcome, assert_error, joined_peer, run
from tests.harness.programs import ServerProcess
from tests.harness.tls_servers import Handler, forward_to, make_server_context, serve_connections

AUTHORITY = trustme.CA()
STRANGER = trustme.CA()

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio"])  # the loop runs the test, not the client


@pytest.fixture
def to_server(server: ServerProcess) -> Handler:
    """Forwards a connection to the server."""
    return forward_to((server.host, int(server.port)))


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The PEM files of the options, in the working directory."""
    monkeypatch.chdir(tmp_path)
    AUTHORITY.cert_pem.write_to_path("ca.pem")
    STRANGER.cert_pem.write_to_path("stranger.pem")
    leaf = AUTHORITY.issue_cert("bot@example.org")
    leaf.cert_chain_pems[0].write_to_path("cert.pem")
    leaf.private_key_pem.write_to_path("key.pem")
    leaf.private_key_and_cert_chain_pem.write_to_path("both.pem")


def trusted_context(*names: str, client_ca: trustme.CA | None = None) -> ssl.SSLContext:
    """Return the context of a server with a certificate of `AUTHORITY`, by default for this machine."""
    return make_server_context(AUTHORITY.issue_cert(*(names or ["localhost", "127.0.0.1"])), client_ca)


def command(port: int, *options: str) -> tuple[str, ...]:
    """Return the command of a client that joins as bot."""
    return (*CLIENT, "--username", "bot", "--port", str(port), *options)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_tls_ca_is_trusted(server: ServerProcess, to_server: Handler, host: str) -> None:
    async with (
        joined_peer(server, "ann") as ann,
        serve_connections(to_server, trusted_context()) as (_, port),
    ):
        options = ("--host", host, "--tls", "--tls-ca", "ca.pem")
        assert await run(*command(port, *options), data=b"send hi\n") == Outcome(0)
        assert await ann.lines(3) == JOIN_SEND_LEAVE


async def test_cas_of_the_system_are_trusted_by_default(to_server: Handler) -> None:
    async with serve_connections(to_server, trusted_context()) as (_, port):
        assert await run(*command(port, "--tls"), SSL_CERT_FILE="ca.pem") == Outcome(0)


@pytest.mark.parametrize("certificate", ["--tls-cert both.pem", "--tls-cert cert.pem --tls-key key.pem"])
async def test_client_certificate_is_presented(to_server: Handler, certificate: str) -> None:
    async with serve_connections(to_server, trusted_context(client_ca=AUTHORITY)) as (_, port):
        options = ("--tls", "--tls-ca", "ca.pem", *certificate.split())
        assert await run(*command(port, *options)) == Outcome(0)


@pytest.mark.parametrize(
    ("options", "name", "reason"),
    [
        ("", "127.0.0.1", "certificate verify failed: unable to get local issuer certificate"),
        (
            "--tls-ca stranger.pem",
            *("127.0.0.1", "certificate verify failed: unable to get local issuer certificate"),
        ),
        (
            "--tls-ca ca.pem",
            "example.org",
            "certificate verify failed: IP address mismatch, certificate is not valid for '127.0.0.1'",
        ),
    ],
    ids=["system", "file", "name"],
)
async def test_untrusted_server_is_one_line_and_status_1(
    to_server: Handler, options: str, name: str, reason: str
) -> None:
    async with serve_connections(to_server, trusted_context(name)) as (_, port):
        outcome = await run(*command(port, "--tls", *options.split()), SSL_CERT_FILE="stranger.pem")
    assert_error(outcome, 1, f"simple_chat: can't connect to 127.0.0.1:{port}: {reason}")


async def test_server_without_tls_is_one_line_and_status_1(server: ServerProcess) -> None:
    outcome = await run(*command(int(server.port), "--tls", "--tls-ca", "ca.pem"))
    where = f"127.0.0.1:{server.port}"
    assert_error(outcome, 1, f"simple_chat: can't connect to {where}: the peer does not speak TLS")
