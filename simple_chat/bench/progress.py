"""A progress bar on stderr, if that is a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from simple_chat.bench.load import OnPhase


@contextmanager
def progress_bar() -> Iterator[OnPhase]:
    """Draw a bar for the length of the block; nothing if stderr is no terminal."""
    if not sys.stderr.isatty():
        yield _ignore
        return
    from rich.console import Console  # noqa: PLC0415 - not needed without a terminal
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description:>10}"), BarColumn(), TaskProgressColumn())
    # Redrawn on updates only: a refresh thread would take CPU time from the measurement.
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as bar:
        task = bar.add_task("", total=1.0)

        def update(phase: str, fraction: float) -> None:
            bar.update(task, description=phase, completed=fraction, refresh=True)

        yield update


def _ignore(_phase: str, _fraction: float) -> None:
    pass
