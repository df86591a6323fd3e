"""TLS: who is trusted and who is not, and that every failure is told in one line of plain words."""

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
    encrypted,
    outspoken_server,
    relay,
    server_context,
    serving,
)

AUTHORITY = trustme.CA()
STRANGER = trustme.CA()
"""An authority that nobody here trusts."""

PERHAPS = "(perhaps it requires a client certificate)"
YESTERDAY = datetime.now(UTC) - timedelta(days=1)

HELLO = b"HELLO simple_chat/1 hi\n"
TLS_1_2 = ssl.TLSVersion.TLSv1_2
TLS_1_3 = ssl.TLSVersion.TLSv1_3


def trusting(shows: trustme.CA | None = None) -> ssl.SSLContext:
    """What a client needs that trusts the authority and shows a certificate of another, if of any."""
    context = client_context()
    AUTHORITY.configure_trust(context)
    if shows is not None:
        shows.issue_cert("ann@example.org").configure_cert(context)
    return context


def own(name: str = "127.0.0.1", not_after: datetime | None = None) -> ssl.SSLContext:
    """What a server needs that has a certificate of the authority."""
    return server_context(AUTHORITY.issue_cert(name, not_after=not_after))


async def enter(address: Address, tls: ssl.SSLContext | None) -> None:
    """Enter a room for no longer than it takes."""
    async with asyncio.timeout(DEADLINE), simple_chat.connect(*address, username="ann", tls=tls):
        pass


async def why_not(address: Address, tls: ssl.SSLContext | None) -> str:
    """Why a room can't be entered, in the words behind the address."""
    with pytest.raises(ConnectError) as failed:
        await enter(address, tls)
    where, why = str(failed.value).split(": ", 1)
    assert where == f"can't connect to 127.0.0.1:{address[1]}"
    assert not set("[]_\n") & set(why), why  # as there are in the words of OpenSSL and of Python
    return why


# Who may talk


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Let ann in, and part from her in order."""
    writer.write(HELLO + b"OK JOIN ann\n")
    await reader.readuntil(b"QUIT\n")
    writer.write(b"BYE quit\n")


async def test_room_is_entered_by_tls() -> None:
    async with run_server_in_loop() as home, asyncio.timeout(DEADLINE):
        ben = await home.join("ben")
        async with (
            serving(relay(home.server.address), own()) as address,
            simple_chat.connect(*address, username="ann", tls=trusting()) as ann,
        ):
            await ann.send("hello")
            assert await ann.who() == ["ben", "ann"]
            ben.send("MSG hi")
            assert await anext(ann) == Message("ben", "hi")
        assert await ben.lines(3) == [str(Joined("ann")), str(Message("ann", "hello")), str(Left("ann"))]


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
async def test_certificate_is_shown_to_a_server_that_demands_one(version: ssl.TLSVersion) -> None:
    context = server_context(AUTHORITY.issue_cert("127.0.0.1"), AUTHORITY, version)
    async with serving(greet, context) as address:
        await enter(address, trusting(AUTHORITY))


async def test_chat_comes_back_by_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda _low, _high: 0.0)
    visits: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def let_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HELLO + b"OK JOIN ann\nMSG ben hi\n")
        await visits.put(writer)
        await reader.read()

    async with (
        asyncio.timeout(DEADLINE),
        serving(let_in, own()) as address,
        simple_chat.connect(*address, username="ann", tls=trusting(), reconnect=True) as ann,
    ):
        for _ in range(2):
            assert await anext(ann) == Message("ben", "hi")
            (await visits.get()).close()
            assert isinstance(await anext(ann), Disconnected)
            assert await anext(ann) == Reconnected()
        (await visits.get()).close()


async def test_tls_that_breaks_off_is_a_connection_that_is_lost() -> None:
    async def let_in(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HELLO + b"OK JOIN ann\nMSG ben hi\n")
        await writer.drain()
        writer.transport.abort()

    async with (
        asyncio.timeout(DEADLINE),
        serving(let_in, own()) as address,
        simple_chat.connect(*address, username="ann", tls=trusting()) as ann,
    ):
        assert await anext(ann) == Message("ben", "hi")
        with pytest.raises(ConnectionLostError, match=r"^connection lost: [\w ]+$"):
            await anext(ann)


def test_tls_is_not_for_unix_sockets() -> None:
    with pytest.raises(ValueError, match="Unix socket"):
        simple_chat.connect(unix="/tmp/chat", username="ann", tls=trusting())


# What is said of who may not

MayNotTalk = Callable[[], AbstractAsyncContextManager[Address]]


@contextlib.asynccontextmanager
async def outspoken(context: ssl.SSLContext) -> AsyncIterator[Address]:
    """A server that says by an alert why it refuses."""
    with outspoken_server(context) as address:
        yield address


async def say_hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HELLO)
    await reader.read()


async def hang_up(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read(1)


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(1)
    linger = b"\1\0\0\0\0\0\0\0"
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


async def be_silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


def demanding(version: ssl.TLSVersion = TLS_1_3) -> ssl.SSLContext:
    """What a server needs that demands a certificate of the authority."""
    return server_context(AUTHORITY.issue_cert("127.0.0.1"), AUTHORITY, version)


def old() -> ssl.SSLContext:
    """What a server needs that knows only a TLS that is too old."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context = server_context(AUTHORITY.issue_cert("127.0.0.1"), version=ssl.TLSVersion.TLSv1_1)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.set_ciphers("ALL:@SECLEVEL=0")
    return context


