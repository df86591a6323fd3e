"""A raw peer: it sends any bytes, sees every line that comes back, and can end in any way.

Every wait has a deadline. Lines are read without their LF. A CR before it and bytes that are not UTF-8 are
kept: there are tests that look for them.
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
"""Seconds that anything may take before the test is failed. Nothing waits this long when all is well."""

_tokens = count(1)


class Peer(asyncio.Protocol):
    """One connection to a server; `connect` makes it.

    Attributes:
        sent: every line that `send` was given.
        received: every byte so far.
        closed: whether the connection has ended, on whichever side.
    """

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.received = bytearray()
        self.closed = False
        self._at = 0  # where in `received` the next line begins
        self._news = asyncio.Event()

    # What the event loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the signature is asyncio's
        self.closed = True
        self._news.set()

    # Sending

    def send(self, *lines: str) -> None:
        """Send lines, in one packet if they fit."""
        self.sent += lines
        self.write("".join(f"{line}\n" for line in lines).encode())

    def write(self, data: bytes) -> None:
        """Send bytes as they are; `sent` knows nothing of them."""
        self.transport.write(data)

    # Reading

    async def line(self) -> str:
        """Wait for the next line."""
        return (await self._read_through(b"\n", self._at))[0]

    async def lines(self, number: int) -> list[str]:
        """Wait for some lines."""
        return [await self.line() for _ in range(number)]

    async def until(self, line: str) -> list[str]:
        """Wait for a line, which is not the first of all, and return those before it."""
        return (await self._read_through(f"\n{line}\n".encode(), max(self._at - 1, 0)))[:-1]

    async def barrier(self) -> list[str]:
        """Wait until the server has done everything that was sent; return the lines up to there."""
        token = f"barrier-{next(_tokens)}"
        self.send(f"PING {token}")
        return await self.until(f"PONG {token}")

    async def ask(self, *lines: str) -> list[str]:
        """Send lines, and return what came until they were carried out."""
        self.send(*lines)
        return await self.barrier()

    async def rest(self) -> list[str]:
        """Wait for the end, and return the lines that were not read yet."""
        await self.wait_closed()
        *lines, torn = self._take(len(self.received)).split("\n")
        assert torn == "", f"the last line has no end: {torn!r}"
        return lines

    def pause(self) -> None:
        """Read no more: what the server sends stays in the kernel, and then with the server."""
        self.transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        self.transport.resume_reading()

    # Ending

    def half_close(self) -> None:
        """Send nothing more, and go on reading."""
        self.transport.write_eof()

    async def close(self) -> None:
        """Close both sides, as a program does that ends."""
        self.transport.close()
        await self.wait_closed()

    async def reset(self) -> None:
        """Cut the connection: the server sees a reset."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()
        await self.wait_closed()

    async def wait_closed(self) -> None:
        """Wait for the end, from whichever side it comes."""
        async with asyncio.timeout(DEADLINE):
            while not self.closed:
                await self._more()

    async def _read_through(self, mark: bytes, searched: int) -> list[str]:
        """Wait for a mark that ends a line; return the lines not read before, through the mark's."""
        async with asyncio.timeout(DEADLINE):
            while (found := self.received.find(mark, searched)) < 0:
                assert not self.closed, f"the connection ended while waiting for {mark!r}"
                searched = max(searched, len(self.received) - len(mark))
                await self._more()
        return self._take(found + len(mark)).removesuffix("\n").split("\n")

    async def _more(self) -> None:
        self._news.clear()
        await self._news.wait()

    def _take(self, end: int) -> str:
        text = self.received[self._at : end].decode(errors="surrogateescape")
        self._at = end
        return text


class TlsPeer(Peer):
    """A peer that talks TLS, and does so itself: event loops let nobody end it in any way.

    Args:
        context: how.

    Attributes:
        tls: what was agreed on.
        got_close_notify: whether the server ended TLS in order, so that nothing can be missing.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self.got_close_notify = False
        self._secure = False
        self._failure: ssl.SSLError | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._go_on()

    def data_received(self, data: bytes) -> None:
        self._incoming.write(data)
        self._go_on()

    def _go_on(self) -> None:
        try:
            with contextlib.suppress(ssl.SSLWantReadError):
                if not self._secure:
                    self.tls.do_handshake()
                    self._secure = True
                    self._news.set()
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
        """Wait for the end of the handshake.

        Raises:
            ConnectionError: it failed.
        """
        async with asyncio.timeout(DEADLINE):
            while not self._secure:
                if self.closed:
                    raise ConnectionError("no handshake") from self._failure
                await self._more()

    def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self.tls.write(rest) :]
        self._flush()

    def half_close(self) -> None:
        """Say in order that nothing more is sent: that ends the server's side too."""
        with contextlib.suppress(ssl.SSLError):  # it wants the server to have said the same
            self.tls.unwrap()
        self._flush()

    async def close(self) -> None:
        """End in order, and close without waiting for the server to do so."""
        if self._secure and not self.closed:
            self.half_close()
        await super().close()

    async def close_without_notify(self) -> None:
        """Close the connection without a word of TLS, as a program does that dies."""
        await super().close()


class BlockingPeer:
    """A peer for tests without an event loop, of a server in another process.

    Args:
        sock: its socket, connected; plain or TLS.
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
        """Wait for the next line; empty at the end."""
        while b"\n" not in self._received:
            if not (data := self.sock.recv(65_536)):
                return ""
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return line.decode()

    def ask(self, *lines: str) -> list[str]:
        """Send lines, and return what was received until they were carried out."""
        token = f"barrier-{next(_tokens)}"
        self.send(*lines, f"PING {token}")
        return list(iter(self.line, f"PONG {token}"))

    def received_nothing(self) -> bool:
        """Return whether nothing waits to be read."""
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
    """Connect to a TCP address or to the path of a Unix socket.

    Args:
        address: where.
        receive_buffer: bytes that the kernel may take for a peer that does not read, roughly.
        tls: how to talk TLS, to a server that is called localhost; None for plain text.

    Raises:
        ConnectionError: nobody is there, or the TLS handshake failed.
    """
    loop = asyncio.get_running_loop()
    unix = isinstance(address, str)
    # asyncio turns Nagle's algorithm off only where it is told that it is TCP.
    sock = socket.socket(socket.AF_UNIX) if unix else socket.socket(proto=socket.IPPROTO_TCP)
    try:
        sock.settimeout(0)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        async with asyncio.timeout(DEADLINE):
            await loop.sock_connect(sock, address)
            opening = loop.create_unix_connection if unix else loop.create_connection
            make = Peer if tls is None else partial(TlsPeer, tls)
            _, peer = await opening(make, sock=sock)
    except BaseException:
        sock.close()
        raise
    if isinstance(peer, TlsPeer):
        await peer.wait_handshake()
    return peer
