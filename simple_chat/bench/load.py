"""One run: connect, join, send and measure, and check every delivery."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simple_chat.bench import message
from simple_chat.bench.clients import ClientPool, Connection, OnData, OnProgress, raise_file_limit
from simple_chat.bench.dialect import SIMPLE_CHAT, Dialect
from simple_chat.bench.latency import LatencyRecorder
from simple_chat.bench.pacing import ClosedLoop, OpenLoop, Pacing
from simple_chat.bench.result import CURVE_PERCENTILES, PERCENTILES, Result
from simple_chat.bench.server_process import Target
from simple_chat.bench.usage import ProcessTree
from simple_chat.bench.verify import ClientStream, Reference

WARM_UP = 1.0
"""Longest warm-up in seconds: a shorter measurement has a warm-up of the same length."""

DRAIN_TIMEOUT = 5.0
"""Seconds without a delivery after which messages in flight are lost."""

_SAMPLED_CLIENTS = 50  # at least, and less than twice as many, whose latencies are recorded
_PROGRESS_INTERVAL = 0.2  # seconds
_POLL_INTERVAL = 0.02  # seconds
_LISTED_FAULTS = 10

OnPhase = Callable[[str, float], None]
"""Called with the name of the current phase and the fraction of it that is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What to send.

    Attributes:
        clients: number of clients in the room.
        senders: number of clients that send, in turn.
        window: messages in flight, unless there is a rate.
        rate: messages per second.
        size: bytes of a message's text, at least `message.SIZE_MIN`.
        seconds: duration of the measurement.
        dialect: the server's protocol.
    """

    clients: int = 100
    senders: int = 1
    window: int = 8
    rate: int | None = None
    size: int = 64
    seconds: float = 5.0
    dialect: Dialect = SIMPLE_CHAT


async def run_load(workload: Workload, target: Target, on_phase: OnPhase) -> Result:
    """Put a server under load.

    Raises:
        LoadError: the load can't be generated or measured.
    """
    server = None if target.pid is None else ProcessTree(target.pid)
    memory_before = server.resident_bytes() if server else 0
    pool = ClientPool(workload.clients, workload.dialect)
    raise_file_limit(workload.clients)
    with pool.closing():
        await pool.connect(target.host, target.port, lambda done: on_phase("connecting", done))
        load = LoadRun(workload, pool)
        load.attach(await pool.synchronize(lambda done: on_phase("joining", done)))
        growth = server.resident_bytes() - memory_before if server else None
        before, after = await _measure(load, workload.seconds, server, on_phase)
        await _drain(load)
        load.finish()
    kib_per_member = None if growth is None else growth / 1024 / len(pool.all)
    return _result(load, before, after, kib_per_member)


class LoadRun:
    """The messages of a run, and the check of their deliveries.

    Args:
        workload: what to send.
        pool: all connections, in the room.

    Attributes:
        workload: the same.
        sent: messages so far.
        delivered: lines that clients and observer received so far.
        latencies: of the sampled clients.
        pacing: decides when messages are sent.
    """

    def __init__(self, workload: Workload, pool: ClientPool) -> None:
        self.workload = workload
        self.sent = 0
        self.delivered = 0
        self.latencies = LatencyRecorder()
        self._fan_out = workload.clients  # all but the sender, and the observer
        self.pacing: Pacing = (
            OpenLoop(self._send, workload.rate)
            if workload.rate
            else ClosedLoop(self._send, self._fan_out, workload.window)
        )
        self._pool = pool
        self._reference = Reference(workload.senders)
        self._streams = [self._make_stream(number) for number in range(workload.clients)]
        self._clients: list[tuple[Connection, ClientStream]] = list(
            zip(pool.clients, self._streams, strict=True)
        )

    def _make_stream(self, number: int) -> ClientStream:
        is_sampled = number % max(self.workload.clients // _SAMPLED_CLIENTS, 1) == 0
        sender = number if number < self.workload.senders else None
        return ClientStream(self._reference, sender, self.latencies if is_sampled else None)

    def attach(self, received: Sequence[bytes]) -> None:
        """Check what everybody receives from now on.

        Args:
            received: what the observer and each client have received already.
        """
        of_observer, *of_clients = received
        self._pool.observer.redirect(self._on_observer_data, of_observer)
        for (connection, stream), data in zip(self._clients, of_clients, strict=True):
            connection.redirect(self._make_receiver(stream), data)

    def _make_receiver(self, stream: ClientStream) -> OnData:
        def on_data(data: bytes) -> None:
            stream.feed(data, time.monotonic_ns())
            self._count_deliveries(data)

        return on_data

    def _on_observer_data(self, data: bytes) -> None:
        self._reference.feed(data)
        self._count_deliveries(data)

    def _count_deliveries(self, data: bytes) -> None:
        lines = data.count(b"\n")
        self.delivered += lines
        self.pacing.on_delivered(lines)

    def _send(self, now: int) -> None:
        number, sender = divmod(self.sent, self.workload.senders)
        text = message.compose(now, sender, number, self.workload.size)
        self._reference.expect(sender, text.encode())
        self.sent += 1
        transport = self._pool.clients[sender].transport
        if not transport.is_closing():
            transport.write(self.workload.dialect.encode_message(text))

    def discard_checked(self) -> None:
        """Free the memory of what everybody has received."""
        positions = (each.position for each in self._streams if not each.fault)
        self._reference.discard_before(min(positions, default=self._reference.end))

    @property
    def drained(self) -> bool:
        """Whether nothing more is expected."""
        return self._reference.complete and all(each.fault or each.at_end for each in self._streams)

    def check_connections(self) -> None:
        """Record a fault for each lost connection."""
        for connection, stream in self._clients:
            if connection.closed:
                stream.fail("was disconnected")

    def finish(self) -> None:
        """Check what is only wrong if nothing more arrives."""
        self._reference.finish()
        for each in self._streams:
            each.finish()

    @property
    def lost(self) -> int:
        """Deliveries that are missing, or came after a fault."""
        received = sum(each.messages() for each in self._streams)
        return self.sent * self._fan_out - received - self._reference.messages_before(self._reference.end)

    @property
    def faults(self) -> list[str]:
        """Descriptions of all faults."""
        others = (each for each in (self._pool.observer, self._pool.marker_sender) if each.closed)
        return [
            *(f"{each.label}: was disconnected" for each in others),
            *self._reference.faults,
            *(f"{each.label}: {stream.fault}" for each, stream in self._clients if stream.fault),
        ]


@dataclass(frozen=True, slots=True)
class _Counters:
    """The counters at one time; the time and CPU times in seconds."""

    time: float
    sent: int
    delivered: int
    tool_cpu: float
    server_cpu: float | None


def _read_counters(load: LoadRun, server: ProcessTree | None) -> _Counters:
    server_cpu = server.cpu_seconds() if server else None
    return _Counters(time.monotonic(), load.sent, load.delivered, time.process_time(), server_cpu)


async def _measure(
    load: LoadRun, seconds: float, server: ProcessTree | None, on_phase: OnPhase
) -> tuple[_Counters, _Counters]:
    """Return the counters at the begin and the end of the measurement."""
    load.pacing.start()
    await _run_phase(min(WARM_UP, seconds), load, lambda done: on_phase("warming up", done))
    load.latencies.start(time.monotonic_ns())
    before = _read_counters(load, server)
    await _run_phase(seconds, load, lambda done: on_phase("measuring", done))
    after = _read_counters(load, server)
    load.pacing.stop()
    return before, after


async def _run_phase(seconds: float, load: LoadRun, on_progress: OnProgress) -> None:
    begin = time.monotonic()
    while (elapsed := time.monotonic() - begin) < seconds:
        on_progress(elapsed / seconds)
        load.discard_checked()
        await asyncio.sleep(min(_PROGRESS_INTERVAL, seconds - elapsed))


async def _drain(load: LoadRun) -> None:
    """Wait for the messages in flight."""
    delivered, since = load.delivered, time.monotonic()
    load.check_connections()
    while not load.drained and time.monotonic() < since + DRAIN_TIMEOUT:
        await asyncio.sleep(_POLL_INTERVAL)
        load.check_connections()
        if load.delivered > delivered:
            delivered, since = load.delivered, time.monotonic()


def _result(load: LoadRun, before: _Counters, after: _Counters, kib_per_member: float | None) -> Result:
    workload, faults = load.workload, load.faults
    seconds = after.time - before.time
    deliveries = after.delivered - before.delivered
    cpu = (
        None
        if before.server_cpu is None or after.server_cpu is None
        else after.server_cpu - before.server_cpu
    )
    return Result(
        clients=workload.clients,
        senders=workload.senders,
        window=None if workload.rate else workload.window,
        rate=workload.rate,
        size=workload.size,
        seconds=seconds,
        messages=after.sent - before.sent,
        deliveries=deliveries,
        deliveries_per_second=deliveries / seconds,
        latency_us={f"p{percent:g}": us for percent, us in _latencies_us(load, PERCENTILES)},
        latency_curve_us=_latencies_us(load, CURVE_PERCENTILES),
        cpu_us_per_delivery=None if cpu is None or not deliveries else cpu * 1e6 / deliveries,
        kib_per_member=kib_per_member,
        tool_cpu=(after.tool_cpu - before.tool_cpu) / seconds,
        server_cpu=None if cpu is None else cpu / seconds,
        lost=load.lost,
        faults=len(faults),
        first_faults=faults[:_LISTED_FAULTS],
    )


def _latencies_us(load: LoadRun, percents: Sequence[float]) -> list[tuple[float, float]]:
    """Return pairs of percentile and microseconds; none if no latency was recorded."""
    values = load.latencies.histogram.percentiles(percents) or ()
    return [(percent, ns / 1000) for percent, ns in zip(percents, values, strict=False)]
