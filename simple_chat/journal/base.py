"""The contract between a server and its journal, and the journal's settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Protocol

from simple_chat.core.backlog import BACKLOG, Batch
from simple_chat.core.counters import Histogram

SEGMENT_BYTES = 64 * 1024 * 1024
"""Bytes after which a segment is closed, by default."""


class Sync(StrEnum):
    """How durable a batch is before it is broadcast.

    NONE: not at all, it is written later. OS: written, it survives the server. DISK: synced, it survives the
    machine.
    """

    NONE = "none"
    OS = "os"
    DISK = "disk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a journal is written and kept.

    Attributes:
        sync: how durable a batch is before it is broadcast.
        segment_bytes: size in bytes from which on a segment is closed.
        retention: bytes or age beyond which the oldest segments are deleted; None to keep all. With an age, a
            segment is closed after a day at the latest.
        recover_bytes: bytes of records to recover at start, roughly.
    """

    sync: Sync = Sync.OS
    segment_bytes: int = SEGMENT_BYTES
    retention: int | timedelta | None = None
    recover_bytes: int = BACKLOG


class JournalHost(Protocol):
    """The server, as a journal sees it."""

    def broadcast(self, batch: Batch) -> None:
        """Send a batch, which is as durable as required, to the members."""

    def on_commit(self) -> None:
        """Resume: batches were written, and more can be submitted."""

    def on_unavailable(self, text: str) -> None:
        """Suspend: nothing can be written for now.

        Args:
            text: the notice for members.
        """

    def on_recovered(self, text: str) -> None:
        """End the suspension: batches are written again; `on_commit` follows.

        Args:
            text: the notice for members.
        """


class Journal(Protocol):
    """A durable sink for batches."""

    @property
    def recovered(self) -> Sequence[Batch]:
        """The last batches of earlier servers, oldest first, as read at start."""

    @property
    def busy(self) -> bool:
        """Whether no batch can be submitted now."""

    @property
    def problem(self) -> str:
        """Why nothing can be written now; empty if all is well."""

    @property
    def waiting_bytes(self) -> int:
        """Bytes of memory of the batches that are not written yet."""

    @property
    def seconds(self) -> Histogram:
        """How long each batch took to be as durable as `Sync` says; with NONE, to be written."""

    def start(self, host: JournalHost) -> None:
        """Accept batches from now on, on behalf of a host."""

    def submit(self, batch: Batch) -> None:
        """Make a batch as durable as `Sync` says, then have the host broadcast it.

        Args:
            batch: the one that follows the batch submitted last.
        """

    async def close(self, end: int = 0) -> None:
        """Write what can still be written, and release all resources.

        Args:
            end: number after the last line that the host has accepted, if it was not submitted.

        Raises:
            JournalError: lines are lost; the message says how many.
        """
