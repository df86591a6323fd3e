"""The timing of a cluster, shortened for tests that wait for it.

Not as short as can be: a busy machine may suspend a process for a second.
"""

from types import ModuleType

from simple_chat.cluster import consumer, replicator

LEASE = 3.0
HEARTBEAT = 0.3

SHORT_TIMEOUTS: tuple[tuple[ModuleType, str, float], ...] = (
    (consumer, "HEARTBEAT_INTERVAL", 0.1),
    (consumer, "SILENCE_TIMEOUT", 0.7),
    (replicator, "UNAVAILABLE_TIMEOUT", 0.5),
)
"""Constants and their values in seconds: longer than a busy machine needs to answer."""
