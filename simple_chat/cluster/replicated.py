"""A room on several servers, as one of them sees it: the same on all, because all follow the same log.

What members do here is not applied yet: it is proposed to the log, one message at a time, and applied when
it is read back from there, between what was done elsewhere. So the log alone decides who comes first, and who
has a name. What a member asks (PING, WHO, HISTORY) goes the same way, for the answer to have its place; only
no other server reads of it.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from simple_chat.cluster.entry import END, JOIN, LEAVE, Entry, encode_entry
from simple_chat.cluster.message_index import MessageIndex
from simple_chat.cluster.nodes import Nodes
from simple_chat.cluster.outbox import Outbox, Proposal
from simple_chat.cluster.snapshot import Snapshot, decode_snapshot, encode_snapshot
from simple_chat.core.bans import parse_ban
from simple_chat.core.codes import Code
from simple_chat.core.commands import Command, History, Join, Leave, Msg, Ping, Quit, Who
from simple_chat.core.delivery import Subscriber
from simple_chat.core.membership import Member
from simple_chat.core.moderation import AddBan, Order, apply_order, encode_order, is_order, parse_order
from simple_chat.core.protocol import encode_message
from simple_chat.core.room import BATCH_BYTES, OnCommit, Room
from simple_chat.core.sequence import HISTORY, MESSAGE
from simple_chat.errors import CommandError

_BARRIER = b""  # the line of what only needs its place in the log


class Message(NamedTuple):
    """What is to be published to the log.

    Attributes:
        ident: the same for no other message.
        data: an entry, encoded.
    """

    ident: str
    data: bytes


class ReplicatedRoom:
    """The `simple_chat.core.room.Sequencer` of a room on several servers.

    Args:
        room: of this server, with nobody in it.
        nodes: who of the servers is alive.

    Attributes:
        room: the same.
        node: what this server is called in the log; empty until `begin`.
        position: of the last entry that was applied.
        evicted: whether the others took this server for dead, so that nobody is in the room here any more.
    """

    def __init__(self, room: Room, nodes: Nodes) -> None:
        self.room = room
        self.position = 0
        self._nodes = nodes
        self._index = MessageIndex()
        self._entry_messages = 0  # in the entry that is being applied
        self._to_restore: set[int] = set()  # positions before the snapshot's
        self._outbox = Outbox()
        self._orders: list[Order] = []  # applied, and not carried out yet
        self.begin("")

    def begin(self, node: str) -> None:
        """Be a new server in the log.

        Args:
            node: its name. No other server, and not this one before, ever had the same.
        """
        self.node = node
        self.evicted = False
        self._number = 0
        self._ending = False
        self._after_end: list[Proposal] = []  # what came after the end was proposed

    # What members do

    @property
    def batch_full(self) -> bool:
        """Whether no more should be submitted until the next message is in flight."""
        return self._outbox.full and not self.room.delivery.suspended

    def submit(
        self, subscriber: Subscriber, command: Command | None, on_commit: OnCommit | None = None
    ) -> bool:
        """Propose a command, or apply it at once if it needs no place in the log; see `Sequencer.submit`."""
        if self.room.delivery.suspended:
            self.flush()  # what was read from the log already: no answer may overtake it
        if isinstance(command, Msg):
            self._submit_message(subscriber, command)
            return True
        line = None if self.room.closed else self._log_line(subscriber, command)
        if line is None:
            return self.room.submit(subscriber, command, on_commit)
        immediate = not isinstance(command, Leave | Ping)
        self._add(Proposal(line, subscriber, command, on_commit, immediate))
        return False

    def _add(self, proposal: Proposal) -> None:
        if self._ending:
            self._after_end.append(proposal)
        else:
            self._outbox.add(proposal)

    def _submit_message(self, subscriber: Subscriber, command: Msg) -> None:
        name = self.room.member_of(subscriber).name
        if self._ending or (self.room.delivery.suspended and self._outbox.full):
            raise CommandError(Code.BUSY)
        self._outbox.add(Proposal(encode_message(name, command.text), subscriber, command, None))

    def _log_line(self, subscriber: Subscriber, command: Command | None) -> bytes | None:
        """Return what a command is in the log; None if it is applied at once."""
        match command:
            case Join(name):  # even if it is taken here: it may be free in the log by now
                if self.room.delivery.suspended or subscriber.member is not None:
                    self.room.check_join(subscriber, name)
                return JOIN + name.encode() + b"\n"
            case Leave():
                return LEAVE + self.room.member_of(subscriber).name.encode() + b"\n"
            case Quit():
                return None
        return _BARRIER if self._needs_place(subscriber, command) else None

    def _needs_place(self, subscriber: Subscriber, command: Command | None) -> bool:
        """Return whether an answer needs a place in the log: at least after the member's own messages."""
        if isinstance(command, Ping):
            # Also while the log is unavailable, for other servers may see it; but a stranger is owed nothing.
            return subscriber.member is not None
        asks, has_messages = isinstance(command, Who | History), self._outbox.has_messages(subscriber)
        return asks and has_messages if self.room.delivery.suspended else asks or has_messages

    def suspend(self, subscribers: Iterable[Subscriber]) -> None:
        """Note that the log is unavailable; apply what is not in flight and needs no log."""
        self.flush()
        self.room.suspend(subscribers)
        for proposal in self._outbox.take_immediate():
            self._commit(proposal)

    # To the log

    @property
    def in_flight(self) -> bool:
        """Whether a message is yet to be read back."""
        return self._outbox.in_flight

    @property
    def waiting_bytes(self) -> int:
        """Bytes that members proposed and that are not committed yet."""
        return self._outbox.size

    @property
    def servers(self) -> int:
        """How many servers have the room, as far as this one knows."""
        return len(self._nodes)

    def next_message(self, *, heartbeat: bool = False) -> Message | None:
        """Return a message of what is proposed, up to `BATCH_BYTES` and a line; None while one is in flight.

        Args:
            heartbeat: whether to return one even if nothing is proposed.
        """
        if not self.node or self.in_flight or (self._outbox.empty and not heartbeat):
            return None
        self._number += 1
        data = encode_entry(self.node, self._number, (each.line for each in self._outbox.launch()))
        return Message(f"{self.node}-{self._number}", data)

    def propose_end(self) -> None:
        """Propose that this server leaves, after all that is proposed already; nothing more is taken."""
        self._outbox.add(Proposal(END, None, None, self._close))
        self._ending = True

    def propose(self, order: Order) -> None:
        """Propose what an operator orders."""
        self._add(Proposal(encode_order(order), None, None, lambda _: self._apply_order(order)))

    # From the log

    def apply(self, entry: Entry) -> None:
        """Apply the next entry of the log; of one before the snapshot, only keep its messages for HISTORY.

        What comes of it is delivered by `flush`, so that one write to each member may do for many entries.
        """
        self.room.sequence.stamp(entry.time / 1e6)
        if entry.position > self.position:
            self.position = entry.position
            for node in self._nodes.expire(entry.time):
                self._evict_node(node)
            if self._nodes.record_heartbeat(entry.node, entry.number):  # never of what is no entry
                self._apply_lines(entry)
        elif entry.position in self._to_restore:
            for line in entry.lines:
                if line.startswith(MESSAGE):
                    self._apply_remote(entry.node, line)
        if self._entry_messages:  # another server may want more of them than this one
            reach = max(self.room.sequence.history_limit, HISTORY)
            self._index.add(self._entry_messages, entry.position, reach=reach)
            self._entry_messages = 0

    @property
    def flush_due(self) -> bool:
        """Whether what is to be delivered fills a batch."""
        return self.room.sequence.open_size >= BATCH_BYTES

    def flush(self) -> None:
        """Deliver what came of the last entries."""
        if batch := self.room.seal_batch(0):  # every line has the time of its entry
            self.room.broadcast(batch)

    def _apply_lines(self, entry: Entry) -> None:
        if entry.node != self.node:
            for line in entry.lines:
                self._apply_remote(entry.node, line)
            return
        self.room.resume()
        for proposal in self._outbox.land():
            self._commit(proposal)

    def _commit(self, proposal: Proposal) -> None:
        subscriber, command = proposal.subscriber, proposal.command
        error: CommandError | None = None
        if subscriber is not None and isinstance(command, Msg):
            self.room.append_message(subscriber, proposal.line)
            self._entry_messages += 1
        elif subscriber is not None and command is not None:
            try:
                self.room.apply(subscriber, command)
            except CommandError as refused:
                error = refused
        if proposal.on_commit is not None:
            proposal.on_commit(error)

    def _apply_remote(self, node: str, line: bytes) -> None:
        """Apply what a member of another server did, or that server itself."""
        if line.startswith(MESSAGE):
            self.room.append_remote_message(line)
            self._entry_messages += 1
        elif line.startswith(JOIN):
            self.room.add_remote(Member(line[len(JOIN) : -1].decode(), node))
        elif line.startswith(LEAVE):
            member = self.room.membership.find(line[len(LEAVE) : -1].decode())
            if member is not None and member.node == node:
                self.room.remove_remote(member)
        elif is_order(line):
            self._apply_order(parse_order(line))
        elif line == END:
            self._nodes.remove(node)
            self._evict_node(node)

    def _apply_order(self, order: Order) -> None:
        apply_order(order, self.room.bans)
        self._orders.append(order)

    def take_orders(self) -> list[Order]:
        """Return the orders that were applied since the last call, to be carried out on connections."""
        orders, self._orders = self._orders, []
        return orders

    def _evict_node(self, node: str) -> None:
        """Remove all members of a server."""
        if node == self.node:
            self.evict()
        for member in self.room.membership.of_node(node):
            self.room.remove_remote(member)

    def evict(self) -> None:
        """Remove all members that are here, and forget what they proposed."""
        self.evicted = True
        self.node = ""
        self._outbox = Outbox()
        for subscriber in self.room.delivery.joined():
            self.room.leave(subscriber)

    def _close(self, _error: CommandError | None) -> None:
        """End in order: members that are here get no LEFT, but a BYE."""
        self._nodes.remove(self.node)
        self.room.closed = True
        for proposal in self._after_end:
            self._commit(proposal)

    # Snapshots

    @property
    def is_snapshotter(self) -> bool:
        """Whether it is this server that publishes a `snapshot` from time to time."""
        return self._nodes.oldest == self.node

    def snapshot(self) -> bytes:
        """Return who is there at `position`, so that nobody has to read the log from its start."""
        names = defaultdict[str, list[str]](list)
        for member in self.room.membership:
            names[member.node or self.node].append(member.name)
        bans = [str(ban) for ban in self.room.bans]
        return encode_snapshot(
            Snapshot(self.position, self._index.positions, self._nodes.snapshot(), names, bans)
        )

    def restore_bans(self, snapshot: bytes) -> None:
        """Take over the bans of a snapshot, also of one that is too old for everything else."""
        self.room.bans.replace(map(parse_ban, decode_snapshot(snapshot).bans))

    def restore(self, snapshot: bytes | None, end: int) -> int:
        """Start from another server's snapshot, with nobody here.

        Args:
            snapshot: as `snapshot` returned it; None if nobody is there.
            end: position of the log's last entry.

        Returns:
            The position of the first entry to apply.
        """
        if snapshot is not None:
            state = decode_snapshot(snapshot)
            self.restore_bans(snapshot)
        else:
            last = list(range(max(end - HISTORY, 0) + 1, end + 1))
            state = Snapshot(end, last, Nodes().snapshot(), {})
            for ban in self.room.bans:  # the log has them no more
                self.propose(AddBan(ban))
        self.evicted = False
        self.position = state.position
        self._nodes.restore(state.nodes)
        self.room.membership.clear()
        for node, names in state.names.items():
            for name in names:
                self.room.membership.add(Member(name, node))
        self.room.sequence.clear_history()
        self._index.clear()
        self._to_restore = set(state.message_entries)
        return min(self._to_restore, default=self.position + 1)
