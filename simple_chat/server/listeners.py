"""Where the server can be reached: TCP addresses and Unix sockets.

Connections are accepted here and not by the event loop: one loop answers a lack of file descriptors with a
storm in the log, the other by closing connections without a word, and neither lets us count a connection
before its TLS handshake is done.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

from simple_chat.address import format_address
from simple_chat.errors import ListenError, describe_error

logger = logging.getLogger(__name__)

Take = Callable[[socket.socket, str], None]
"""Takes a new connection, and the host that it comes from; empty on a Unix socket."""

_QUEUE = 4096
"""Connections that may wait to be accepted, as far as the kernel goes along (net.core.somaxconn)."""

_ACCEPTED_AT_ONCE = 16
"""Connections that are accepted before everybody else has their turn again."""

_RETRY = 1.0
"""Seconds until another try when there is no descriptor left."""

_OUT_OF = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

_UNSENT = 16 * 1024
"""Bytes from which on the kernel takes no more for a client that doesn't read: by itself it would take
megabytes for each. What the client's kernel has room for is on its way and does not count."""

_UNREAD = 64 * 1024
"""Bytes that the kernel keeps of a client that is not read from; by itself it would keep megabytes."""

# A peer that is gone without a word is noticed 45 + 3 * 15 seconds after it was last heard of; sooner, if
# TCP_USER_TIMEOUT is shorter.
_KEEPALIVE = {"TCP_KEEPIDLE": 45, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 3}

_UNIX_MODE = 0o660
_PORT_MAX = 65_535


class Listener:
    """A socket that is listened on, until it is closed.

    Args:
        sock: bound.
        take: takes connections.
        path: of a Unix socket, whose name is taken away at the end.
    """

    def __init__(self, sock: socket.socket, take: Take, path: str | None = None) -> None:
        self.sock = sock
        self._take = take
        self._path = path
        self._retry: asyncio.TimerHandle | None = None
        sock.settimeout(0)
        sock.listen(_QUEUE)
        self._go_on()

    def close(self) -> None:
        """Stop listening."""
        if self._retry is not None:
            self._retry.cancel()
        asyncio.get_running_loop().remove_reader(self.sock)
        self.sock.close()
        if self._path is not None:
            Path(self._path).unlink(missing_ok=True)

    def _go_on(self) -> None:
        self._retry = None
        asyncio.get_running_loop().add_reader(self.sock, self._accept)

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                sock, address = self.sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _OUT_OF:
                    raise
                self._wait(error)
                return
            sock.settimeout(0)
            self._take(sock, "" if self._path is not None else address[0])

    def _wait(self, error: OSError) -> None:
        """Let those who come wait in the kernel's queue until there may be a descriptor for them."""
        logger.warning("can't take more connections now: %s", describe_error(error))
        loop = asyncio.get_running_loop()
        loop.remove_reader(self.sock)
        self._retry = loop.call_later(_RETRY, self._go_on)


async def tcp(take: Take, host: str, port: int, *, stall_timeout: float, reuse_port: bool) -> list[Listener]:
    """Listen on a TCP address.

    Args:
        take: takes connections.
        host: name or address. A name of several addresses is listened for on all of them.
        port: 0 for a free one.
        stall_timeout: seconds after which the kernel gives up a peer that acknowledges nothing.
        reuse_port: whether other processes that ask for it may listen there too.

    Raises:
        ListenError: the address is taken, or not one of this machine, or can't be shared.
    """
    where = format_address(host, port)
    if not 0 <= port <= _PORT_MAX:  # a resolver would take the rest of a division
        raise ListenError(f"can't listen on {where}: there is no such port")
    loop = asyncio.get_running_loop()
    sockets: list[socket.socket] = []
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in dict.fromkeys(found):
            sockets.append(sock := socket.socket(family, socket.SOCK_STREAM))
            _set_options(sock, stall_timeout)
            if reuse_port:
                _share_port(sock)
            sock.bind(address)
        return [Listener(sock, take) for sock in sockets]
    except (OSError, ValueError) as error:
        _close(sockets)
        raise ListenError(f"can't listen on {where}: {describe_error(error)}") from error
    except BaseException:
        _close(sockets)
        raise


def _close(sockets: Iterable[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def _set_options(sock: socket.socket, stall_timeout: float) -> None:
    """Set what a listener has, and what its connections inherit of it."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    # Urgent data stays in its place: it is the last byte of telnet's Synch.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _UNREAD)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {
        "TCP_NODELAY": 1,
        "TCP_NOTSENT_LOWAT": _UNSENT,
        "TCP_USER_TIMEOUT": round(stall_timeout * 1000),
        **_KEEPALIVE,
    }
    for option, value in options.items():
        if hasattr(socket, option):  # not on every system
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _share_port(sock: socket.socket) -> None:
    """Let others of the same user bind to the address too, if they all ask for it."""
    if not hasattr(socket, "SO_REUSEPORT"):  # not on every system
        raise ValueError("this system can't share a port")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def unix(take: Take, path: str) -> Listener:
    """Listen on a Unix socket that its owner and group may use.

    Raises:
        ListenError: a server listens there already, or the path can't be used.
    """
    try:
        return Listener(_bind_unix(path), take, path)
    except (OSError, ValueError) as error:
        raise ListenError(f"can't listen on unix:{path}: {describe_error(error)}") from error


def _bind_unix(path: str) -> socket.socket:
    if not path or "\0" in path:
        raise ValueError("that is no path")
    _remove_if_stale(path)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(path)
        Path(path).chmod(_UNIX_MODE)  # before it listens: nobody can have connected
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_if_stale(path: str) -> None:
    """Take away a socket that a server left behind which is no more; a live one stays."""
    if not Path(path).is_socket():
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
        except BlockingIOError:  # it is live, and has more to accept than it can
            pass
