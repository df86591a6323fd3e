"""Draws an asciicast, version 2, as an animated GIF."""

import json
from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path

import pyte
from PIL import Image, ImageDraw, ImageFont
from pyte.screens import Char

_FONTS = Path("/usr/share/fonts/truetype/dejavu")  # of Debian's fonts-dejavu-core
_SIZE = 13  # pixels
_MARGIN = 8  # pixels
_FRAME = 0.08  # seconds that a frame stays at least
_LAST = 3.0  # seconds that the last frame stays
_SHADES = 192  # colors of the picture: smooth edges of letters take a few each

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


def render(cast: Path, picture: Path) -> None:
    """Draw a film.

    Args:
        cast: the asciicast.
        picture: where the animated GIF goes.
    """
    times, frames = zip(*_frames(cast), strict=True)
    spans = [after - before for before, after in pairwise(times)] + [_LAST]
    palette = frames[-1].quantize(_SHADES)
    first, *rest = (frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    first.save(
        picture,
        save_all=True,
        append_images=rest,
        duration=[round(100 * span) * 10 for span in spans],  # a GIF counts hundredths of a second
        loop=0,
        optimize=True,
    )


def _frames(cast: Path) -> Iterator[tuple[float, Image.Image]]:
    """The film's pictures and the second from which each is shown."""
    header, *events = map(json.loads, cast.read_text(encoding="utf-8").splitlines())
    screen = pyte.Screen(header["width"], header["height"])
    stream = pyte.Stream(screen)
    artist = _Artist()
    for number, group in groupby(events, lambda event: int(event[0] / _FRAME)):
        for _, _, shown in group:
            stream.feed(shown)
        yield number * _FRAME, artist.draw(screen)


class _Artist:
    """Draws what a terminal shows."""

    def __init__(self) -> None:
        self._fonts = {
            bold: ImageFont.truetype(_FONTS / name, _SIZE)
            for bold, name in ((False, "DejaVuSansMono.ttf"), (True, "DejaVuSansMono-Bold.ttf"))
        }
        self._width = round(self._fonts[False].getlength("m"))
        self._height = sum(self._fonts[False].getmetrics())

    def draw(self, screen: pyte.Screen) -> Image.Image:
        """The picture of a screen with its cursor."""
        size = (screen.columns * self._width + 2 * _MARGIN, screen.lines * self._height + 2 * _MARGIN)
        image = Image.new("RGB", size, _BACKGROUND)
        canvas = ImageDraw.Draw(image)
        for y in range(screen.lines):
            for x in range(screen.columns):
                under_cursor = (x, y) == (screen.cursor.x, screen.cursor.y)
                self._draw_cell(canvas, x, y, screen.buffer[y][x], under_cursor=under_cursor)
        return image

    def _draw_cell(
        self, canvas: ImageDraw.ImageDraw, x: int, y: int, cell: Char, *, under_cursor: bool
    ) -> None:
        ink, paper = _color(cell.fg, _FOREGROUND), _color(cell.bg, _BACKGROUND)
        if cell.reverse != under_cursor:
            ink, paper = paper, ink
        left, top = _MARGIN + x * self._width, _MARGIN + y * self._height
        if paper != _BACKGROUND:
            canvas.rectangle((left, top, left + self._width - 1, top + self._height - 1), fill=paper)
        if cell.data != " ":
            canvas.text((left, top), cell.data, font=self._fonts[cell.bold], fill=ink)


def _color(name: str, default: str) -> str:
    """A color as pyte names it: by a name, or as six hexadecimal digits."""
    return default if name == "default" else _COLORS.get(name, f"#{name}")
