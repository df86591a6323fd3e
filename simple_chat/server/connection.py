"""One connection: bytes between a socket and its `Conversation`, and the backpressure of both directions."""

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import socket
import struct
import termios
from typing import cast

from simple_chat.core.codes import Code
from simple_chat.core.counters import End
from simple_chat.server.admission import Slot
from simple_chat.server.base import ConnectionManager
from simple_chat.server.explanations import explain
from simple_chat.server.logged import LoggedConnection, LoggedConversation

logger = logging.getLogger(__name__)

LINGER = 2.0
"""Seconds that a client has to read its BYE and close. Closing at once while bytes of the client are unread
would send a reset, which may erase the BYE on its way."""

_THROTTLE = 0.5
"""Seconds until more lines are executed of a client that sends too many."""

_ACK_POLL = 0.05
"""Seconds until the next look whether a client's kernel has acknowledged everything."""

_REST_SIZE = 256 * 1024
"""Bytes that are read of a connection that is gone: as many as a kernel holds. A client that sends on while
it is dropped would be read from without end."""

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of no seconds


class Connection(LoggedConnection):
    """The event loop's protocol of one connection.

    Everything that concerns the room is done in the scheduler's next turn, for all connections at once.

    Args:
        manager: whose connection it is.
        slot: what it is counted as; None once that is released.
        address: host and port of its peer, as HOST:PORT; empty for a Unix socket.

    Attributes:
        lost: whether the event loop has reported its end.
    """

    __slots__ = (
        "_cause",
        "_close_timer",
        "_manager",
        "_peer_ended",
        "_reading",
        "_throttle_timer",
        "lost",
        "slot",
    )

    def __init__(self, manager: ConnectionManager, slot: Slot, address: str) -> None:
        super().__init__(address)
        self.slot: Slot | None = slot
        self._manager = manager
        self._reading = True
        self._peer_ended = False
        self.lost = False
        self._cause: End | None = None  # if the session does not know why it ends
        self._throttle_timer: asyncio.TimerHandle | None = None
        self._close_timer: asyncio.TimerHandle | None = None  # once it is closing

    # What the event loop reports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the client."""
        self.transport = cast("asyncio.Transport", transport)
        over = "plain" if self.transport.get_extra_info("sslcontext") is None else "tls"
        self.face = "unix" if self.sock.family == socket.AF_UNIX else over
        manager = self._manager
        self.since = manager.seconds
        session = LoggedConversation(
            manager.room,
            manager.sequencer,
            self.transport.write,
            manager.limits,
            auth_required=manager.auth_required,
        )
        session.connection = self
        self.session = session
        # Almost without a buffer of its own, a transport reports at once that a client reads too slowly.
        # With none at all it would report so over TLS even when nothing waits.
        self.transport.set_write_buffer_limits(high=1, low=0)
        self.session.greet()
        manager.add(self)
        self.log(logging.DEBUG, "connected", "connected")

    def data_received(self, data: bytes) -> None:
        """Take in what the client sent."""
        self.session.receive(data)
        self._update_read_flow()  # now: the loop may have much more of it to report before the next turn
        self._manager.schedule(self)

    def eof_received(self) -> bool:
        """Note that the client sends nothing more, but may still read (not over TLS, which ends whole)."""
        self._peer_ended = True
        self.session.receive_eof()
        self._manager.schedule(self)
        return self.transport.can_write_eof()

    def pause_writing(self) -> None:
        """Hold writes back: the client does not read what was written."""
        self._manager.room.delivery.block(self.session.subscriber)
        self._manager.track_backpressured(self)

    def resume_writing(self) -> None:
        """Write again: everything before is sent."""
        self._manager.room.delivery.unblock(self.session.subscriber)
        self._manager.schedule(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that the connection is gone, whoever ended it."""
        if self.lost:
            return
        self.lost = True
        if isinstance(exc, OSError) and exc.errno == errno.ETIMEDOUT:  # TCP_USER_TIMEOUT, or keepalive
            self._cause = End.STALLED
        self.log(logging.DEBUG, "closed", f"closed: {exc or 'end of stream'}")
        if self._close_timer is not None:
            self._close_timer.cancel()
        if not (self._peer_ended or self.session.state.ending):
            self._receive_rest()
        if self._has_input_to_execute:
            self.session.subscriber.write = _discard
            self.resume_writing()
        else:
            self.detach()

    def _receive_rest(self) -> None:
        """Take in what the kernel still holds: a failed write ends a connection before everything is read."""
        if self.transport.get_extra_info("sslcontext") is not None or self.session.throttled:
            return
        with contextlib.suppress(OSError):
            if data := os.read(self.sock.fileno(), _REST_SIZE):
                self.session.receive(data)

    @property
    def _has_input_to_execute(self) -> bool:
        """Whether a client that is gone has sent lines that are still to be executed.

        After an orderly end they may take the time that the rate limit gives them. A connection that broke
        must free its name at once: lines beyond the limit are dropped.
        """
        session = self.session
        return not session.input_drained and (self._peer_ended or not session.throttled)

    def detach(self) -> None:
        """Remove a connection that is gone from the room and its manager."""
        if self._throttle_timer is not None:
            self._throttle_timer.cancel()
        reason = self._end_reason
        self.session.connection_lost()
        self._manager.remove(self, reason)

    @property
    def _end_reason(self) -> Code | End:
        if reason := self._cause or self.session.disconnect_code:
            return reason
        if self._manager.room.closed:
            return End.SHUTDOWN
        return End.QUIT if self._peer_ended or self.session.state.ending else End.LOST

    # What the scheduler's turn does

    def flush(self) -> bool:
        """Write what is due, and act on what the session has come to: a password to check, or the end.

        Returns:
            Whether it wants another turn.
        """
        if self.transport.is_closing() and not self.lost:
            return False
        wants_turn = self.session.flush()
        if (secret := self.session.secret) is not None:
            self._manager.check_password(self, secret)
        if self.session.throttled and self._throttle_timer is None:
            self._resume_in(_THROTTLE)
        if self.lost:
            if not self._has_input_to_execute:
                self.detach()
                return False
            return wants_turn
        self._update_read_flow()
        if self.session.finished:
            self._close_gracefully()
        return wants_turn

    def _resume_in(self, seconds: float) -> None:
        self._throttle_timer = asyncio.get_running_loop().call_later(seconds, self._resume)

    def _resume(self) -> None:
        self._throttle_timer = None
        self._manager.schedule(self)

    def _update_read_flow(self) -> None:
        """Pause or resume reading, as the session wants."""
        if self._reading != self.session.wants_input:
            self._reading = self.session.wants_input
            if self._reading:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()
                self._manager.track_backpressured(self)

    def _close_gracefully(self) -> None:
        """Close our side first, then wait for the client to close its own, up to a deadline."""
        half_closes = self.transport.can_write_eof()  # TLS can't
        blocked = self.session.subscriber.blocked
        if self._close_timer is None:
            timeout = LINGER if half_closes and not blocked else self._manager.settings.drain
            self._close_timer = asyncio.get_running_loop().call_later(timeout, self.abort)
            if code := self.session.disconnect_code:
                reason = explain(code, self._manager.settings, self.slot) or self.session.disconnect_text
                text = f"disconnected: {code}" + (f" ({reason})" if reason else "")
                self.log(logging.INFO, "disconnected", text, kind=f"disconnected: {code}")
            if half_closes and not self._peer_ended:
                with contextlib.suppress(OSError):  # a reset that is not reported yet
                    self.transport.write_eof()
        if blocked or (half_closes and not self._peer_ended):
            return
        if half_closes or not _unacknowledged(self.sock):
            self.transport.close()
        elif self._throttle_timer is None:  # asyncio's TLS drops unsent bytes when the client sends more
            self._resume_in(_ACK_POLL)

    def fail(self) -> None:
        """Drop the connection and all that it sent, for a step of it raised an exception."""
        self._cause = End.FAILED
        self.session.connection_lost()
        if self.lost:
            self.detach()
        else:
            self.abort()

    def abort(self, cause: End | None = None) -> None:
        """Reset the connection, whatever is still to be written; the kernel drops it too.

        Args:
            cause: why; None if the session knows.
        """
        self._cause = self._cause or cause
        if self.session.subscriber.blocked:
            with contextlib.suppress(OSError):
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    # What the watchdog looks at

    @property
    def sock(self) -> socket.socket:
        """Its socket."""
        return cast("socket.socket", self.transport.get_extra_info("socket"))

    @property
    def backpressured(self) -> bool:
        """Whether it is not read from, or can't be written to."""
        return not self.transport.is_closing() and (not self._reading or self.session.subscriber.blocked)

    @property
    def unsent(self) -> int | None:
        """Bytes that its kernel has not acknowledged, or None if all could be written."""
        if not self.session.subscriber.blocked:
            return None
        return self.transport.get_write_buffer_size() + _unacknowledged(self.sock)


def _unacknowledged(sock: socket.socket) -> int:
    """Return how many bytes the kernel holds for a peer that has not acknowledged them."""
    try:
        (size,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))
    except OSError:  # not every system can tell
        return 0
    return int(size)


def _discard(data: bytes) -> None:
    """Write to a connection that is gone."""
