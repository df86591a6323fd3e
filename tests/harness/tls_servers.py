"""Servers in the test's own hands, mostly such as talk TLS."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import trustme
from cryptography.hazmat.primitives import serialization

DEADLINE = 30.0
"""Seconds that anything may take before the test is failed. Nothing waits this long when all is well."""

Address = tuple[str, int]
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def server_context(
    certificate: trustme.LeafCert,
    demands: trustme.CA | None = None,
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> ssl.SSLContext:
    """Make what a server needs to talk TLS.

    Args:
        certificate: its own.
        demands: of whom its clients must have a certificate.
        version: the newest that it knows.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = version
    certificate.configure_cert(context)
    if demands is not None:
        demands.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@contextlib.asynccontextmanager
async def serving(answer: Answer, context: ssl.SSLContext | None = None) -> AsyncIterator[Address]:
    """Answer whoever connects, and leave no connection behind.

    Args:
        answer: what is done with a connection, which ends with it.
        context: how to talk TLS; None for plain text.
    """
    sockets: list[socket.socket] = []
    answering: set[asyncio.Task[None]] = set()

    async def accept() -> None:
        while True:
            sock, _ = await asyncio.get_running_loop().sock_accept(listener)
            sockets.append(sock)
            answering.add(asyncio.create_task(_serve(answer, sock, context)))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        accepting = asyncio.create_task(accept())
        try:
            yield listener.getsockname()
        finally:
            accepting.cancel()
            await asyncio.wait({accepting})
    await asyncio.gather(*answering)
    async with asyncio.timeout(DEADLINE):
        while any(sock.fileno() != -1 for sock in sockets):  # event loops close a turn or two later
            await _turn()


async def _turn() -> None:
    await asyncio.sleep(0)


async def _serve(answer: Answer, sock: socket.socket, context: ssl.SSLContext | None) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    try:
        async with asyncio.timeout(DEADLINE):
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock, ssl=context)
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            try:
                await answer(reader, writer)
            finally:
                writer.close()
                await writer.wait_closed()
    except (OSError, EOFError):
        pass  # it is gone, or never was what it should be


def relay(server: Address) -> Answer:
    """Pass on everything to a server and back, for as long as both sides are there."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(*server)
        await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))

    return answer


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@contextlib.contextmanager
def outspoken_server(context: ssl.SSLContext) -> Iterator[Address]:
    """Take one connection as other programs do: a client that is refused is told why, by an alert.

    The event loops close such a connection before the alert was sent.
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


def encrypted(key: bytes) -> bytes:
    """A private key with a passphrase."""
    return serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"s3cret"),
    )
