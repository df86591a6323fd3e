"""Listeners for TCP addresses and Unix sockets.

Connections are accepted here and not by the event loop. Out of file descriptors, asyncio floods the log and
uvloop closes connections silently, and with neither can a connection be counted before its TLS handshake.
"""

import asyncio
import contextlib
import errno
import functools
import logging
import os
import socket
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from simple_chat.address import format_address
from simple_chat.errors import ListenError, describe_error

logger = logging.getLogger(__name__)

OnAccept = Callable[[socket.socket, str], None]
"""Called with a new connection, and host and port of its peer, as HOST:PORT; empty for a Unix socket."""

_Address = tuple[int, tuple[Any, ...]]
"""The family, and what `socket.socket.bind` takes: host and port first."""

_LISTEN_BACKLOG = 4096
"""Connections that wait to be accepted, at most; Linux caps it at net.core.somaxconn."""

_ACCEPTS_PER_WAKEUP = 16
"""Connections that are accepted in one event loop callback, so that a burst delays nobody else for long."""

_RETRY_DELAY = 1.0
"""Seconds until the next `accept` after the system ran out of a resource."""

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

_NO_SUCH_ADDRESS = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
"""A name may have an address that this machine lacks: localhost has ::1 also where IPv6 is off."""

_PORT_ATTEMPTS = 10

_NOTSENT_LOWAT = 16 * 1024
"""Unsent bytes at which a socket stops being writable. Without a limit the kernel buffers megabytes for every
client that does not read. Bytes that fit the client's receive window are sent and don't count."""

_RECEIVE_BUFFER = 64 * 1024
"""Bytes that the kernel buffers of a client that is not read from; without a limit it grows to megabytes."""

# A peer that vanished is detected 45 + 3 * 15 seconds after its last packet; sooner, if TCP_USER_TIMEOUT is
# shorter.
_KEEPALIVE = {"TCP_KEEPIDLE": 45, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 3}

UNIX_MODE = 0o660
"""Of a Unix socket, for its owner and group."""

_MAX_PORT = 65_535


class Listener:
    """A listening socket.

    Args:
        sock: a bound socket.
        on_accept: called with each connection.
        path: what to unlink on close; None for nothing.
    """

    def __init__(self, sock: socket.socket, on_accept: OnAccept, path: str | None = None) -> None:
        self.sock = sock
        self._on_accept = on_accept
        self._path = path
        self._retry: asyncio.TimerHandle | None = None
        sock.settimeout(0)
        sock.listen(_LISTEN_BACKLOG)
        self._resume()

    def close(self) -> None:
        """Stop listening, and close the socket."""
        if self._retry is not None:
            self._retry.cancel()
        asyncio.get_running_loop().remove_reader(self.sock)
        self.sock.close()
        if self._path is not None:
            Path(self._path).unlink(missing_ok=True)

    def change_stall_timeout(self, seconds: float) -> None:
        """Have the kernel reset connections to come after another time; see `listen_tcp`."""
        if self.sock.family != socket.AF_UNIX:
            _set_stall_timeout(self.sock, seconds)

    def _resume(self) -> None:
        self._retry = None
        asyncio.get_running_loop().add_reader(self.sock, self._accept)

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_PER_WAKEUP):
            try:
                sock, address = self.sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                self._suspend(error)
                return
            sock.settimeout(0)
            self._on_accept(sock, "" if sock.family == socket.AF_UNIX else format_address(*address[:2]))

    def _suspend(self, error: OSError) -> None:
        """Leave new connections in the kernel's queue for a while."""
        logger.warning("can't accept connections for now: %s", describe_error(error))
        loop = asyncio.get_running_loop()
        loop.remove_reader(self.sock)
        self._retry = loop.call_later(_RETRY_DELAY, self._resume)


async def listen_tcp(
    on_accept: OnAccept,
    host: str,
    port: int,
    *,
    stall_timeout: float,
    reuse_port: bool,
    listening: Collection[tuple[str, int]] = (),
) -> list[Listener]:
    """Listen on a TCP address.

    Args:
        on_accept: called with each connection.
        host: name or address; for a name, all of its addresses that this machine has are listened on.
        port: 0 for a free one, the same for all addresses of a name.
        stall_timeout: seconds after which the kernel resets a connection whose peer acknowledges nothing; 0
            for the system's default.
        reuse_port: share the port with other processes that do the same (SO_REUSEPORT).
        listening: addresses to leave out.

    Raises:
        ListenError: the address is in use, not one of this machine, or can't be shared.
    """
    endpoint = format_address(host, port)
    if not 0 <= port <= _MAX_PORT:  # getaddrinfo would use it modulo 2**16
        raise ListenError(f"can't listen on {endpoint}: a port is from 0 to {_MAX_PORT}")
    listen = functools.partial(_listen, on_accept, stall_timeout=stall_timeout, reuse_port=reuse_port)
    try:
        addresses = [each for each in await _resolve(host, port) if each[1][:2] not in listening]
        return _listen_on_one_port(addresses, listen, attempts=1 if port else _PORT_ATTEMPTS)
    except (OSError, ValueError) as error:
        raise ListenError(f"can't listen on {endpoint}: {describe_error(error)}") from error


