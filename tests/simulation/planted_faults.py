"""The planted faults, each with a world in which it shows, and does so early."""

from functools import partial

from simple_chat.cluster.nodes import Nodes
from simple_chat.cluster.outbox import Outbox
from simple_chat.cluster.replicated import ReplicatedRoom
from simple_chat.cluster.replicator import Replicator
from simple_chat.core import conversation, membership
from simple_chat.core.backlog import Backlog, Batch
from simple_chat.core.codec import RenderedBatch, _CrlfRendering
from simple_chat.core.conversation import Conversation
from simple_chat.core.delivery import Delivery
from simple_chat.core.framing import LineBuffer
from simple_chat.core.membership import Membership
from simple_chat.core.room import Room
from simple_chat.core.scheduler import Scheduler
from simple_chat.core.sequence import Sequence
from simple_chat.core.session import Session
from simple_chat.journal.file import FileJournal
from simple_chat.journal.segment import SegmentWriter
from simple_chat.journal.writer import JournalWriter
from simple_chat.server.acceptor import Acceptor
from simple_chat.server.connection import Connection
from simple_chat.server.hub import Hub
from simple_chat.server.watchdog import Watchdog
from tests.simulation.plan import Plan
from tests.simulation.planted import Edit, Planted

_single = partial(Plan, "single", people=5, faults=0, seconds=20.0)
_crowded = partial(Plan, "single", people=12, faults=0, seconds=40.0)
_journal = partial(Plan, "journal", people=5, faults=5, seconds=20.0)
_cluster = partial(Plan, "cluster", people=5, faults=3, seconds=20.0)
_long = partial(Plan, "cluster", people=10, faults=20, seconds=120.0)
_calm = partial(Plan, "cluster", people=5, faults=0, seconds=20.0)

_DELIVERY = [
    Planted(
        "GAP counts the reader's own lines",
        _single(7),
        Edit(Delivery, "_skip", " - (own - own_left)", ""),
    ),
    Planted(
        "GAP counts one line too few",
        _single(7),
        Edit(Delivery, "_skip", "- (own - own_left)", "- (own - own_left) - 1"),
    ),
    Planted(
        "a line is missing behind a GAP",
        _single(7),
        Edit(Delivery, "_skip", "= stop, own_left", "= stop + 1, own_left"),
    ),
    Planted(
        "a GAP is not said",
        _single(7),
        Edit(Delivery, "_gap", "if not lost:", "if lost:"),
    ),
    Planted(
        "a GAP reaches over the place of an answer",
        _single(22),
        Edit(Delivery, "_read_backlog", "min(self._backlog.first, due)", "self._backlog.first"),
    ),
    Planted(
        "a member is owed lines from one too late on",
        _single(2),
        Edit(Delivery, "subscribe", "self._sequence.end, 0", "self._sequence.end + 1, 0"),
    ),
    Planted(
        "a member is owed lines from before its JOIN",
        _single(0),
        Edit(Delivery, "subscribe", "self._sequence.end, 0", "self._backlog.end, 0"),
    ),
    Planted(
        "a batch comes to its author with the author's lines",
        _single(0),
        Edit(Delivery, "_deliver_to_author", ".excluding(own)", ".excluding([])"),
    ),
    Planted(
        "an author gets a batch as it is",
        _single(0),
        Edit(Delivery, "record_own", "author.caught_up = False", "pass"),
    ),
    Planted(
        "an answer overtakes the lines before it",
        _single(3),
        Edit(
            Delivery,
            "respond",
            "iter(pieces), self._sequence.end",
            "iter(pieces), self._backlog.end",
        ),
    ),
    Planted(
        "who has left gets lines with the next answer",
        _single(1),
        Edit(Delivery, "_next_part", "if subscriber.member is None:", "if False:"),
    ),
    Planted(
        "a broadcast leaves the cursors behind",
        _single(0),
        Edit(Delivery, "broadcast", "subscriber.cursor = end", "pass"),
    ),
    Planted(
        "catching up stops after a piece",
        _single(3),
        Edit(Delivery, "catch_up", "return size >= FLUSH_BYTES and not subscriber.blocked", "return False"),
    ),
    Planted(
        "a slow reader is taken for one that is caught up",
        _crowded(14),
        Edit(Delivery, "_has_everything", "and subscriber.cursor == self._backlog.end", ""),
    ),
    Planted(
        "who waits for an answer is taken for caught up",
        _single(3),
        Edit(Delivery, "_has_everything", "and subscriber.response is None", ""),
    ),
    Planted(
        "who is unblocked gets the rest when something else happens",
        _single(3),
        Edit(Connection, "resume_writing", "self._manager.schedule(self)", "pass"),
    ),
]

