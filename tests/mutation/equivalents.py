"""The mutants that no test can kill, each with the reason: ``equivalents.txt``."""

from pathlib import Path

FILE = Path(__file__).with_suffix(".txt")


def read_equivalents(text: str) -> dict[str, str]:
    """Return the reason of each mutant; a reason is indented, and for all mutants right before it."""
    reasons: dict[str, str] = {}
    without: list[str] = []
    for line in text.splitlines():
        if line.startswith("    "):
            reasons |= dict.fromkeys(without, line.strip())
            without = []
        elif line and not line.startswith("#"):
            without.append(line)
    return reasons
