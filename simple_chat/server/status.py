"""What operators can see: the server in figures, and its connections."""

import asyncio
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import simple_chat
from simple_chat.address import format_address
from simple_chat.core.bans import format_time
from simple_chat.core.handshake import State
from simple_chat.server.config import Settings
from simple_chat.server.connection import Connection

if TYPE_CHECKING:
    from simple_chat.server.server import Server

_STATES = {
    State.AUTHENTICATING: "authenticating",
    State.VERIFYING: "authenticating",
    State.HANDSHAKE: "connected",
    State.ESTABLISHED: "left",  # and has not joined again
    State.CLOSING: "closing",
    State.CLOSED: "closing",
    State.LOST: "closing",
}


_DEFAULTS = Settings()
_LIMITS = (
    *("max_clients", "max_per_ip", "join_timeout", "stall_timeout", "drain", "max_line", "rate", "burst"),
    *("backlog", "history", "presence_limit"),
)


@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """A connection, as LIST shows it.

    Attributes:
        connection: its number.
        name: of its member; ``-`` if it is not in the room.
        address: of its peer; ``unix`` for a Unix socket.
        face: how it talks: ``plain``, ``tls`` or ``unix``.
        since: when it was made, in UTC.
        lines_per_minute: that were executed, in the last minute or so.
        behind: lines of the room that it has not received yet.
        unsent: bytes that wait for it: those that its kernel has not acknowledged.
        state: where it is in its life; ``slowed`` too while it sends more than it may, and ``blocked`` while
            it accepts no more.
    """

    connection: int
    name: str
    address: str
    face: str
    since: str
    lines_per_minute: int
    behind: int
    unsent: int
    state: str


def list_connections(server: "Server", pattern: str) -> Iterator[ConnectionStatus]:
    """Return the connections whose name or address a pattern matches, whatever its case; oldest first.

    Args:
        server: whose.
        pattern: as of a shell.
    """
    hub, end = server.hub, server.room.sequence.backlog.end
    elapsed = asyncio.get_running_loop().time() - hub.window_started
    for connection in [*hub.connections]:
        status = _connection_status(connection, end, elapsed)
        host = connection.host or status.address
        if any(fnmatchcase(each.lower(), pattern.lower()) for each in (status.name, status.address, host)):
            yield status


def _connection_status(connection: Connection, end: int, elapsed: float) -> ConnectionStatus:
    subscriber = connection.session.subscriber
    member, cursor = subscriber.member, subscriber.cursor
    return ConnectionStatus(
        connection=subscriber.ident,
        name="-" if member is None else member.name,
        address=connection.address or "unix",
        face=connection.face,
        since=format_time(connection.since),
        lines_per_minute=connection.lines_per_minute(elapsed),
        behind=0 if cursor is None else end - cursor,
        unsent=connection.unsent or 0,
        state=_state(connection),
    )


def _state(connection: Connection) -> str:
    session = connection.session
    words = ["joined" if session.subscriber.member is not None else _STATES[session.state]]
    if session.throttled:
        words.append("slowed")
    if session.subscriber.blocked:
        words.append("blocked")
    return ",".join(words)


def figures(server: "Server") -> Iterator[tuple[str, object]]:
    """Return the server in figures, each with its name; times are in seconds."""
    room, settings, admission = server.room, server.settings, server.admission
    yield "ready", server.readiness() or "yes"
    yield "version", simple_chat.__version__
    yield "pid", os.getpid()
    yield "uptime", round(asyncio.get_running_loop().time() - server.started)
    yield "addresses", " ".join(format_address(*each) for each in server.addresses) or "none"
    yield "members", len(room.membership)
    yield "members_here", len(room.delivery.joined())
    yield "connections", admission.admitted
    yield "connections_refused", admission.refused
    yield "max_clients", admission.max_clients
    yield "refused_by_limit", _describe_counts(room.counters.refused)
    yield "refused_by_code", _describe_counts(room.counters.refusals)
    yield "lines", room.sequence.end
    yield "bans", len(list(room.bans))
    yield "certificate_end", (server.certificate.end and format_time(int(server.certificate.end))) or "none"
    yield "journal", settings.journal or "none"
    yield "cluster_room", settings.cluster_room if settings.cluster else "none"


def _describe_counts(counts: Mapping[str, int]) -> str:
    """Return what was counted, as ``max-clients=2 max-per-ip=1``."""
    return " ".join(f"{name}={count}" for name, count in counts.items()) or "none"


def describe(server: "Server") -> str:
    """Return in words how a server is set up: what protects it, what keeps its messages, other limits."""
    settings = server.settings
    parts = [
        _describe_tls(server),
        "password" if server.hub.auth_required else "no password",
        f"journal {settings.journal} (sync {settings.sync})" if settings.journal else "no journal",
        f"cluster room {settings.cluster_room}" if settings.cluster else "no cluster",
        *(f"{name.replace('_', '-')} {value:.10g}" for name, value in _other_limits(settings)),
    ]
    return ", ".join(parts)


def _describe_tls(server: "Server") -> str:
    if server.tls is None:
        return "no TLS"
    end = server.certificate.end
    return "TLS" if end is None else f"TLS (certificate until {format_time(int(end))})"


def _other_limits(settings: Settings) -> Iterator[tuple[str, float]]:
    """Return the limits that differ from their defaults."""
    for name in _LIMITS:
        value = getattr(settings, name)
        if value != getattr(_DEFAULTS, name):
            yield name, value
