"""A raw peer: sends arbitrary bytes, records everything received, and can close in any way.

Every wait has a deadline. Lines are returned without their LF. A CR before it and invalid UTF-8 are kept,
because tests check for them.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from functools import partial
from itertools import count
from typing import Self, cast

DEADLINE = 20.0
"""Deadline of every wait, in seconds. Never reached in a passing test."""

_tokens = count(1)


class Peer(asyncio.Protocol):
    """One connection to a server; use `connect` to open it.

    Attributes:
        sent: all lines passed to `send`.
        received: all bytes received so far.
        closed: whether the connection is closed, by either side.
    """

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.received = bytearray()
        self.closed = False
        self._at = 0  # offset of the next line in `received`
        self._changed = asyncio.Event()

    # Callbacks of the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the signature is asyncio's
        self.closed = True
        self._changed.set()

    # Sending

    def send(self, *lines: str) -> None:
        """Send lines, in one packet if they fit."""
        self.sent += lines
        self.write("".join(f"{line}\n" for line in lines).encode())

    def write(self, data: bytes) -> None:
        """Send raw bytes, without recording them in `sent`."""
        self.transport.write(data)

    # Reading

    async def line(self) -> str:
        """Wait for the next line."""
        return (await self._read_through(b"\n", self._at))[0]

    async def lines(self, number: int) -> list[str]:
        """Wait for a number of lines."""
        return [await self.line() for _ in range(number)]

    async def until(self, line: str) -> list[str]:
        """Wait for a line, which is not the first of the connection; return the unread lines before it."""
        return (await self._read_through(f"\n{line}\n".encode(), max(self._at - 1, 0)))[:-1]

    async def barrier(self) -> list[str]:
        """Wait until the server has processed everything sent; return the lines received until then."""
        token = f"barrier-{next(_tokens)}"
        self.send(f"PING {token}")
        return await self.until(f"PONG {token}")

    async def ask(self, *lines: str) -> list[str]:
        """Send lines; return the lines received until the server has processed them."""
        self.send(*lines)
        return await self.barrier()

    async def rest(self) -> list[str]:
        """Wait until the connection is closed; return the unread lines."""
        await self.wait_closed()
        *lines, incomplete = self._consume(len(self.received)).split("\n")
        assert incomplete == "", f"the last line has no end: {incomplete!r}"
        return lines

    def pause(self) -> None:
        """Pause reading: output fills the kernel's buffers, then the server's."""
        self.transport.pause_reading()

    def resume(self) -> None:
        """Resume reading."""
        self.transport.resume_reading()

    # Closing

    def half_close(self) -> None:
        """Send EOF and continue reading."""
        self.transport.write_eof()

    async def close(self) -> None:
        """Close the connection and wait until it is closed."""
        self.transport.close()
        await self.wait_closed()

    async def reset(self) -> None:
        """Reset the connection (RST)."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()
        await self.wait_closed()

    async def wait_closed(self) -> None:
        """Wait until the connection is closed, by either side."""
        async with asyncio.timeout(DEADLINE):
            while not self.closed:
                await self._wait_for_change()

    async def _read_through(self, marker: bytes, search_from: int) -> list[str]:
        """Wait for a marker that ends a line; return the unread lines up to and including the marker's."""
        async with asyncio.timeout(DEADLINE):
            while (found := self.received.find(marker, search_from)) < 0:
                assert not self.closed, f"the connection ended while waiting for {marker!r}"
                search_from = max(search_from, len(self.received) - len(marker))
                await self._wait_for_change()
        return self._consume(found + len(marker)).removesuffix("\n").split("\n")

    async def _wait_for_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _consume(self, end: int) -> str:
        text = self.received[self._at : end].decode(errors="surrogateescape")
        self._at = end
        return text


