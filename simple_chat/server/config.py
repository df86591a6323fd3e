"""The settings of a server."""

from dataclasses import dataclass, field
from datetime import timedelta

from simple_chat.cluster.config import REPLICAS, ROOM
from simple_chat.cluster.nodes import HEARTBEAT_INTERVAL, LEASE
from simple_chat.core.backlog import BACKLOG
from simple_chat.core.framing import MAX_LINE
from simple_chat.core.limits import BURST, RATE
from simple_chat.core.membership import PRESENCE_LIMIT
from simple_chat.core.sequence import HISTORY
from simple_chat.journal.base import SEGMENT_BYTES, Sync
from simple_chat.server.admission import MAX_PER_IP

_CHANGEABLE = {
    "max_clients",
    "max_per_ip",
    "join_timeout",
    "stall_timeout",
    "drain",
    "max_line",
    "rate",
    "burst",
    "history",
    "presence_limit",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a server; the defaults are those of the command line.

    Connections:
        max_clients: connections at a time; None for the limit of file descriptors less 64.
        max_per_ip: connections at a time from one IPv4 address or IPv6 /64. Loopback addresses are exempt.
        join_timeout: seconds from connecting to the first JOIN; 0 for no limit.
        stall_timeout: seconds that a client may acknowledge nothing of what it is sent; 0 for no limit.
        drain: seconds that clients have at shutdown to read what is left for them.
        insecure: accept a password over a network without TLS.
        bans: file that keeps the bans; None for the path of the admin socket with ``.bans``, or none without
            one. Not used in a cluster, whose log keeps them.
        reuse_port: share the TCP port with other servers of the same user.

    Input:
        max_line: bytes of a line, without its line end.
        rate: lines a second of one client, on average; 0 for no limit.
        burst: lines that a client may send at once after a pause.

    Room:
        backlog: bytes of room lines kept for slow readers and HISTORY.
        history: messages that HISTORY can return; 0 for none.
        presence_limit: members above which JOINED and LEFT are not sent.

    Journal:
        journal: its directory; None to keep messages in memory only.
        sync: what a line survives once it is sent to others.
        journal_segment: bytes after which a segment file is closed.
        journal_keep: bytes or age beyond which the oldest segments are deleted; None to keep all.

    Cluster:
        cluster: URLs of the NATS servers whose log is the room, shared with other chat servers; None for a
            room of this server alone. They may have a password: the repr leaves them out.
        cluster_room: name of the room there.
        cluster_replicas: NATS servers that store the log, 1 or 3.
        cluster_creds: NATS credentials file; None for none.
        cluster_ca: PEM file of the CAs that are trusted for NATS; None for those of the system.
        cluster_cert: PEM file of the certificate that NATS is shown; None for none.
        cluster_key: PEM file of its private key; None if it is in the same file.
        cluster_lease: seconds without an entry in the log after which a server counts as dead. Equal on all
            servers of a room.
        cluster_heartbeat: seconds without an entry after which a server publishes a heartbeat. Equal on all
            servers of a room, and several times shorter than the lease.

    Some can change while a server runs; `needing_restart` names the others.
    """

    max_clients: int | None = None
    max_per_ip: int = MAX_PER_IP
    join_timeout: float = 30.0
    stall_timeout: float = 60.0
    drain: float = 10.0
    insecure: bool = False
    bans: str | None = None
    reuse_port: bool = False

    max_line: int = MAX_LINE
    rate: int = RATE
    burst: int = BURST

    backlog: int = BACKLOG
    history: int = HISTORY
    presence_limit: int = PRESENCE_LIMIT

    journal: str | None = None
    sync: Sync = Sync.OS
    journal_segment: int = SEGMENT_BYTES
    journal_keep: int | timedelta | None = None

    cluster: tuple[str, ...] | None = field(default=None, repr=False)
    cluster_room: str = ROOM
    cluster_replicas: int = REPLICAS
    cluster_creds: str | None = None
    cluster_ca: str | None = None
    cluster_cert: str | None = None
    cluster_key: str | None = None
    cluster_lease: float = LEASE
    cluster_heartbeat: float = HEARTBEAT_INTERVAL

    def needing_restart(self, new: "Settings") -> list[str]:
        """Return the names of the settings that differ, and that a running server can't change.

        Args:
            new: the settings to compare with.
        """
        fixed = [name for name in self.__slots__ if name not in _CHANGEABLE]
        if self.cluster is not None:  # NATS was asked whether it takes lines of this length
            fixed.append("max_line")
        return [name for name in fixed if getattr(self, name) != getattr(new, name)]
