"""Record the demo again, as an asciicast and a GIF: python examples/demo [DIRECTORY] [--speed FACTOR]."""

import argparse
from pathlib import Path

from record import record
from render import render

parser = argparse.ArgumentParser("python examples/demo", description="Record the demo as asciicast and GIF.")
parser.add_argument(
    "directory", nargs="?", type=Path, default=Path(__file__).parent, help="for demo.cast and demo.gif"
)
parser.add_argument(
    "--speed", type=float, default=1.0, metavar="FACTOR", help="type faster, to try it (default: 1)"
)
options = parser.parse_args()
record(options.directory / "demo.cast", options.speed)
render(options.directory / "demo.cast", options.directory / "demo.gif")
