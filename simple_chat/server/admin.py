"""The admin socket: operators see and steer the server, with `nc -U` or ``python -m simple_chat.server ctl``.

A line protocol like that of the room. Each command is answered by lines that begin with a word, and then by
``OK`` or ``ERR <code> <text>``. Only the owner of the socket can connect to it (mode 0600).
"""

import asyncio
import contextlib
import logging
import math
import socket
import stat
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from simple_chat.core.text import sanitize
from simple_chat.errors import AdminError, ConfigError, ListenError
from simple_chat.server.admin_commands import (
    AdminCommand,
    Help,
    ListBans,
    ListConnections,
    Quit,
    Status,
    parse_admin_command,
)
from simple_chat.server.admin_execution import execute
from simple_chat.server.listeners import Listener, endpoint_of, listen_on, listen_unix

if TYPE_CHECKING:
    from simple_chat.server.server import Server

logger = logging.getLogger(__name__)

MAX_LINE = 4096
"""Bytes that a command may have."""

_MODE = 0o600
_MAX_CONNECTIONS = 16
_WELCOME = "HELLO simple_chat-admin/1 HELP lists the commands"


class AdminListener:
    """The admin socket of a server.

    Args:
        server: the server.
    """

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._listeners: list[Listener] = []
        self._conversations: set[asyncio.Task[None]] = set()

    def listen(self, path: str) -> None:
        """Listen on a Unix socket.

        Raises:
            ListenError: another server listens there, or the path can't be used.
        """
        self._listeners.append(listen_unix(self._on_accept, path, _MODE))
        logger.info("admin socket: unix:%s", path)

    def listen_on(self, sock: socket.socket) -> None:
        """Listen on a socket that somebody else has bound.

        Raises:
            ListenError: it is none that only some users can connect to.
        """
        if sock.family != socket.AF_UNIX or _is_open_to_all(sock.getsockname()):
            raise ListenError(
                f"{endpoint_of(sock)} is handed over for admin, and open to everybody: "
                "it has to be a Unix socket with SocketMode=0600"
            )
        self._listeners.append(listen_on(self._on_accept, sock, stall_timeout=0))
        logger.info("admin socket: %s", endpoint_of(sock))

    async def close(self) -> None:
        """Stop listening, and end all conversations."""
        while self._listeners:
            self._listeners.pop().close()
        for each in self._conversations:
            each.cancel()
        await asyncio.gather(*self._conversations, return_exceptions=True)

    def _on_accept(self, sock: socket.socket, _host: str) -> None:
        if len(self._conversations) == _MAX_CONNECTIONS:
            logger.warning("admin connection closed: there are %d already", _MAX_CONNECTIONS)
            sock.close()
            return
        conversation = asyncio.create_task(_converse(self._server, sock))
        self._conversations.add(conversation)
        conversation.add_done_callback(self._conversations.discard)


def _is_open_to_all(path: str | bytes) -> bool:
    """Whether every user may connect to a Unix socket; to one without a path they may."""
    return isinstance(path, bytes) or not path or bool(Path(path).stat().st_mode & stat.S_IWOTH)


async def _converse(server: "Server", sock: socket.socket) -> None:
    """Answer the commands of one connection until it ends."""
    who = _describe_peer(sock)
    reader, writer = await asyncio.open_unix_connection(sock=sock, limit=MAX_LINE)
    with contextlib.closing(writer), contextlib.suppress(ConnectionError):
        writer.write(_encode(_WELCOME))
        while (line := await _read_line(reader)) is not None:
            for answer in await _answer(server, line, who) if line else ():
                writer.write(_encode(answer))
                await writer.drain()
                if answer.startswith("BYE"):
                    return


def _encode(line: str) -> bytes:
    return sanitize(line).encode() + b"\n"


async def _read_line(reader: asyncio.StreamReader) -> str | None:
    """Return the next line; None at the end, and for a line that is too long."""
    try:
        line = await reader.readuntil(b"\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return None
    return line.decode(errors="replace").strip()


async def _answer(server: "Server", line: str, who: str) -> Iterable[str]:
    """Carry out one line, and return the lines of its answer."""
    try:
        command = parse_admin_command(line)
        _log(command, line, who)
        return await execute(command, server)
    except AdminError as error:
        return [f"ERR {error.code} {error}"]
    except ConfigError as error:
        return [f"ERR failed {error}"]


def _log(command: AdminCommand, line: str, who: str) -> None:
    """Log what is ordered; who only looks is not of interest."""
    looks = isinstance(command, Status | ListConnections | ListBans | Help | Quit)
    level = logging.DEBUG if looks else logging.INFO
    logger.log(level, "admin (%s): %s", who, line, extra={"event": "admin", "limit": math.inf})


def _describe_peer(sock: socket.socket) -> str:
    """Return who is connected to a Unix socket, where the system can tell."""
    if not hasattr(socket, "SO_PEERCRED"):  # Linux only
        return "unknown user"
    pid, uid, _ = struct.unpack(
        "3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    )
    return f"uid {uid}, pid {pid}"
