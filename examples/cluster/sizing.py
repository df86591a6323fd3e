"""How many servers for how many users: python examples/cluster/sizing.py [--members COUNT] [--table].

For one room that several servers share over one stream. A server publishes what its members say, one message
in flight until it has handed it out itself. Every server reads all messages back in one order, and hands out
in rounds: one write to each of its own members, of all that waits, until that fills a batch. What that costs
is arithmetic; how late it makes a line is simulated.

The answer is the fewest servers whose delay, from saying a line to writing it to a member, is below 200 ms
(--bound) at the 99th percentile, and which could keep up if every round were a full batch.

In the simulation lines are said at random (Poisson), each at a server at random. All servers publish, but as
all of them read the same messages and have as many members, the rounds are reckoned for only a few, and the
others are taken to be as busy as these. The stream's order is that of publishing, and nobody reads a message
before the one ahead of it. Every process has a core of its own. Not there: slow readers, joins, the network
between server and user, servers that fail, and what network cards and the stream itself can take.
"""

import argparse
import heapq
import math
import statistics
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from random import Random

WRITE_US = 9.0
"""Microseconds of processor time that a write to a member takes. In the README a delivery costs 8.95 with 500
members and one message on its way, which is one line a write. With 8 on their way a write has 4 to 6 lines,
with 64 some 30 (counted in `Room.hand_out`): 2.21 and 0.34 a delivery are 9 to 14 and 10 a write, too."""

BYTE_NS = 0.7
"""Nanoseconds more for each byte of a write: 0.05 microseconds a line of 76 bytes, from writes of 1 line and
of 66 (`--window 256`), on loopback."""

BATCH_US = 120.0
"""Microseconds to read a message of the stream: nats-py with uvloop, 30 to 120 in a burst, about 115 one at a
time. Publishing one takes 260, but only the one server that does it: left out."""

ROUND_TRIP_MS = 3.0
"""Milliseconds from publishing a message to reading it: 2.5 to 4 on loopback, with three NATS servers."""

ROUND_TRIP_P99_MS = 9.0
"""The same at the 99th percentile: a guess, to be measured on the network that is meant."""

BATCH_BYTES = 32 * 1024
"""Bytes of lines that fill a batch, as in `simple_chat.core.room`."""

READERS = 1_000
"""Servers that read a stream before it wants mirrors, roughly."""

USERS = (1_000, 10_000, 100_000, 1_000_000)
RATES = (1, 10, 100)

_WATCHED = 3  # servers whose rounds are simulated
_PLACES = tuple((place + 0.5) / 8 for place in range(8))  # in a round, at which delays are looked at
_SPREAD = math.sqrt(0.5) / statistics.NormalDist().inv_cdf(0.99)  # of two normal variates that are added


@dataclass(frozen=True, slots=True)
class Costs:
    """Processor time, in seconds.

    Args:
        batch: to read a message of the stream.
        write: to write to a member, however many lines.
        byte: more for each byte of that.
    """

    batch: float = BATCH_US / 1e6
    write: float = WRITE_US / 1e6
    byte: float = BYTE_NS / 1e9


@dataclass(frozen=True, slots=True)
class Trip:
    """From publishing to reading, in seconds; log-normal.

    Args:
        median: of all messages.
        p99: what one in a hundred takes longer than.
    """

    median: float = ROUND_TRIP_MS / 1e3
    p99: float = ROUND_TRIP_P99_MS / 1e3

    def draw(self, of_message: float, of_reader: float) -> float:
        """How long it takes one message to one reader.

        Args:
            of_message: a normal variate that all readers of a message have in common.
            of_reader: another one of this reader's.
        """
        return self.median * math.pow(self.p99 / self.median, (of_message + of_reader) * _SPREAD)


