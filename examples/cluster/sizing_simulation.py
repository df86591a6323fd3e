"""A discrete event simulation of a room on several servers, and the search for the fewest servers.

Lines are sent at random (Poisson), each at a random server. All servers publish, but as all read the same
messages and have as many members, rounds are simulated for a few of them only; the others are taken to be as
busy as these. The stream keeps the order of publishing, and a message is not read before its predecessor.
Every server has a core of its own. Not simulated: slow readers, joins, the network between server and member,
failures, and the limits of network cards and of the stream.
"""

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from random import Random

from sizing_model import Costs, Room, RoundTrip, utilisation_min

SIMULATED_SERVERS = 3
"""Servers whose rounds are simulated."""

_SAMPLE_POINTS = tuple((point + 0.5) / 8 for point in range(8))  # of a round, at which delays are taken


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameters of a simulation.

    Args:
        costs: CPU time of a server's work.
        trip: time from publishing to reading.
        lines: number of lines sent.
        seed: of the random choices.
    """

    costs: Costs = field(default_factory=Costs)
    trip: RoundTrip = field(default_factory=RoundTrip)
    lines: int = 5_000
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a simulation. Delays are in seconds, from sending a line to writing it to a member.

    Args:
        messages: on the stream per second.
        utilisation: share of the time that a server is busy. At 1 the next round always waits: lines
            accumulate and make larger rounds, as long as they fit into a batch.
        stable: whether full batches need less than one core; if not, delays grow without bound.
        median: of the delays.
        p99: 99th percentile of the delays.
        worst: the longest delay.
    """

    messages: float
    utilisation: float
    stable: bool
    median: float
    p99: float
    worst: float


@dataclass(eq=False, slots=True)
class _Core:
    """The work of a server whose rounds are simulated; others share it, being as busy."""

    unread: "deque[_Message]" = field(default_factory=deque)
    blocked: "list[_Publisher]" = field(default_factory=list)  # until the round ends
    busy: bool = False
    next_read: float = 0.0  # no message is read before
    busy_time: float = 0.0


@dataclass(eq=False, slots=True)
class _Publisher:
    core: _Core
    queue: deque[float] = field(default_factory=deque)  # the time each line was sent
    in_flight: bool = False


@dataclass(eq=False, slots=True)
class _Message:
    publisher: _Publisher
    sent_at: list[float]