_ROOM = [
    Planted(
        "a cursor finds the batch behind the one that it is in",
        _single(3),
        Edit(Backlog, "_find", "batch.first) - 1", "batch.first)"),
    ),
    Planted(
        "every second of an author's lines in a row comes back",
        _single(0),
        Edit(Batch, "_own", "own[-1] + 1", "own[-1] + 2"),
    ),
    Planted(
        "own lines behind a GAP are counted from the second batch on",
        _crowded(27),
        Edit(Backlog, "count_own", "batch.end > start", "batch.first > start"),
    ),
    Planted(
        "a batch without its author's lines ends at the last of these",
        _single(3),
        Edit(RenderedBatch, "excluding", "pieces.append(lines[start:])", "pass"),
    ),
    Planted(
        "CRLF moves no edges",
        _single(0),
        Edit(_CrlfRendering, "render_batch", "edge + index", "edge"),
    ),
    Planted(
        "names differ by their case",
        _single(0),
        Edit(membership, "name_key", "key = name.lower()", "key = name"),
    ),
    Planted(
        "WHO has those who have left",
        _single(3),
        Edit(Membership, "remove", "self._names = None", "pass"),
    ),
    Planted(
        "WHO leaves out a name at the end of a full line",
        _single(1, people=20),
        Edit(conversation, "_who", "at + _NAMES_PER_LINE]", "at + _NAMES_PER_LINE - 1]"),
    ),
    Planted(
        "HISTORY counts from 0",
        _single(1),
        Edit(conversation, "_history", "enumerate(messages, 1)", "enumerate(messages)"),
    ),
    Planted(
        "HISTORY begins one message too early",
        _single(1),
        Edit(Sequence, "history", "[-wanted]", "[-min(wanted + 1, kept)]"),
    ),
    Planted(
        "LEFT comes at the end of the batch",
        _single(3),
        Edit(
            Room,
            "leave",
            "self._append(subscriber, encode(Left(member.name)))",
            "self.__dict__.setdefault('late', []).append(encode(Left(member.name)))",
        ),
        Edit(
            Room,
            "seal_batch",
            "batch = self.sequence.seal(time)",
            "[self.sequence.append(2**64 - 1, line) for line in self.__dict__.pop('late', [])]\n"
            "    batch = self.sequence.seal(time)",
        ),
    ),
    Planted(
        "JOINED comes to those who join",
        _single(0),
        Edit(Room, "join", "self._append(subscriber, encode(Joined(name)))", "self._announce(Joined(name))"),
    ),
]

