"""One connection to a server: lines in both directions."""

import asyncio
import socket
import ssl
from dataclasses import dataclass

from simple_chat.address import show_address
from simple_chat.errors import (
    ConnectError,
    ConnectionLostError,
    JoinRefusedError,
    LineRefusedError,
    reason,
)
from simple_chat.framing import LineBuffer
from simple_chat.protocol import (
    Command,
    Err,
    Event,
    Hello,
    Info,
    Join,
    Ok,
    encode,
    parse_event,
)

_LONGEST_LINE = 4 * 1024 * 1024  # bytes; much more than a server's --max-line can make of a message
_READ_SIZE = 64 * 1024
_HELLO_PATIENCE = 10.0  # seconds that a server has to greet

# A server that is gone without a word is noticed after 60 + 4 * 15 seconds.
_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is.

    Attributes:
        host: name or address.
        port: TCP port.
        unix: path of a Unix socket, taken instead of host and port.
        tls: how to talk TLS to it; None for plain text.
    """

    host: str
    port: int
    unix: str | None = None
    tls: ssl.SSLContext | None = None

    def __str__(self) -> str:
        if self.unix is not None:
            return f"unix:{self.unix}"
        return show_address(self.host, self.port)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect.

        Raises:
            OSError: it can't be reached.
        """
        if self.unix is not None:
            return await asyncio.open_unix_connection(self.unix)
        reader, writer = await asyncio.open_connection(self.host, self.port, ssl=self.tls)
        _keep_alive(writer.get_extra_info("socket"))
        return reader, writer


class Link:
    """A connection whose server has said HELLO. `open_link` makes one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._lines = LineBuffer(_LONGEST_LINE)

    async def next_event(self) -> Event:
        """Wait for what the server says next.

        Raises:
            ConnectionLostError: it will say nothing more.
        """
        while True:
            try:
                while (line := self._lines.next_line()) is not None:
                    if (event := parse_event(line)) is not None:
                        return event
            except LineRefusedError as error:
                return Info(f"a line of the server could not be read ({error.code})")
            self._lines.feed(await self._read())

    async def _read(self) -> bytes:
        try:
            data = await self._reader.read(_READ_SIZE)
        except OSError as error:
            raise ConnectionLostError(f"connection lost: {reason(error)}") from error
        if not data:
            raise ConnectionLostError("connection lost: the server closed it")
        return data

    async def send(self, *commands: Command) -> None:
        """Say something, and wait while the server reads too slowly.

        Raises:
            ConnectionLostError: it can't be said any more.
        """
        try:
            self._writer.write(encode(*commands))
            await self._writer.drain()
        except (
            OSError,
            RuntimeError,
        ) as error:  # RuntimeError: uvloop's word for a connection that was closed
            raise ConnectionLostError(f"connection lost: {reason(error)}") from error

    async def be_greeted(self) -> None:
        """Wait for the server's HELLO.

        Raises:
            ConnectionLostError: something else comes, or nothing more.
        """
        match await self.next_event():
            case Hello():
                return
            case Err(_, advice):
                raise ConnectionLostError(advice)
            case _:
                raise ConnectionLostError("what answers there is no simple_chat server")

    async def join(self, name: str) -> None:
        """Enter the room.

        Raises:
            JoinRefusedError: the server does not let us in.
            ConnectionLostError: the connection broke.
        """
        await self.send(Join(name))
        while True:
            match await self.next_event():
                case Err(code, advice):
                    raise JoinRefusedError(code, advice)
                case Ok("JOIN"):
                    return

    def abort(self) -> None:
        """Cut the connection."""
        self._writer.transport.abort()


async def open_link(address: Address) -> Link:
    """Connect to a server and wait for its greeting.

    Raises:
        ConnectError: there is no server, or none that speaks this protocol.
    """
    try:
        async with asyncio.timeout(_HELLO_PATIENCE):
            link = Link(*await address.open())
            try:
                await link.be_greeted()
            except BaseException:
                link.abort()
                raise
            return link
    except TimeoutError as error:
        raise ConnectError(f"can't connect to {address}: no answer") from error
    except (OSError, OverflowError, ValueError, ConnectionLostError) as error:
        raise ConnectError(f"can't connect to {address}: {reason(error)}") from error


def _keep_alive(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        if hasattr(socket, option):  # not on every system
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
