"""The room as one of several servers sees it: the same on all of them, because all follow the same log.

Pure. What members do here is not done yet: it is proposed to the log, one message at a time, and done when
it is read back from there, between what was done elsewhere. So the log is the only place where it is decided
who comes first, and who has a name. What a member asks (PING, WHO, HISTORY) goes the same way, for the answer
to have its place; only no other server reads of it.
"""

import json
import zlib
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Any, NamedTuple

from simple_chat.cluster.entry import END, JOIN, LEAVE, Entry, encode_entry
from simple_chat.cluster.nodes import HEARTBEAT_INTERVAL, LEASE, Nodes
from simple_chat.core.backlog import BACKLOG, NO_AUTHOR
from simple_chat.core.protocol import (
    Code,
    Command,
    History,
    Join,
    Joined,
    Leave,
    Left,
    Ping,
    Quit,
    Who,
    encode,
    encode_message,
)
from simple_chat.core.room import BATCH_BYTES, HISTORY, MESSAGE, PRESENCE_LIMIT, Member, Room
from simple_chat.core.text import name_key
from simple_chat.errors import CommandError

_FENCE = b""


def _to_nobody(data: bytes) -> None:
    """Write to those who are elsewhere."""


class _Proposal(NamedTuple):
    """What a member wants to do.

    Attributes:
        line: for the log; empty if it does not concern others.
        member: who.
        carry_out: does it, once it is read back; None for a message.
        hasty: whether it need not wait while the log is away, unless the member has said something before.
    """

    line: bytes
    member: Member
    carry_out: Callable[[], None] | None
    hasty: bool = False


class _Guest(NamedTuple):
    """Who is in the room on another server."""

    name: str
    node: str


class _Spoken(NamedTuple):
    """What was said in one entry.

    Attributes:
        first: number of the first line that came of it.
        messages: how many there are.
        position: of the entry.
        time: when it was stored, in microseconds since the epoch.
    """

    first: int
    messages: int
    position: int
    time: int


class Message(NamedTuple):
    """What is to be put into the log.

    Attributes:
        ident: the same for no other message.
        data: an entry, encoded.
    """

    ident: str
    data: bytes