_SESSION = [
    Planted(
        "lines beyond a turn's are forgotten",
        _single(3),
        Edit(
            Session,
            "_process_lines",
            "return allowed",
            "self.input_drained = True\n    return allowed",
        ),
    ),
    Planted(
        "who is throttled is never gone on with",
        _single(5),
        Edit(Connection, "_resume", "self._manager.schedule(self)", "pass"),
    ),
    Planted(
        "who vanishes stays in the room",
        _single(0),
        Edit(Session, "_leave_room", "is not None", "is None"),
    ),
    Planted(
        "closing the sending side ends nothing",
        _single(3),
        Edit(Session, "receive_eof", "self._codec.feed_eof()", "pass"),
    ),
    Planted(
        "a line without its end is executed",
        _single(0),
        Edit(
            LineBuffer,
            "_keep_unfinished",
            "self._data, self._start = self._data[self._start :], 0",
            "self._data, self._start = self._data[self._start :] + b'\\n' * self._ended, 0",
        ),
    ),
    Planted(
        "what came just before a reset is dropped",
        _crowded(4),
        Edit(
            Connection,
            "_has_input_to_execute",
            "(self._peer_ended or not session.throttled)",
            "self._peer_ended",
        ),
    ),
    Planted(
        "the kernel's rest is not read after a reset",
        _crowded(7),
        Edit(Connection, "connection_lost", "self._receive_rest()", "pass"),
    ),
    Planted(
        "an error overtakes the messages before it",
        _calm(56),
        Edit(Conversation, "refuse", "if code is Code.BUSY or in_place:", "if True:"),
    ),
    Planted(
        "a byte is lost between two pieces",
        _single(0),
        Edit(LineBuffer, "feed", "self._data[self._start :] + data", "self._data[self._start + 1 :] + data"),
    ),
    Planted(
        "the place in the buffer outlives the buffer",
        _single(0),
        Edit(LineBuffer, "feed", "self._start = 0", "pass"),
    ),
    Planted(
        "the tail of a line that is too long is executed",
        _single(1),
        Edit(LineBuffer, "_is_kept", "return not overlong", "return True"),
    ),
    Planted(
        "who finds the batch full is forgotten",
        _crowded(31),
        Edit(Scheduler, "run_turn", "in chain(waiting, served):", "in served:"),
    ),
    Planted(
        "a turn that ran is still requested",
        _single(0),
        Edit(Scheduler, "run_turn", "self._turn_requested = False", "pass"),
    ),
    Planted(
        "nobody hears of the last LEFT",
        _single(3),
        Edit(Hub, "remove", "self._scheduler.request_turn()", "pass"),
    ),
]

_SERVER = [
    Planted(
        "a lost connection is not detached",
        _single(3),
        Edit(Connection, "connection_lost", "self.detach()", "pass"),
    ),
    Planted(
        "a lost connection is not removed",
        _single(3),
        Edit(Connection, "detach", "self._manager.remove(self, reason)", "pass"),
    ),
    Planted(
        "a slot is not released",
        _single(3),
        Edit(Acceptor, "release", "self.admission.release(connection.slot)", "pass"),
    ),
    Planted(
        "the timer of a close outlives the connection",
        _single(0),
        Edit(Connection, "connection_lost", "self._close_timer.cancel()", "pass"),
    ),
    Planted(
        "closing the sending side closes at once",
        _single(0),
        Edit(Connection, "eof_received", "return self.transport.can_write_eof()", "return False"),
    ),
    Planted(
        "a shutdown says no BYE",
        _single(0),
        Edit(Hub, "_start_close", 'connection.session.close("shutdown")', "connection.abort()"),
    ),
    Planted(
        "a shutdown goes on taking lines",
        _single(0),
        Edit(Hub, "close_all", "self.room.closed = True", "pass"),
    ),
    Planted(
        "who accepts nothing is not ended",
        _single(3),
        Edit(Watchdog, "_stalled", "now - since >= self._stall_timeout", "False"),
    ),
    Planted(
        "who never joins may stay",
        _single(4),
        Edit(Watchdog, "join_timeouts", "until <= now", "until < 0"),
    ),
]

