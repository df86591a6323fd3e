"""Servers whose part the test plays, mostly over TLS."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import trustme
from cryptography.hazmat.primitives import serialization

DEADLINE = 30.0
"""Seconds that anything may take before the test fails. Nothing waits this long when all is well."""

Address = tuple[str, int]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def make_server_context(
    certificate: trustme.LeafCert,
    client_ca: trustme.CA | None = None,
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> ssl.SSLContext:
    """Return the TLS context of a server.

    Args:
        certificate: the server's.
        client_ca: whose certificates it requires of clients; None to require none.
        version: the newest that it supports.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = version
    certificate.configure_cert(context)
    if client_ca is not None:
        client_ca.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@contextlib.asynccontextmanager
async def serve_connections(
    handler: Handler, context: ssl.SSLContext | None = None
) -> AsyncIterator[Address]:
    """Run a server in a block, at whose end all connections are closed.

    Args:
        handler: called with each connection, which is closed when it returns.
        context: for TLS; None for plain text.
    """
    sockets: list[socket.socket] = []
    handling: set[asyncio.Task[None]] = set()

    async def accept() -> None:
        while True:
            sock, _ = await asyncio.get_running_loop().sock_accept(listener)
            sockets.append(sock)
            handling.add(asyncio.create_task(_serve(handler, sock, context)))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        accepting = asyncio.create_task(accept())
        try:
            yield listener.getsockname()
        finally:
            accepting.cancel()
            await asyncio.wait({accepting})
    await asyncio.gather(*handling)
    async with asyncio.timeout(DEADLINE):
        while any(sock.fileno() != -1 for sock in sockets):  # event loops close sockets a turn or two later
            await _turn()


async def _turn() -> None:
    await asyncio.sleep(0)


async def _serve(handler: Handler, sock: socket.socket, context: ssl.SSLContext | None) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    try:
        async with asyncio.timeout(DEADLINE):
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock, ssl=context)
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            try:
                await handler(reader, writer)
            finally:
                writer.close()
                await writer.wait_closed()
    except (OSError, EOFError):
        pass  # the client disconnected, or its handshake failed


def forward_to(server: Address) -> Handler:
    """Return a handler that forwards data to a server and back until both sides are closed."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(*server)
        await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))

    return handle


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@contextlib.contextmanager
def alerting_server(context: ssl.SSLContext) -> Iterator[Address]:
    """Accept one connection, and send an alert if the handshake fails.

    The event loops close such a connection before they have sent the alert.
    """

    def shake_hands(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.settimeout(DEADLINE)
        with connection, contextlib.suppress(OSError):
            context.wrap_socket(connection, server_side=True).close()

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as thread:
        listener.settimeout(DEADLINE)
        done = thread.submit(shake_hands, listener)
        yield listener.getsockname()
        done.result()


def encrypt_key(key: bytes) -> bytes:
    """Encrypt a private key in PEM with a passphrase."""
    return serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"s3cret"),
    )
