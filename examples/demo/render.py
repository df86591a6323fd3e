"""Render an asciicast, version 2, as an animated GIF."""

import json
from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path

import pyte
from PIL import Image, ImageDraw, ImageFont
from pyte.screens import Char

_FONTS = Path("/usr/share/fonts/truetype/dejavu")  # Debian's fonts-dejavu-core
_FONT_SIZE = 13  # pixels
_MARGIN = 8  # pixels
_FRAME = 0.08  # seconds that a frame is shown at least
_LAST_FRAME = 3.0  # seconds
_PALETTE_SIZE = 192  # antialiased edges need a few shades per color

_BACKGROUND, _FOREGROUND = "#1b1d23", "#d8dbe2"
_COLORS = {
    "black": "#3b3f4a",
    "red": "#e06c75",
    "green": "#98c379",
    "brown": "#e5c07b",
    "blue": "#61afef",
    "magenta": "#c678dd",
    "cyan": "#56b6c2",
    "white": "#d8dbe2",
    "brightblack": "#7f8694",
}

_Row = tuple[tuple[Char, bool], ...]
"""The cells of a row, and whether the cursor is on each."""


def render(cast: Path, picture: Path) -> None:
    """Render a recording.

    Args:
        cast: the asciicast.
        picture: the GIF to write.
    """
    times, frames = zip(*_frames(cast), strict=True)
    durations = [after - before for before, after in pairwise(times)] + [_LAST_FRAME]
    palette = frames[-1].quantize(_PALETTE_SIZE)
    first, *rest = (frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    first.save(
        picture,
        save_all=True,
        append_images=rest,
        duration=[
            round(100 * duration) * 10 for duration in durations
        ],  # a GIF counts hundredths of a second
        loop=0,
        optimize=True,
    )


def _frames(cast: Path) -> Iterator[tuple[float, Image.Image]]:
    """Yield the frames, each with the second from which it is shown."""
    header, *events = map(json.loads, cast.read_text(encoding="utf-8").splitlines())
    screen = pyte.Screen(header["width"], header["height"])
    stream = pyte.Stream(screen)
    painter = _Painter()
    for number, group in groupby(events, lambda event: int(event[0] / _FRAME)):
        for _, _, output in group:
            stream.feed(output)
        yield number * _FRAME, painter.draw(screen)


class _Painter:
    """Draws a terminal's screen."""

    def __init__(self) -> None:
        self._fonts = {
            bold: ImageFont.truetype(_FONTS / name, _FONT_SIZE)
            for bold, name in ((False, "DejaVuSansMono.ttf"), (True, "DejaVuSansMono-Bold.ttf"))
        }
        self._width = round(self._fonts[False].getlength("m"))
        self._height = sum(self._fonts[False].getmetrics())
        self._drawn: dict[_Row, Image.Image] = {}  # most rows stay the same from frame to frame

    def draw(self, screen: pyte.Screen) -> Image.Image:
        """Return a picture of the screen and its cursor."""
        size = (screen.columns * self._width + 2 * _MARGIN, screen.lines * self._height + 2 * _MARGIN)
        image = Image.new("RGB", size, _BACKGROUND)
        for y in range(screen.lines):
            cursor = screen.cursor.x if y == screen.cursor.y else None
            row = tuple((screen.buffer[y][x], x == cursor) for x in range(screen.columns))
            if row not in self._drawn:
                self._drawn[row] = self._draw_row(row)
            image.paste(self._drawn[row], (_MARGIN, _MARGIN + y * self._height))
        return image

    def _draw_row(self, row: _Row) -> Image.Image:
        image = Image.new("RGB", (len(row) * self._width, self._height), _BACKGROUND)
        canvas = ImageDraw.Draw(image)
        for x, (cell, under_cursor) in enumerate(row):
            self._draw_cell(canvas, x * self._width, cell, inverse=cell.reverse != under_cursor)
        return image

    def _draw_cell(self, canvas: ImageDraw.ImageDraw, left: int, cell: Char, *, inverse: bool) -> None:
        ink, paper = _color(cell.fg, _FOREGROUND), _color(cell.bg, _BACKGROUND)
        if inverse:
            ink, paper = paper, ink
        if paper != _BACKGROUND:
            canvas.rectangle((left, 0, left + self._width - 1, self._height - 1), fill=paper)
        if cell.data != " ":
            canvas.text((left, 0), cell.data, font=self._fonts[cell.bold], fill=ink)


def _color(name: str, default: str) -> str:
    """Return the color that pyte calls by a name, or by six hexadecimal digits."""
    return default if name == "default" else _COLORS.get(name, f"#{name}")
