"""The event loops that a server can run in."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
"""The factory of each loop, by the name that ``--loop`` has for it."""

with suppress(ImportError):
    import uvloop  # not installed everywhere

    LOOPS["uvloop"] = uvloop.new_event_loop
