"""How many servers for how many users: python examples/cluster/sizing.py [--members COUNT] [--table].

For one room that several servers share over one stream. A server publishes its members' lines, one message in
flight until it has written that message to its own members. Every server reads all messages in one order, and
works in rounds: one write to each of its members, of all lines that wait, up to a full batch. The costs are
arithmetic (`sizing_model.py`), the delays are simulated (`sizing_simulation.py`).

The answer is the fewest servers whose delay, from sending a line to writing it to a member, is below 200 ms
(--bound) at the 99th percentile, and that could keep up if every round were a full batch.
"""

import argparse
import math
import sys
from collections.abc import Sequence

from sizing_model import (
    BATCH_US,
    BYTE_NS,
    READERS_MAX,
    ROUND_TRIP_MS,
    ROUND_TRIP_P99_MS,
    WRITE_US,
    Costs,
    Room,
    RoundTrip,
    stream_messages,
    stream_reads,
    utilisation_min,
)
from sizing_simulation import SIMULATED_SERVERS, Outcome, Parameters, fewest_servers, simulate

USERS = (1_000, 10_000, 100_000, 1_000_000)
RATES = (1, 10, 100)
"""Rows of the table: users, and lines that they send per second."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the answer, or a table of answers."""
    options = _parse(arguments)
    costs = Costs(options.batch_us / 1e6, options.write_us / 1e6, options.byte_ns / 1e9)
    trip = RoundTrip(options.round_trip / 1e3, options.round_trip_p99 / 1e3)
    parameters = Parameters(costs, trip, options.lines, options.seed)
    if options.table:
        _print_table(parameters, options.size, options.bound / 1e3)
        return 0
    servers = math.ceil(options.members / options.per_process)
    room = Room(options.members, options.rate, options.size, servers)
    _print_arithmetic(room, parameters, options.nats_servers)
    _print_outcome(room, parameters, options.bound / 1e3)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python examples/cluster/sizing.py",
        description="Estimate how many servers a room needs: the fewest whose delay, from sending a line to "
        "writing it to a member, is below --bound at the 99th percentile.",
    )

    def add(flag: str, default: float, metavar: str, what: str) -> None:
        kind = _count if isinstance(default, int) else _amount
        parser.add_argument(
            flag, type=kind, default=default, metavar=metavar, help=f"{what} (default: {default:,})"
        )

    add("--members", 1_000_000, "COUNT", "users in the room")
    add("--rate", 100.0, "COUNT", "messages that they send, per second")
    add("--size", 100, "BYTES", "length of a delivered line")
    add("--per-process", 10_000, "COUNT", "members per server")
    add("--bound", 200.0, "MS", "upper bound of the delay's 99th percentile")
    add("--round-trip", ROUND_TRIP_MS, "MS", "from publishing to reading, median")
    add("--round-trip-p99", ROUND_TRIP_P99_MS, "MS", "the same, 99th percentile")
    add("--batch-us", BATCH_US, "US", "CPU time to read a message of the stream")
    add("--write-us", WRITE_US, "US", "CPU time of a write to a member")
    add("--byte-ns", BYTE_NS, "NS", "CPU time of each byte of a write")
    add("--nats-servers", 3, "COUNT", "servers of the stream")
    add("--lines", 5_000, "COUNT", "messages to simulate")
    add("--seed", 1, "NUMBER", "seed of the random choices")
    parser.add_argument("--table", action="store_true", help="print a Markdown table for rooms of many sizes")
    options = parser.parse_args(arguments)
    if options.round_trip_p99 < options.round_trip:
        parser.error(f"--round-trip-p99 {options.round_trip_p99:g} is less than --round-trip")
    return options


def _count(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def _amount(text: str) -> float:
    if not 0 < (value := float(text)) < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _print_arithmetic(room: Room, parameters: Parameters, nats_servers: int) -> None:
    messages = stream_messages(room, parameters.trip)
    reads, read_bytes = stream_reads(room, messages, nats_servers)
    share = utilisation_min(room, parameters.costs)
    print(f"{room.members:,} members, {room.rate:,g} messages/s of {room.size:,} bytes,")
    print(f"{room.servers:,} servers of {room.members_each:,} members. Calculated:\n")
    print(f"- egress: {_traffic(room.egress)} in total, {_traffic(room.egress_each)} per server")
    print(f"- per server: {room.deliveries_each:,.0f} deliveries/s")
    print(f"- utilisation of its core: at least {share:.2f}, in full batches")
    print(f"- from each of {nats_servers} NATS servers: {reads:,.0f} messages/s, {_traffic(read_bytes)}")
    if room.servers > READERS_MAX:
        print(f"- more than about {READERS_MAX:,} readers of one stream need mirrors")


def _print_outcome(room: Room, parameters: Parameters, bound: float) -> None:
    """Print the simulation's outcome as a table in Markdown."""
    outcome = simulate(room, parameters)
    simulated = min(SIMULATED_SERVERS, room.servers)
    print(f"\nSimulated, {parameters.lines:,} messages, rounds of {simulated} servers:\n")
    print("| | |\n|---|---|")
    _print_row("messages/s on the stream", f"{outcome.messages:,.0f}")
    _print_row("utilisation of a server", f"{outcome.utilisation:.2f}")
    _print_row("stable", _stability(outcome))
    _print_row("delay, median", _delay(outcome, outcome.median))
    _print_row("delay, 99th percentile", _delay(outcome, outcome.p99))
    _print_row("delay, worst", _delay(outcome, outcome.worst))
    fewest = fewest_servers(room, parameters, bound)
    _print_row(f"fewest servers, p99 below {bound * 1e3:,g} ms", _number(fewest))


def _print_table(parameters: Parameters, size: int, bound: float) -> None:
    """Print a table in Markdown, one row per size of a room."""
    print("| users | messages/s | egress | servers |\n|---|---|---|---|")
    for members in USERS:
        for rate in RATES:
            room = Room(members, rate, size, servers=1)
            servers = _number(fewest_servers(room, parameters, bound))
            _print_row(f"{members:,}", f"{rate:,}", _traffic(room.egress), servers)


def _print_row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |")


def _stability(outcome: Outcome) -> str:
    if not outcome.stable:
        return "no"
    return "yes" if outcome.utilisation < 0.99 else "yes, but lines accumulate"


def _delay(outcome: Outcome, seconds: float) -> str:
    return f"{seconds * 1e3:,.0f} ms" if outcome.stable else "unbounded"


def _number(number: int | None) -> str:
    return "none suffices" if number is None else f"{number:,}"


def _traffic(rate: float) -> str:
    """Format bytes per second."""
    for unit, factor in (("GB/s", 1e9), ("MB/s", 1e6), ("KB/s", 1e3)):
        if rate >= factor:
            return f"{rate / factor:,.4g} {unit}"
    return f"{rate:,.4g} B/s"


if __name__ == "__main__":
    sys.exit(main())