_CLUSTER = [
    Planted(
        "a commit has nothing more committed",
        _calm(1),
        Edit(Scheduler, "on_commit", "self.request_turn()", "pass"),
    ),
    Planted(
        "a server ends with the next heartbeat",
        _calm(1),
        Edit(Replicator, "leave", "self.commit()", "pass"),
    ),
    Planted(
        "a commit does not end the wait for it",
        _calm(0),
        Edit(Session, "_on_commit", "self.awaiting_commit = False", "pass"),
    ),
    Planted(
        "a JOIN that was in flight outlives its connection",
        _long(12),
        Edit(Session, "_on_commit", "if self.state is State.LOST:", "if False:"),
    ),
    Planted(
        "who waits for a commit is not woken",
        _calm(0),
        Edit(Scheduler, "_awaits_commit", "session.awaiting_commit or ", ""),
    ),
    Planted(
        "who has input left after a commit is not woken",
        _calm(0),
        Edit(
            Scheduler,
            "on_commit",
            "elif not (session.subscriber.caught_up and session.input_drained):",
            "elif not session.subscriber.caught_up:",
        ),
    ),
    Planted(
        "an eviction aborts no connection",
        _cluster(0),
        Edit(Hub, "on_evicted", "connection.abort(End.EVICTED)", "None"),
    ),
    Planted(
        "an eviction leaves commits to be waited for",
        _cluster(0),
        Edit(Hub, "on_evicted", "connection.session.abandon()", "None"),
    ),
    Planted(
        "an eviction leaves the members in the room",
        _long(0),
        Edit(ReplicatedRoom, "evict", "self.room.leave(subscriber)", "pass"),
    ),
    Planted(
        "an eviction keeps what was proposed",
        _long(0),
        Edit(ReplicatedRoom, "evict", "self._outbox = Outbox()", "pass"),
    ),
    Planted(
        "the members of a dead server stay",
        _cluster(1),
        Edit(ReplicatedRoom, "apply", "self._evict_node(node)", "pass"),
    ),
    Planted(
        "an entry that is stored twice is applied twice",
        _long(75),
        Edit(Nodes, "record_heartbeat", "number <= known.number", "number < known.number"),
    ),
    Planted(
        "an entry does not renew the lease",
        _calm(0, seconds=60.0),
        Edit(
            Nodes, "record_heartbeat", "known.number, known.seen = number, self.now", "known.number = number"
        ),
    ),
    Planted(
        "a lease is shorter than it should be",
        _calm(0),
        Edit(Nodes, "expire", "> self._lease]", "> self._lease // 10]"),
    ),
    Planted(
        "a lease never ends",
        _cluster(5),
        Edit(Nodes, "expire", "self.now - node.seen > self._lease", "False"),
    ),
    Planted(
        "an outage of the log counts for the leases",
        _long(3),
        Edit(Nodes, "expire", "min(max(time - self._time, 0), self._step_max)", "max(time - self._time, 0)"),
    ),
    Planted(
        "an idle server sends no heartbeat",
        _calm(3, people=2, seconds=60.0),
        Edit(Replicator, "_publish", "next_message(heartbeat=True)", "next_message()"),
    ),
    Planted(
        "all entries of a server have one number",
        _calm(0),
        Edit(ReplicatedRoom, "next_message", "self._number += 1", "self._number = 1"),
    ),
    Planted(
        "a proposal is lost where a message is full",
        _long(4),
        Edit(Outbox, "_split", "self._waiting[count:]", "self._waiting[count + 1 :]"),
    ),
    Planted(
        "what was committed is still in flight",
        _calm(0),
        Edit(Outbox, "land", "self._in_flight or [], None", "self._in_flight or [], self._in_flight"),
    ),
    Planted(
        "while the log is away, WHO overtakes the messages before it",
        _cluster(25),
        Edit(Outbox, "take_immediate", " and not self.has_messages(proposal.subscriber)", ""),
    ),
    Planted(
        "what is said after the end is taken",
        _long(14),
        Edit(ReplicatedRoom, "_submit_message", "self._ending or ", ""),
    ),
    Planted(
        "a line that is refused is sent nevertheless",
        _long(14),
        Edit(
            ReplicatedRoom,
            "_submit_message",
            "raise CommandError(Code.BUSY)",
            "self._outbox.add(Proposal(encode_message(name, command.text), subscriber, command, None))\n"
            "        raise CommandError(Code.BUSY)",
        ),
    ),
    Planted(
        "a member is missing in snapshots",
        _long(6),
        Edit(ReplicatedRoom, "snapshot", "in self.room.membership:", "in [*self.room.membership][1:]:"),
    ),
    Planted(
        "members of the snapshot's server belong to who reads it",
        _long(3),
        Edit(ReplicatedRoom, "snapshot", "names[member.node or self.node]", "names[member.node]"),
    ),
    Planted(
        "an entry behind the snapshot is passed over",
        _cluster(3),
        Edit(
            ReplicatedRoom, "restore", "self.position = state.position", "self.position = state.position + 1"
        ),
    ),
    Planted(
        "a server that starts has no messages of before",
        _long(82),
        Edit(ReplicatedRoom, "restore", "set(state.message_entries)", "set()"),
    ),
    Planted(
        "nobody goes on when a message was read back",
        _calm(1),
        Edit(Replicator, "_on_read_back", "self._host.on_commit()", "pass"),
    ),
    Planted(
        "a LEAVE from another server is not applied",
        _calm(0),
        Edit(ReplicatedRoom, "_apply_remote", "member.node == node", "member.node != node"),
    ),
    Planted(
        "a server that ends in order leaves its members",
        _cluster(3),
        Edit(
            ReplicatedRoom,
            "_apply_remote",
            "self._nodes.remove(node)\n        self._evict_node(node)",
            "self._nodes.remove(node)",
        ),
    ),
]

