"""One run: everybody comes in, messages are said and measured, and every delivery is checked."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from simple_chat.bench import message
from simple_chat.bench.clients import Crowd, allow_files
from simple_chat.bench.dialect import SIMPLE_CHAT, Dialect
from simple_chat.bench.latency import Latencies
from simple_chat.bench.pacing import Pace, Rate, Window
from simple_chat.bench.result import CURVE, PERCENTS, Result
from simple_chat.bench.server_process import Target
from simple_chat.bench.usage import Server
from simple_chat.bench.verify import Reference, Stream

WARM_UP = 1.0
"""Seconds before the measurement."""

_SAMPLE = 50  # clients whose latencies are taken, and up to twice as many
_STEP = 0.2  # seconds between reports
_DRAIN = 5.0  # seconds without a delivery after which no more are waited for
_LOOK_EVERY = 0.02  # seconds
_FAULTS_TOLD = 10

Progress = Callable[[str, float], None]
"""Is told what is being done and which share of it is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do.

    Attributes:
        clients: how many come.
        senders: how many of them say something.
        window: messages on their way at a time, unless there is a rate.
        rate: messages a second.
        size: bytes of a message's text, `message.SHORTEST` at least.
        seconds: how long to measure.
        dialect: the server's protocol.
    """

    clients: int = 100
    senders: int = 1
    window: int = 8
    rate: int | None = None
    size: int = 64
    seconds: float = 5.0
    dialect: Dialect = SIMPLE_CHAT


async def run(plan: Plan, target: Target, progress: Progress) -> Result:
    """Put a server under load.

    Raises:
        LoadError: that is not possible.
    """
    server = None if target.pid is None else Server(target.pid)
    memory = server.memory() if server else 0
    crowd = Crowd(plan.clients, plan.dialect)
    allow_files(plan.clients)
    with crowd.closing():
        await crowd.connect(target.host, target.port, lambda share: progress("connecting", share))
        talk = Talk(plan, crowd)
        talk.listen(await crowd.start(lambda share: progress("joining", share)))
        grown = (server.memory() - memory) / 1024 / len(crowd.all) if server else None
        begin, end = await _measure(talk, plan.seconds, server, progress)
        await _drain(talk)
        talk.finish()
    return _result(plan, talk, begin, end, grown)


class Talk:
    """What is said after the start, and what becomes of it.

    Args:
        plan: who says what.
        crowd: everybody, in the room.

    Attributes:
        sent: messages so far.
        delivered: lines so far that clients and observer got.
        latencies: of the sample.
        pace: says when.
    """

    def __init__(self, plan: Plan, crowd: Crowd) -> None:
        self.sent = 0
        self.delivered = 0
        self.latencies = Latencies()
        # Everybody gets it but its sender, and so does the observer: that makes as many as clients.
        self._fan = plan.clients
        self.pace: Pace = (
            Rate(self._say, plan.rate) if plan.rate else Window(self._say, self._fan, plan.window)
        )
        self._plan = plan
        self._crowd = crowd
        self._reference = Reference(plan.senders)
        self._streams = [self._stream(number) for number in range(plan.clients)]
        self._clients = list(zip(crowd.clients, self._streams, strict=True))

    def _stream(self, number: int) -> Stream:
        is_sampled = number % max(self._plan.clients // _SAMPLE, 1) == 0
        sender = number if number < self._plan.senders else None
        return Stream(self._reference, sender, self.latencies if is_sampled else None)

    def listen(self, already: Sequence[bytes]) -> None:
        """Check what everybody gets from the start on.

        Args:
            already: what the observer and each client have got of it.
        """
        of_observer, *of_clients = already
        self._crowd.observer.receive(self._take_reference, of_observer)
        for (connection, stream), data in zip(self._clients, of_clients, strict=True):
            connection.receive(self._taker(stream), data)

    def _taker(self, stream: Stream) -> Callable[[bytes], None]:
        def take(data: bytes) -> None:
            stream.take(data, time.monotonic_ns())
            self._count(data)

        return take

    def _take_reference(self, data: bytes) -> None:
        self._reference.grow(data)
        self._count(data)

    def _count(self, data: bytes) -> None:
        lines = data.count(b"\n")
        self.delivered += lines
        self.pace.delivered(lines)

    def _say(self, now: int) -> None:
        number, sender = divmod(self.sent, self._plan.senders)
        text = message.compose(now, sender, number, self._plan.size)
        self._reference.expect(sender, text.encode())
        self.sent += 1
        transport = self._crowd.clients[sender].transport
        if not transport.is_closing():
            transport.write(self._plan.dialect.line(text))

    def tidy(self) -> None:
        """Forget what everybody got."""
        behind = (each.position for each in self._streams if not each.fault)
        self._reference.forget(min(behind, default=self._reference.end))

    @property
    def done(self) -> bool:
        """Whether there is nothing to wait for."""
        return self._reference.complete and all(each.fault or each.at_end for each in self._streams)

    def note_closed(self) -> None:
        """Note whose connection ended: nothing more comes there."""
        for connection, stream in self._clients:
            if connection.closed:
                stream.fail("was disconnected")

    def finish(self) -> None:
        """Note what can be wrong only if nothing more comes."""
        self._reference.finish()
        for each in self._streams:
            each.finish()

    @property
    def lost(self) -> int:
        """Deliveries that did not come, or came after a fault."""
        right = sum(each.messages() for each in self._streams)
        return self.sent * self._fan - right - self._reference.messages(self._reference.end)

    @property
    def faults(self) -> list[str]:
        """All that was wrong, in words."""
        others = (each for each in (self._crowd.observer, self._crowd.starter) if each.closed)
        return [
            *(f"{each.label}: was disconnected" for each in others),
            *self._reference.faults,
            *(f"{each.label}: {stream.fault}" for each, stream in self._clients if stream.fault),
        ]


@dataclass(frozen=True, slots=True)
class _Reading:
    """The counters at one time; processor times and the time itself in seconds."""

    time: float
    sent: int
    delivered: int
    tool_cpu: float
    server_cpu: float | None


def _read(talk: Talk, server: Server | None) -> _Reading:
    server_cpu = server.cpu() if server else None
    return _Reading(time.monotonic(), talk.sent, talk.delivered, time.process_time(), server_cpu)


async def _measure(
    talk: Talk, seconds: float, server: Server | None, progress: Progress
) -> tuple[_Reading, _Reading]:
    talk.pace.start()
    await _pass(WARM_UP, talk, lambda share: progress("warming up", share))
    talk.latencies.begin(time.monotonic_ns())
    begin = _read(talk, server)
    await _pass(seconds, talk, lambda share: progress("measuring", share))
    end = _read(talk, server)
    talk.pace.stop()
    return begin, end


async def _pass(seconds: float, talk: Talk, report: Callable[[float], None]) -> None:
    begin = time.monotonic()
    while (passed := time.monotonic() - begin) < seconds:
        report(passed / seconds)
        talk.tidy()
        await asyncio.sleep(min(_STEP, seconds - passed))


async def _drain(talk: Talk) -> None:
    """Wait for what is on its way."""
    delivered, since = talk.delivered, time.monotonic()
    talk.note_closed()
    while not talk.done and time.monotonic() < since + _DRAIN:
        await asyncio.sleep(_LOOK_EVERY)
        talk.note_closed()
        if talk.delivered > delivered:
            delivered, since = talk.delivered, time.monotonic()


def _result(plan: Plan, talk: Talk, begin: _Reading, end: _Reading, kib_per_member: float | None) -> Result:
    seconds = end.time - begin.time
    deliveries = end.delivered - begin.delivered
    spent = None if begin.server_cpu is None or end.server_cpu is None else end.server_cpu - begin.server_cpu
    percents = talk.latencies.histogram.percentiles(PERCENTS)
    curve = talk.latencies.histogram.percentiles(CURVE)
    faults = talk.faults
    return Result(
        clients=plan.clients,
        senders=plan.senders,
        window=None if plan.rate else plan.window,
        rate=plan.rate,
        size=plan.size,
        seconds=seconds,
        messages=end.sent - begin.sent,
        deliveries=deliveries,
        deliveries_per_second=deliveries / seconds,
        latency_us={
            f"p{percent:g}": ns / 1000 for percent, ns in zip(PERCENTS, percents or (), strict=False)
        },
        latency_curve_us=[(percent, ns / 1000) for percent, ns in zip(CURVE, curve or (), strict=False)],
        cpu_us_per_delivery=None if spent is None or not deliveries else spent * 1e6 / deliveries,
        kib_per_member=kib_per_member,
        tool_cpu=(end.tool_cpu - begin.tool_cpu) / seconds,
        server_cpu=None if spent is None else spent / seconds,
        lost=talk.lost,
        faults=len(faults),
        first_faults=faults[:_FAULTS_TOLD],
    )