@pytest.mark.parametrize(
    ("server", "why"),
    [
        (
            lambda: serving(greet, server_context(STRANGER.issue_cert("127.0.0.1"))),
            "certificate verify failed: unable to get local issuer certificate",
        ),
        (
            lambda: serving(greet, own(not_after=YESTERDAY)),
            "certificate verify failed: certificate has expired",
        ),
        (
            lambda: serving(greet, own("127.0.0.2")),
            "certificate verify failed: IP address mismatch, certificate is not valid for '127.0.0.1'",
        ),
        (lambda: serving(say_hello), "the peer does not speak TLS"),
        (lambda: serving(hang_up), "the server closed it in the TLS handshake"),
        (lambda: serving(reset), "Connection reset by peer in the TLS handshake"),
        (
            lambda: serving(greet, demanding()),
            f"connection lost: the server closed it {PERHAPS}",
        ),
        (lambda: serving(greet, demanding(TLS_1_2)), "the server closed it in the TLS handshake"),
        (lambda: outspoken(demanding()), "the peer requires a certificate"),
        (
            lambda: outspoken(demanding(TLS_1_2)),
            "the peer refused the handshake, perhaps it requires a certificate",
        ),
        (lambda: outspoken(old()), "no TLS version in common with the peer"),
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
async def test_server_that_cannot_be_talked_to(
    server: MayNotTalk, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with server() as address:
        assert await why_not(address, trusting()) == why
    caplog.clear()  # the loops of some servers here complain


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3])
async def test_certificate_that_the_server_does_not_accept(version: ssl.TLSVersion) -> None:
    async with outspoken(demanding(version)) as address:
        assert await why_not(address, trusting(STRANGER)) == "the peer rejected the certificate"


async def test_host_name_that_the_certificate_is_not_for() -> None:
    async with serving(greet, own()) as (_, port):
        with pytest.raises(
            ConnectError,
            match=r": certificate verify failed: Hostname mismatch, .* not valid for 'localhost'$",
        ):
            await enter(("localhost", port), trusting())


@pytest.mark.parametrize(
    ("tls", "why"),
    [(trusting(), "no answer"), (None, "no answer (perhaps it requires TLS)")],
    ids=["tls", "plain"],
)
async def test_server_that_says_nothing(
    tls: ssl.SSLContext | None, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "_HELLO_TIMEOUT", 0.05)
    async with serving(be_silent) as address:
        assert await why_not(address, tls) == why


async def test_server_that_says_nothing_by_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        connection_module, "_HELLO_TIMEOUT", 0.5
    )  # enough for a handshake; if not, all is said too
    async with serving(be_silent, own()) as address:
        assert await why_not(address, trusting()) == "no answer"


async def test_server_that_talks_tls_to_who_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "_HELLO_TIMEOUT", 0.05)
    async with serving(greet, own()) as address:
        assert await why_not(address, None) == "no answer (perhaps it requires TLS)"


async def slam(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    """Hang up at once."""


async def test_server_that_hangs_up_on_who_talks_no_tls() -> None:
    async with serving(slam) as address:
        why = await why_not(address, None)
    assert why == "connection lost: the server closed it (perhaps it requires TLS)"


async def test_nothing_is_told_to_a_server_that_is_not_trusted() -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HELLO)
        await heard.put(await reader.read())

    async with asyncio.timeout(DEADLINE), serving(listen) as address:
        with pytest.raises(ConnectError):
            async with simple_chat.connect(*address, username="ann", password="s3cret", tls=trusting()):
                pass
        said = await heard.get()
    assert said[:1] == b"\x16"  # a handshake, and never plain text instead
    assert b"s3cret" not in said
    assert b"JOIN" not in said


async def test_handshake_can_be_cancelled_and_leaves_no_connection() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def wait(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        begun.set()
        with contextlib.suppress(OSError):
            await reader.read()
        ended.set()

    async with asyncio.timeout(DEADLINE), serving(wait) as address:
        entering = asyncio.create_task(enter(address, trusting()))
        await begun.wait()
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        await ended.wait()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), "in the middle of TLS"),
        (ssl.SSLError(1, "what a future version says"), "TLS failed: unknown reason"),
    ],
)
def test_error_that_has_no_reason_has_words_all_the_same(error: ssl.SSLError, words: str) -> None:
    assert words in describe_error(error)


# Files


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of files that may be meant, to be named without it."""
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
    Path("encrypted.pem").write_bytes(encrypted(leaf.private_key_pem.bytes()))


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(("certificate", "key"), [(None, None), ("cert.pem", "key.pem"), ("both.pem", None)])
def test_context_verifies_whom_it_talks_to(certificate: str | None, key: str | None) -> None:
    context = client_context("ca.pem", certificate, key)
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version == TLS_1_2
    assert len(context.get_ca_certs()) == 1  # this authority instead of those that the system trusts


def test_context_trusts_whom_the_system_trusts_if_not_told_otherwise(
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
def test_file_of_authorities_that_cannot_be_used(path: str, why: str) -> None:
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
def test_certificate_that_cannot_be_used(certificate: str, key: str | None, blamed: str, why: str) -> None:
    with pytest.raises(ConfigError) as failed:
        client_context("ca.pem", certificate, key)
    assert str(failed.value) == f"can't use {blamed}: {why}"
