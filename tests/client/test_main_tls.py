"""The client's command line with TLS: what the options do, and what it says when nothing comes of it."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.client.test_pipe import CLIENT, USUAL, Outcome, assert_refused, in_room, run
from tests.harness.programs import ServerProcess, run_server_process
from tests.harness.tls_servers import Answer, relay, server_context, serving

AUTHORITY = trustme.CA()
STRANGER = trustme.CA()


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    """A server that talks no TLS itself."""
    with run_server_process() as server:
        yield server


@pytest.fixture
def to_server(server: ServerProcess) -> Answer:
    """What is done with a connection that leads to the server."""
    return relay((server.host, int(server.port)))


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that the options name, in the folder where the client runs."""
    monkeypatch.chdir(tmp_path)
    AUTHORITY.cert_pem.write_to_path("ca.pem")
    STRANGER.cert_pem.write_to_path("stranger.pem")
    leaf = AUTHORITY.issue_cert("bot@example.org")
    leaf.cert_chain_pems[0].write_to_path("cert.pem")
    leaf.private_key_pem.write_to_path("key.pem")
    leaf.private_key_and_cert_chain_pem.write_to_path("both.pem")


def own(*names: str, demands: trustme.CA | None = None) -> ssl.SSLContext:
    """What a server needs that has a certificate of the authority, for this machine if not told otherwise."""
    return server_context(AUTHORITY.issue_cert(*(names or ["localhost", "127.0.0.1"])), demands)


def command(port: int, *options: str) -> tuple[str, ...]:
    """The command of a client that joins as bot."""
    return (*CLIENT, "--username", "bot", "--port", str(port), *options)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_authorities_of_a_file_are_trusted(server: ServerProcess, to_server: Answer, host: str) -> None:
    async with in_room(server, "ann") as ann, serving(to_server, own()) as (_, port):
        options = ("--host", host, "--tls", "--tls-ca", "ca.pem")
        assert await run(*command(port, *options), data=b"send hi\n") == Outcome(0)
        assert await ann.lines(3) == USUAL


async def test_authorities_of_the_system_are_trusted(to_server: Answer) -> None:
    async with serving(to_server, own()) as (_, port):
        assert await run(*command(port, "--tls"), SSL_CERT_FILE="ca.pem") == Outcome(0)


@pytest.mark.parametrize("certificate", ["--tls-cert both.pem", "--tls-cert cert.pem --tls-key key.pem"])
async def test_certificate_is_shown_to_a_server_that_demands_one(to_server: Answer, certificate: str) -> None:
    async with serving(to_server, own(demands=AUTHORITY)) as (_, port):
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
async def test_server_that_is_not_trusted_is_told_in_one_line(
    to_server: Answer, options: str, name: str, reason: str
) -> None:
    async with serving(to_server, own(name)) as (_, port):
        ended = await run(*command(port, "--tls", *options.split()), SSL_CERT_FILE="stranger.pem")
    assert_refused(ended, 1, f"simple_chat: can't connect to 127.0.0.1:{port}: {reason}")


async def test_server_that_talks_no_tls_is_told_in_one_line(server: ServerProcess) -> None:
    ended = await run(*command(int(server.port), "--tls", "--tls-ca", "ca.pem"))
    where = f"127.0.0.1:{server.port}"
    assert_refused(ended, 1, f"simple_chat: can't connect to {where}: the peer does not speak TLS")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("--tls --tls-ca missing", "can't use missing: No such file or directory"),
        ("--tls --tls-ca key.pem", "can't use key.pem: there is no certificate in it"),
        ("--tls --tls-cert cert.pem", "can't use cert.pem: there is no private key in it"),
    ],
)
async def test_file_that_cannot_be_used_is_told_in_one_line(options: str, complaint: str) -> None:
    assert_refused(await run(*command(1, *options.split())), 1, f"simple_chat: {complaint}")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("--tls-ca ca.pem", "--tls-ca needs --tls"),
        ("--tls-cert both.pem", "--tls-cert needs --tls"),
        ("--tls-cert cert.pem --tls-key key.pem", "--tls-cert needs --tls"),
        ("--tls --tls-key key.pem", "--tls-key needs --tls-cert"),
        ("--tls --tls-ca=", "--tls-ca: must not be empty"),
        ("--tls --unix chat", "--tls is for TCP: it can't be used with --unix"),
        ("--tls --no-verify", "unrecognized arguments: --no-verify"),
    ],
)
async def test_options_that_do_not_go_together_are_refused(options: str, complaint: str) -> None:
    assert_refused(await run(*command(1, *options.split())), 2, f"{complaint} (--help shows all options)")
