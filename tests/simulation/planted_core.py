"""Planted faults of the core: delivery, room, sessions and turns."""

from functools import partial

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
from simple_chat.server.connection import Connection
from simple_chat.server.hub import Hub
from tests.simulation.plan import Plan
from tests.simulation.planted import Edit, Planted

_single = partial(Plan, "single", people=5, faults=0, seconds=20.0)
_crowded = partial(Plan, "single", people=12, faults=0, seconds=40.0)
_calm = partial(Plan, "cluster", people=5, faults=0, seconds=20.0)

DELIVERY = [
    Planted(
        "GAP counts the reader's own lines",
        _single(22),
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
        _single(29),
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
        _single(0),
        Edit(Delivery, "_next_part", "if subscriber.member is None:", "if False:"),
    ),
    Planted(
        "a broadcast leaves the cursors behind",
        _single(0),
        Edit(Delivery, "broadcast", "subscriber.cursor = end", "pass"),
    ),
    Planted(
        "catching up stops after a piece",
        _single(6),
        Edit(Delivery, "catch_up", "return size >= FLUSH_BYTES and not subscriber.blocked", "return False"),
    ),
    Planted(
        "a slow reader is taken for one that is caught up",
        _crowded(5),
        Edit(Delivery, "_has_everything", "and subscriber.cursor == self._backlog.end", ""),
    ),
    Planted(
        "who waits for an answer is taken for caught up",
        _single(3),
        Edit(Delivery, "_has_everything", "and subscriber.response is None", ""),
    ),
    Planted(
        "who is unblocked gets the rest when something else happens",
        _single(2),
        Edit(Connection, "resume_writing", "self._manager.schedule(self)", "pass"),
    ),
]

ROOM = [
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
        _crowded(22),
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
        _single(2),
        Edit(Membership, "remove", "self._names = None", "pass"),
    ),
    Planted(
        "WHO leaves out a name at the end of a full line",
        _single(1, people=20),
        Edit(conversation, "_who", "at + _NAMES_PER_LINE]", "at + _NAMES_PER_LINE - 1]"),
    ),
    Planted(
        "HISTORY counts from 0",
        _single(0),
        Edit(conversation, "_history", "enumerate(messages, 1)", "enumerate(messages)"),
    ),
    Planted(
        "HISTORY begins one message too early",
        _single(3),
        Edit(Sequence, "history", "[-wanted]", "[-min(wanted + 1, kept)]"),
    ),
    Planted(
        "LEFT comes at the end of the batch",
        _single(8),
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

SESSION = [
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
        _single(3),
        Edit(Connection, "_resume", "self._manager.schedule(self)", "pass"),
    ),
    Planted(
        "who vanishes stays in the room",
        _single(0),
        Edit(Session, "_leave_room", "is not None", "is None"),
    ),
    Planted(
        "closing the sending side ends nothing",
        _single(0),
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
        _crowded(4),
        Edit(Connection, "connection_lost", "self._receive_rest()", "pass"),
    ),
    Planted(
        "an error overtakes the messages before it",
        _calm(55),
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
        _single(12),
        Edit(LineBuffer, "_is_kept", "return not overlong", "return True"),
    ),
    Planted(
        "who finds the batch full is forgotten",
        _crowded(8),
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
