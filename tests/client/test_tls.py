"""TLS: contexts, verification, and failures described in plain words."""

import asyncio
import contextlib
import socket
import ssl
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

import simple_chat
from simple_chat import ConnectError, ConnectionLostError, Disconnected, Joined, Left, Message, Reconnected
from simple_chat.client import connection as connection_module
from simple_chat.errors import ConfigError, describe_error
from simple_chat.tls import client_context
from tests.harness.server import run_server_in_loop
from tests.harness.tls_servers import (
    DEADLINE,
    Address,
    alerting_server,
    encrypt_key,
    forward_to,
    make_server_context,
    serve_connections,
)

AUTHORITY = trustme.CA()
STRANGER = trustme.CA()
"""A CA that no client here trusts."""

CLIENT_CERT_HINT = "(perhaps it requires a client certificate)"
YESTERDAY = datetime.now(UTC) - timedelta(days=1)

HELLO = b"HELLO simple_chat/1 hi\n"
TLS_1_2 = ssl.TLSVersion.TLSv1_2
TLS_1_3 = ssl.TLSVersion.TLSv1_3


def trusting(issuer: trustme.CA | None = None) -> ssl.SSLContext:
    """Return the context of a client that trusts `AUTHORITY`, with a certificate of `issuer` if given."""
    context = client_context()
    AUTHORITY.configure_trust(context)
    if issuer is not None:
        issuer.issue_cert("ann@example.org").configure_cert(context)
    return context


def trusted_context(name: str = "127.0.0.1", not_after: datetime | None = None) -> ssl.SSLContext:
    """Return the context of a server with a certificate of `AUTHORITY`."""
    return make_server_context(AUTHORITY.issue_cert(name, not_after=not_after))


async def join_and_leave(address: Address, tls: ssl.SSLContext | None) -> None:
    """Join and leave at once."""
    async with asyncio.timeout(DEADLINE), simple_chat.connect(*address, username="ann", tls=tls):
        pass


async def connect_failure(address: Address, tls: ssl.SSLContext | None) -> str:
    """Return the reason of the ConnectError, without the address."""
    with pytest.raises(ConnectError) as failed:
        await join_and_leave(address, tls)
    where, why = str(failed.value).split(": ", 1)
    assert where == f"can't connect to 127.0.0.1:{address[1]}"
    assert not set("[]_\n") & set(why), why  # which are in the messages of OpenSSL and Python
    return why


# Connections


