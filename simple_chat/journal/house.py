"""What a server and its journal ask of each other."""

from collections.abc import Sequence
from typing import Protocol

from simple_chat.backlog import Batch


class House(Protocol):
    """The server, as a journal sees it."""

    def hand_out(self, batch: Batch) -> None:
        """Hand out a batch, which is as safe as it has to be."""

    def journal_ready(self) -> None:
        """Go on: a batch was kept, and there is room for more."""

    def journal_fails(self, reason: str) -> None:
        """Know that nothing can be kept for now; `journal_ready` ends that."""


class Journal(Protocol):
    """Where batches are kept, as a server sees it."""

    @property
    def past(self) -> Sequence[Batch]:
        """What was said last before the server began."""

    @property
    def busy(self) -> bool:
        """Whether no batch can be appended now."""

    def start(self, house: House) -> None:
        """Begin to work for a server."""

    def append(self, batch: Batch) -> None:
        """Keep a batch, and have it handed out when it is as safe as it has to be."""

    async def close(self) -> None:
        """Keep what can be kept, and end."""
