"""Where the server can be reached: TCP addresses and Unix sockets."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

from simple_chat.address import show_address
from simple_chat.errors import ListenError, reason

Factory = Callable[[], asyncio.Protocol]

_QUEUE = 4096
"""Connections that may wait to be accepted, as far as the kernel goes along (net.core.somaxconn)."""

_UNSENT = 16 * 1024
"""Bytes from which on the kernel takes no more for a client that doesn't read: by itself it would take
megabytes for each. What the client's kernel has room for is on its way and does not count."""

_UNIX_MODE = 0o660
_PORT_MAX = 65_535


async def tcp(factory: Factory, host: str, port: int) -> asyncio.Server:
    """Listen on a TCP address.

    Args:
        factory: makes what handles a connection.
        host: name or address. A name of several addresses is listened for on all of them.
        port: 0 for a free one.

    Raises:
        ListenError: the address is taken, or not one of this machine.
    """
    loop = asyncio.get_running_loop()
    where = show_address(host, port)
    if not 0 <= port <= _PORT_MAX:  # uvloop would take the rest of a division
        raise ListenError(f"can't listen on {where}: there is no such port")
    try:
        listener = await loop.create_server(factory, host, port, backlog=_QUEUE)
    except (OSError, ValueError) as error:
        raise ListenError(f"can't listen on {where}: {reason(error)}") from error
    for sock in listener.sockets:
        _set_options(sock)
    return listener


def _set_options(sock: socket.socket) -> None:
    """Set what a listener's connections inherit."""
    # Urgent data stays in its place: it is the last byte of telnet's Synch.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)


async def unix(factory: Factory, path: str) -> asyncio.Server:
    """Listen on a Unix socket that its owner and group may use.

    Raises:
        ListenError: a server listens there already, or the path can't be used.
    """
    loop = asyncio.get_running_loop()
    try:
        listener = await loop.create_unix_server(factory, sock=_bind_unix(path), backlog=_QUEUE)
    except (OSError, ValueError) as error:
        raise ListenError(f"can't listen on unix:{path}: {reason(error)}") from error
    return listener


def close(listener: asyncio.Server) -> None:
    """Stop listening, and take a Unix socket's name away."""
    names = [sock.getsockname() for sock in listener.sockets if sock.family == socket.AF_UNIX]
    listener.close()
    for name in names:
        Path(name).unlink(missing_ok=True)


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
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
