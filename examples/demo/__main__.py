"""Makes the demo anew, film and picture: python examples/demo [FOLDER]."""

import sys
from pathlib import Path

from record import record
from render import render

folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
record(folder / "demo.cast")
render(folder / "demo.cast", folder / "demo.gif")
