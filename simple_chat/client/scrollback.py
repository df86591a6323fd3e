"""What scrolls above the prompt, and erasing the prompt to print it.

Output is collected for a moment, then written in one piece, between erasing the prompt and redrawing it.
"""

import asyncio

from prompt_toolkit.application import Application
from prompt_toolkit.data_structures import Point
from prompt_toolkit.layout import Layout
from prompt_toolkit.layout.screen import Char, Screen
from prompt_toolkit.output import Output
from prompt_toolkit.renderer import Renderer
from prompt_toolkit.styles import default_ui_style

from simple_chat.client.reflow import rows_around_cursor

_REDRAW_DELAY = 0.03  # seconds that output is collected before the prompt is redrawn

# Seconds without another size until the prompt is redrawn. tmux reflows at once, but tells a program at most
# every 0.25 s: in between its idea of the width is wrong, and whatever it draws would leave pieces.
_RESIZE_DELAY = 0.3

# Synchronized output: terminals that support it show what is in between at once.
# https://gitlab.freedesktop.org/terminal-wg/specifications/-/merge_requests/2
_SYNC_BEGIN, _SYNC_END = "\x1b[?2026h", "\x1b[?2026l"

# Rows are erased one by one, as tmux moves what is erased into its history if that is the whole screen.
_ERASE_ROW, _ROW_UP = "\x1b[2K", "\x1b[A"


class Scrollback:
    """The lines above the prompt.

    Args:
        application: the prompt.
        reflows: whether the terminal reflows when its window is narrowed.
    """

    def __init__(self, application: Application[str], *, reflows: bool) -> None:
        self._application = application
        self._renderer = _PromptRenderer(application.output, reflows=reflows)
        application.renderer = self._renderer
        application._on_resize = self._on_resize  # type: ignore[method-assign] # noqa: SLF001 - no public way
        self._lines: list[str] = []
        self._bell = False
        self._flush_timer: asyncio.TimerHandle | None = None
        self._resize_timer: asyncio.TimerHandle | None = None

    def print(self, *lines: str) -> None:
        """Print lines soon, together with those that follow until then."""
        self._lines += lines
        if self._flush_timer is None:
            self._flush_timer = asyncio.get_running_loop().call_later(_REDRAW_DELAY, self.flush)

    def ring(self) -> None:
        """Ring the bell together with the lines printed last, once for all."""
        self._bell = True

    def flush(self) -> None:
        """Print the collected lines now, or while the window is being resized, after that."""
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        if not self._application.is_running:
            self._application.output.write_raw(self._collected())
            self._application.output.flush()
        elif self._lines and not self._renderer.outdated:
            self._redraw()

    def _on_resize(self) -> None:
        if self._resize_timer is not None:
            self._resize_timer.cancel()
        self._resize_timer = asyncio.get_running_loop().call_later(_RESIZE_DELAY, self._redraw)

    def _redraw(self) -> None:
        if not self._application.is_running:
            return
        output = self._application.output
        output.write_raw(_SYNC_BEGIN)
        self._renderer.erase()
        output.write_raw(self._collected())
        self._application._redraw()  # noqa: SLF001 - the public way redraws in a later turn, which flickers
        output.write_raw(_SYNC_END)
        output.flush()

    def _collected(self) -> str:
        text = "\a" * self._bell + "".join(f"{line}\r\n" for line in self._lines)
        self._lines.clear()
        self._bell = False
        return text


class _PromptRenderer(Renderer):
    """Renders the prompt, and erases all of it after the window was narrowed.

    Args:
        output: the terminal.
        reflows: whether it reflows.
    """

    def __init__(self, output: Output, *, reflows: bool) -> None:
        super().__init__(default_ui_style(), output)
        self._reflows = reflows

    @property
    def outdated(self) -> bool:
        """Whether the window has another size than when the prompt was drawn."""
        return self._last_size not in {None, self.output.get_size()}

    def render(self, app: Application[str], layout: Layout, is_done: bool = False) -> None:  # noqa: FBT001, FBT002 - the signature is Renderer's
        """Render the prompt, unless the window is being resized: it is erased and rendered after that."""
        if not self.outdated:
            super().render(app, layout, is_done)

    def erase(self, leave_alternate_screen: bool = True) -> None:  # noqa: FBT001, FBT002
        """Erase the prompt."""
        if self._last_screen is not None:
            above, below = self._rows_around_cursor(self._last_screen)
            self.output.cursor_down(below)
            self.output.write_raw(_ERASE_ROW + (above + below) * (_ROW_UP + _ERASE_ROW))
            self._cursor_pos = Point(self._cursor_pos.x, 0)
        super().erase(leave_alternate_screen)

    def _rows_around_cursor(self, screen: Screen) -> tuple[int, int]:
        """Return how many rows of the prompt are above and below the cursor's."""
        cursor, height = self._cursor_pos, screen.height
        if not self._reflows:
            return cursor.y, height - cursor.y - 1
        rows = [_widths(screen.data_buffer[y]) for y in range(height)]
        return rows_around_cursor(rows, cursor.y, cursor.x, self.output.get_size().columns)


def _widths(row: dict[int, Char]) -> list[int]:
    """Return the widths of a row's cells up to the last that was written: blanks at the end are not."""
    used = max((column for column, cell in row.items() if cell.char != " "), default=-1)
    return [row[column].width for column in range(used + 1)]