_JOURNAL = [
    Planted(
        "a write that failed counts as one that did not",
        _journal(0),
        Edit(FileJournal, "_attempt", "return False", "return True"),
    ),
    Planted(
        "nothing is synced",
        _journal(10),
        Edit(JournalWriter, "append", "sync=self._policy.sync is Sync.DISK", "sync=False"),
    ),
    Planted(
        "a new segment's name is not synced",
        _journal(10),
        Edit(
            JournalWriter, "_begin_segment", "await self._disk.run(fsync_directory, self._directory)", "pass"
        ),
    ),
    Planted(
        "what a failed write left is not removed",
        _journal(15),
        Edit(SegmentWriter, "_truncate", "await self._file.truncate(self.size)", "pass"),
    ),
    Planted(
        "the rest of a partial write is forgotten",
        _journal(0),
        Edit(
            SegmentWriter,
            "append",
            "data = data[await self._file.write(data) :]\n        self._check_size(end)",
            "await self._file.write(data)\n            data = b''",
        ),
    ),
    Planted(
        "a batch is broadcast before it is written",
        _journal(0),
        Edit(FileJournal, "submit", "if self._sync is Sync.NONE:", "if True:"),
        Edit(FileJournal, "_write", "if self._sync is not Sync.NONE:", "if False:"),
    ),
    Planted(
        "nobody goes on when a batch was written",
        _journal(0),
        Edit(FileJournal, "_report_written", "self._host.on_commit()", "pass"),
    ),
    Planted(
        "PONG does not wait for the disk",
        _journal(0),
        Edit(Delivery, "respond", "subscriber.last_own if barrier else 0", "0"),
    ),
    Planted(
        "PONG does not wait for the last message",
        _journal(0),
        Edit(Room, "append_message", "author.last_own = number + 1", "author.last_own = number"),
    ),
    Planted(
        "who waits for an answer is not flushed after a commit",
        _journal(0),
        Edit(Delivery, "needs_flush", "and subscriber.response is None", ""),
    ),
    Planted(
        "who is still on the way to the disk gets no lines",
        _journal(1),
        Edit(
            Delivery,
            "on_sealed",
            "self._sealed_authors, self._open_authors = self._open_authors, {}",
            "self._sealed_authors = self._open_authors",
        ),
    ),
]

PLANTED = [*_DELIVERY, *_ROOM, *_SESSION, *_SERVER, *_CLUSTER, *_JOURNAL]
"""All planted faults."""
