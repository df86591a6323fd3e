"""What not every server needs. It is imported when it is needed, for it may not be installed."""

# ruff: noqa: PLC0415

from pathlib import Path
from typing import TYPE_CHECKING, Any

from simple_chat.core.room import Room
from simple_chat.journal.base import Journal, Policy
from simple_chat.server.config import Settings
from simple_chat.server.health import Page
from simple_chat.server.hub import Hub

if TYPE_CHECKING:
    from simple_chat.cluster.replicator import Replicator
    from simple_chat.server.auth import Authenticator


def make_authenticator(password: str | None) -> "Authenticator | None":
    """Return what checks passwords, if clients need one.

    Args:
        password: its hash; None for none.

    Raises:
        ConfigError: argon2 is not installed.
    """
    if password is None:
        return None
    from simple_chat.server.auth import Authenticator

    return Authenticator(password)


async def open_replicator(settings: Settings, room: Room) -> "Replicator | None":
    """Return what shares a room with other servers, if the settings name a cluster.

    Raises:
        ConfigError: nats-py is not installed, or the credentials can't be used.
        JournalError: NATS can't be used.
    """
    if settings.cluster is None:
        return None
    from simple_chat.cluster.config import ClusterConfig
    from simple_chat.cluster.replicator import Replicator

    config = ClusterConfig(
        servers=settings.cluster,
        room=settings.cluster_room,
        replicas=settings.cluster_replicas,
        creds=settings.cluster_creds,
        ca=settings.cluster_ca,
        cert=settings.cluster_cert,
        key=settings.cluster_key,
        lease=settings.cluster_lease,
        heartbeat=settings.cluster_heartbeat,
    )
    return await Replicator.open(config, room, max_line=settings.max_line)


def make_metrics_page(hub: Hub, **sources: Any) -> Page:  # noqa: ANN401 - as the collector has them
    """Return the page that answers a scrape.

    Args:
        hub: the room and its connections.
        sources: as `simple_chat.server.metrics.ServerCollector` takes them.

    Raises:
        ConfigError: prometheus-client is not installed.
    """
    from simple_chat.server.metrics import ServerCollector, metrics_page

    return metrics_page(ServerCollector(hub, **sources))


async def open_journal(settings: Settings) -> Journal | None:
    """Return the journal that the settings name, if they do.

    Raises:
        JournalError: it can't be used.
    """
    if settings.journal is None:
        return None
    from simple_chat.journal.file import FileJournal

    policy = Policy(
        sync=settings.sync,
        segment_bytes=settings.journal_segment,
        retention=settings.journal_keep,
        recover_bytes=settings.backlog,
    )
    return await FileJournal.open(Path(settings.journal), policy)
