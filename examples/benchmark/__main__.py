"""Compares servers on this machine: python examples/benchmark [--reference PROGRAM] [--plot PICTURE].

Each figure is the median of several runs, and the servers take turns, so that what disturbs the machine
disturbs all of them. What is compared is the processor time that a delivery costs the server: it depends less
on the rest of the machine than messages a second do.
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
from rivals import Rival, rivals, running

from simple_chat.bench.clients import allow_files
from simple_chat.bench.errors import LoadError
from simple_chat.bench.load import Plan, run
from simple_chat.bench.processors import apart

LOADS = (1, 8, 64)
"""Messages on their way at a time."""

CROWDS = (10, 100, 1_000, 10_000)
"""Members."""

MEMBERS = 500
"""How many there are while the load is varied."""

WINDOW = 8
"""Messages on their way while the members are varied."""

Costs = dict[str, dict[int, float]]
"""Microseconds of processor time a delivery, by server, by load or members."""


def main() -> int:
    """Compare."""
    options = _parse()
    allow_files(max(CROWDS))
    servers = rivals(options.reference)

    def measure(plans: dict[int, Plan]) -> Costs:
        return _medians(servers, plans, options.rounds)

    def plan(members: int, window: int) -> Plan:
        return Plan(clients=members, senders=members, window=window, seconds=options.seconds)

    by_load = measure({load: plan(MEMBERS, load) for load in LOADS})
    _print_table(f"{MEMBERS} members, messages on their way:", by_load, LOADS)
    by_crowd = measure({crowd: plan(crowd, WINDOW) for crowd in CROWDS})
    _print_table(f"{WINDOW} messages on their way, members:", by_crowd, CROWDS)
    if options.plot:
        _plot(options.plot, by_load, by_crowd)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python examples/benchmark", description="Compare chat servers on this machine."
    )
    parser.add_argument(
        "--reference", metavar="PROGRAM", help="a server of the same protocol that takes a port"
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="COUNT", help="runs a figure (default: 5)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a run that are measured (default: 2)")
    parser.add_argument("--plot", type=Path, metavar="PATH", help="draw the costs into this .png or .svg")
    return parser.parse_args()


def _medians(servers: Iterable[Rival], plans: dict[int, Plan], rounds: int) -> Costs:
    costs: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number in range(rounds):
        for key, plan in plans.items():
            for server in servers:
                if plan.clients <= server.crowd:
                    what = f"{plan.clients} members, window {plan.window}: {server.name}"
                    print(f"round {number + 1}, {what}", file=sys.stderr)
                    costs[server.name][key] += _costs(server, plan)
    return {
        name: {key: statistics.median(values) for key, values in by_key.items() if values}
        for name, by_key in costs.items()
    }


def _costs(server: Rival, plan: Plan) -> list[float]:
    """Microseconds of processor time that a delivery took in one run; nothing if that went wrong."""
    try:
        with TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)  # a server that gives up being root still reads its settings
            with running(server, Path(folder)) as target, apart(target.pid or 0):
                load = run(replace(plan, dialect=server.dialect), target, lambda _what, _share: None)
                result = uvloop.run(load)
    except LoadError as error:
        print(f"{server.name}: {error}", file=sys.stderr)
        return []
    if not result.right or result.cpu_us_per_delivery is None:
        print(f"{server.name}: lost {result.lost}, {result.first_faults[:1]}", file=sys.stderr)
        return []
    return [result.cpu_us_per_delivery]


def _print_table(title: str, costs: Costs, columns: Sequence[int]) -> None:
    """Print a table in Markdown."""
    print(f"\n| {title} | {' | '.join(f'{column:,}' for column in columns)} |")
    print(f"|---|{'---|' * len(columns)}")
    for name, by_key in costs.items():
        cells = (f"{by_key[column]:.2f}" if column in by_key else "" for column in columns)
        print(f"| {name} | {' | '.join(cells)} |")


def _plot(path: Path, by_load: Costs, by_crowd: Costs) -> None:
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to load, and only for those who ask for it

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    panels = zip(
        figure.subplots(1, 2, sharey=True),
        (by_load, by_crowd),
        (f"messages on their way, {MEMBERS} members", f"members, {WINDOW} messages on their way"),
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
    panel = figure.axes[0]
    panel.set_ylabel("µs of processor time a delivery")
    figure.legend(*panel.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    sys.exit(main())
