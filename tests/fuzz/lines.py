"""Fuzz telnet decoding, framing, parsing and encoding with a client's bytes.

Needs the extra ``fuzz``. New inputs go to the first directory; a failing one goes to a file, which
``python tests/fuzz/lines.py FILE`` runs again:

    mkdir -p found && python tests/fuzz/lines.py -runs=1000000 -max_len=300 found tests/fuzz/corpus
"""

import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

# By name: it has no types, and is not installed where mypy runs.
atheris = import_module("atheris")

# Coverage of the code under test only: that of the invariants would slow the fuzzer down and mislead it.
with atheris.instrument_imports(include=["simple_chat"]):
    for module in ("errors", "core.text", "core.telnet", "core.detect", "core.framing", "core.protocol"):
        import_module(f"simple_chat.{module}")

from tests.fuzz.invariants import check  # noqa: E402 - after the instrumented modules


def main() -> None:
    """Fuzz until an input fails, or until libFuzzer's options say."""
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
