"""The film in the README can be made again, and shows what it should."""

import json
import os
import sys
from pathlib import Path
from subprocess import run

import pyte
import pytest
from PIL import Image

from tests.harness.programs import find_program, run_server_process

DEMO = Path(__file__).parents[2] / "examples" / "demo"
FONT = Path("/usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf")

DEADLINE = 120.0
"""Seconds that making the film may take. It is 23 seconds long."""


def pictures(cast: Path) -> list[str]:
    """What the terminal shows after each event of the film."""
    header, *events = map(json.loads, cast.read_text().splitlines())
    screen = pyte.Screen(header["width"], header["height"])
    stream = pyte.Stream(screen)
    shown = []
    for _, _, data in events:
        stream.feed(data)
        shown.append("\n".join(screen.display))
    return shown


def assert_good_film(folder: Path) -> None:
    shown = pictures(folder / "demo.cast")
    arrived = [picture for picture in shown if picture.count("cleo: anybody here?") == 2]
    assert any("ben> send good morning, al " in picture for picture in arrived)
    assert "MSG ben good morning, all of you" in shown[-1]

    gif = folder / "demo.gif"
    assert gif.stat().st_size < 500_000
    with Image.open(gif) as film:
        spans = []
        for number in range(getattr(film, "n_frames", 1)):
            film.seek(number)
            spans.append(film.info["duration"])
    assert 15_000 < sum(spans) < 25_000


def test_film_in_the_readme_is_good() -> None:
    assert_good_film(DEMO)


def test_film_can_be_made_again(tmp_path: Path) -> None:
    find_program("tmux")
    find_program("nc")
    if not FONT.exists():
        pytest.skip("fonts-dejavu-core is not installed")
    with run_server_process() as server:
        port = server.port  # free in a moment
    environment = os.environ | {"SIMPLE_CHAT_SERVER_PORT": port}
    run([sys.executable, str(DEMO), str(tmp_path)], env=environment, check=True, timeout=DEADLINE)
    assert_good_film(tmp_path)
