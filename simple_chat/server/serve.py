"""`serve`: a server with all its parts, listening, for the length of a block."""

import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from simple_chat.core.room import Room
from simple_chat.errors import ConfigError
from simple_chat.server import optional
from simple_chat.server.access import tcp_addresses
from simple_chat.server.config import Settings
from simple_chat.server.server import Server
from simple_chat.server.status import describe

if TYPE_CHECKING:
    from simple_chat.server.auth import Authenticator

logger = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def serve(  # noqa: PLR0913 - most are for keywords: an address each
    host: str | Sequence[str] | None = None,
    port: int | None = None,
    *,
    unix: str | None = None,
    tls: ssl.SSLContext | None = None,
    password: str | None = None,
    admin: str | None = None,
    metrics: str | int | None = None,
    sockets: Mapping[str, Sequence[socket.socket]] = MappingProxyType({}),
    settings: Settings | None = None,
) -> AsyncIterator[Server]:
    """Run a server for the length of an ``async with`` block; leaving it shuts the server down in order.

    Without `host` and `port` it listens on 127.0.0.1:8090, or with `unix` or `sockets` for chat only there.

    Args:
        host: name or address to listen on, such as ``"0.0.0.0"``, ``"::1"`` or ``"[::1]:8091"``; or several,
            as a list or separated by commas. None for 127.0.0.1.
        port: TCP port where `host` has none, 0 for a free one, which `Server.address` has. None for 8090.
        unix: path of a Unix socket to listen on.
        tls: for the TCP port, as `simple_chat.tls.server_context` makes it; None for plain text.
        password: argon2 hash of the password that clients need, as ``hash-password`` makes it; None for none.
        admin: path of a Unix socket by which operators steer the server; None for none.
        metrics: TCP port, or ``"HOST:PORT"``, for metrics and health over HTTP, of 127.0.0.1 unless it has a
            host; 0 as a port is a free one, which `Server.metrics_address` has. None for none.
        sockets: listening sockets that are bound already, by what they are for: ``chat``, ``admin`` (a Unix
            socket) and ``metrics``. They are closed in the end, and paths stay.
        settings: everything else that can be set.

    Raises:
        ListenError: it can't listen where it should.
        ConfigError: the password can't be used, or would cross a network in clear text; or there is no TCP
            address for `tls`; or a package is not installed.
        JournalError: the journal can't be used, or the cluster can't be reached; or at the end: lines are
            lost that the journal could not keep.
    """
    addresses = tcp_addresses(host, port, elsewhere=unix is not None or bool(sockets.get("chat")))
    settings = settings or Settings()
    if settings.bans is None and admin is not None:
        settings = replace(settings, bans=f"{admin}.bans")
    server = await make_server(settings, tls, optional.make_authenticator(password))
    try:
        if metrics is not None or sockets.get("metrics"):
            address = None if metrics is None else str(metrics)
            await server.listen_metrics(address, sockets.get("metrics", ()))
        await server.open()
        if admin is not None or sockets.get("admin"):
            server.listen_admin(admin, sockets.get("admin", ()))
        await _listen(server, addresses, unix, sockets.get("chat", ()))
        logger.info("in force: %s", describe(server), extra={"event": "started"})
        yield server
    finally:
        await server.close()


async def _listen(
    server: Server,
    addresses: Iterable[tuple[str, int]],
    unix: str | None,
    sockets: Iterable[socket.socket],
) -> None:
    for sock in sockets:
        server.listen_on(sock)
    for host, port in addresses:
        await server.listen(host, port)
    if unix is not None:
        server.listen_unix(unix)
    server.start()
    for endpoint in server.endpoints:
        logger.info("listening on %s", endpoint, extra={"event": "listening"})


async def make_server(
    settings: Settings, tls: ssl.SSLContext | None, authenticator: "Authenticator | None"
) -> Server:
    """Return a server with the journal or the replicator that the settings ask for.

    Raises:
        ConfigError: they ask for both.
    """
    if settings.journal is not None and settings.cluster is not None:
        raise ConfigError("a journal and a cluster exclude each other: in a cluster NATS stores the messages")
    room = Room(backlog=settings.backlog, history=settings.history, presence_limit=settings.presence_limit)
    journal, replicator = (
        await optional.open_journal(settings),
        await optional.open_replicator(settings, room),
    )
    return Server(
        settings, room, tls=tls, authenticator=authenticator, journal=journal, replicator=replicator
    )
