"""Modules in examples/cluster import each other as scripts do: by names without a package."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "cluster"))
