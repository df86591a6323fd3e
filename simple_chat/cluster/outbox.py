"""What members of this server proposed to the log: waiting for the next message, or in the one in flight."""

from itertools import accumulate
from typing import NamedTuple

from simple_chat.core.commands import Command, Msg
from simple_chat.core.delivery import Subscriber
from simple_chat.core.room import BATCH_BYTES, OnCommit


class Proposal(NamedTuple):
    """What a member wants to do.

    Attributes:
        line: for the log; empty if it does not concern other servers.
        subscriber: whose it is; None for the end of this server.
        command: what is applied once it is committed; None if only the answer needs a place.
        on_commit: called then.
        immediate_when_down: whether it need not wait while the log is unavailable, unless a message of the
            same member is waiting.
    """

    line: bytes
    subscriber: Subscriber | None
    command: Command | None
    on_commit: OnCommit | None
    immediate_when_down: bool = False


class Outbox:
    """The proposals that are not committed yet, in their order."""

    def __init__(self) -> None:
        self._waiting: list[Proposal] = []
        self._size = 0  # bytes that wait
        self._in_flight: list[Proposal] | None = None
        self._waiting_authors: set[Subscriber] = set()  # who has messages among those that wait,
        self._inflight_authors: set[Subscriber] = set()  # and among those in flight

    @property
    def full(self) -> bool:
        """Whether what waits fills a message."""
        return self._size >= BATCH_BYTES

    @property
    def size(self) -> int:
        """Bytes that wait or are in flight."""
        return self._size + sum(len(each.line) for each in self._in_flight or ())

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    @property
    def in_flight(self) -> bool:
        """Whether a message is in flight."""
        return self._in_flight is not None

    def has_messages(self, subscriber: Subscriber | None) -> bool:
        """Return whether messages of a member are not committed yet."""
        return subscriber in self._waiting_authors or subscriber in self._inflight_authors

    def add(self, proposal: Proposal) -> None:
        """Add a proposal after all others."""
        self._waiting.append(proposal)
        self._size += len(proposal.line)
        if isinstance(proposal.command, Msg) and proposal.subscriber is not None:
            self._waiting_authors.add(proposal.subscriber)

    def launch(self) -> list[Proposal]:
        """Put proposals of up to `BATCH_BYTES` and a line in flight, and return them. None may be already."""
        self._in_flight, self._waiting = self._split()
        self._size -= sum(len(each.line) for each in self._in_flight)
        self._inflight_authors = _authors(self._in_flight)
        self._waiting_authors = _authors(self._waiting)
        return self._in_flight

    def _split(self) -> tuple[list[Proposal], list[Proposal]]:
        """Return what goes into the next message, and what does not, as when thousands leave at once."""
        if not self.full:
            return self._waiting, []
        ends = accumulate(len(each.line) for each in self._waiting)
        count = next(index for index, end in enumerate(ends, 1) if end >= BATCH_BYTES)
        return self._waiting[:count], self._waiting[count:]

    def land(self) -> list[Proposal]:
        """Return the proposals that were in flight: they are committed."""
        landed, self._in_flight = self._in_flight or [], None
        self._inflight_authors = set()
        return landed

    def take_immediate(self) -> list[Proposal]:
        """Return the waiting proposals that need not wait while the log is unavailable, and remove them."""
        waiting, self._waiting = self._waiting, []
        taken: list[Proposal] = []
        for proposal in waiting:
            immediate = proposal.immediate_when_down and not self.has_messages(proposal.subscriber)
            (taken if immediate else self._waiting).append(proposal)
        self._size -= sum(len(each.line) for each in taken)
        return taken


def _authors(proposals: list[Proposal]) -> set[Subscriber]:
    """Return who has messages among proposals."""
    return {
        each.subscriber for each in proposals if each.subscriber is not None and isinstance(each.command, Msg)
    }