class ReplicatedRoom(Room):
    """A room on several servers.

    Args:
        backlog: as `simple_chat.core.room.Room` has it.
        history: the same.
        presence_limit: the same; it should be equal on all servers.
        lease: seconds without an entry after which a server counts as dead. Equal on all servers.
        heartbeat: seconds between two heartbeats of an idle server. Equal on all servers.

    Attributes:
        node: what this server is called in the log; empty until `begin`.
        position: of the last entry that was applied.
        expelled: whether the others took this server for dead, so that nobody is in the room here any more.
    """

    def __init__(
        self,
        *,
        backlog: int = BACKLOG,
        history: int = HISTORY,
        presence_limit: int = PRESENCE_LIMIT,
        lease: float = LEASE,
        heartbeat: float = HEARTBEAT_INTERVAL,
    ) -> None:
        super().__init__(backlog=backlog, history=history, presence_limit=presence_limit)
        self.position = 0
        self._others = Member(NO_AUTHOR, _to_nobody)  # the author of all that is said elsewhere
        self._guests: dict[str, _Guest] = {}  # by name key
        self._nodes = Nodes(lease=lease, heartbeat=heartbeat)
        self._taken = 0  # messages of the entry that is being applied
        self._reach = max(history, HISTORY)  # messages that another server may want to know from this one
        self._spoken: deque[_Spoken] = deque()
        self._remembered = 0  # messages that these are
        self._to_recall: set[int] = set()  # positions, of what was said before `load`
        self._forget()
        self.begin("")

    def begin(self, node: str) -> None:
        """Be a new server in the log.

        Args:
            node: what to be called. No other one, and not this one before, was ever called the same.
        """
        self.node = node
        self.expelled = False
        self._number = 0
        self._ending = False
        self._late: list[Callable[[], None]] = []  # what came after the end was proposed

    def _forget(self) -> None:
        """Forget what is proposed."""
        self._outbox: list[_Proposal] = []
        self._outbox_size = 0
        self._proposed: list[_Proposal] | None = None  # the message that is on its way
        self._speaking: set[Member] = set()  # who has messages in the outbox,
        self._on_its_way: set[Member] = set()  # and who in the message

    # What members do

    def say(self, member: Member, text: str) -> None:
        """Propose a message.

        Raises:
            CommandError: not-joined or busy.
        """
        name = self.name_of(member)
        if self._ending or (self.suspended and self._outbox_size >= BATCH_BYTES):
            raise CommandError(Code.BUSY)
        self._propose(_Proposal(encode_message(name, text), member, None))
        self._speaking.add(member)

    def defers(self, member: Member, command: Command | None, carry_out: Callable[[], None]) -> bool:
        """Propose a command, unless the log is away and it can be carried out without."""
        if self.closed or (line := self._line(member, command)) is None:
            return False
        if self._ending:
            self._late.append(carry_out)
        else:
            hasty = not isinstance(command, Leave | Ping)
            self._propose(_Proposal(line, member, carry_out, hasty))
        return True

    def _line(self, member: Member, command: Command | None) -> bytes | None:
        """What a command is in the log; None if it is carried out at once."""
        match command:
            case Join(name):  # even if it is taken here: it may be free in the log by now
                if self.suspended or member.name is not None:
                    self._check_join(member, name)
                return JOIN + name.encode() + b"\n"
            case Leave():
                return LEAVE + self.name_of(member).encode() + b"\n"
            case Quit():
                return None
        return _FENCE if self._has_to_wait(member, command) else None

    def _has_to_wait(self, member: Member, command: Command | None) -> bool:
        """Whether an answer has to have its place in the log: at least behind what the member said."""
        if isinstance(command, Ping):
            # Also while the log is away, for others may be heard elsewhere; but a stranger is owed nothing.
            return member.name is not None
        asks, speaks = isinstance(command, Who | History), self._is_speaking(member)
        return asks and speaks if self.suspended else asks or speaks

    def _propose(self, proposal: _Proposal) -> None:
        self._outbox.append(proposal)
        self._outbox_size += len(proposal.line)

    def _is_speaking(self, member: Member) -> bool:
        """Whether what a member said is yet to be read back."""
        return member in self._speaking or member in self._on_its_way

    def holds(self, name: str) -> bool:
        """Whether somebody in the room, on whatever server, is called like that."""
        return super().holds(name) or name_key(name) in self._guests

    def names(self) -> tuple[str, ...]:
        """Who is in the room, first those who are here."""
        if self._names is None:
            here = [str(member.name) for member in self._members.values()]
            self._names = (*here, *(guest.name for guest in self._guests.values()))
        return self._names

    @property
    def _tells_presence(self) -> bool:
        return len(self._members) + len(self._guests) <= self._presence_limit

    @property
    def full(self) -> bool:
        """Whether no more should be proposed until the log has what was."""
        return self._outbox_size >= BATCH_BYTES and not self.suspended

    def suspend(self, members: Iterable[Member]) -> None:
        """Take note that the log is away: what is not on its way and does not need it is done at once."""
        super().suspend(members)
        self._release()

    def _hasten(self, member: Member) -> None:  # noqa: ARG002
        """Hand out what was read already, which does not wait for the log: no answer need overtake it."""
        self.flush()

    def _release(self) -> None:
        """Answer what is asked by those who have said nothing just before, and refuse who wants to join."""
        outbox, self._outbox = self._outbox, []
        for each in outbox:
            if each.carry_out is not None and each.hasty and not self._is_speaking(each.member):
                self._outbox_size -= len(each.line)
                each.carry_out()
            else:
                self._outbox.append(each)

    # What goes into the log

    @property
    def waits(self) -> bool:
        """Whether a message is on its way."""
        return self._proposed is not None

    def propose(self, *, beat: bool = False) -> Message | None:
        """Make a message of what is proposed: up to `BATCH_BYTES` and a line. Not while one is in flight.

        Args:
            beat: whether to make one even if nothing is.
        """
        if not self.node or self._proposed is not None or not (self._outbox or beat):
            return None
        self._proposed, self._outbox = self._split()
        self._outbox_size -= sum(len(each.line) for each in self._proposed)
        self._on_its_way = {each.member for each in self._proposed if each.carry_out is None}
        self._speaking = {each.member for each in self._outbox if each.carry_out is None}
        self._number += 1
        data = encode_entry(self.node, self._number, (each.line for each in self._proposed))
        return Message(f"{self.node}-{self._number}", data)

    def _split(self) -> tuple[list[_Proposal], list[_Proposal]]:
        """What goes into the next message, and what does not, as when thousands leave at once."""
        if self._outbox_size < BATCH_BYTES:
            return self._outbox, []
        ends = accumulate(len(each.line) for each in self._outbox)
        count = next(index for index, end in enumerate(ends, 1) if end >= BATCH_BYTES)
        return self._outbox[:count], self._outbox[count:]

    def end_here(self) -> None:
        """Propose that this server leaves, behind all that is proposed already; nothing more is taken."""
        self._propose(_Proposal(END, self._others, self._close))
        self._ending = True

    # What comes out of it

    def apply(self, entry: Entry) -> None:
        """Do what stands in the log next; of what `load` stands for, only remember what was said.

        What comes of it is handed out by `flush`, so that one write to each member may do for many entries.
        """
        start = self.end
        if entry.position > self.position:
            self.position = entry.position
            for node in self._nodes.expire(entry.time):
                self._bury(node)
            if entry.node and self._nodes.record_heartbeat(entry.node, entry.number):
                self._carry_out(entry)
        elif entry.position in self._to_recall:
            for line in entry.lines:
                if line.startswith(MESSAGE):
                    self._take_message(self._others, line)
        if self._taken:
            self._keep_in_mind(entry, start)

    @property
    def brims(self) -> bool:
        """Whether what is to be handed out fills a batch."""
        return self._open_size >= BATCH_BYTES

    def flush(self) -> None:
        """Hand out what came of the last entries."""
        if batch := self.close_batch(0):  # each message has its own time: see _said_at
            self.hand_out(batch)

    def _carry_out(self, entry: Entry) -> None:
        if entry.node == self.node:
            self._carry_out_own()
        else:
            for line in entry.lines:
                self._carry_out_elsewhere(entry.node, line)

    def _carry_out_own(self) -> None:
        proposed, self._proposed = self._proposed or [], None
        self._on_its_way = set()
        self.suspended = False  # the log is there
        for each in proposed:
            if each.carry_out is None:
                self._take_message(each.member, each.line)
            else:
                each.carry_out()

    def _carry_out_elsewhere(self, node: str, line: bytes) -> None:
        if line.startswith(MESSAGE):
            self._take_message(self._others, line)
        elif line.startswith(JOIN):
            self._let_in(_Guest(line[len(JOIN) : -1].decode(), node))
        elif line.startswith(LEAVE):
            self._let_go(name_key(line[len(LEAVE) : -1].decode()))
        elif line == END:
            self._nodes.remove(node)
            self._bury(node)

    def _let_in(self, guest: _Guest) -> None:
        if self.holds(guest.name):  # which its own server finds too
            return
        self._guests[name_key(guest.name)] = guest
        self._names = None
        if self._tells_presence:
            self._take(self._others, encode(Joined(guest.name)))

    def _let_go(self, key: str) -> None:
        if self._tells_presence:
            self._take(self._others, encode(Left(self._guests[key].name)))
        del self._guests[key]
        self._names = None

    def expel(self) -> None:
        """Let all go who are here, and forget what they wanted to do."""
        self.expelled = True
        self.node = ""
        self._forget()
        for member in list(self._members.values()):
            self.leave(member)

    def _bury(self, node: str) -> None:
        """Let all members of a server go."""
        if node == self.node:
            self.expel()
        for key in [key for key, guest in self._guests.items() if guest.node == node]:
            self._let_go(key)

    def _close(self) -> None:
        """End in order: who is here gets no LEFT, but a BYE."""
        self._nodes.remove(self.node)
        self.closed = True
        for carry_out in self._late:
            carry_out()

    def _take_message(self, author: Member, line: bytes) -> None:
        super()._take_message(author, line)
        self._taken += 1

    # When what was said was said

    def _keep_in_mind(self, entry: Entry, start: int) -> None:
        """Remember where and when messages were said: the last ones.

        Args:
            entry: in which they are.
            start: number of the first line that came of it.
        """
        self._spoken.append(_Spoken(start, self._taken, entry.position, entry.time))
        self._remembered += self._taken
        self._taken = 0
        while self._remembered - self._spoken[0].messages >= self._reach:
            self._remembered -= self._spoken.popleft().messages

    def _said_at(self, number: int, batch_time: float) -> float:  # noqa: ARG002
        index = bisect_right(self._spoken, number, key=lambda spoken: spoken.first)
        return self._spoken[max(index - 1, 0)].time / 1e6

    # What those who come later start from

    @property
    def keeps_table(self) -> bool:
        """Whether it is this server that puts its `table` into the log from time to time."""
        return self._nodes.oldest == self.node

    def table(self) -> bytes:
        """Who is there at `position`, so that nobody has to read the log from its beginning."""
        names = defaultdict(list, {self.node: [member.name for member in self._members.values()]})
        for guest in self._guests.values():
            names[guest.node].append(guest.name)
        state = {
            "position": self.position,
            "spoken": [spoken.position for spoken in self._spoken],
            "nodes": self._nodes.snapshot(),
            "names": names,
        }
        return zlib.compress(json.dumps(state).encode(), level=1)  # nobody is served meanwhile

    def load(self, table: bytes | None, end: int) -> int:
        """Start from another server's table, with nobody here.

        Args:
            table: as `table` made it. None if there is nobody.
            end: position of the log's last entry.

        Returns:
            The position of the first entry to apply.
        """
        last = range(max(end - HISTORY, 0) + 1, end + 1)
        nobody = {"position": end, "spoken": last, "nodes": Nodes().snapshot(), "names": {}}
        state: dict[str, Any] = json.loads(zlib.decompress(table)) if table else nobody
        self.expelled = False
        self.position = state["position"]
        self._nodes.restore(state["nodes"])
        guests = (_Guest(name, node) for node, names in state["names"].items() for name in names)
        self._guests = {name_key(guest.name): guest for guest in guests}
        self._names = None
        self._messages.clear()
        self._spoken.clear()
        self._remembered = 0
        self._to_recall = set(state["spoken"])
        return min(self._to_recall, default=self.position + 1)
