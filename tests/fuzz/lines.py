"""Fuzzes what a client's bytes go through: telnet, lines, commands, and what others are sent of them.

Needs the extra ``fuzz``. Inputs that are worth keeping go to the first directory, a failure to a file that
``python tests/fuzz/lines.py FILE`` repeats:

    mkdir -p found && python tests/fuzz/lines.py -runs=1000000 -max_len=300 found tests/fuzz/corpus
"""

import sys
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

# By name, because it has no types and is not installed where the types are checked.
atheris = import_module("atheris")

# Only the core: the invariants would only slow it down, and lead it to what the core doesn't tell apart.
with atheris.instrument_imports(include=["simple_chat"]):
    for module in ("errors", "text", "telnet", "framing", "protocol"):
        import_module(f"simple_chat.{module}")

from tests.fuzz.invariants import check  # noqa: E402 - behind the instrumented modules


def main() -> None:
    """Fuzz until something fails, or as long as libFuzzer's options say."""
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
