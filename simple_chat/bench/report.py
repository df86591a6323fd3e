"""A result as a table, as JSON and as a plot."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from simple_chat.bench.result import Result


def to_json(result: Result) -> str:
    """Return a result as one JSON object on one line."""
    return json.dumps(asdict(result) | {"warning": result.warning})


def print_table(result: Result) -> None:
    """Print a result to stdout."""
    from rich.console import Console  # noqa: PLC0415 - not needed for JSON
    from rich.table import Table  # noqa: PLC0415

    table = Table(show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    for row in _rows(result):
        table.add_row(*row)
    Console().print(table)


def _rows(result: Result) -> Iterator[tuple[str, str, str]]:
    yield "clients, senders", f"{result.clients:,}, {result.senders:,}", ""
    if result.rate:
        yield "rate", f"{result.rate:,}", "messages/s"
    else:
        yield "window", f"{result.window:,}", "messages in flight"
    yield "text", f"{result.size:,}", "bytes"
    yield "measured", f"{result.seconds:.1f}", "s"
    yield "messages", f"{result.messages / result.seconds:,.0f}", "messages/s"
    yield "deliveries", f"{result.deliveries_per_second:,.0f}", "deliveries/s"
    for percentile, value in result.latency_us.items():
        yield f"latency {percentile}", f"{value / 1000:,.2f}", "ms"
    yield "server: CPU time", _number(result.cpu_us_per_delivery, 2), "µs/delivery"
    yield "server: memory", _number(result.kib_per_member, 1), "KiB/member"
    yield "server: CPU usage", _number(result.server_cpu, 2), "processors"
    yield "load generator: CPU usage", _number(result.tool_cpu, 2), "processors"
    yield "lost", f"{result.lost:,}", "deliveries"
    yield "faults", f"{result.faults:,}", ""


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def plot(result: Result, path: Path) -> None:
    """Plot the distribution of the latencies.

    Args:
        result: the run's.
        path: the .png or .svg to write.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to load

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    # Logarithmic in the share beyond: each decade to the right has a tenth of the deliveries above it.
    axes.plot(
        [100 / (100 - percent) for percent, _ in result.latency_curve_us],
        [value / 1000 for _, value in result.latency_curve_us],
    )
    axes.set_xscale("log")
    axes.set_xticks([1, 2, 10, 100, 1000, 10_000], ["0", "50", "90", "99", "99.9", "99.99"])
    axes.minorticks_off()
    axes.set_xlabel("percentile of the deliveries")
    axes.set_ylabel("latency, ms")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.set_title(_title(result))
    figure.savefig(path, dpi=150)


def _title(result: Result) -> str:
    pacing = f"{result.rate:,} messages/s" if result.rate else f"window {result.window:,}"
    cost = _number(result.cpu_us_per_delivery, 2)
    return (
        f"{result.clients:,} clients, {pacing}: {result.deliveries_per_second:,.0f} deliveries/s, "
        f"{cost} µs of CPU time each"
    )
