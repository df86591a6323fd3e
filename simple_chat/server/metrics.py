"""Metrics for Prometheus: what the server has counted, read when somebody scrapes."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from simple_chat import __version__
from simple_chat.core.codes import Code
from simple_chat.core.counters import Counters, End, Histogram
from simple_chat.core.handshake import State
from simple_chat.errors import ConfigError
from simple_chat.journal.base import Journal
from simple_chat.server.admission import BANNED, MAX_CLIENTS_OPTION, MAX_PER_IP_OPTION
from simple_chat.server.health import Response
from simple_chat.server.hub import Hub

try:
    from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        InfoMetricFamily,
        Metric,
    )
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ConfigError("--metrics needs prometheus-client: pip install 'simple_chat[metrics]'") from error

if TYPE_CHECKING:
    from simple_chat.cluster.replicator import Replicator

_PREFIX = "simple_chat_"
_FACES = ("plain", "tls", "unix")
_LIMITS = (MAX_CLIENTS_OPTION, MAX_PER_IP_OPTION, BANNED)
_ENDING_CODES = (
    Code.AUTH_FAILED,
    Code.BANNED,
    Code.JOIN_TIMEOUT,
    Code.KICKED,
    Code.NOT_CHAT,
    Code.TOO_MANY_CONNECTIONS,
    Code.TOO_MANY_ERRORS,
)


class ServerCollector(Collector):
    """Reads what a server has counted.

    Args:
        hub: its room and connections.
        journal: what the room's lines are written to; None if they are not.
        replicator: what shares the room with other servers; None if it is not shared.
        max_clients: returns how many connections are admitted at a time.
        readiness: returns why the room takes no lines now, empty if it does.
        certificate_end: returns the end of its certificate, in seconds since the epoch; None without one.
    """

    def __init__(
        self,
        hub: Hub,
        *,
        journal: Journal | None,
        replicator: "Replicator | None",
        max_clients: Callable[[], int],
        readiness: Callable[[], str],
        certificate_end: Callable[[], float | None],
    ) -> None:
        self._hub = hub
        self._journal = journal
        self._replicator = replicator
        self._max_clients = max_clients
        self._readiness = readiness
        self._certificate_end = certificate_end

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        counters = self._hub.room.counters
        yield from self._state()
        yield self._connections()
        yield from _connections_so_far(counters)
        yield from _traffic(counters)
        if self._journal is not None:
            yield from _journal(self._journal)
        if self._replicator is not None:
            yield from _cluster(self._replicator)

    def _state(self) -> Iterator[Metric]:
        yield InfoMetricFamily(f"{_PREFIX}build", "Version of the server.", {"version": __version__})
        yield _gauge("ready", "Whether the room takes lines.", not self._readiness())
        yield _gauge("members", "Members of the room, on all servers.", len(self._hub.room.membership))
        yield _gauge("max_clients", "Connections that are admitted at a time.", self._max_clients())
        yield _histogram(
            "loop_lag_seconds", "Lateness of the event loop.", self._hub.room.counters.loop_lag_seconds
        )
        if (end := self._certificate_end()) is not None:
            yield _gauge("certificate_expiry_timestamp_seconds", "End of the certificate.", end)

    def _connections(self) -> Metric:
        # By identity: there may be thousands, and neither the hash nor the name of a state is cheap.
        found = Counter((id(each.session.state), each.face) for each in self._hub.connections)
        family = GaugeMetricFamily(
            f"{_PREFIX}connections",
            "Connections by their state and what they came by.",
            labels=["state", "face"],
        )
        for state in State:
            for face in _FACES:
                family.add_metric([state.name.lower(), face], found[id(state), face])
        return family


def _connections_so_far(counters: Counters) -> Iterator[Metric]:
    yield _counter("connections_accepted", "Connections that were admitted.", counters.accepted)
    yield _counters(
        "connections_refused",
        "Connections that met a limit.",
        "limit",
        dict.fromkeys(_LIMITS, 0) | counters.refused,
    )
    yield _counters(
        "disconnects",
        "Connections that ended, by reason.",
        "reason",
        dict.fromkeys((*End, *_ENDING_CODES), 0) | counters.disconnects,
    )


def _traffic(counters: Counters) -> Iterator[Metric]:
    yield _counter("received_bytes", "Bytes from clients, without TLS.", counters.received_bytes)
    yield _counter("sent_bytes", "Bytes written to clients, without TLS.", counters.sent_bytes)
    yield _counter("lines_received", "Lines of clients that were executed.", counters.lines)
    yield _counter("room_lines", "JOINED, MSG and LEFT, each once.", counters.room_lines)
    yield _counter("messages", "MSG, each once.", counters.messages)
    yield _counter("deliveries", "Lines of the room, once for each who got them.", counters.deliveries)
    yield _counter("gaps", "GAP lines.", counters.gaps)
    yield _counter("gap_lines", "Lines of the room that GAP stood for.", counters.gap_lines)
    yield _counters("refusals", "ERR lines.", "code", dict.fromkeys(Code, 0) | counters.refusals)
    yield _histogram("batch_lines", "Lines of a batch.", counters.batch_lines)
    yield _histogram("batch_bytes", "Bytes of a batch.", counters.batch_bytes)
    yield _histogram("fanout_seconds", "Time to write a batch to all members.", counters.fanout_seconds)


def _journal(journal: Journal) -> Iterator[Metric]:
    yield _histogram("journal_seconds", "Time until a batch is safe, as --sync says.", journal.seconds)
    yield _gauge("journal_waiting_bytes", "Memory of batches not written yet.", journal.waiting_bytes)
    yield _gauge("journal_failing", "Whether nothing can be written.", bool(journal.problem))


def _cluster(replicator: "Replicator") -> Iterator[Metric]:
    room = replicator.room
    yield _histogram("cluster_commit_seconds", "Time to NATS and back.", replicator.commit_seconds)
    yield _gauge("cluster_waiting_bytes", "Bytes proposed and not committed yet.", room.waiting_bytes)
    yield _gauge("cluster_servers", "Servers that have the room.", room.servers)
    yield _gauge("cluster_available", "Whether anything can be committed.", not replicator.problem)


# Families of metrics


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(_PREFIX + name, text, value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(_PREFIX + name, text, value)


def _counters(name: str, text: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(_PREFIX + name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([str(key)], value)
    return family


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    buckets = [
        ("+Inf" if bound == math.inf else str(float(bound)), float(count))
        for bound, count in histogram.cumulative()
    ]
    return HistogramMetricFamily(_PREFIX + name, text, buckets, histogram.sum)


# The page


def metrics_page(collector: Collector) -> Callable[[str], Response]:
    """Return what answers a scrape: with the collector's metrics and those of the process.

    Args:
        collector: registered nowhere else.
    """
    registry = CollectorRegistry()
    registry.register(collector)
    for collect in (ProcessCollector, PlatformCollector, GCCollector):
        collect(registry=registry)

    def page(accept: str) -> Response:
        try:
            encode, content_type = choose_encoder(accept)
        except TypeError:  # it compares the parts of a version as numbers, whatever they are
            encode, content_type = choose_encoder("")
        return Response(200, encode(registry), content_type)

    return page
