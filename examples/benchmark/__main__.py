"""Compare servers on this machine: python examples/benchmark [--reference PROGRAM] [--plot PATH].

Each figure is the median of several rounds. In each round every server is measured once, so that a busy
machine affects all of them. The figure is CPU time per delivery: it depends less on the rest of the machine
than messages per second.
"""

import argparse
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop
from servers import ServerSpec, installed_servers, run_server

from simple_chat.bench.affinity import pin_apart
from simple_chat.bench.clients import raise_file_limit
from simple_chat.bench.errors import LoadError
from simple_chat.bench.load import Workload, run_load

WINDOWS = (1, 8, 64)
"""Messages in flight, with `MEMBERS` members."""

ROOMS = (10, 100, 1_000, 10_000)
"""Members, with `WINDOW` messages in flight."""

MEMBERS = 500
WINDOW = 8

Costs = dict[str, dict[int, float]]
"""Microseconds of CPU time per delivery, by server, by window or members."""


def main() -> int:
    """Compare all installed servers."""
    options = _parse()
    raise_file_limit(max(ROOMS))
    servers = installed_servers(options.reference)

    def workload(members: int, window: int) -> Workload:
        return Workload(clients=members, senders=members, window=window, seconds=options.seconds)

    by_window = _medians(servers, {window: workload(MEMBERS, window) for window in WINDOWS}, options.rounds)
    _print_table(f"{MEMBERS} members, messages in flight:", by_window, WINDOWS)
    by_members = _medians(servers, {members: workload(members, WINDOW) for members in ROOMS}, options.rounds)
    _print_table(f"{WINDOW} messages in flight, members:", by_members, ROOMS)
    if options.plot:
        _plot(options.plot, by_window, by_members)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python examples/benchmark", description="Compare chat servers on this machine."
    )
    parser.add_argument(
        "--reference", metavar="PROGRAM", help="a server of the same protocol that takes a port"
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="COUNT", help="runs per figure (default: 5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="measured per run (default: 2)")
    parser.add_argument("--plot", type=Path, metavar="PATH", help="draw the costs into this .png or .svg")
    return parser.parse_args()


def _medians(servers: Iterable[ServerSpec], workloads: dict[int, Workload], rounds: int) -> Costs:
    costs: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number in range(rounds):
        for key, workload in workloads.items():
            for server in servers:
                if workload.clients <= server.members_max:
                    what = f"{workload.clients} members, window {workload.window}: {server.name}"
                    print(f"round {number + 1}, {what}", file=sys.stderr)
                    costs[server.name][key] += _measure(server, workload)
    return {
        name: {key: statistics.median(values) for key, values in by_key.items() if values}
        for name, by_key in costs.items()
    }


def _measure(server: ServerSpec, workload: Workload) -> list[float]:
    """Return the microseconds of CPU time per delivery of one run, or nothing if it failed."""
    try:
        with TemporaryDirectory() as directory:
            Path(directory).chmod(0o755)  # a server that drops root privileges still reads its configuration
            with run_server(server, Path(directory)) as target, pin_apart(target.pid or 0):
                load = run_load(replace(workload, dialect=server.dialect), target, lambda _phase, _done: None)
                result = uvloop.run(load)
    except LoadError as error:
        print(f"{server.name}: {error}", file=sys.stderr)
        return []
    if not result.correct or result.cpu_us_per_delivery is None:
        print(f"{server.name}: lost {result.lost}, faults: {result.first_faults[:1]}", file=sys.stderr)
        return []
    return [result.cpu_us_per_delivery]


def _print_table(title: str, costs: Costs, columns: Sequence[int]) -> None:
    """Print a table in Markdown."""
    print(f"\n| {title} | {' | '.join(f'{column:,}' for column in columns)} |")
    print(f"|---|{'---|' * len(columns)}")
    for name, by_key in costs.items():
        cells = (f"{by_key[column]:.2f}" if column in by_key else "" for column in columns)
        print(f"| {name} | {' | '.join(cells)} |")


def _plot(path: Path, by_window: Costs, by_members: Costs) -> None:
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to load, and only needed here

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    panels = zip(
        figure.subplots(1, 2, sharey=True),
        (by_window, by_members),
        (f"messages in flight, {MEMBERS} members", f"members, {WINDOW} messages in flight"),
        strict=True,
    )
    for axes, costs, label in panels:
        for name, by_key in costs.items():
            axes.plot(list(by_key), list(by_key.values()), marker="o", label=name)
        axes.set(xscale="log", yscale="log", xlabel=label)
        ticks = sorted({key for by_key in costs.values() for key in by_key})
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.set_yticks([0.2, 0.5, 1, 2, 5, 10], ["0.2", "0.5", "1", "2", "5", "10"])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    first = figure.axes[0]
    first.set_ylabel("µs of CPU time per delivery")
    figure.legend(*first.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    sys.exit(main())
