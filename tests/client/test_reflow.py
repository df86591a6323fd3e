"""Where rows are after a terminal has reflowed them, and which terminals do."""

import pytest

from simple_chat.client.reflow import rows_around_cursor, terminal_reflows

WIDE = [2, 0]


@pytest.mark.parametrize(
    ("environment", "reflows"),
    [
        ({"TERM": "xterm-256color"}, True),
        ({"TERM": "xterm-256color", "XTERM_VERSION": "XTerm(379)"}, False),
        ({"TERM": "tmux-256color", "XTERM_VERSION": "XTerm(379)", "TMUX": "/tmp/tmux,1,0"}, True),
        ({"TERM": "screen-256color", "XTERM_VERSION": "XTerm(379)", "TMUX": "/tmp/tmux,1,0"}, True),
        ({"TERM": "screen.xterm-256color", "STY": "1.pts-0"}, False),
        ({"TERM": "st-256color"}, False),
        ({"TERM": "alacritty"}, True),
        ({}, True),
    ],
)
def test_terminals_that_cut_rows_are_known(environment: dict[str, str], reflows: bool) -> None:  # noqa: FBT001 (a parameter)
    assert terminal_reflows(environment) == reflows


@pytest.mark.parametrize(
    ("rows", "cursor", "columns", "around"),
    [
        ([[]], (0, 0), 10, (0, 0)),
        ([10 * [1]], (0, 9), 10, (0, 0)),
        ([10 * [1]], (0, 9), 9, (1, 0)),
        ([10 * [1]], (0, 8), 9, (0, 1)),
        ([10 * [1]], (0, 3), 3, (1, 2)),
        ([10 * [1]], (0, 10), 10, (0, 0)),
        ([10 * [1]], (0, 15), 5, (1, 0)),
        ([10 * [1], 4 * [1]], (1, 4), 5, (2, 0)),
        ([10 * [1], 4 * [1], [], 10 * [1]], (1, 2), 5, (2, 3)),
        ([[], []], (1, 5), 3, (1, 0)),
        ([10 * [1], 4 * [1]], (1, 4), 20, (1, 0)),
        ([5 * WIDE], (0, 9), 9, (1, 0)),
        ([5 * WIDE], (0, 8), 9, (1, 0)),
        ([5 * WIDE], (0, 6), 9, (0, 1)),
        ([5 * WIDE], (0, 10), 5, (2, 0)),
    ],
)
def test_rows_around_the_cursor_are_counted(
    rows: list[list[int]], cursor: tuple[int, int], columns: int, around: tuple[int, int]
) -> None:
    assert rows_around_cursor(rows, *cursor, columns) == around