async def _resolve(host: str, port: int) -> Iterable[_Address]:
    found = await asyncio.get_running_loop().getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    return dict.fromkeys((family, address) for family, _, _, _, address in found)


def _listen(
    on_accept: OnAccept, family: int, address: tuple[Any, ...], *, stall_timeout: float, reuse_port: bool
) -> Listener:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        _set_options(sock, stall_timeout)
        if reuse_port:
            _share_port(sock)
        sock.bind(address)
        return Listener(sock, on_accept)
    except BaseException:
        sock.close()
        raise


def _listen_on_one_port(
    addresses: Sequence[_Address], listen: Callable[[int, tuple[Any, ...]], Listener], *, attempts: int
) -> list[Listener]:
    """Listen on addresses with one port, and on none of them if that fails.

    Args:
        addresses: where. This machine may lack some of them, but not all.
        listen: listens on one.
        attempts: how often to try. A port that is free at one address may be in use at another.

    Raises:
        OSError: an address is in use, or can't be listened on, or this machine has none of them.
    """
    while True:
        attempts -= 1
        try:
            return _listen_on_all(addresses, listen)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or attempts == 0:
                raise


def _listen_on_all(
    addresses: Sequence[_Address], listen: Callable[[int, tuple[Any, ...]], Listener]
) -> list[Listener]:
    listeners: list[Listener] = []
    missing: list[tuple[str, OSError]] = []
    with contextlib.ExitStack() as on_failure:
        for family, (host, port, *more) in addresses:
            chosen = listeners[0].sock.getsockname()[1] if listeners else port
            try:
                listeners.append(listen(family, (host, chosen, *more)))
            except OSError as error:
                if error.errno not in _NO_SUCH_ADDRESS:
                    raise
                missing.append((format_address(host, port), error))
            else:
                on_failure.callback(listeners[-1].close)
        if missing and not listeners:
            raise missing[0][1]
        on_failure.pop_all()
    for where, reason in missing:
        logger.info("not listening on %s: %s", where, describe_error(reason))
    return listeners


def _set_options(sock: socket.socket, stall_timeout: float) -> None:
    """Set the options of a listener that is to be bound."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    _set_connection_options(sock, stall_timeout)


def _set_connection_options(sock: socket.socket, stall_timeout: float) -> None:
    """Set the options of connections, which inherit them from their listener."""
    # Keep urgent data in the stream: telnet sends the last byte of its Synch as urgent (RFC 854).
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {
        "TCP_NODELAY": 1,
        "TCP_NOTSENT_LOWAT": _NOTSENT_LOWAT,
        **_KEEPALIVE,
    }
    for option, value in options.items():
        if hasattr(socket, option):  # some are Linux only
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    _set_stall_timeout(sock, stall_timeout)


def _set_stall_timeout(sock: socket.socket, seconds: float) -> None:
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux only
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(seconds * 1000))


def _share_port(sock: socket.socket) -> None:
    """Allow processes of the same user to bind to the address as well, if all of them do this."""
    if not hasattr(socket, "SO_REUSEPORT"):  # Windows, older systems
        raise ValueError("this system has no SO_REUSEPORT, a port can't be shared")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def listen_on(on_accept: OnAccept, sock: socket.socket, *, stall_timeout: float) -> Listener:
    """Listen on a socket that somebody else has bound, and may go on to use; its path stays.

    Args:
        on_accept: called with each connection.
        sock: of TCP, or a Unix socket.
        stall_timeout: as for `listen_tcp`.

    Raises:
        ListenError: it does not listen, or is of another kind.
    """
    listens = sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if sock.family == socket.AF_UNIX and listens:
        return Listener(sock, on_accept)
    if sock.family not in {socket.AF_INET, socket.AF_INET6} or not listens:
        raise ListenError("a socket is handed over that does not listen on TCP or a Unix socket")

    def on_accept_tcp(connection: socket.socket, host: str) -> None:
        if not connection.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE):  # it came before any server
            _set_connection_options(connection, stall_timeout)
        on_accept(connection, host)

    _set_connection_options(sock, stall_timeout)
    return Listener(sock, on_accept_tcp)


def endpoint_of(sock: socket.socket) -> str:
    """Return where a socket listens, as text."""
    name = sock.getsockname()
    return f"unix:{os.fsdecode(name)}" if sock.family == socket.AF_UNIX else format_address(*name[:2])


def listen_unix(on_accept: OnAccept, path: str, mode: int = UNIX_MODE) -> Listener:
    """Listen on a Unix socket.

    Args:
        on_accept: called with each connection.
        path: of the socket. One that a dead server left behind is replaced.
        mode: who may connect to it, as file permissions.

    Raises:
        ListenError: another server listens there, or the path can't be used.
    """
    try:
        return Listener(_bind_unix(path, mode), on_accept, path)
    except (OSError, ValueError) as error:
        raise ListenError(f"can't listen on unix:{path}: {describe_error(error)}") from error


def _bind_unix(path: str, mode: int) -> socket.socket:
    if not path or "\0" in path:
        raise ValueError("this is not a path")
    _remove_if_stale(path)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(path)
        Path(path).chmod(mode)  # nobody can connect before it listens
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_if_stale(path: str) -> None:
    """Unlink a socket that nobody listens on."""
    if not Path(path).is_socket():
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
        except BlockingIOError:  # somebody listens, with a full queue
            pass
