"""One connection of the client to a server: commands out, events in."""

import asyncio
import contextlib
import socket
import ssl
from dataclasses import dataclass

from simple_chat.address import format_address
from simple_chat.client.happy_eyeballs import open_socket
from simple_chat.core.commands import Command, Join, Msg, Pass
from simple_chat.core.framing import MAX_LINE, LineBuffer
from simple_chat.core.protocol import Err, Event, Hello, Info, Ok, ServerLimits, encode, parse_event
from simple_chat.errors import (
    CommandError,
    ConnectError,
    ConnectionLostError,
    InvalidMessageError,
    JoinRefusedError,
    describe_error,
)

_MAX_EVENT = 4 * 1024 * 1024  # bytes; far more than any server's --max-line allows
_READ_SIZE = 64 * 1024  # bytes
_HELLO_TIMEOUT = 10.0  # seconds to connect and to receive HELLO

# A dead server is detected after 60 + 4 * 15 seconds.
_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}


class _Reader(asyncio.StreamReader):
    """A stream reader that returns all data received before a failure; asyncio's own drops it.

    Attributes:
        failure: why the connection ended; None if it was closed in order.
    """

    failure: BaseException | None = None

    def set_exception(self, exc: BaseException) -> None:
        """Record a failure, and end the stream after the data received so far."""
        self.failure = exc
        self.feed_eof()


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens.

    Attributes:
        host: name or IP address.
        port: TCP port.
        unix: path of a Unix socket; replaces host and port.
        tls: context for TLS, None for plain text; unused on a Unix socket.
    """

    host: str
    port: int
    unix: str | None = None
    tls: ssl.SSLContext | None = None

    def __str__(self) -> str:
        if self.unix is not None:
            return f"unix:{self.unix}"
        return format_address(self.host, self.port)

    async def open(self) -> tuple[_Reader, asyncio.StreamWriter]:
        """Connect.

        Raises:
            OSError: the server can't be reached.
        """
        loop = asyncio.get_running_loop()
        reader = _Reader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport: asyncio.Transport
        if self.unix is not None:
            transport, _ = await loop.create_unix_connection(lambda: protocol, self.unix)
        else:
            sock = await open_socket(self.host, self.port)
            _enable_keepalive(sock)
            server_name = None if self.tls is None else self.host
            transport, _ = await loop.create_connection(
                lambda: protocol, sock=sock, ssl=self.tls, server_hostname=server_name
            )
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


class ClientConnection:
    """A connection to a server; made by `open_connection`.

    Attributes:
        received: whether any data has arrived.
        max_line: bytes that a line to the server may have before its line end.
    """

    def __init__(self, reader: _Reader, writer: asyncio.StreamWriter) -> None:
        self.received = False
        self.max_line = MAX_LINE
        self._reader = reader
        self._writer = writer
        self._lines = LineBuffer(_MAX_EVENT)

    async def next_event(self) -> Event:
        """Wait for the next event.

        Raises:
            ConnectionLostError: the connection ended.
        """
        while True:
            try:
                while (line := self._lines.next_line()) is not None:
                    event = parse_event(line)
                    if isinstance(event, ServerLimits):
                        self.max_line = event.max_line
                    elif event is not None:
                        return event
            except CommandError as error:
                return Info(f"a line of the server could not be read ({error.code})")
            self._lines.feed(await self._read())

    async def _read(self) -> bytes:
        data = await self._reader.read(_READ_SIZE)
        if not data:
            failure = self._reader.failure
            raise ConnectionLostError(f"connection lost: {_end_reason(failure)}") from failure
        self.received = True
        return data

    async def send(self, *commands: Command) -> None:
        """Send commands, and wait while the write buffer is full.

        Raises:
            ConnectionLostError: the connection ended.
        """
        try:
            self._writer.write(encode(*commands))
            await self._writer.drain()
        except (OSError, RuntimeError) as error:  # uvloop raises RuntimeError on a closed transport
            failure = self._reader.failure or error
            raise ConnectionLostError(f"connection lost: {_end_reason(failure)}") from error

    def write(self, command: Command) -> None:
        """Send a command without waiting. On a lost connection nothing happens: `next_event` tells."""
        with contextlib.suppress(RuntimeError):  # see above
            self._writer.write(encode(command))

    async def receive_hello(self) -> None:
        """Wait for the server's HELLO.

        Raises:
            ConnectionLostError: the connection ended, or something else arrived.
        """
        match await self.next_event():
            case Hello():
                return
            case Err(_, advice):
                raise ConnectionLostError(advice)
            case _:
                raise ConnectionLostError("it is no simple_chat server")

    async def join(self, name: str, password: str | None = None) -> None:
        """Join the room.

        Args:
            name: the username.
            password: the server's; None to send no PASS.

        Raises:
            JoinRefusedError: the server refused PASS or JOIN.
            ConnectionLostError: the connection ended.
        """
        if password is not None:
            await self._execute("PASS", Pass(password))
        await self._execute("JOIN", Join(name))

    async def _execute(self, verb: str, command: Command) -> None:
        """Send a command, and wait for its OK."""
        with contextlib.suppress(ConnectionLostError):  # the reason may have been received: read on
            await self.send(command)
        while True:
            match await self.next_event():
                case Err(code, advice):
                    raise JoinRefusedError(code, advice)
                case Ok(answered) if answered == verb:
                    return

    def abort(self) -> None:
        """Close the connection at once."""
        self._writer.transport.abort()


def check_sendable(command: Msg | Pass, text: str, kind: str, max_line: int = MAX_LINE) -> None:
    """Check that a command can be sent as one line. The error repeats nothing of the text: it may be secret.

    Args:
        command: to be sent.
        text: its argument.
        kind: what the argument is, for the error.
        max_line: bytes that the line may have before its line end.

    Raises:
        InvalidMessageError: it is empty, too long, not one line or not valid Unicode.
    """
    if not text:
        raise InvalidMessageError(f"an empty {kind} can't be sent")
    if "\n" in text or "\r" in text:
        raise InvalidMessageError(f"a {kind} of several lines can't be sent: it has to be one")
    try:
        size = len(encode(command)) - 1
    except UnicodeEncodeError:
        raise InvalidMessageError(f"the {kind} can't be sent: it is not valid Unicode") from None
    if size > max_line:
        raise InvalidMessageError(f"the {kind} is too long: {size} bytes on the wire, {max_line} at most")


async def open_connection(address: Address) -> ClientConnection:
    """Connect to a server, and wait for its HELLO.

    Raises:
        ConnectError: there is no server, or it is not a simple_chat server.
    """
    connection: ClientConnection | None = None
    try:
        async with asyncio.timeout(_HELLO_TIMEOUT):
            connection = ClientConnection(*await address.open())
            await connection.receive_hello()
            return connection
    except BaseException as error:
        if connection is not None:
            connection.abort()
        if not isinstance(error, OSError | OverflowError | ValueError | ConnectionLostError):
            raise
        reason = _connect_failure(error, address, connection)
        raise ConnectError(f"can't connect to {address}: {reason}") from error


def _connect_failure(error: Exception, address: Address, connection: ClientConnection | None) -> str:
    """Return why there was no HELLO, with a guess where the error alone says too little.

    Args:
        error: what happened.
        address: of the server.
        connection: None if it was not established.
    """
    # In TLS 1.3 a server rejects the client's certificate after the handshake has ended on our side.
    cause = error.__cause__ if isinstance(error.__cause__, ssl.SSLError) else error
    timed_out = isinstance(error, TimeoutError)
    reason = "no answer" if timed_out else _end_reason(cause)
    if connection is None:
        in_handshake = address.tls is not None and isinstance(error, ConnectionResetError)
        return f"{reason} in the TLS handshake" if in_handshake else reason
    if connection.received or address.unix is not None or isinstance(cause, ssl.SSLError):
        return reason
    if address.tls is None:
        return f"{reason} (perhaps it requires TLS)"
    return reason if timed_out else f"{reason} (perhaps it requires a client certificate)"


def _end_reason(error: BaseException | None) -> str:
    """Return why a connection ended; an error of asyncio in the middle of a handshake has no message."""
    reason = "" if error is None else describe_error(error)
    return reason or "the server closed it"


def _enable_keepalive(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        if hasattr(socket, option):  # not on every system
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
