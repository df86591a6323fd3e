"""Delivers the sequence to subscribers: broadcast, catch up, GAP, and answers in their place.

A batch goes to a subscriber that is caught up as one write of bytes that all of its kind share; to one that
wrote some of its lines, as one write of the others. Everything else (an answer that waits for its place, a
member that joined in the middle of a batch, a slow reader) goes through `Delivery.catch_up`, piece by piece,
from the backlog. A reader that falls off the end of the backlog gets ``GAP <n>``.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain

from simple_chat.core.backlog import Batch
from simple_chat.core.codec import RenderedBatch, Rendering
from simple_chat.core.counters import Counters
from simple_chat.core.membership import Member
from simple_chat.core.protocol import Gap, encode
from simple_chat.core.sequence import Sequence

FLUSH_BYTES = 8 * 1024
"""Bytes that one write of a catch-up has at least, if there are as many. Put together from smaller batches,
they are the subscriber's own copy, and a thousand slow readers hold a thousand; a larger batch is written as
it is."""

Write = Callable[[bytes], None]


class Subscriber:
    """A connection as delivery sees it: before, while and after it is a member.

    Attributes:
        ident: its number; no other connection ever has the same.
        write: writes bytes to it. May raise RuntimeError when the connection is closing.
        rendering: how lines of the room are rendered for it.
        member: who it is in the room, or None.
        blocked: whether writes are held back; see `Delivery.block`.
        caught_up: whether it has everything that was broadcast, so that it gets the next batch as it is.
        cursor: number of the next line it is owed, or None while it is owed none.
        own_pending: how many of the lines from its cursor on are its own.
        response: pieces of an answer that waits for its place in the sequence, as they are written. There is
            at most one, and while there is, no input is processed: answers keep order and can't pile up.
        response_at: the answer comes before the line with this number.
        response_not_before: while delivery is suspended, the answer may come before lines that are not
            released, but not before the line with this number.
        last_own: number after the last message that it sent, or after its JOINED.
    """

    __slots__ = (
        "blocked",
        "caught_up",
        "cursor",
        "ident",
        "last_own",
        "member",
        "own_pending",
        "rendering",
        "response",
        "response_at",
        "response_not_before",
        "write",
    )

    def __init__(self, ident: int, write: Write, rendering: Rendering) -> None:
        self.ident = ident
        self.write = write
        self.rendering = rendering
        self.member: Member | None = None
        self.blocked = False
        self.caught_up = False
        self.cursor: int | None = None
        self.own_pending = 0
        self.response: Iterator[bytes] | None = None
        self.response_at = 0
        self.response_not_before = 0
        self.last_own = 0


class Delivery:
    """Delivers a sequence to its subscribers.

    Args:
        sequence: the sequence.
        counters: counts what is delivered.

    Attributes:
        suspended: whether nothing can be released for now, since the journal or the cluster is unavailable.
    """

    def __init__(self, sequence: Sequence, counters: Counters) -> None:
        self._sequence = sequence
        self._counters = counters
        self._backlog = sequence.backlog
        self._joined: dict[Rendering, dict[Subscriber, None]] = {}
        # Who wrote which lines of the open and of the sealed batch.
        self._open_authors: dict[Subscriber, list[int]] = {}
        self._sealed_authors: dict[Subscriber, list[int]] = {}
        self.suspended = False

    # Who is subscribed

    def subscribe(self, subscriber: Subscriber, member: Member) -> None:
        """Owe a subscriber every line from here on."""
        subscriber.member, subscriber.cursor, subscriber.own_pending = member, self._sequence.end, 0
        self._joined.setdefault(subscriber.rendering, {})[subscriber] = None

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Owe a subscriber no line from here on; it still gets those before."""
        subscriber.member, subscriber.caught_up = None, False
        self._remove(subscriber)

    def _remove(self, subscriber: Subscriber) -> None:
        del self._joined[subscriber.rendering][subscriber]
        if not self._joined[subscriber.rendering]:  # no batch is rendered for nobody
            del self._joined[subscriber.rendering]

    def joined(self) -> list[Subscriber]:
        """Return the subscribers that are members."""
        return list(chain.from_iterable(self._joined.values()))

    def use_rendering(self, subscriber: Subscriber, rendering: Rendering) -> None:
        """Render lines for a subscriber in another way from now on."""
        if subscriber.member is not None:
            self._remove(subscriber)
            self._joined.setdefault(rendering, {})[subscriber] = None
        subscriber.rendering = rendering

    # From the open batch to a write

    def record_own(self, author: Subscriber, number: int) -> None:
        """Note that a line of the open batch is a subscriber's own."""
        author.caught_up = False
        author.own_pending += 1
        if author in self._open_authors:
            self._open_authors[author].append(number)
        else:
            self._open_authors[author] = [number]

    def on_sealed(self) -> None:
        """Note that the open batch was sealed."""
        self._sealed_authors, self._open_authors = self._open_authors, {}

    def broadcast(self, batch: Batch) -> None:
        """Release the sealed batch and write it to every member that has everything before it.

        `catch_up` delivers it to the others.
        """
        self._sequence.release(batch)
        end = batch.end
        writes = size = 0
        rendered: dict[Rendering, RenderedBatch] = {}
        for rendering, subscribers in self._joined.items():
            rendered[rendering] = rendering.render_batch(batch)
            data = rendered[rendering].data
            behind = 0  # counted instead of those who are not, so that a delivery costs no counting
            for subscriber in subscribers:
                if subscriber.caught_up:
                    subscriber.cursor = end
                    try:
                        subscriber.write(data)
                    except RuntimeError:  # the connection is closing, and will be removed in a moment
                        self.block(subscriber)
                else:
                    behind += 1
            writes += len(subscribers) - behind
            size += (len(subscribers) - behind) * len(data)
        for author, own in self._sealed_authors.items():
            size += self._deliver_to_author(author, batch, rendered, own)
        for author in self._open_authors:
            size += self._deliver_to_author(author, batch, rendered, [])
        writes += len(self._sealed_authors) + len(self._open_authors)
        own_lines = sum(map(len, self._sealed_authors.values()))
        self._sealed_authors = {}
        self._counters.count_broadcast(batch, writes * batch.lines - own_lines, size)

    def _deliver_to_author(
        self,
        author: Subscriber,
        batch: Batch,
        rendered: dict[Rendering, RenderedBatch],
        own: list[int],
    ) -> int:
        """Write a batch without its own lines to a member that wrote some of it, or of the next one.

        Returns:
            The bytes that were written.
        """
        if (
            author.cursor != batch.first
            or author.response is not None
            or author.member is None
            or author.blocked
        ):
            self._counters.deliveries -= batch.lines - len(own)  # broadcast takes it for written
            return 0
        author.cursor = batch.end
        author.own_pending -= len(own)
        author.caught_up = not author.own_pending
        if rest := rendered[author.rendering].excluding(own):
            try:
                author.write(rest)
            except RuntimeError:  # as in broadcast
                self.block(author)
        return len(rest)

    def write(self, subscriber: Subscriber, data: bytes) -> None:
        """Write bytes to a subscriber whose connection may be closing."""
        self._counters.sent_bytes += len(data)
        self.write_counted(subscriber, data)

    def write_counted(self, subscriber: Subscriber, data: bytes) -> None:
        """Write bytes that `write` has counted before, when they were gathered."""
        try:
            subscriber.write(data)
        except RuntimeError:  # as in broadcast
            self.block(subscriber)

    # Backpressure

    def block(self, subscriber: Subscriber) -> None:
        """Write nothing more to a subscriber: it falls behind, and costs no more than its cursor."""
        subscriber.blocked, subscriber.caught_up = True, False

    def unblock(self, subscriber: Subscriber) -> None:
        """Write to a subscriber again: `catch_up` goes on."""
        subscriber.blocked = False

    # Answers

    def respond(self, subscriber: Subscriber, pieces: Iterable[bytes], *, barrier: bool = True) -> None:
        """Answer a subscriber after everything that it is owed up to here: at once, if it is owed nothing.

        Args:
            subscriber: has no answer waiting.
            pieces: bytes as they are written, fetched one by one when they can be.
            barrier: whether the answer means that the subscriber's own lines before it were released.
        """
        subscriber.response, subscriber.response_at = iter(pieces), self._sequence.end
        subscriber.response_not_before = subscriber.last_own if barrier else 0
        subscriber.caught_up = False
        if subscriber.cursor is None:
            subscriber.cursor = subscriber.response_at = self._backlog.end
        elif self.suspended:
            self._answer_early(subscriber)

    def suspend(self, subscribers: Iterable[Subscriber]) -> None:
        """Note that nothing can be released for now; let no answer wait for that unless it has to.

        Args:
            subscribers: all of them, members or not.
        """
        self.suspended = True
        for subscriber in subscribers:
            self._answer_early(subscriber)

    def _answer_early(self, subscriber: Subscriber) -> None:
        """Let a waiting answer overtake lines that are not released.

        A subscriber that has left does not get those lines; GAP says how many they were.
        """
        at = max(subscriber.response_not_before, self._backlog.end)
        if subscriber.response is None or subscriber.response_at <= at:
            return
        if subscriber.member is None:
            lost = subscriber.response_at - at - self._sequence.count_own(subscriber.ident, at)
            subscriber.response = chain(self._gap(subscriber, lost), subscriber.response)
        subscriber.response_at = at

    def _gap(self, subscriber: Subscriber, lost: int) -> tuple[bytes, ...]:
        if not lost:
            return ()
        self._counters.gaps += 1
        self._counters.gap_lines += lost
        return (subscriber.rendering.render(encode(Gap(lost)), 0.0),)

    # Catching up

    def needs_flush(self, subscriber: Subscriber) -> bool:
        """Return whether a subscriber has to be flushed as soon as the next batch was released."""
        if not subscriber.own_pending and subscriber.response is None:
            return False
        return not subscriber.blocked and self._sequence.end != self._backlog.end

    def only_own_pending(self, subscriber: Subscriber) -> bool:
        """Return whether a subscriber is owed nothing until its own lines are released."""
        return (
            subscriber.own_pending > 0
            and subscriber.response is None
            and subscriber.cursor == self._backlog.end
        )

    def catch_up(self, subscriber: Subscriber) -> bool:
        """Write the next piece of what a subscriber is owed: at least `FLUSH_BYTES` if there are as many.

        Returns:
            Whether there is more that could be written at once.
        """
        if subscriber.blocked or subscriber.caught_up or self.only_own_pending(subscriber):
            return False
        parts: list[bytes] = []
        size = 0
        while size < FLUSH_BYTES and (part := self._next_part(subscriber)) is not None:
            parts.append(part)
            size += len(part)
        subscriber.caught_up = self._has_everything(subscriber)
        if size:
            self.write(subscriber, b"".join(parts))
        return size >= FLUSH_BYTES and not subscriber.blocked

    def _has_everything(self, subscriber: Subscriber) -> bool:
        return (
            subscriber.member is not None
            and subscriber.cursor == self._backlog.end
            and not subscriber.own_pending
            and subscriber.response is None
        )

    def _next_part(self, subscriber: Subscriber) -> bytes | None:
        """Return what comes next, lines, a GAP or a piece of the answer, or None if nothing is due."""
        if subscriber.cursor is None:
            return None
        due = self._backlog.end
        if subscriber.response is not None:
            due = min(due, subscriber.response_at)
        if subscriber.cursor < due:
            return self._read_backlog(subscriber, subscriber.cursor, due)
        if subscriber.response is None or subscriber.response_at > due:
            return None
        piece = next(subscriber.response, None)
        if piece is not None:
            return piece
        subscriber.response = None
        subscriber.response_at = subscriber.response_not_before = 0  # releases numbers that idle members hold
        if subscriber.member is None:
            subscriber.cursor, subscriber.own_pending = None, 0
        return b""

    def _read_backlog(self, subscriber: Subscriber, cursor: int, due: int) -> bytes:
        if cursor < self._backlog.first:
            return self._skip(subscriber, cursor, min(self._backlog.first, due))
        lines, subscriber.cursor, own, time = self._backlog.read(subscriber.ident, cursor, due)
        subscriber.own_pending -= own
        self._counters.deliveries += subscriber.cursor - cursor - own
        return subscriber.rendering.render(lines, time) if lines else b""

    def _skip(self, subscriber: Subscriber, cursor: int, stop: int) -> bytes:
        """Pass over the lines before `stop`, and say how many the subscriber was owed: not its own ones."""
        own = subscriber.own_pending
        own_left = self._sequence.count_own(subscriber.ident, stop) if own else 0  # counting takes long
        lost = stop - cursor - (own - own_left)
        subscriber.cursor, subscriber.own_pending = stop, own_left
        return b"".join(self._gap(subscriber, lost))
