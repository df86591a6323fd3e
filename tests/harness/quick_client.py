"""The client program with short delays: python -m tests.harness.quick_client.

It has the options of ``python -m simple_chat.client``. It waits a fiftieth of the time before it reconnects:
20 ms, 40 ms and so on.
"""

import random
import sys

from simple_chat.client.__main__ import main


def _uniform(low: float, high: float) -> float:
    return low + (high - low) / 50


if __name__ == "__main__":
    random.uniform = _uniform  # type: ignore[assignment]
    sys.exit(main())