class _Simulation:
    """One run. Events are: a line is sent, a message is read, a round ends."""

    def __init__(self, room: Room, parameters: Parameters) -> None:
        self._room, self._parameters = room, parameters
        self._members, self._lines_per_batch = room.members_each, room.lines_per_batch
        self._random = Random(parameters.seed)  # noqa: S311 - not for cryptography
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()  # order of simultaneous events
        self._now = 0.0
        self._cores = [_Core() for _ in range(min(SIMULATED_SERVERS, room.servers))]
        self._publishers: dict[int, _Publisher] = {}  # servers whose members have sent a line
        self._lines = self._messages = 0
        self._delays: list[float] = []
        self._worst = 0.0

    def run(self) -> Outcome:
        """Simulate until all lines are written."""
        self._schedule_line()
        while self._events:
            self._now, _, handle = heapq.heappop(self._events)
            handle()
        return self._outcome()

    def _schedule(self, time: float, handle: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._numbers), handle))

    def _schedule_line(self) -> None:
        if self._lines < self._parameters.lines:
            self._lines += 1
            self._schedule(self._now + self._random.expovariate(self._room.rate), self._send_line)

    def _send_line(self) -> None:
        number = self._random.randrange(self._room.servers)
        publisher = self._publishers.get(number)
        if publisher is None:
            publisher = self._publishers[number] = _Publisher(self._cores[number % len(self._cores)])
        publisher.queue.append(self._now)
        self._publish(publisher)
        self._schedule_line()

    def _publish(self, publisher: _Publisher) -> None:
        """Publish the queue, once no message of this server is in flight and its round has ended."""
        if publisher.in_flight or not publisher.queue:
            return
        if publisher.core.busy:
            publisher.core.blocked.append(publisher)
            return
        lines = min(len(publisher.queue), self._lines_per_batch)
        message = _Message(publisher, [publisher.queue.popleft() for _ in range(lines)])
        publisher.in_flight = True
        self._messages += 1
        of_message = self._random.gauss(0, 1)
        for core in self._cores:
            arrival = self._now + self._parameters.trip.draw(of_message, self._random.gauss(0, 1))
            core.next_read = max(core.next_read, arrival)
            self._schedule(core.next_read, partial(self._read, core, message))

    def _read(self, core: _Core, message: _Message) -> None:
        core.unread.append(message)
        if not core.busy:
            self._start_round(core)

    def _start_round(self, core: _Core) -> None:
        costs = self._parameters.costs
        messages = self._take_batch(core)
        sent_at = [time for message in messages for time in message.sent_at]
        first_write = self._now + costs.batch * len(messages)
        duration = self._members * (costs.write + len(sent_at) * self._room.size * costs.byte)
        for time in sent_at:
            self._delays.extend([first_write + point * duration - time for point in _SAMPLE_POINTS])
        end = first_write + duration
        self._worst = max(self._worst, end - min(sent_at))
        core.busy_time += end - self._now
        core.busy = True
        self._schedule(end, partial(self._end_round, core, messages))

    def _take_batch(self, core: _Core) -> list[_Message]:
        """Take the messages of a round: all unread ones, until they fill a batch."""
        messages, lines = [], 0
        while core.unread and lines < self._lines_per_batch:
            messages.append(core.unread.popleft())
            lines += len(messages[-1].sent_at)
        return messages

    def _end_round(self, core: _Core, messages: list[_Message]) -> None:
        core.busy = False
        own = [message.publisher for message in messages if message.publisher.core is core]
        for publisher in own:
            publisher.in_flight = False
        blocked, core.blocked = core.blocked, []
        for publisher in (*own, *blocked):
            self._publish(publisher)
        if core.unread:
            self._start_round(core)

    def _outcome(self) -> Outcome:
        messages = self._messages / self._now
        utilisation = sum(core.busy_time for core in self._cores) / len(self._cores) / self._now
        delays = self._delays
        delays.sort()
        median, p99 = delays[len(delays) // 2], delays[len(delays) * 99 // 100]
        stable = utilisation_min(self._room, self._parameters.costs) < 1
        return Outcome(messages, utilisation, stable, median, p99, self._worst)


def simulate(room: Room, parameters: Parameters) -> Outcome:
    """Simulate a room; equal arguments give equal outcomes."""
    return _Simulation(room, parameters).run()


def fewest_servers(room: Room, parameters: Parameters, bound: float) -> int | None:
    """Find the smallest number of servers with which a room is stable and fast enough.

    Doubles the number until it suffices, then searches between; more servers are taken to be no worse.

    Args:
        room: its own number of servers does not matter.
        parameters: of the simulations.
        bound: seconds that the 99th percentile of the delay must be below.

    Returns:
        The number, or None if none suffices.
    """

    def suffices(servers: int) -> bool:
        candidate = replace(room, servers=servers)
        if not _may_suffice(candidate, parameters, bound):
            return False
        outcome = simulate(candidate, parameters)
        return outcome.stable and outcome.p99 < bound

    enough = 1
    while not suffices(enough):
        enough *= 2
        if enough > room.members:
            return None
    too_few = enough // 2
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        if suffices(middle):
            enough = middle
        else:
            too_few = middle
    return enough


def _may_suffice(room: Room, parameters: Parameters, bound: float) -> bool:
    """Return whether a room is worth a simulation: a round of one line must be short enough."""
    costs = parameters.costs
    return utilisation_min(room, costs) < 1 and room.members_each * costs.write < 1.1 * bound
