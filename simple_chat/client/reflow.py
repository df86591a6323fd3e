"""Where the rows of the prompt are after the window was narrowed.

Most terminals reflow: a row that has become too long continues in the next. The others cut it.

Pure.
"""

from collections.abc import Mapping, Sequence


def terminal_reflows(environment: Mapping[str, str]) -> bool:
    """Return whether the terminal reflows, judged by the variables it sets. Unknown ones are taken to.

    xterm, st and GNU screen cut rows. Inside tmux the variables of the terminal around it mean nothing.
    """
    term = environment.get("TERM", "")
    if term.startswith("screen"):  # tmux or GNU screen
        return "TMUX" in environment
    return term.startswith("tmux") or not (term.startswith("st-") or "XTERM_VERSION" in environment)


def rows_around_cursor(rows: Sequence[Sequence[int]], row: int, column: int, columns: int) -> tuple[int, int]:
    """Return how many rows of the terminal are above and below the cursor's after a reflow.

    Args:
        rows: as they were drawn: the width of the character in each cell, 0 for a cell that belongs to the
            wide character before.
        row: the cursor's, from 0, when they were drawn.
        column: the same.
        columns: the new width of the window.
    """
    heights = [_last_row(each, columns) + 1 for each in rows]
    above = sum(heights[:row]) + _last_row(rows[row][: column + 1], columns)
    return above, sum(heights) - above - 1


def _last_row(widths: Sequence[int], columns: int) -> int:
    """Return the row, counted from 0, that the last of some characters comes to be in."""
    row = used = 0
    for width in widths:
        if used + width > columns:
            row += 1
            used = 0
        used += width
    return row
