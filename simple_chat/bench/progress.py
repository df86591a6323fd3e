"""How far a run is, on stderr for whoever looks at a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from simple_chat.bench.load import Progress


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """Show a bar while a run is on; where stderr is no terminal, nothing."""
    if not sys.stderr.isatty():
        yield _show_nothing
        return
    from rich.console import Console  # noqa: PLC0415 - not needed without a terminal
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn  # noqa: PLC0415
    from rich.progress import Progress as Bar  # noqa: PLC0415

    columns = (TextColumn("{task.description:>10}"), BarColumn(), TaskProgressColumn())
    # It is drawn when there is news: a thread that draws would take time from what is measured.
    with Bar(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as bar:
        task = bar.add_task("", total=1.0)

        def show(what: str, share: float) -> None:
            bar.update(task, description=what, completed=share, refresh=True)

        yield show


def _show_nothing(_what: str, _share: float) -> None:
    pass
