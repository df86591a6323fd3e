"""The room: membership, sequence and delivery together.

Commands come in by `Room.submit` and are applied at once. Where a log that several servers share decides the
order, `simple_chat.cluster.replicated` takes the place of `submit` and applies them when they are committed.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Protocol

from simple_chat.core.backlog import BACKLOG, NO_AUTHOR, Batch
from simple_chat.core.bans import Bans
from simple_chat.core.codec import LF, Rendering
from simple_chat.core.codes import Code
from simple_chat.core.commands import Command, Join, Leave, Msg
from simple_chat.core.counters import Counters
from simple_chat.core.delivery import Delivery, Subscriber, Write
from simple_chat.core.membership import PRESENCE_LIMIT, Member, Membership
from simple_chat.core.protocol import Joined, Left, encode, encode_message
from simple_chat.core.sequence import HISTORY, Sequence
from simple_chat.errors import CommandError

BATCH_BYTES = 32 * 1024
"""Bytes that fill a batch."""

OnCommit = Callable[[CommandError | None], None]
"""Called when a command was applied, or with the reason why it could not be."""


class Sequencer(Protocol):
    """Decides when a command is applied: at once, or when a log has committed it."""

    @property
    def batch_full(self) -> bool:
        """Whether no more should be submitted until the next batch was committed."""

    def submit(
        self, subscriber: Subscriber, command: Command | None, on_commit: OnCommit | None = None
    ) -> bool:
        """Have a command applied in its place in the sequence.

        Args:
            subscriber: whose it is; no other command of it waits.
            command: None for a line that was refused, of which only the answer needs a place.
            on_commit: called in that place; nothing is called for MSG.

        Returns:
            Whether that is done already.

        Raises:
            CommandError: it can't be applied; nothing is called then.
        """

    def suspend(self, subscribers: Iterable[Subscriber]) -> None:
        """Note that nothing can be committed for now; answer what needs no commit.

        Args:
            subscribers: all of them, members or not.
        """


class Room:
    """One room. It is the `Sequencer` of a server by itself.

    Args:
        backlog: bytes kept for slow readers and for HISTORY.
        history: messages that HISTORY reaches back; 0 for none.
        presence_limit: members up to which JOINED and LEFT are announced.

    Attributes:
        membership: who is in the room.
        sequence: its lines.
        delivery: what is written to whom.
        bans: who may not join.
        counters: what was done so far.
        clock: times each broadcast, in seconds; None to have none timed.
        closed: whether it takes no more lines, not even the LEFT of those who go.
    """

    def __init__(
        self, *, backlog: int = BACKLOG, history: int = HISTORY, presence_limit: int = PRESENCE_LIMIT
    ) -> None:
        self.membership = Membership(presence_limit)
        self.sequence = Sequence(backlog=backlog, history=history)
        self.counters = Counters()
        self.delivery = Delivery(self.sequence, self.counters)
        self.bans = Bans()
        self.clock: Callable[[], float] | None = None
        self.closed = False
        self._idents = count()

    def connect(self, write: Write, rendering: Rendering = LF) -> Subscriber:
        """Return a subscriber for a connection that may join.

        Args:
            write: writes bytes to it. May raise RuntimeError when the connection is closing.
            rendering: how lines of the room are rendered for it.
        """
        return Subscriber(next(self._idents), write, rendering)

    # Commands

    @property
    def batch_full(self) -> bool:
        """Whether no more should be submitted until the open batch is sealed."""
        return self.sequence.open_size >= BATCH_BYTES and not self.delivery.suspended

    def submit(
        self, subscriber: Subscriber, command: Command | None, on_commit: OnCommit | None = None
    ) -> bool:
        """Apply a command at once; see `Sequencer.submit`."""
        if isinstance(command, Msg):
            self.post(subscriber, command.text)
            return True
        if command is not None:
            self.apply(subscriber, command)
        if on_commit is not None:
            on_commit(None)
        return True

    def suspend(self, subscribers: Iterable[Subscriber]) -> None:
        """Note that nothing can be released for now; see `Sequencer.suspend`."""
        self.delivery.suspend(subscribers)

    def resume(self) -> None:
        """Note that batches can be released again."""
        self.delivery.suspended = False

    def apply(self, subscriber: Subscriber, command: Command) -> None:
        """Do what a command other than MSG does to the room; those that only ask do nothing.

        Raises:
            CommandError: it can't be done.
        """
        match command:
            case Join(name):
                self.join(subscriber, name)
            case Leave():
                self.leave(subscriber)

    def post(self, subscriber: Subscriber, text: str) -> None:
        """Append a message, of a text that is sanitized already.

        Raises:
            CommandError: not-joined, or busy while nothing can be released.
        """
        if subscriber.member is None:
            raise CommandError(Code.NOT_JOINED)
        if self.delivery.suspended and self.sequence.open_size >= BATCH_BYTES:
            raise CommandError(Code.BUSY)
        self.append_message(subscriber, encode_message(subscriber.member.name, text))

    def append_message(self, author: Subscriber, line: bytes) -> None:
        """Append the line of a message, with its LF, which its author does not get back."""
        if self.closed:
            return
        number = self.sequence.append(author.ident, line, message=True)
        self.delivery.record_own(author, number)
        author.last_own = number + 1

    def join(self, subscriber: Subscriber, name: str) -> None:
        """Let a subscriber join, who is owed every line from here on.

        Raises:
            CommandError: already-joined, name-taken or busy.
        """
        self.check_join(subscriber, name)
        member = Member(name)
        self.membership.add(member)
        self.delivery.subscribe(subscriber, member)
        if self.membership.presence_announced:
            self._append(subscriber, encode(Joined(name)))
        subscriber.last_own = self.sequence.end

    def check_join(self, subscriber: Subscriber, name: str) -> None:
        """Check that a subscriber could join now.

        Raises:
            CommandError: already-joined, name-taken or busy.
        """
        if subscriber.member is not None:
            raise CommandError(Code.ALREADY_JOINED)
        if self.membership.is_taken(name):
            raise CommandError(Code.NAME_TAKEN)
        if self.delivery.suspended or self.closed:
            raise CommandError(Code.BUSY)

    def leave(self, subscriber: Subscriber) -> None:
        """Let a member leave. Its name is free at once; it is still owed the lines before.

        Raises:
            CommandError: not-joined.
        """
        member = self.member_of(subscriber)
        if self.membership.presence_announced:
            self._append(subscriber, encode(Left(member.name)))
        self.membership.remove(member)
        self.delivery.unsubscribe(subscriber)

    def _append(self, author: Subscriber, line: bytes) -> None:
        if not self.closed:
            self.delivery.record_own(author, self.sequence.append(author.ident, line))

    @staticmethod
    def member_of(subscriber: Subscriber) -> Member:
        """Return who a subscriber is in the room.

        Raises:
            CommandError: not-joined.
        """
        if subscriber.member is None:
            raise CommandError(Code.NOT_JOINED)
        return subscriber.member

    # Members on other servers

    def append_remote_message(self, line: bytes) -> None:
        """Append the line of a message, with its LF, of a member that is connected to another server."""
        if not self.closed:
            self.sequence.append(NO_AUTHOR, line, message=True)

    def add_remote(self, member: Member) -> None:
        """Add a member that is connected to another server, unless its name is taken here."""
        if self.membership.is_taken(member.name):  # its own server finds the same
            return
        self.membership.add(member)
        self._announce(Joined(member.name))

    def remove_remote(self, member: Member) -> None:
        """Remove a member that is connected to another server."""
        self._announce(Left(member.name))
        self.membership.remove(member)

    def _announce(self, event: Joined | Left) -> None:
        if self.membership.presence_announced and not self.closed:
            self.sequence.append(NO_AUTHOR, encode(event))

    # Questions

    def names(self) -> tuple[str, ...]:
        """Return the names of all members, as typed."""
        return self.membership.names()

    def history(self, limit: int | None) -> Iterator[tuple[float, bytes]]:
        """Return an iterator over the last messages; see `Sequence.history`."""
        return self.sequence.history(limit)

    # Batches

    def seal_batch(self, time: float) -> Batch | None:
        """Seal the open batch, unless it is empty or the last one was not broadcast yet.

        Args:
            time: seconds since the epoch.
        """
        batch = self.sequence.seal(time)
        if batch is not None:
            self.delivery.on_sealed()
        return batch

    def broadcast(self, batch: Batch) -> None:
        """Write the sealed batch to all members; see `Delivery.broadcast`."""
        if self.clock is None:
            self.delivery.broadcast(batch)
            return
        begin = self.clock()
        self.delivery.broadcast(batch)
        self.counters.fanout_seconds.observe(self.clock() - begin)

    def restore(self, batch: Batch) -> None:
        """Add a batch of an earlier server: for HISTORY, and to go on from its numbers."""
        self.sequence.restore(batch)
