"""The journal of a server that keeps its history in memory only."""

from collections.abc import Sequence

from simple_chat.core.backlog import Batch
from simple_chat.core.counters import Histogram
from simple_chat.journal.base import JournalHost


class MemoryJournal:
    """Broadcasts each batch at once. Implements `simple_chat.journal.base.Journal`."""

    recovered: Sequence[Batch] = ()
    busy = False
    problem = ""
    waiting_bytes = 0
    seconds = Histogram(())  # of nothing

    def start(self, host: JournalHost) -> None:
        """Accept batches on behalf of a host."""
        self._host = host

    def submit(self, batch: Batch) -> None:
        """Broadcast a batch."""
        self._host.broadcast(batch)

    async def close(self, end: int = 0) -> None:
        """Do nothing: there is nothing to release."""
