"""Measure what a journal costs on this machine: python examples/benchmark/journal.py [--rounds COUNT].

Each figure is the median of several rounds; each round measures every `--sync` once. The load is a closed
loop: a batch that waits for the disk delays the next messages, which shows in the throughput.
"""

import argparse
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop
from servers import ServerSpec, run_server

from simple_chat.bench.affinity import pin_apart
from simple_chat.bench.clients import raise_file_limit
from simple_chat.bench.load import Workload, run_load
from simple_chat.bench.result import Result
from simple_chat.journal.base import Sync

MEMBERS = 500
WINDOW = 64
"""Messages in flight."""


def main() -> int:
    """Measure a server without a journal, and with each `--sync`."""
    options = _parse()
    raise_file_limit(MEMBERS)
    workload = Workload(clients=MEMBERS, senders=MEMBERS, window=WINDOW, seconds=options.seconds)
    servers = [_server("no journal"), *(_server(f"--sync {sync}", "--sync", sync) for sync in Sync)]
    results: dict[str, list[Result]] = defaultdict(list)
    for number in range(options.rounds):
        for server in servers:
            print(f"round {number + 1}, {server.name}", file=sys.stderr)
            results[server.name].append(_measure(server, workload))
    _print_table(results)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python examples/benchmark/journal.py", description="Measure what a journal costs."
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="COUNT", help="runs per figure (default: 5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="measured per run (default: 3)")
    return parser.parse_args()


def _server(name: str, *sync: str) -> ServerSpec:
    def command(directory: Path, port: int) -> list[str]:
        journal = ["--journal", str(directory), *sync] if sync else []
        return [sys.executable, "-m", "simple_chat.server", "--port", str(port), "--rate", "0", *journal]

    return ServerSpec(name, command)


def _measure(server: ServerSpec, workload: Workload) -> Result:
    with (
        TemporaryDirectory() as directory,
        run_server(server, Path(directory)) as target,
        pin_apart(target.pid or 0),
    ):
        result = uvloop.run(run_load(workload, target, lambda _phase, _done: None))
    assert result.correct, result.first_faults
    if result.warning:
        print(result.warning, file=sys.stderr)
    return result


def _print_table(results: dict[str, list[Result]]) -> None:
    """Print a table in Markdown."""
    rows = {name: _medians(runs) for name, runs in results.items()}
    without_journal, *_ = rows.values()
    print("| | deliveries/s | | median | 99th percentile |\n|---|---|---|---|---|")
    for name, (rate, median, high) in rows.items():
        share = f"{rate / without_journal[0]:.2f}"
        print(f"| {name} | {rate:,.0f} | {share} | {median / 1000:.1f} ms | {high / 1000:.1f} ms |")


def _medians(runs: list[Result]) -> tuple[float, float, float]:
    """Return deliveries per second, and the latency's median and 99th percentile in microseconds."""
    return (
        statistics.median(run.deliveries_per_second for run in runs),
        statistics.median(run.latency_us["p50"] for run in runs),
        statistics.median(run.latency_us["p99"] for run in runs),
    )


if __name__ == "__main__":
    sys.exit(main())
