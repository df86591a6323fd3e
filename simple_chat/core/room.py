"""The room: who is in it, what is said in which order, and what each member is still owed.

Pure: it is handed a way to write to each member and the time, and knows no socket, file or clock.

The room is one sequence of lines. Those it takes within one turn are its open batch; the turn closes it, and
it is handed out: at once, or when a journal has kept it, while the next one gathers. To a member who has
everything so far that is one write: of bytes that all members share, or for those who said some of it, of
the rest. Everything else (an answer that waits for its place, a member who joined in the middle of a batch, a
slow reader who catches up) goes through `Room.settle`, piece by piece, from the backlog.
"""

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, count

from simple_chat.core.backlog import BACKLOG, Backlog, Batch
from simple_chat.core.protocol import Code, Command, Gap, Joined, Left, encode, encode_message
from simple_chat.core.text import name_key
from simple_chat.errors import CommandError

HISTORY = 1_000
"""Messages that HISTORY reaches back, by default."""

PRESENCE_LIMIT = 1_000
"""Members up to which comings and goings are told, by default."""

BATCH_BYTES = 32 * 1024
"""Bytes that fill a batch."""

FLUSH_BYTES = 8 * 1024
"""Bytes that make a piece for somebody who catches up. A piece that is put together from smaller batches is
that member's own copy, and a thousand slow readers hold a thousand; a larger batch is written as it is."""

MESSAGE = b"MSG "
"""How a message begins."""

Write = Callable[[bytes], None]


class Member:
    """A connection as the room sees it: before, while and after it is in the room.

    Attributes:
        ident: its number; no other connection ever has the same.
        write: takes bytes for it. May raise RuntimeError when the connection is going down.
        name: as typed, or None while it is not in the room.
        crlf: whether its lines end in CRLF.
        blocked: whether it takes no bytes now; see `Room.block`.
        steady: whether it has everything that was handed out, so that it gets the next batch as it is.
        cursor: number of the next line it is owed, or None while it is owed none.
        own_ahead: how many of the lines from its cursor on are its own.
        answer: pieces of an answer that waits for its place in the sequence. There is at most one, and
            while there is, nothing is taken from this member: answers keep their order and can't pile up.
        answer_at: the answer comes before the line with this number.
        answer_after: while the room is suspended, the answer comes before the first line that is not handed
            out, but not before the line with this number.
        said: number behind the last line that it said or joined by.
    """

    __slots__ = (
        "answer",
        "answer_after",
        "answer_at",
        "blocked",
        "crlf",
        "cursor",
        "ident",
        "name",
        "own_ahead",
        "said",
        "steady",
        "write",
    )

    def __init__(self, ident: int, write: Write) -> None:
        self.ident = ident
        self.write = write
        self.name: str | None = None
        self.crlf = False
        self.blocked = False
        self.steady = False
        self.cursor: int | None = None
        self.own_ahead = 0
        self.answer: Iterator[bytes] | None = None
        self.answer_at = 0
        self.answer_after = 0
        self.said = 0