async def accept_ann(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept ann, and answer her QUIT."""
    writer.write(HELLO + b"OK JOIN ann\n")
    await reader.readuntil(b"QUIT\n")
    writer.write(b"BYE quit\n")


async def test_chat_over_tls() -> None:
    async with run_server_in_loop() as home, asyncio.timeout(DEADLINE):
        ben = await home.join("ben")
        async with (
            serve_connections(forward_to(home.server.address), trusted_context()) as address,
            simple_chat.connect(*address, username="ann", tls=trusting()) as ann,
        ):
            await ann.send("hello")
            assert await ann.who() == ["ben", "ann"]
            ben.send("MSG hi")
            assert await anext(ann) == Message("ben", "hi")
        assert await ben.lines(3) == [str(Joined("ann")), str(Message("ann", "hello")), str(Left("ann"))]


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
async def test_client_certificate_is_presented(version: ssl.TLSVersion) -> None:
    context = make_server_context(AUTHORITY.issue_cert("127.0.0.1"), AUTHORITY, version)
    async with serve_connections(accept_ann, context) as address:
        await join_and_leave(address, trusting(AUTHORITY))


async def test_chat_reconnects_over_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda _low, _high: 0.0)
    visits: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def accept_and_send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HELLO + b"OK JOIN ann\nOK HISTORY 0\nMSG ben hi\n")
        await visits.put(writer)
        await reader.read()

    async with (
        asyncio.timeout(DEADLINE),
        serve_connections(accept_and_send, trusted_context()) as address,
        simple_chat.connect(*address, username="ann", tls=trusting(), reconnect=True) as ann,
    ):
        for _ in range(2):
            assert await anext(ann) == Message("ben", "hi")
            (await visits.get()).close()
            assert isinstance(await anext(ann), Disconnected)
            assert await anext(ann) == Reconnected()
        (await visits.get()).close()


async def test_truncated_tls_is_a_lost_connection() -> None:
    async def accept_and_send(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HELLO + b"OK JOIN ann\nMSG ben hi\n")
        await writer.drain()
        writer.transport.abort()

    async with (
        asyncio.timeout(DEADLINE),
        serve_connections(accept_and_send, trusted_context()) as address,
        simple_chat.connect(*address, username="ann", tls=trusting()) as ann,
    ):
        assert await anext(ann) == Message("ben", "hi")
        with pytest.raises(ConnectionLostError, match=r"^connection lost: [\w ]+$"):
            await anext(ann)


def test_tls_on_a_unix_socket_is_rejected() -> None:
    with pytest.raises(ValueError, match="Unix socket"):
        simple_chat.connect(unix="/tmp/chat", username="ann", tls=trusting())


# Failures

FailingServer = Callable[[], AbstractAsyncContextManager[Address]]


@contextlib.asynccontextmanager
async def alerting(context: ssl.SSLContext) -> AsyncIterator[Address]:
    """Run a server that sends an alert when the handshake fails."""
    with alerting_server(context) as address:
        yield address


async def send_hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HELLO)
    await reader.read()


async def close_in_handshake(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read(1)


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(1)
    linger = b"\1\0\0\0\0\0\0\0"
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


async def stay_silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


def client_cert_context(version: ssl.TLSVersion = TLS_1_3) -> ssl.SSLContext:
    """Return the context of a server that requires a client certificate of `AUTHORITY`."""
    return make_server_context(AUTHORITY.issue_cert("127.0.0.1"), AUTHORITY, version)


def outdated_context() -> ssl.SSLContext:
    """Return the context of a server that supports TLS 1.0 and 1.1 only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context = make_server_context(AUTHORITY.issue_cert("127.0.0.1"), version=ssl.TLSVersion.TLSv1_1)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.set_ciphers("ALL:@SECLEVEL=0")
    return context


@pytest.mark.parametrize(
    ("server", "why"),
    [
        (
            lambda: serve_connections(accept_ann, make_server_context(STRANGER.issue_cert("127.0.0.1"))),
            "certificate verify failed: unable to get local issuer certificate",
        ),
        (
            lambda: serve_connections(accept_ann, trusted_context(not_after=YESTERDAY)),
            "certificate verify failed: certificate has expired",
        ),
        (
            lambda: serve_connections(accept_ann, trusted_context("127.0.0.2")),
            "certificate verify failed: IP address mismatch, certificate is not valid for '127.0.0.1'",
        ),
        (lambda: serve_connections(send_hello), "the peer does not speak TLS"),
        (lambda: serve_connections(close_in_handshake), "the server closed it in the TLS handshake"),
        (lambda: serve_connections(reset), "Connection reset by peer in the TLS handshake"),
        (
            lambda: serve_connections(accept_ann, client_cert_context()),
            f"connection lost: the server closed it {CLIENT_CERT_HINT}",
        ),
        (
            lambda: serve_connections(accept_ann, client_cert_context(TLS_1_2)),
            "the server closed it in the TLS handshake",
        ),
        (lambda: alerting(client_cert_context()), "the peer requires a certificate"),
        (
            lambda: alerting(client_cert_context(TLS_1_2)),
            "the peer refused the handshake, perhaps it requires a certificate",
        ),
        (lambda: alerting(outdated_context()), "no TLS version in common with the peer"),
    ],
    ids=(
        *(
            "stranger",
            "expired",
            "other host",
            "plain text",
            "hangs up",
            "resets",
            "demands",
            "demands (1.2)",
        ),
        *("alert", "alert (1.2)", "old"),
    ),
)
async def test_connect_error_has_the_reason_of_the_tls_failure(
    server: FailingServer, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with server() as address:
        assert await connect_failure(address, trusting()) == why
    caplog.clear()  # of warnings of the event loop about its server side


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
async def test_rejected_client_certificate_is_reported(version: ssl.TLSVersion) -> None:
    async with alerting(client_cert_context(version)) as address:
        assert await connect_failure(address, trusting(STRANGER)) == "the peer rejected the certificate"


async def test_host_name_mismatch_is_reported() -> None:
    async with serve_connections(accept_ann, trusted_context()) as (_, port):
        with pytest.raises(
            ConnectError,
            match=r": certificate verify failed: Hostname mismatch, .* not valid for 'localhost'$",
        ):
            await join_and_leave(("localhost", port), trusting())


@pytest.mark.parametrize(
    ("tls", "why"),
    [(trusting(), "no answer"), (None, "no answer (perhaps it requires TLS)")],
    ids=["tls", "plain"],
)
async def test_silent_server_is_reported(
    tls: ssl.SSLContext | None, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "_HELLO_TIMEOUT", 0.05)
    async with serve_connections(stay_silent) as address:
        assert await connect_failure(address, tls) == why


async def test_silent_server_over_tls_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        connection_module, "_HELLO_TIMEOUT", 0.5
    )  # enough for a handshake, and the reason is the same without
    async with serve_connections(stay_silent, trusted_context()) as address:
        assert await connect_failure(address, trusting()) == "no answer"


async def test_tls_server_without_tls_option_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "_HELLO_TIMEOUT", 0.05)
    async with serve_connections(accept_ann, trusted_context()) as address:
        assert await connect_failure(address, None) == "no answer (perhaps it requires TLS)"


