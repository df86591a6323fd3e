"""The demo in the README shows what it should, and can be recorded again."""

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
LAST_FRAME = 3.0  # seconds

SPEED = "20"
"""Factor: at speed 1, the recording alone takes 20 seconds."""

DEADLINE = 120.0


def read_cast(path: Path) -> tuple[list[str], float]:
    """Return what the terminal shows after each event, and the seconds of the last."""
    header, *events = map(json.loads, path.read_text().splitlines())
    screen = pyte.Screen(header["width"], header["height"])
    stream = pyte.Stream(screen)
    screens = []
    for _, _, output in events:
        stream.feed(output)
        screens.append("\n".join(screen.display))
    return screens, events[-1][0]


def duration(gif: Path) -> float:
    """Return the seconds that an animated GIF takes."""
    with Image.open(gif) as image:
        milliseconds: list[int] = []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            milliseconds.append(image.info["duration"])
    return sum(milliseconds) / 1000


def assert_shows_the_conversation(directory: Path) -> float:
    """Check a demo, and return the seconds that it takes."""
    screens, last_event = read_cast(directory / "demo.cast")
    received = [screen for screen in screens if screen.count("cleo: anybody here?") == 2]
    assert any("ben> send good morning, al " in screen for screen in received)
    assert "MSG ben good morning, all of you" in screens[-1]

    gif = directory / "demo.gif"
    assert gif.stat().st_size < 500_000
    seconds = duration(gif)
    assert seconds == pytest.approx(last_event + LAST_FRAME, abs=0.2)
    return seconds


def test_demo_in_the_readme_shows_the_conversation() -> None:
    assert 15 < assert_shows_the_conversation(DEMO) < 25


def test_demo_can_be_recorded_again(tmp_path: Path) -> None:
    find_program("tmux")
    find_program("nc")
    if not FONT.exists():
        pytest.skip("fonts-dejavu-core is not installed")
    with run_server_process() as server:
        port = server.port  # free when the block has ended
    command = [sys.executable, str(DEMO), str(tmp_path), "--speed", SPEED]
    run(command, env=os.environ | {"SIMPLE_CHAT_SERVER_PORT": port}, check=True, timeout=DEADLINE)
    assert_shows_the_conversation(tmp_path)