class Room:
    """One room.

    Args:
        backlog: bytes that are kept for slow readers and for HISTORY.
        history: messages that HISTORY reaches back; 0 for none.
        presence_limit: JOINED and LEFT are not told while there are more members than this.

    Attributes:
        closed: whether it takes no more lines, not even the LEFT of those who go.
        suspended: whether nothing can be handed out for now. Then nobody can join, and it takes what members
            say only up to a full batch.
    """

    def __init__(
        self, *, backlog: int = BACKLOG, history: int = HISTORY, presence_limit: int = PRESENCE_LIMIT
    ) -> None:
        self._backlog = Backlog(backlog)
        self._messages: deque[int] = deque(maxlen=history)  # the numbers of the last ones
        self._presence_limit = presence_limit
        self._members: dict[str, Member] = {}  # by name key, in the order of their joining
        self._idents = count()
        self._open: list[bytes] = []
        self._open_first = 0
        self._open_size = 0
        self._authors = array("Q")
        self._speakers: dict[Member, list[int]] = {}  # who said which lines of the open batch
        self._closed: Batch | None = None  # which is yet to be handed out, and who said which lines of it
        self._closed_speakers: dict[Member, list[int]] = {}
        self._names: tuple[str, ...] | None = ()  # as WHO tells them, None when out of date
        self.closed = False
        self.suspended = False

    def recall(self, batch: Batch) -> None:
        """Take in what was said before anybody was here: for HISTORY, and to go on from its numbers."""
        lines = enumerate(batch.lines(batch.first, batch.end), batch.first)
        self._messages.extend(number for number, line in lines if line.startswith(MESSAGE))
        self._backlog.append(batch)
        self._open_first = batch.end

    # What members do

    def connect(self, write: Write) -> Member:
        """Take note of a connection that may join."""
        return Member(next(self._idents), write)

    def join(self, member: Member, name: str) -> None:
        """Let a member in, who is owed every line from here on.

        Raises:
            CommandError: already-joined, name-taken or busy.
        """
        self._check_join(member, name)
        self._members[name_key(name)] = member
        self._names = None
        member.name, member.cursor, member.own_ahead = name, self.end, 0
        if self._tells_presence:
            self._take(member, encode(Joined(name)))
        member.said = self.end

    def _check_join(self, member: Member, name: str) -> None:
        if member.name is not None:
            raise CommandError(Code.ALREADY_JOINED)
        if self.holds(name):
            raise CommandError(Code.NAME_TAKEN)
        if self.suspended or self.closed:
            raise CommandError(Code.BUSY)

    def holds(self, name: str) -> bool:
        """Whether somebody in the room is called like that, whatever the case."""
        return name_key(name) in self._members

    @property
    def _tells_presence(self) -> bool:
        return len(self._members) <= self._presence_limit

    def say(self, member: Member, text: str) -> None:
        """Send everybody else a text, which must be sanitized already.

        Raises:
            CommandError: not-joined or busy.
        """
        name = self.name_of(member)
        if self.suspended and self._open_size >= BATCH_BYTES:
            raise CommandError(Code.BUSY)
        self._take_message(member, encode_message(name, text))

    def defers(self, member: Member, command: Command | None, carry_out: Callable[[], None]) -> bool:  # noqa: ARG002
        """Whether a command of a member is carried out later, when its place in the sequence is known.

        Here none is: what happens here is the sequence.

        Args:
            member: who has no other command that is yet to be carried out.
            command: any but MSG; None for what is refused, which is only to be answered in its place.
            carry_out: is called then.

        Raises:
            CommandError: it can't be carried out.
        """
        return False

    def leave(self, member: Member) -> None:
        """Let a member go. Its name is free at once; it is still owed what was said before.

        Raises:
            CommandError: not-joined.
        """
        name = self.name_of(member)
        if self._tells_presence:
            self._take(member, encode(Left(name)))
        del self._members[name_key(name)]
        self._names = None
        member.name, member.steady = None, False

    def name_of(self, member: Member) -> str:
        """What a member is called in the room.

        Raises:
            CommandError: not-joined.
        """
        if member.name is None:
            raise CommandError(Code.NOT_JOINED)
        return member.name

    def names(self) -> tuple[str, ...]:
        """Who is in the room, as typed, in the order of their joining."""
        if self._names is None:
            self._names = tuple([str(member.name) for member in self._members.values()])
        return self._names

    def history(self, limit: int | None) -> Iterator[tuple[float, bytes]]:
        """The last messages that are in the room now, oldest first, each with its time.

        It may be read as slowly as one likes: what the backlog has let go by then is left out.

        Args:
            limit: how many at most, or None for all that are kept.
        """
        kept = len(self._messages)
        wanted = kept if limit is None else min(limit, kept)
        if not wanted:
            return iter(())
        lines = self._backlog.past(self._messages[-wanted], self.end)
        messages = (each for each in lines if each[2].startswith(MESSAGE))
        return ((self._said_at(number, time), line) for number, time, line in messages)

    def _said_at(self, number: int, batch_time: float) -> float:  # noqa: ARG002
        """When a line was said."""
        return batch_time

    # The sequence

    @property
    def end(self) -> int:
        """Number of the next line that will be taken."""
        return self._open_first + len(self._open)

    @property
    def full(self) -> bool:
        """Whether no more lines should be taken until the open batch is closed."""
        return self._open_size >= BATCH_BYTES and not self.suspended

    def close_batch(self, time: float) -> Batch | None:
        """Close the open batch, if anything is in it and the last one was handed out.

        Args:
            time: seconds since the epoch.
        """
        if not self._open or self._closed is not None:
            return None
        self._closed = Batch(self._open_first, self._open, self._authors, time)
        self._closed_speakers = self._speakers
        self._open, self._open_first, self._open_size = [], self._closed.end, 0
        self._authors, self._speakers = array("Q"), {}
        return self._closed

    def hand_out(self, batch: Batch) -> None:
        """Write the batch closed last to every member who has everything before it.

        `settle` does it for the others.
        """
        self._backlog.append(batch)
        lf, crlf, end = batch.data, b"", batch.end
        for member in self._members.values():
            if member.steady:
                member.cursor = end
                if member.crlf:
                    crlf = crlf or lf.replace(b"\n", b"\r\n")
                try:
                    member.write(crlf if member.crlf else lf)
                except RuntimeError:  # it is going down, and will be let go of in a moment
                    self.block(member)
        for member, own in self._closed_speakers.items():
            self._hand_out_rest(member, batch, own)
        for member in self._speakers:
            self._hand_out_rest(member, batch, [])
        self._closed, self._closed_speakers = None, {}

    def _hand_out_rest(self, member: Member, batch: Batch, own: list[int]) -> None:
        """Write a batch without its own lines to a member who has said something lately."""
        if member.cursor != batch.first or member.answer is not None or member.name is None or member.blocked:
            return
        member.cursor = batch.end
        member.own_ahead -= len(own)
        member.steady = not member.own_ahead
        if rest := batch.cut(own, 0, batch.end - batch.first):
            self.write(member, rest.replace(b"\n", b"\r\n") if member.crlf else rest)

    def _take_message(self, author: Member, line: bytes) -> None:
        if not self.closed:
            self._messages.append(self.end)
            self._take(author, line)
            author.said = self.end

    def _take(self, author: Member, line: bytes) -> None:
        if self.closed:
            return
        author.steady = False
        self._speakers.setdefault(author, []).append(len(self._open))
        self._open.append(line)
        self._authors.append(author.ident)
        self._open_size += len(line)
        author.own_ahead += 1

    # What one member is owed

    def answer(self, member: Member, pieces: Iterable[bytes], *, barrier: bool = True) -> None:
        """Answer a member, behind everything that it is owed up to here: at once, if it is owed nothing.

        Args:
            member: who has no answer waiting.
            pieces: lines with their LF, in pieces that are taken only when they can be written.
            barrier: whether the answer means that what the member said before was handed out.
        """
        member.answer, member.answer_at = iter(pieces), self.end
        member.answer_after = member.said if barrier else 0
        member.steady = False
        if member.cursor is None:
            member.cursor = member.answer_at = self._backlog.end
        elif self.suspended:
            self._hasten(member)

    def suspend(self, members: Iterable[Member]) -> None:
        """Take note that nothing can be handed out for now, and let nobody wait for that who need not.

        Args:
            members: all connections.
        """
        self.suspended = True
        for member in members:
            self._hasten(member)

    def _hasten(self, member: Member) -> None:
        """Let a waiting answer wait for no more than it has to, while the room is suspended.

        Who leaves does not wait for what others said before; a GAP tells it how many lines that were.
        """
        at = max(member.answer_after, self._backlog.end)
        if member.answer is None or member.cursor is None or member.answer_at <= at:
            return
        if member.name is None and (lost := member.answer_at - at - self._count_own(member.ident, at)):
            member.answer = chain((encode(Gap(lost)),), member.answer)
        member.answer_at = at

    def awaits(self, member: Member) -> bool:
        """Whether a member is to be settled again as soon as the next batch was handed out."""
        if self.end == self._backlog.end:
            return False
        return not member.blocked and (member.answer is not None or member.own_ahead > 0)

    def block(self, member: Member) -> None:
        """Write nothing more to a member: it falls behind, and costs no more than its cursor."""
        member.blocked, member.steady = True, False

    def unblock(self, member: Member) -> None:
        """A member takes bytes again: `settle` lets it catch up."""
        member.blocked = False

    def only_spoke(self, member: Member) -> bool:
        """Whether a member is owed nothing until what it said is handed out: usual with a journal."""
        return member.own_ahead > 0 and member.answer is None and member.cursor == self._backlog.end

    def settle(self, member: Member) -> bool:
        """Write to a member the next piece of what it is owed: at least `FLUSH_BYTES` if there are as many.

        Returns:
            Whether there is more that could be written at once.
        """
        if member.blocked or member.steady or self.only_spoke(member):
            return False
        parts: list[bytes] = []
        size = 0
        while size < FLUSH_BYTES and (part := self._next_part(member)) is not None:
            parts.append(part)
            size += len(part)
        member.steady = self._has_everything(member)
        if size:
            data = b"".join(parts)
            self.write(member, data.replace(b"\n", b"\r\n") if member.crlf else data)
        return size >= FLUSH_BYTES and not member.blocked

    def write(self, member: Member, data: bytes) -> None:
        """Write bytes to a member, who may be going down."""
        try:
            member.write(data)
        except RuntimeError:  # as in hand_out
            self.block(member)

    def _has_everything(self, member: Member) -> bool:
        return member.name is not None and (member.cursor, member.own_ahead, member.answer) == (
            self._backlog.end,
            0,
            None,
        )

    def _next_part(self, member: Member) -> bytes | None:
        """Take what a member gets next: lines, a GAP or a piece of its answer; None if nothing is due."""
        if member.cursor is None:
            return None
        due = self._backlog.end
        if member.answer is not None:
            due = min(due, member.answer_at)
        if member.cursor < due:
            return self._read_on(member, member.cursor, due)
        if member.answer is None or member.answer_at > due:
            return None
        part = next(member.answer, None)
        if part is not None:
            return part
        member.answer = None
        if member.name is None:
            member.cursor = None
        return b""

    def _read_on(self, member: Member, cursor: int, due: int) -> bytes:
        if cursor < self._backlog.first:
            return self._skip(member, cursor, min(self._backlog.first, due))
        piece, member.cursor, own = self._backlog.read(member.ident, cursor, due)
        member.own_ahead -= own
        return piece

    def _skip(self, member: Member, cursor: int, stop: int) -> bytes:
        """Tell a member how many lines it was owed before `stop` and will not get; its own don't count."""
        own_left = self._count_own(member.ident, stop)
        lost = stop - cursor - (member.own_ahead - own_left)
        member.cursor, member.own_ahead = stop, own_left
        return encode(Gap(lost)) if lost else b""

    def _count_own(self, author: int, start: int) -> int:
        """How many lines from `start` on are one author's own."""
        count = self._backlog.count_own(author, start)
        if self._closed is not None:
            count += self._closed.count_own(author, start)
        return count + self._authors[max(start - self._open_first, 0) :].count(author)
