"""The hub: the room, the connections around it, and the scheduler that gives them turns."""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from simple_chat.core.backlog import Batch
from simple_chat.core.codes import Code
from simple_chat.core.counters import End
from simple_chat.core.limits import Limits
from simple_chat.core.room import Room, Sequencer
from simple_chat.core.scheduler import Committer, Scheduler
from simple_chat.server.config import Settings
from simple_chat.server.connection import LINGER, Connection
from simple_chat.server.logged import WINDOW
from simple_chat.server.watchdog import Watchdog

if TYPE_CHECKING:
    from simple_chat.server.auth import Authenticator

logger = logging.getLogger(__name__)

_SWEEP_INTERVAL = 1.0  # seconds
_DISCONNECTED_AT_ONCE = 32  # connections, before everybody else gets a turn again


class Hub:
    """A room and the connections around it.

    It is the `ConnectionManager` of its connections, and the host of a journal or a replicator.

    Args:
        settings: of the server.
        room: the room.
        sequencer: where sessions submit commands: the room itself, or a replicated one.
        committer: what has them committed.
        authenticator: checks passwords, if clients need one.
        release_slot: called with a connection that is gone.

    Attributes:
        settings: of the server.
        room: the room.
        sequencer: where sessions submit commands.
        limits: of each connection.
        auth_required: whether clients need a password.
        connections: all of them.
        seconds: since the epoch, whole: one object for all connections of a second.
        window_started: when the current window of everybody's activity began, by the event loop's clock.
        watches_closing: whether connections may close without the event loop reporting it, as over TLS.
    """

    def __init__(
        self,
        settings: Settings,
        room: Room,
        sequencer: Sequencer,
        committer: Committer,
        *,
        authenticator: "Authenticator | None",
        release_slot: Callable[[Connection], None],
    ) -> None:
        self.settings = settings
        self.room = room
        self.sequencer = sequencer
        self.limits = Limits(settings.max_line, settings.rate, settings.burst)
        self.auth_required = authenticator is not None
        self.connections: dict[Connection, None] = {}
        self.window_started = 0.0
        self.seconds = int(time.time())
        self.watches_closing = False
        self._authenticator = authenticator
        self._release_slot = release_slot
        self._scheduler = Scheduler[Connection](
            room,
            sequencer,
            committer,
            self.connections,
            wake=lambda: asyncio.get_running_loop().call_soon(self._run_turn),
            on_failure=_abort_failed,
        )
        self._watchdog = Watchdog(*_timeouts(settings))
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._progress = asyncio.Event()

    def reconfigure(self, settings: Settings) -> None:
        """Serve the room and its connections by other settings from now on."""
        self.settings = settings
        self.limits.change(settings.max_line, settings.rate, settings.burst)
        self._watchdog.change_timeouts(*_timeouts(settings))
        self.room.membership.presence_limit = settings.presence_limit
        self.room.sequence.history_limit = settings.history

    # What connections ask for

    def add(self, connection: Connection) -> None:
        """Add a connection that was made; disconnect it if it can't be admitted."""
        self.connections[connection] = None
        if self.room.closed:
            self._start_close(connection)
        elif ban := self.room.bans.of_host(connection.host):
            self.disconnect(connection, Code.BANNED, ban.text)
        elif connection.slot is None or not connection.slot.admitted:
            self.disconnect(connection, Code.TOO_MANY_CONNECTIONS)
        else:
            self._watchdog.start_join_timer(connection, asyncio.get_running_loop().time())

    def remove(self, connection: Connection, reason: Code | End) -> None:
        """Remove a connection that is gone, and count why."""
        if connection in self.connections:  # else it was stuck in closing, and removed before
            del self.connections[connection]
            self.room.counters.disconnects[reason] += 1
        self._scheduler.remove(connection)
        self._watchdog.untrack(connection)
        if self._authenticator is not None:
            self._authenticator.cancel(connection)
        self._release_slot(connection)
        self._scheduler.request_turn()  # for the others to get its LEFT
        self._progress.set()

    def schedule(self, connection: Connection) -> None:
        """Give a connection a turn soon."""
        self._scheduler.schedule(connection)

    def track_backpressured(self, connection: Connection) -> None:
        """Watch a connection that is not read from, or can't be written to."""
        self._watchdog.track_backpressured(connection)

    def check_password(self, connection: Connection, secret: str) -> None:
        """Have a password that a connection sent checked, unless that is under way."""

        def on_checked(accepted: bool) -> None:  # noqa: FBT001 - the authenticator's signature
            connection.session.on_password_checked(accepted=accepted)
            self.schedule(connection)

        if self._authenticator is not None:
            self._authenticator.start(connection, secret, on_checked)

    def _run_turn(self) -> None:
        self._scheduler.run_turn(asyncio.get_running_loop().time())

    def disconnect(self, connection: Connection, code: Code, text: str = "") -> None:
        """Disconnect a client with ERR and BYE; without a text, with the code's advice."""
        connection.session.disconnect(code, text)
        self.schedule(connection)

    def _start_close(self, connection: Connection) -> None:
        connection.session.close("shutdown")
        self.schedule(connection)

    # What a journal or a replicator reports

    def broadcast(self, batch: Batch) -> None:
        """Write a batch to all members."""
        self.room.broadcast(batch)

    def on_commit(self) -> None:
        """Go on after something was committed."""
        self._scheduler.on_commit()
        self._progress.set()

    def on_unavailable(self, text: str) -> None:
        """Suspend: nothing can be committed for now. Members are told why."""
        self.notify(text)
        self._scheduler.on_unavailable()

    def on_recovered(self, text: str) -> None:
        """End the suspension. Members are told."""
        self._scheduler.on_recovered()
        self.notify(text)

    def on_evicted(self) -> None:
        """Abort all connections: the other servers removed their members."""
        self.for_each(lambda connection: connection.session.abandon())
        self.for_each(lambda connection: connection.abort(End.EVICTED))

    # What concerns everybody

    def notify(self, text: str) -> None:
        """Send INFO to all members that are connected here."""
        self.for_each(lambda connection: connection.session.notify(text))

    def for_each(self, step: Callable[[Connection], None]) -> None:
        """Run a step for every connection; one that fails is dropped, and the others go on."""
        for connection in [*self.connections]:
            self._scheduler.run_isolated(connection, partial(step, connection))

    # The watchdog

    def start(self) -> None:
        """Begin to sweep, once a second."""
        self._sweep(asyncio.get_running_loop().time())

    def _sweep(self, due: float) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self.room.counters.loop_lag_seconds.observe(max(now - due, 0.0))
        self.seconds = int(time.time())
        self.room.bans.expire(self.seconds)
        if now - self.window_started >= WINDOW:
            self.window_started = now
            for connection in self.connections:
                connection.start_window()
        self._sweep_timer = loop.call_at(now + _SWEEP_INTERVAL, self._sweep, now + _SWEEP_INTERVAL)
        closing = list(self.connections) if self.watches_closing else []
        self._disconnect_overdue(self._watchdog.sweep(closing, now))

    def _disconnect_overdue(self, overdue: list[Connection]) -> None:
        """Disconnect those that did not join in time: some at once, for there may be thousands."""
        for connection in overdue[:_DISCONNECTED_AT_ONCE]:
            if connection.session.pre_join:
                self.disconnect(connection, Code.JOIN_TIMEOUT)
        if rest := overdue[_DISCONNECTED_AT_ONCE:]:
            asyncio.get_running_loop().call_soon(self._disconnect_overdue, rest)

    # The end

    def close_all(self) -> None:
        """Close the room, and every connection after all that it is owed."""
        self.room.closed = True
        self.for_each(self._start_close)

    def abort_all(self) -> None:
        """Abort all connections, whatever is still to be written."""
        self.for_each(Connection.abort)

    async def wait_until_empty(self) -> None:
        """Wait until no connection is left."""
        while self.connections:
            await self.progress()

    async def progress(self) -> None:
        """Wait until something was committed, or a connection was removed."""
        self._progress.clear()
        await self._progress.wait()

    def stop(self) -> None:
        """Stop sweeping."""
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()


def _timeouts(settings: Settings) -> tuple[float, float, float]:
    """Return what the watchdog waits for: a join, a stalled peer, the end of a close."""
    return settings.join_timeout, settings.stall_timeout, max(settings.drain, LINGER) + _SWEEP_INTERVAL


def _abort_failed(connection: Connection, error: Exception) -> None:
    logger.error("%s failed, connection aborted", connection, exc_info=error, extra={"event": "failed"})
    connection.fail()
