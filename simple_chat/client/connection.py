"""One connection to a server: lines in both directions."""

import asyncio
import contextlib
import socket
import ssl
from dataclasses import dataclass

from simple_chat.address import format_address
from simple_chat.client.tls import explain
from simple_chat.core.framing import LineBuffer
from simple_chat.core.protocol import (
    Command,
    Err,
    Event,
    Hello,
    Info,
    Join,
    Ok,
    Pass,
    encode,
    parse_event,
)
from simple_chat.errors import (
    CommandError,
    ConnectError,
    ConnectionLostError,
    JoinRefusedError,
    describe_error,
)

_LONGEST_LINE = 4 * 1024 * 1024  # bytes; much more than a server's --max-line can make of a message
_READ_SIZE = 64 * 1024
_HELLO_PATIENCE = 10.0  # seconds that a server has to greet

# A server that is gone without a word is noticed after 60 + 4 * 15 seconds.
_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}


class Reader(asyncio.StreamReader):
    """Gives all that came before a failure, where asyncio's own throws away what was not read in time.

    Attributes:
        failure: how the connection ended, if not in order.
    """

    failure: BaseException | None = None

    def set_exception(self, exc: BaseException) -> None:
        """Take in a failure, which is the end of what can be read."""
        self.failure = exc
        self.feed_eof()


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is.

    Attributes:
        host: name or address.
        port: TCP port.
        unix: path of a Unix socket, taken instead of host and port.
        tls: how to talk TLS to it; None for plain text. On a Unix socket nobody does.
    """

    host: str
    port: int
    unix: str | None = None
    tls: ssl.SSLContext | None = None

    def __str__(self) -> str:
        if self.unix is not None:
            return f"unix:{self.unix}"
        return format_address(self.host, self.port)

    async def open(self) -> tuple[Reader, asyncio.StreamWriter]:
        """Connect.

        Raises:
            OSError: it can't be reached.
        """
        loop = asyncio.get_running_loop()
        reader = Reader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport: asyncio.Transport
        if self.unix is not None:
            transport, _ = await loop.create_unix_connection(lambda: protocol, self.unix)
        else:
            transport, _ = await loop.create_connection(lambda: protocol, self.host, self.port, ssl=self.tls)
            _keep_alive(transport.get_extra_info("socket"))
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


class Link:
    """A connection whose server has said HELLO. `open_link` makes one.

    Attributes:
        heard: whether the server has said anything yet.
    """

    def __init__(self, reader: Reader, writer: asyncio.StreamWriter) -> None:
        self.heard = False
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
            except CommandError as error:
                return Info(f"a line of the server could not be read ({error.code})")
            self._lines.feed(await self._read())

    async def _read(self) -> bytes:
        data = await self._reader.read(_READ_SIZE)
        if not data:
            failure = self._reader.failure
            raise ConnectionLostError(f"connection lost: {_why(failure)}") from failure
        self.heard = True
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
            raise ConnectionLostError(f"connection lost: {_why(self._reader.failure or error)}") from error

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

    async def join(self, name: str, password: str | None = None) -> None:
        """Enter the room.

        Args:
            name: to enter under.
            password: the server's; None if it has none.

        Raises:
            JoinRefusedError: the server does not let us in.
            ConnectionLostError: the connection broke.
        """
        if password is not None:
            await self._ask_for("PASS", Pass(password))
        await self._ask_for("JOIN", Join(name))

    async def _ask_for(self, verb: str, command: Command) -> None:
        """Say something that is answered OK or ERR."""
        with contextlib.suppress(ConnectionLostError):  # it may have said why before: what came is read first
            await self.send(command)
        while True:
            match await self.next_event():
                case Err(code, advice):
                    raise JoinRefusedError(code, advice)
                case Ok(answered) if answered == verb:
                    return

    def abort(self) -> None:
        """Cut the connection."""
        self._writer.transport.abort()


async def open_link(address: Address) -> Link:
    """Connect to a server and wait for its greeting.

    Raises:
        ConnectError: there is no server, or none that speaks this protocol.
    """
    link: Link | None = None
    try:
        async with asyncio.timeout(_HELLO_PATIENCE):
            link = Link(*await address.open())
            await link.be_greeted()
            return link
    except BaseException as error:
        if link is not None:
            link.abort()
        if not isinstance(error, OSError | OverflowError | ValueError | ConnectionLostError):
            raise
        why = _why_not(error, address, link)
        raise ConnectError(f"can't connect to {address}: {why}") from error


def _why_not(error: Exception, address: Address, link: Link | None) -> str:
    """Say why there is no greeting.

    Args:
        error: what happened.
        address: where.
        link: the connection, if it came that far.
    """
    # Who refuses the client's certificate in TLS 1.3 does so when our side has done with the handshake.
    cause = error.__cause__ if isinstance(error.__cause__, ssl.SSLError) else error
    silent = isinstance(error, TimeoutError)
    why = "no answer" if silent else _why(cause)
    if link is None:
        in_handshake = address.tls is not None and isinstance(error, ConnectionResetError)
        return f"{why} in the TLS handshake" if in_handshake else why
    if link.heard or address.unix is not None or isinstance(cause, ssl.SSLError):
        return why
    if address.tls is None:
        return f"{why} (perhaps it wants TLS)"
    return why if silent else f"{why} (perhaps it demands a certificate that the client has not shown)"


def _why(error: BaseException | None) -> str:
    """Say why a connection ended."""
    if isinstance(error, ssl.SSLError):
        return explain(error)
    said = describe_error(error) if isinstance(error, Exception) else ""
    return said or "the server closed it"  # asyncio says nothing of an end in the middle of a handshake


def _keep_alive(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        if hasattr(socket, option):  # not on every system
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
