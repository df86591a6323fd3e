"""Where a room's log is.

Pure.
"""

from dataclasses import dataclass

ROOM = "simple_chat"
"""What the room is called, by default."""

REPLICAS = 3
"""NATS servers that keep the log, by default: one of them may die."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """Where a room's log is.

    Attributes:
        servers: URLs of NATS servers, as ``nats://host:4222``.
        room: name of the stream, and the first part of its subjects.
        replicas: NATS servers that keep it, each all of it.
        creds: file with credentials, if they are needed.
        ca: file with the certificates of authorities to trust, if not those of the system.
    """

    servers: tuple[str, ...]
    room: str = ROOM
    replicas: int = REPLICAS
    creds: str | None = None
    ca: str | None = None