class TlsPeer(Peer):
    """A TLS peer with its own TLS layer: the event loop's allows no control over how TLS is closed.

    Args:
        context: the client's TLS context.

    Attributes:
        tls: the TLS session.
        got_close_notify: whether the server sent close_notify, which rules out truncation.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self.got_close_notify = False
        self._handshake_done = False
        self._failure: ssl.SSLError | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._advance_tls()

    def data_received(self, data: bytes) -> None:
        self._incoming.write(data)
        self._advance_tls()

    def _advance_tls(self) -> None:
        try:
            with contextlib.suppress(ssl.SSLWantReadError):
                if not self._handshake_done:
                    self.tls.do_handshake()
                    self._handshake_done = True
                    self._changed.set()
                while data := self.tls.read(65536):
                    super().data_received(data)
                self.got_close_notify = True
        except ssl.SSLError as error:
            self._failure = error
            self.transport.close()
        self._flush()
        if self.got_close_notify:
            self.half_close()
            self.transport.close()

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self.transport.write(data)

    async def wait_handshake(self) -> None:
        """Wait until the handshake is complete.

        Raises:
            ConnectionError: the handshake failed.
        """
        async with asyncio.timeout(DEADLINE):
            while not self._handshake_done:
                if self.closed:
                    raise ConnectionError("TLS handshake failed") from self._failure
                await self._wait_for_change()

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self.tls.write(rest) :]
        self._flush()

    def half_close(self) -> None:
        """Send close_notify; the server closes its side in response."""
        with contextlib.suppress(ssl.SSLError):  # raised until the server's close_notify has arrived
            self.tls.unwrap()
        self._flush()

    async def close(self) -> None:
        """Send close_notify and close without waiting for the server's."""
        if self._handshake_done and not self.closed:
            self.half_close()
        await super().close()

    async def close_without_notify(self) -> None:
        """Close the TCP connection without close_notify, as a crashed client does."""
        await super().close()


class BlockingPeer:
    """A blocking peer, for tests without an event loop and with the server in another process.

    Args:
        sock: a connected socket, plain or TLS.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(DEADLINE)
        self.sock = sock
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, *lines: str) -> None:
        self.sock.sendall("".join(f"{line}\n" for line in lines).encode())

    def line(self) -> str:
        """Wait for the next line; return an empty string at EOF."""
        while b"\n" not in self._received:
            if not (data := self.sock.recv(65_536)):
                return ""
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return line.decode()

    def ask(self, *lines: str) -> list[str]:
        """Send lines; return the lines received until the server has processed them."""
        token = f"barrier-{next(_tokens)}"
        self.send(*lines, f"PING {token}")
        return list(iter(self.line, f"PONG {token}"))

    def received_nothing(self) -> bool:
        """Return whether no bytes are waiting to be read."""
        self.sock.settimeout(0)
        try:
            return self.sock.recv(1) is None
        except BlockingIOError:
            return True
        finally:
            self.sock.settimeout(DEADLINE)


async def connect(
    address: tuple[str, int] | str, *, receive_buffer: int | None = None, tls: ssl.SSLContext | None = None
) -> Peer:
    """Connect to a TCP address or a Unix socket path.

    Args:
        address: host and port, or path.
        receive_buffer: approximate size of the kernel's receive buffer, in bytes.
        tls: the TLS context, for a server named localhost; None for plain text.

    Raises:
        ConnectionError: the connection was refused, or the TLS handshake failed.
    """
    loop = asyncio.get_running_loop()
    unix = isinstance(address, str)
    # asyncio disables Nagle's algorithm only if the socket's protocol is TCP.
    sock = socket.socket(socket.AF_UNIX) if unix else socket.socket(proto=socket.IPPROTO_TCP)
    try:
        sock.settimeout(0)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        async with asyncio.timeout(DEADLINE):
            await loop.sock_connect(sock, address)
            create = loop.create_unix_connection if unix else loop.create_connection
            factory = Peer if tls is None else partial(TlsPeer, tls)
            _, peer = await create(factory, sock=sock)
    except BaseException:
        sock.close()
        raise
    if isinstance(peer, TlsPeer):
        await peer.wait_handshake()
    return peer