@dataclass(frozen=True, slots=True)
class Room:
    """A room on several servers.

    Args:
        members: in all, spread evenly.
        rate: lines that are said, a second.
        size: bytes of a line as it is delivered.
        processes: servers.
    """

    members: int
    rate: float
    size: int
    processes: int

    @property
    def crowd(self) -> int:
        """Members of the largest server."""
        return math.ceil(self.members / self.processes)

    @property
    def egress(self) -> float:
        """Bytes a second to all members."""
        return self.members * self.rate * self.size

    @property
    def egress_each(self) -> float:
        """Bytes a second from one server."""
        return self.crowd * self.rate * self.size

    @property
    def deliveries_each(self) -> float:
        """Lines a second from one server, each to one member."""
        return self.crowd * self.rate

    @property
    def batch(self) -> int:
        """Lines that fill a batch."""
        return max(1, BATCH_BYTES // self.size)


def stream_messages(room: Room, trip: Trip) -> float:
    """Messages a second on the stream, if every round trip took its median and handing out no time.

    A server publishes the first line at once, then whatever came in the meantime; if that was nothing, it
    waits for the next line. Servers that are busy publish less often, and more at a time.
    """
    rate = room.rate / room.processes
    waits = math.exp(-rate * trip.median) / rate
    return max(room.processes / (trip.median + waits), room.rate / room.batch)


def least_share(room: Room, costs: Costs) -> float:
    """Share of a core that a process needs if every round is a full batch; more than 1 cannot be had."""
    rounds = room.rate / room.batch
    bytes_each = room.rate * room.size
    return rounds * costs.batch + room.crowd * (rounds * costs.write + bytes_each * costs.byte)


def stream_reads(room: Room, messages: float, nats_servers: int) -> tuple[float, float]:
    """Messages and bytes a second that one NATS server hands to chat servers."""
    readers = room.processes / nats_servers
    return readers * messages, readers * room.rate * room.size


@dataclass(frozen=True, slots=True)
class Plan:
    """How a room is simulated.

    Args:
        costs: of what a process does.
        trip: from publishing to reading.
        lines: that are said.
        seed: of what is random.
    """

    costs: Costs = field(default_factory=Costs)
    trip: Trip = field(default_factory=Trip)
    lines: int = 5_000
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a simulation found. Delays are in seconds, from saying a line to writing it to a member.

    Args:
        messages: on the stream, a second.
        utilisation: share of the time that a process is busy. With 1 the next round always waits already:
            lines gather and make larger rounds, as long as there is room for them in a batch.
        stable: whether full batches would need less than the processor; if not, delays grow without end.
        median: of the delays.
        p99: what one delivery in a hundred takes longer than.
        worst: the longest.
    """

    messages: float
    utilisation: float
    stable: bool
    median: float
    p99: float
    worst: float


@dataclass(eq=False, slots=True)
class _Core:
    """What a server is busy with: a server that is watched, and all that are taken to be like it."""

    unread: "deque[_Message]" = field(default_factory=deque)
    held_up: "list[_Server]" = field(default_factory=list)  # who may publish as soon as the round is over
    busy: bool = False
    next_read: float = 0.0  # no message comes before this
    spent: float = 0.0


@dataclass(eq=False, slots=True)
class _Server:
    core: _Core
    gathered: deque[float] = field(default_factory=deque)  # when each line was said
    in_flight: bool = False


@dataclass(eq=False, slots=True)
class _Message:
    author: _Server
    said: list[float]


class _Simulation:
    """One run, event by event: lines are said, messages read, rounds over."""

    def __init__(self, room: Room, plan: Plan) -> None:
        self._room, self._plan = room, plan
        self._crowd, self._batch = room.crowd, room.batch
        self._random = Random(plan.seed)  # noqa: S311 - nothing here is secret
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()  # what is due at the same time keeps its order
        self._now = 0.0
        self._cores = [_Core() for _ in range(min(_WATCHED, room.processes))]
        self._servers: dict[int, _Server] = {}  # who has said anything
        self._lines = self._messages = 0
        self._delays: list[float] = []
        self._worst = 0.0

    def run(self) -> Outcome:
        """Simulate until everything that was said has been handed out."""
        self._listen()
        while self._events:
            self._now, _, happen = heapq.heappop(self._events)
            happen()
        return self._outcome()

    def _at(self, time: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._numbers), happen))

    def _listen(self) -> None:
        """Wait for the next line, if there is one."""
        if self._lines < self._plan.lines:
            self._lines += 1
            self._at(self._now + self._random.expovariate(self._room.rate), self._say)

    def _say(self) -> None:
        number = self._random.randrange(self._room.processes)
        server = self._servers.get(number)
        if server is None:
            server = self._servers[number] = _Server(self._cores[number % len(self._cores)])
        server.gathered.append(self._now)
        self._publish(server)
        self._listen()

    def _publish(self, server: _Server) -> None:
        """Publish what has gathered, as soon as nothing of the server is in flight and its round is over."""
        if server.in_flight or not server.gathered:
            return
        if server.core.busy:
            server.core.held_up.append(server)
            return
        lines = min(len(server.gathered), self._batch)
        message = _Message(server, [server.gathered.popleft() for _ in range(lines)])
        server.in_flight = True
        self._messages += 1
        of_message = self._random.gauss(0, 1)
        for core in self._cores:
            arrival = self._now + self._plan.trip.draw(of_message, self._random.gauss(0, 1))
            core.next_read = max(core.next_read, arrival)
            self._at(core.next_read, partial(self._read, core, message))

    def _read(self, core: _Core, message: _Message) -> None:
        core.unread.append(message)
        if not core.busy:
            self._begin_round(core)

    def _begin_round(self, core: _Core) -> None:
        costs = self._plan.costs
        messages = self._take(core)
        said = [time for message in messages for time in message.said]
        first = self._now + costs.batch * len(messages)
        took = self._crowd * (costs.write + len(said) * self._room.size * costs.byte)
        for time in said:
            self._delays.extend([first + place * took - time for place in _PLACES])
        self._worst = max(self._worst, first + took - min(said))
        core.spent += first + took - self._now
        core.busy = True
        self._at(first + took, partial(self._end_round, core, messages))

    def _take(self, core: _Core) -> list[_Message]:
        """Take the messages that make a round: all that wait, until they fill a batch."""
        messages, lines = [], 0
        while core.unread and lines < self._batch:
            messages.append(core.unread.popleft())
            lines += len(messages[-1].said)
        return messages

    def _end_round(self, core: _Core, messages: list[_Message]) -> None:
        core.busy = False
        own = [message.author for message in messages if message.author.core is core]
        for server in own:
            server.in_flight = False
        held_up, core.held_up = core.held_up, []
        for server in (*own, *held_up):
            self._publish(server)
        if core.unread:
            self._begin_round(core)

    def _outcome(self) -> Outcome:
        messages = self._messages / self._now
        utilisation = sum(core.spent for core in self._cores) / len(self._cores) / self._now
        delays = self._delays
        delays.sort()
        median, p99 = delays[len(delays) // 2], delays[len(delays) * 99 // 100]
        stable = least_share(self._room, self._plan.costs) < 1
        return Outcome(messages, utilisation, stable, median, p99, self._worst)


def simulate(room: Room, plan: Plan) -> Outcome:
    """Simulate a room; the same plan gives the same outcome."""
    return _Simulation(room, plan).run()


def fewest_processes(room: Room, plan: Plan, bound: float) -> int | None:
    """Find the smallest number of processes with which the room is stable and quick enough.

    Twice as many are tried until it is, then those between; more are taken to be no worse.

    Args:
        room: its own number of processes does not matter.
        plan: of the simulations.
        bound: seconds, which the delay's 99th percentile has to be below.

    Returns:
        The number, or None if there is none.
    """

    def will_do(processes: int) -> bool:
        candidate = replace(room, processes=processes)
        if not _may_do(candidate, plan, bound):
            return False
        outcome = simulate(candidate, plan)
        return outcome.stable and outcome.p99 < bound

    enough = 1
    while not will_do(enough):
        enough *= 2
        if enough > room.members:
            return None
    too_few = enough // 2
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        if will_do(middle):
            enough = middle
        else:
            too_few = middle
    return enough


def _may_do(room: Room, plan: Plan, bound: float) -> bool:
    """Tell on paper whether a room is worth a simulation: one round must not take too long."""
    return least_share(room, plan.costs) < 1 and room.crowd * plan.costs.write < 1.1 * bound


def main(arguments: Sequence[str] | None = None) -> int:
    """Print how many."""
    options = _parse(arguments)
    costs = Costs(options.batch_us / 1e6, options.write_us / 1e6, options.byte_ns / 1e9)
    trip = Trip(options.round_trip / 1e3, options.round_trip_p99 / 1e3)
    plan = Plan(costs, trip, options.lines, options.seed)
    if options.table:
        _print_table(plan, options.size, options.bound / 1e3)
        return 0
    processes = math.ceil(options.members / options.per_process)
    room = Room(options.members, options.rate, options.size, processes)
    _print_arithmetic(room, plan, options.nats_servers)
    _print_outcome(room, plan, options.bound / 1e3)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python examples/cluster/sizing.py",
        description="Reckon how many servers a room needs: the fewest whose delay, from saying a line to "
        "writing it to a member, is below --bound at the 99th percentile.",
    )

    def add(flag: str, default: float, metavar: str, what: str) -> None:
        kind = _count if isinstance(default, int) else _amount
        parser.add_argument(
            flag, type=kind, default=default, metavar=metavar, help=f"{what} (default: {default:,})"
        )

    add("--members", 1_000_000, "COUNT", "users in the room")
    add("--rate", 100.0, "COUNT", "messages that they send, a second")
    add("--size", 100, "BYTES", "a line as it is delivered")
    add("--per-process", 10_000, "COUNT", "members of a server")
    add("--bound", 200.0, "MS", "what the 99th percentile of the delay has to be below")
    add("--round-trip", ROUND_TRIP_MS, "MS", "from publishing to reading, median")
    add("--round-trip-p99", ROUND_TRIP_P99_MS, "MS", "the same, 99th percentile")
    add("--batch-us", BATCH_US, "US", "processor time to read a message of the stream")
    add("--write-us", WRITE_US, "US", "processor time of a write to a member")
    add("--byte-ns", BYTE_NS, "NS", "processor time of each byte of it")
    add("--nats-servers", 3, "COUNT", "that the stream is on")
    add("--lines", 5_000, "COUNT", "messages that are simulated")
    add("--seed", 1, "NUMBER", "for other random choices")
    parser.add_argument("--table", action="store_true", help="a table in Markdown for rooms of many sizes")
    options = parser.parse_args(arguments)
    if options.round_trip_p99 < options.round_trip:
        parser.error("--round-trip-p99 is less than --round-trip")
    return options


def _count(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError("has to be at least 1")
    return value


def _amount(text: str) -> float:
    if not 0 < (value := float(text)) < math.inf:
        raise argparse.ArgumentTypeError("has to be more than 0")
    return value


def _print_arithmetic(room: Room, plan: Plan, nats_servers: int) -> None:
    messages = stream_messages(room, plan.trip)
    reads, read_bytes = stream_reads(room, messages, nats_servers)
    print(f"{room.members:,} members, {room.rate:,g} messages/s of {room.size:,} bytes.")
    print(f"{room.processes:,} processes of {room.crowd:,} members. On paper:\n")
    print(f"- egress: {_traffic(room.egress)} in all, {_traffic(room.egress_each)} a process")
    print(f"- a process: {room.deliveries_each:,.0f} deliveries/s")
    print(f"- its share of a core: at least {least_share(room, plan.costs):.2f}, in full batches")
    print(
        f"- reads from each of {nats_servers} NATS servers: {reads:,.0f} messages/s, {_traffic(read_bytes)}"
    )
    if room.processes > READERS:
        print(f"- more than about {READERS:,} readers of one stream want mirrors")


def _print_outcome(room: Room, plan: Plan, bound: float) -> None:
    """Print what the simulation finds as a table in Markdown."""
    outcome = simulate(room, plan)
    watched = min(_WATCHED, room.processes)
    print(f"\nSimulated, {plan.lines:,} messages, in detail at {watched} of the servers:\n")
    print("| | |\n|---|---|")
    _print_row("messages/s on the stream", f"{outcome.messages:,.0f}")
    _print_row("utilisation of a process", f"{outcome.utilisation:.2f}")
    _print_row("stable", _stability(outcome))
    _print_row("delay, median", _delay(outcome, outcome.median))
    _print_row("delay, 99th percentile", _delay(outcome, outcome.p99))
    _print_row("delay, worst", _delay(outcome, outcome.worst))
    _print_row(
        f"fewest processes, p99 below {bound * 1e3:,g} ms", _number(fewest_processes(room, plan, bound))
    )


def _print_table(plan: Plan, size: int, bound: float) -> None:
    """Print a table in Markdown, a row for each size of a room."""
    print("| users | messages/s | egress | processes |\n|---|---|---|---|")
    for members in USERS:
        for rate in RATES:
            room = Room(members, rate, size, processes=1)
            processes = _number(fewest_processes(room, plan, bound))
            _print_row(f"{members:,}", f"{rate:,}", _traffic(room.egress), processes)


def _print_row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |")


def _stability(outcome: Outcome) -> str:
    if not outcome.stable:
        return "no"
    return "yes" if outcome.utilisation < 0.99 else "yes, as lines gather"


def _delay(outcome: Outcome, seconds: float) -> str:
    return f"{seconds * 1e3:,.0f} ms" if outcome.stable else "grows"


def _number(number: int | None) -> str:
    return "none will do" if number is None else f"{number:,}"


def _traffic(rate: float) -> str:
    """Show bytes a second."""
    for unit, factor in (("GB/s", 1e9), ("MB/s", 1e6), ("KB/s", 1e3)):
        if rate >= factor:
            return f"{rate / factor:,.4g} {unit}"
    return f"{rate:,.4g} B/s"


if __name__ == "__main__":
    sys.exit(main())
