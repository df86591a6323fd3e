"""What a journal costs on this machine: python examples/benchmark/journal.py [--rounds COUNT].

Each figure is the median of several runs, in which the ways to keep a journal take turns. A message is on its
way until everybody has it, so that a batch that waits for the disk holds up those who send the next one: the
throughput shows it.
"""

import argparse
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop
from rivals import Rival, running

from simple_chat.bench.clients import allow_files
from simple_chat.bench.load import Plan, run
from simple_chat.bench.processors import apart
from simple_chat.bench.result import Result
from simple_chat.journal.base import Sync

MEMBERS = 500
WINDOW = 64
"""Messages on their way at a time."""


def main() -> int:
    """Measure."""
    options = _parse()
    allow_files(MEMBERS)
    plan = Plan(clients=MEMBERS, senders=MEMBERS, window=WINDOW, seconds=options.seconds)
    ways = [_way("no journal"), *(_way(f"--sync {sync}", "--sync", sync) for sync in Sync)]
    results: dict[str, list[Result]] = defaultdict(list)
    for number in range(options.rounds):
        for way in ways:
            print(f"round {number + 1}, {way.name}", file=sys.stderr)
            results[way.name].append(_measure(way, plan))
    _print_table(results)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python examples/benchmark/journal.py", description="Measure what a journal costs."
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="COUNT", help="runs a figure (default: 5)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a run that are measured (default: 3)")
    return parser.parse_args()


def _way(name: str, *sync: str) -> Rival:
    def command(folder: Path, port: int) -> list[str]:
        journal = ["--journal", str(folder), *sync] if sync else []
        return [sys.executable, "-m", "simple_chat.server", "--port", str(port), "--rate", "0", *journal]

    return Rival(name, command)


def _measure(way: Rival, plan: Plan) -> Result:
    with TemporaryDirectory() as folder, running(way, Path(folder)) as target, apart(target.pid or 0):
        result = uvloop.run(run(plan, target, lambda _what, _share: None))
    assert result.right, result.first_faults
    if result.warning:
        print(result.warning, file=sys.stderr)
    return result


def _print_table(results: dict[str, list[Result]]) -> None:
    """Print a table in Markdown."""
    rows = {name: _medians(several) for name, several in results.items()}
    without, *_ = rows.values()
    print("| | deliveries a second | | median | 99th percentile |\n|---|---|---|---|---|")
    for name, (rate, median, high) in rows.items():
        share = f"{rate / without[0]:.2f}"
        print(f"| {name} | {rate:,.0f} | {share} | {median / 1000:.1f} ms | {high / 1000:.1f} ms |")


def _medians(several: list[Result]) -> tuple[float, float, float]:
    """Deliveries a second, and the latency's median and 99th percentile in microseconds."""
    return (
        statistics.median(each.deliveries_per_second for each in several),
        statistics.median(each.latency_us["p50"] for each in several),
        statistics.median(each.latency_us["p99"] for each in several),
    )


if __name__ == "__main__":
    sys.exit(main())
