"""The configuration of one server's part in a cluster.

Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from simple_chat.cluster.nodes import HEARTBEAT_INTERVAL, LEASE

ROOM = "simple_chat"
"""Default name of the room."""

REPLICAS = 3
"""Default number of NATS servers that store the stream: one of them may fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """The stream that orders a room's events, and the timing that all servers of the room agree on.

    Attributes:
        servers: URLs of NATS servers, as ``nats://host:4222`` or ``nats://user:password@host:4222``; the repr
            leaves them out.
        room: name of the stream, and the first token of its subjects.
        replicas: NATS servers that store the stream, each a full copy.
        creds: path of a NATS credentials file, or None.
        ca: path of a PEM file with the CA certificates to trust, or None for those of the system.
        cert: path of a PEM file with the certificate to show to NATS, or None.
        key: path of a PEM file with its private key, or None if it is in the same file.
        lease: seconds without an entry after which a server counts as dead. Equal on all servers.
        heartbeat: seconds without an entry after which a server publishes a heartbeat. Equal on all servers.
    """

    servers: tuple[str, ...] = field(repr=False)
    room: str = ROOM
    replicas: int = REPLICAS
    creds: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    lease: float = LEASE
    heartbeat: float = HEARTBEAT_INTERVAL


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsLogin:
    """What a URL has before its host, with percent-encoding decoded.

    Attributes:
        user: None for none.
        password: the user's.
        token: instead of user and password; None for none.
    """

    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)


def parse_nats_urls(urls: Sequence[str]) -> tuple[list[str], NatsLogin]:
    """Return URLs without user and password, which can be shown to people, and the login that was in them.

    Args:
        urls: of NATS servers.

    Raises:
        ValueError: one is not such a URL, or they have different logins. The message repeats nothing of them:
            what looks like another part may be the end of a password.
    """
    parts = [_split(url, number) for number, url in enumerate(urls, start=1)]
    shown = [f"{each.scheme}://{each.netloc.rpartition('@')[2]}" for each in parts]
    logins = {_login(each) for each in parts if "@" in each.netloc}
    if len(logins) > 1:
        raise ValueError("the NATS URLs have different users or passwords: give all the same, or only one")
    return shown, next(iter(logins), NatsLogin())


def _split(url: str, number: int) -> SplitResult:
    try:
        parts = urlsplit(url)
        _login(parts), parts.port  # they raise
        if (
            parts.scheme in {"nats", "tls"}
            and parts.hostname
            and parts.path in {"", "/"}
            and not (parts.query or parts.fragment)
        ):
            return parts
    except ValueError:
        pass
    raise ValueError(
        f"URL {number} is not a NATS URL such as nats://host:4222; "
        "a user and password before the host have %-codes for all but letters and digits (%40 for @)"
    )


def _login(parts: SplitResult) -> NatsLogin:
    user, password = (
        None if each is None else unquote(each, errors="strict") for each in (parts.username, parts.password)
    )
    return NatsLogin(token=user) if password is None else NatsLogin(user=user, password=password)