async def close_at_once(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    """Close without reading."""


async def test_server_that_closes_a_plain_text_connection_is_reported() -> None:
    async with serve_connections(close_at_once) as address:
        why = await connect_failure(address, None)
    assert why == "connection lost: the server closed it (perhaps it requires TLS)"


async def test_nothing_is_sent_to_a_server_before_it_is_verified() -> None:
    received: asyncio.Queue[bytes] = asyncio.Queue()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HELLO)
        await received.put(await reader.read())

    async with asyncio.timeout(DEADLINE), serve_connections(listen) as address:
        with pytest.raises(ConnectError):
            async with simple_chat.connect(*address, username="ann", password="s3cret", tls=trusting()):
                pass
        data = await received.get()
    assert data[:1] == b"\x16"  # a handshake, and never plain text instead
    assert b"s3cret" not in data
    assert b"JOIN" not in data


async def test_cancelled_handshake_closes_the_connection() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def wait(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        started.set()
        with contextlib.suppress(OSError):
            await reader.read()
        ended.set()

    async with asyncio.timeout(DEADLINE), serve_connections(wait) as address:
        entering = asyncio.create_task(join_and_leave(address, trusting()))
        await started.wait()
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        await ended.wait()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), "in the middle of TLS"),
        (ssl.SSLError(1, "a message of a future version"), "TLS failed: unknown reason"),
    ],
)
def test_tls_error_without_a_reason_is_described(error: ssl.SSLError, words: str) -> None:
    assert words in describe_error(error)


# Files


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PEM files and others, in the working directory."""
    monkeypatch.chdir(tmp_path)
    leaf = AUTHORITY.issue_cert("ann@example.org")
    AUTHORITY.cert_pem.write_to_path("ca.pem")
    leaf.cert_chain_pems[0].write_to_path("cert.pem")
    leaf.private_key_pem.write_to_path("key.pem")
    leaf.private_key_and_cert_chain_pem.write_to_path("both.pem")
    AUTHORITY.issue_cert("ben@example.org").private_key_pem.write_to_path("other.pem")
    Path("empty").touch()
    Path("text").write_text("hello\n")
    Path("broken.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    Path("encrypted.pem").write_bytes(encrypt_key(leaf.private_key_pem.bytes()))


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(("certificate", "key"), [(None, None), ("cert.pem", "key.pem"), ("both.pem", None)])
def test_client_context_verifies_the_server(certificate: str | None, key: str | None) -> None:
    context = client_context("ca.pem", certificate, key)
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version == TLS_1_2
    assert len(context.get_ca_certs()) == 1  # and none of the system


def test_client_context_trusts_the_cas_of_the_system_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    AUTHORITY.cert_pem.write_to_path(tmp_path / "system.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert len(client_context().get_ca_certs()) == 1
    assert client_context().verify_mode == ssl.CERT_REQUIRED


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("missing", "No such file or directory"),
        (".", "Is a directory"),
        ("", "No such file or directory"),
        ("empty", "there is no certificate in it"),
        ("text", "there is no certificate in it"),
        ("key.pem", "there is no certificate in it"),
        ("broken.pem", "there is no certificate in it"),
    ],
)
def test_unusable_ca_file_is_a_config_error(path: str, why: str) -> None:
    with pytest.raises(ConfigError) as failed:
        client_context(path)
    assert str(failed.value) == f"can't use {path}: {why}"


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("certificate", "key", "blamed", "why"),
    [
        ("missing", None, "missing", "No such file or directory"),
        ("missing", "key.pem", "missing", "No such file or directory"),
        ("cert.pem", "missing", "missing", "No such file or directory"),
        (".", None, ".", "Is a directory"),
        ("cert.pem", ".", ".", "Is a directory"),
        ("text", "key.pem", "text", "there is no certificate in it"),
        ("broken.pem", "key.pem", "broken.pem", "there is no certificate in it"),
        ("key.pem", None, "key.pem", "there is no certificate in it"),
        ("key.pem", "cert.pem", "key.pem", "there is no certificate in it"),
        ("cert.pem", None, "cert.pem", "there is no private key in it"),
        ("cert.pem", "text", "text", "there is no private key in it"),
        ("cert.pem", "other.pem", "other.pem", "the key in it does not match the certificate in cert.pem"),
        (
            *("cert.pem", "encrypted.pem", "encrypted.pem"),
            "the key in it is encrypted, store it without a passphrase",
        ),
    ],
)
def test_unusable_certificate_is_a_config_error(
    certificate: str, key: str | None, blamed: str, why: str
) -> None:
    with pytest.raises(ConfigError) as failed:
        client_context("ca.pem", certificate, key)
    assert str(failed.value) == f"can't use {blamed}: {why}"
