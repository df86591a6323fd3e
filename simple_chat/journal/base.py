"""What a server and its journal ask of each other."""

from collections.abc import Sequence
from typing import Protocol

from simple_chat.core.backlog import Batch


class House(Protocol):
    """The server, as a journal sees it."""

    def close_batch(self) -> Batch | None:
        """Take what was said and not taken yet, if anything was."""

    def hand_out(self, batch: Batch) -> None:
        """Hand out a batch, which is as safe as it has to be."""

    def journal_ready(self) -> None:
        """Go on: what was collected was kept, and there is room for more."""

    def journal_fails(self, text: str) -> None:
        """Know that nothing can be kept for now, and tell members in these words."""

    def journal_works(self, text: str) -> None:
        """Know that this is over; `journal_ready` follows."""

    def journal_lost(self) -> None:
        """End every connection: the journal goes on without those who are here."""


class Journal(Protocol):
    """Where what is said is kept, as a server sees it."""

    @property
    def past(self) -> Sequence[Batch]:
        """What was said last before the server began."""

    @property
    def busy(self) -> bool:
        """Whether nothing can be collected now."""

    async def start(self, house: House) -> None:
        """Begin to work for a server."""

    def collect(self) -> None:
        """Keep what the house has, if anything, and have it handed out when it is as safe as it has to be."""

    async def finish(self) -> None:
        """Wait until all that was said is handed out, however long it takes; nothing more is said then."""

    async def close(self) -> None:
        """Keep what can be kept, and end."""
