"""Measure what one room on several servers costs: python -m tests.soak.cluster_cost [--members COUNT].

A server by itself and one of a cluster take turns; both have all members. Three NATS servers share a
processor with the load tool, and sync every message to the disk before they acknowledge it.
"""

import argparse
import contextlib
import os
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop

from simple_chat.bench.affinity import pin_apart
from simple_chat.bench.clients import raise_file_limit
from simple_chat.bench.load import Workload, run_load
from simple_chat.bench.result import Result
from simple_chat.bench.server_process import Target
from tests.harness.cluster import cluster_options
from tests.harness.nats import NatsCluster
from tests.harness.programs import run_server_process

ROOM = "cost"
WINDOW = 8
"""Messages in flight, when processor time is measured."""

RATE = 50
"""Messages a second, when the delay is measured."""


def main() -> int:
    """Measure, and print a table."""
    options = _parse()
    raise_file_limit(options.members)
    plan = Workload(clients=options.members, senders=options.members, window=WINDOW, seconds=options.seconds)
    paced = Workload(clients=options.members, senders=options.members, rate=RATE, seconds=options.seconds)
    results: dict[str, list[tuple[Result, Result]]] = defaultdict(list)
    with TemporaryDirectory() as folder, _running_nats(Path(folder)) as nats:
        cluster = cluster_options(nats, ROOM)
        for number in range(options.rounds):
            for name, more in (("a server by itself", ()), ("one of a cluster", cluster)):
                print(f"round {number + 1}, {name}", file=sys.stderr)
                results[name].append((_measure(plan, *more), _measure(paced, *more)))
                nats.delete(ROOM)
    _print_table(results)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m tests.soak.cluster_cost", description="Measure what one room on several servers costs."
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="COUNT", help="runs a figure (default: 5)")
    parser.add_argument("--members", type=int, default=500, metavar="COUNT", help="default: 500")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a run that are measured (default: 3)")
    return parser.parse_args()


@contextlib.contextmanager
def _running_nats(folder: Path) -> Iterator[NatsCluster]:
    """Run NATS on the processor that the load tool uses while it measures; see `pin_apart`."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(mine)})
    with NatsCluster(folder) as nats:
        os.sched_setaffinity(0, mine)
        yield nats


def _measure(plan: Workload, *more: str) -> Result:
    with run_server_process(*more) as server:
        target = Target(server.host, int(server.port), server.process.pid)
        with pin_apart(server.process.pid):
            result = uvloop.run(run_load(plan, target, lambda _what, _share: None))
    assert result.correct, result.first_faults
    return result


def _print_table(results: dict[str, list[tuple[Result, Result]]]) -> None:
    """Print a table in Markdown."""
    rows = {name: _medians(pairs) for name, pairs in results.items()}
    alone, *_ = rows.values()
    print("| | us a delivery | | median | 99th percentile |\n|---|---|---|---|---|")
    for name, (cost, median, high) in rows.items():
        print(
            f"| {name} | {cost:.2f} | {cost / alone[0]:.2f} | {median / 1e3:.1f} ms | {high / 1e3:.1f} ms |"
        )


def _medians(pairs: list[tuple[Result, Result]]) -> tuple[float, float, float]:
    """Return processor time a delivery, and the delay's median and 99th percentile, in microseconds."""
    return (
        statistics.median(busy.cpu_us_per_delivery or 0 for busy, _ in pairs),
        statistics.median(paced.latency_us["p50"] for _, paced in pairs),
        statistics.median(paced.latency_us["p99"] for _, paced in pairs),
    )


if __name__ == "__main__":
    sys.exit(main())
