"""What can be set of a server."""

from dataclasses import dataclass
from datetime import timedelta

from simple_chat.cluster.config import REPLICAS, ROOM
from simple_chat.core.backlog import BACKLOG
from simple_chat.core.framing import MAX_LINE
from simple_chat.core.limits import BURST, RATE
from simple_chat.core.room import HISTORY, PRESENCE_LIMIT
from simple_chat.journal.base import SEGMENT_BYTES, Sync
from simple_chat.server.admission import MAX_PER_IP


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What can be set of a server; the defaults are those of the command line.

    Attributes:
        max_line: bytes a line may have before its line end.
        backlog: bytes kept for slow readers and for HISTORY.
        history: messages that HISTORY reaches back; 0 for none.
        presence_limit: members above which JOINED and LEFT are not told.
        drain: seconds that clients have to take what is theirs when the server ends.
        max_clients: connections at a time; None for as many as there are file descriptors, less 64.
        max_per_ip: connections at a time from one IPv4 address or IPv6 /64. This machine's own are exempt.
        join_timeout: seconds from connecting to the first JOIN; 0 for any time.
        rate: lines a second that are taken from one client in the long run; 0 for any number.
        burst: lines that are taken at once after a rest.
        stall_timeout: seconds that a client may take nothing of what it is sent; 0 for any time.
        journal: directory of the journal; None to keep what is said in memory only.
        sync: how safe what is said has to be before it is handed out.
        journal_segment: bytes after which a file of the journal is closed.
        journal_keep: bytes or time after which the journal's oldest files are deleted; None to keep all.
        cluster: addresses of NATS servers, through which other servers take part in the room; None for
            this server's own room.
        cluster_room: what the room is called there.
        cluster_replicas: NATS servers that keep what is said, each all of it: 1 or 3.
        cluster_creds: file with the credentials for NATS, if it demands some.
        cluster_ca: file with the certificates of authorities that NATS is trusted by, if it talks TLS and
            the system's are not it.
        insecure: whether a password may come over a network without TLS.
        reuse_port: whether other servers of the same user may listen on the TCP port too.
    """

    max_line: int = MAX_LINE
    backlog: int = BACKLOG
    history: int = HISTORY
    presence_limit: int = PRESENCE_LIMIT
    drain: float = 10.0
    max_clients: int | None = None
    max_per_ip: int = MAX_PER_IP
    join_timeout: float = 30.0
    rate: int = RATE
    burst: int = BURST
    stall_timeout: float = 60.0
    journal: str | None = None
    sync: Sync = Sync.OS
    journal_segment: int = SEGMENT_BYTES
    journal_keep: int | timedelta | None = None
    cluster: tuple[str, ...] | None = None
    cluster_room: str = ROOM
    cluster_replicas: int = REPLICAS
    cluster_creds: str | None = None
    cluster_ca: str | None = None
    insecure: bool = False
    reuse_port: bool = False
