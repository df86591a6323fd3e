"""No journal: what was said is gone when the server ends."""

from collections.abc import Sequence

from simple_chat.core.backlog import Batch
from simple_chat.journal.base import House


class MemoryJournal:
    """Has every batch handed out at once. Its methods are those of `simple_chat.journal.base.Journal`."""

    past: Sequence[Batch] = ()
    busy = False

    async def start(self, house: House) -> None:
        """Begin to work for a server."""
        self._house = house

    def collect(self) -> None:
        """Have what was said handed out."""
        if batch := self._house.close_batch():
            self._house.hand_out(batch)

    async def finish(self) -> None:
        """Nothing waits."""

    async def close(self) -> None:
        """End."""
