"""The configuration of one server's part in a cluster.

Pure.
"""

from dataclasses import dataclass

from simple_chat.cluster.nodes import HEARTBEAT_INTERVAL, LEASE

ROOM = "simple_chat"
"""Default name of the room."""

REPLICAS = 3
"""Default number of NATS servers that store the stream: one of them may fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """The stream that orders a room's events, and the timing that all servers of the room agree on.

    Attributes:
        servers: URLs of NATS servers, as ``nats://host:4222``.
        room: name of the stream, and the first token of its subjects.
        replicas: NATS servers that store the stream, each a full copy.
        creds: path of a NATS credentials file, or None.
        ca: path of a PEM file with the CA certificates to trust, or None for those of the system.
        lease: seconds without an entry after which a server counts as dead. Equal on all servers.
        heartbeat: seconds without an entry after which a server publishes a heartbeat. Equal on all servers.
    """

    servers: tuple[str, ...]
    room: str = ROOM
    replicas: int = REPLICAS
    creds: str | None = None
    ca: str | None = None
    lease: float = LEASE
    heartbeat: float = HEARTBEAT_INTERVAL
