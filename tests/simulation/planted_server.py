"""Planted faults of servers and their journals."""

from functools import partial

from simple_chat.core.delivery import Delivery
from simple_chat.core.room import Room
from simple_chat.core.scheduler import Scheduler
from simple_chat.journal.file import FileJournal
from simple_chat.journal.segment import SegmentWriter
from simple_chat.journal.writer import JournalWriter
from simple_chat.server.acceptor import Acceptor
from simple_chat.server.connection import Connection
from simple_chat.server.hub import Hub
from simple_chat.server.listeners import Listener
from simple_chat.server.server import Server
from simple_chat.server.watchdog import Watchdog
from tests.simulation.plan import Plan
from tests.simulation.planted import Edit, Planted

_single = partial(Plan, "single", people=5, faults=0, seconds=20.0)
_leaping = partial(Plan, "single", people=10)
_troubled = partial(Plan, "journal")
_journal = partial(Plan, "journal", people=5, faults=5, seconds=20.0)

SERVER = [
    Planted(
        "a lost connection is not detached",
        _single(0),
        Edit(Connection, "connection_lost", "self.detach()", "pass"),
    ),
    Planted(
        "a lost connection is not removed",
        _single(0),
        Edit(Connection, "detach", "self._manager.remove(self, reason)", "pass"),
    ),
    Planted(
        "a slot is not released",
        _single(0),
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
        _single(1),
        Edit(Hub, "close_all", "self.room.closed = True", "pass"),
    ),
    Planted(
        "who accepts nothing is not ended",
        _single(3),
        Edit(Watchdog, "_stalled", "now - since >= self._stall_timeout", "False"),
    ),
    Planted(
        "who never joins may stay",
        _single(0),
        Edit(Watchdog, "join_timeouts", "until <= now", "until < 0"),
    ),
    Planted(
        "a shutdown does not wait until the last lines are read",
        _single(0),
        Edit(
            Server,
            "_disconnect_all",
            "self.hub.close_all()\n            await self.hub.wait_until_empty()",
            "self.hub.close_all()",
        ),
    ),
    Planted(
        "deadlines go by the wall clock",
        _leaping(0),
        Edit(
            Hub,
            "_sweep",
            "closing = list",
            "from simple_chat.server import server\n    now = server.time.time()\n    closing = list",
        ),
    ),
    Planted(
        "who found no socket free is not accepted later",
        _leaping(3),
        Edit(Listener, "_suspend", "self._retry = loop.call_later(_RETRY_DELAY, self._resume)", "pass"),
    ),
]


JOURNAL = [
    Planted(
        "a write that failed counts as one that did not",
        _journal(2),
        Edit(FileJournal, "_attempt", "return False", "return True"),
    ),
    Planted(
        "nothing is synced",
        _journal(10),
        Edit(JournalWriter, "append", "sync=self._policy.sync is Sync.DISK", "sync=False"),
    ),
    Planted(
        "a new segment's name is not synced",
        _journal(17),
        Edit(
            JournalWriter, "_begin_segment", "await self._disk.run(fsync_directory, self._directory)", "pass"
        ),
    ),
    Planted(
        "what a failed write left is not removed",
        _journal(8),
        Edit(SegmentWriter, "_truncate", "await self._file.truncate(self.size)", "pass"),
    ),
    Planted(
        "the rest of a partial write is forgotten",
        _journal(1),
        Edit(
            SegmentWriter,
            "append",
            "data = data[await self._file.write(data) :]\n        self._check_size(end)",
            "await self._file.write(data)\n            data = b''",
        ),
    ),
    Planted(
        "a batch is broadcast before it is written",
        _journal(10),
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
        _journal(10),
        Edit(Delivery, "respond", "subscriber.last_own if barrier else 0", "0"),
    ),
    Planted(
        "PONG does not wait for the last message",
        _journal(37),
        Edit(Room, "append_message", "author.last_own = number + 1", "author.last_own = number"),
    ),
    Planted(
        "who waits for an answer is not flushed after a commit",
        _journal(7),
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
    Planted(
        "a journal that is written again still counts as away",
        _troubled(7),
        Edit(Scheduler, "on_recovered", "self._room.resume()", "pass"),
    ),
    Planted(
        "a torn record stays at the end of its segment",
        _troubled(1),
        Edit(SegmentWriter, "open", "await file.truncate(size)", "pass"),
    ),
    Planted(
        "a segment that could not be synced is used on",
        _troubled(69),
        Edit(SegmentWriter, "_sync", "self.usable = False\n        raise", "raise"),
    ),
    Planted(
        "the end does not wait for the disk",
        _troubled(14),
        Edit(FileJournal, "close", "self._writing is None or await self._finish(self._writing)", "True"),
    ),
    Planted(
        "a segment that was moved away is written on",
        _troubled(13),
        Edit(SegmentWriter, "append", "await self._check_place()", "pass"),
    ),
    Planted(
        "a segment that was moved away is tried again",
        _troubled(22),
        Edit(SegmentWriter, "_check_place", "self.usable = False", "pass"),
    ),
    Planted(
        "a clock that leaps makes old messages of new ones",
        _troubled(68),
        Edit(JournalWriter, "append", "self._has_leapt(time) or ", ""),
    ),
]
