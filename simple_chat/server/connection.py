"""One connection: bytes between a socket and its `Session`, and the backpressure of both sides."""

import asyncio
import contextlib
import fcntl
import logging
import socket
import struct
import termios
from typing import Protocol, cast

from simple_chat.address import format_address
from simple_chat.core.limits import Limits
from simple_chat.core.room import Room
from simple_chat.core.session import Session
from simple_chat.server.admission import Slot
from simple_chat.server.config import Settings

logger = logging.getLogger(__name__)

LINGER = 2.0
"""Seconds that a client has to read its BYE and close. Closing at once while bytes of the client are
unread would send a reset, which may erase the BYE on its way."""

_SLOWED = 0.5
"""Seconds until more lines are taken of a client that sends too many."""

_TAKEN = 0.05
"""Seconds until another look whether a client's kernel has everything."""

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER for no seconds


class ConnectionManager(Protocol):
    """Who keeps the connections: the server, as a connection sees it."""

    room: Room
    settings: Settings
    limits: Limits
    locked: bool

    def add(self, connection: "Connection") -> None:
        """Take note of a connection."""

    def remove(self, connection: "Connection") -> None:
        """Forget a connection."""

    def schedule(self, connection: "Connection") -> None:
        """Give a connection its turn soon."""

    def watch(self, connection: "Connection") -> None:
        """Look after a connection that is held up."""

    def check(self, connection: "Connection") -> None:
        """Have a connection's password checked, if that is not under way."""


class Connection(asyncio.Protocol):
    """What the event loop tells of one connection.

    Everything that the room has to do is done in the server's next turn, for all connections at once.

    Args:
        keeper: whose room it is.
        place: where the connection is counted; None once that is taken back.

    Attributes:
        lost: whether the event loop has told of its end.
    """

    __slots__ = (
        "_deadline",
        "_keeper",
        "_peer_ended",
        "_reading",
        "_rest",
        "lost",
        "place",
        "session",
        "transport",
    )

    session: Session
    transport: asyncio.Transport

    def __init__(self, keeper: ConnectionManager, place: Slot) -> None:
        self.place: Slot | None = place
        self._keeper = keeper
        self._reading = True
        self._peer_ended = False
        self.lost = False
        self._rest: asyncio.TimerHandle | None = None  # while it is slowed
        self._deadline: asyncio.TimerHandle | None = None  # once it is to end

    # What the event loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the client."""
        self.transport = cast("asyncio.Transport", transport)
        keeper = self._keeper
        self.session = Session(keeper.room, self.transport.write, keeper.limits, locked=keeper.locked)
        # Almost without a buffer of its own a transport says at once that a client reads too slowly.
        # With none at all it would say so over TLS even when nothing waits.
        self.transport.set_write_buffer_limits(high=1, low=0)
        self.session.greet()
        self._keeper.add(self)
        logger.debug("%s connected", self)

    def data_received(self, data: bytes) -> None:
        """Take in what the client sent."""
        self.session.receive(data)
        self._regulate()  # now: the loop may have much more of it to tell before the next turn
        self._keeper.schedule(self)

    def eof_received(self) -> bool:
        """The client sends nothing more, but may still want to read (not over TLS, which ends as a whole)."""
        self._peer_ended = True
        self.session.receive_eof()
        self._keeper.schedule(self)
        return self.transport.can_write_eof()

    def pause_writing(self) -> None:
        """The client doesn't take what was written."""
        self._keeper.room.block(self.session.member)
        self._keeper.watch(self)

    def resume_writing(self) -> None:
        """The client took everything that was written."""
        self._keeper.room.unblock(self.session.member)
        self._keeper.schedule(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever ended it."""
        if self.lost:
            return
        self.lost = True
        logger.debug("%s gone: %s", self, exc or "closed")
        if self._deadline is not None:
            self._deadline.cancel()
        if exc is None and self._peer_ended and not self.session.dry:
            # What it said before it ended in order is carried out, over TLS too.
            self.session.member.write = _to_nobody
            self.resume_writing()
        else:
            self.bury()

    def bury(self) -> None:
        """Take the member of a connection that is gone out of the room."""
        if self._rest is not None:
            self._rest.cancel()
        self.session.lost()
        self._keeper.remove(self)

    # What the server's turn does

    def settle(self) -> bool:
        """Write what is due.

        Returns:
            Whether it wants another turn.
        """
        if self.transport.is_closing() and not self.lost:
            return False
        again = self.session.settle()
        if self.session.secret is not None:
            self._keeper.check(self)
        if self.session.slowed and self._rest is None:
            self._rest = asyncio.get_running_loop().call_later(_SLOWED, self._go_on)
        if self.lost:
            if self.session.dry:
                self.bury()
            return again
        self._regulate()
        if self.session.over:
            self._finish()
        return again

    def _go_on(self) -> None:
        self._rest = None
        self._keeper.schedule(self)

    def _regulate(self) -> None:
        """Go on reading or stop, as the session wants."""
        if self._reading != self.session.wants_input:
            self._reading = self.session.wants_input
            if self._reading:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()
                self._keeper.watch(self)

    def _finish(self) -> None:
        """End the connection in order: our side first, then the client's, or else the deadline."""
        half_closes = self.transport.can_write_eof()  # TLS can't
        blocked = self.session.member.blocked
        if self._deadline is None:
            patience = LINGER if half_closes and not blocked else self._keeper.settings.drain
            self._deadline = asyncio.get_running_loop().call_later(patience, self.abort)
            if code := self.session.refused:
                logger.info("%s is sent away: %s", self, code, extra={"kind": f"sent away: {code}"})
            if half_closes and not self._peer_ended:
                with contextlib.suppress(OSError):  # a reset that we are yet to be told of
                    self.transport.write_eof()
        if blocked or (half_closes and not self._peer_ended):
            return
        if half_closes or not _unacknowledged(self.sock):
            self.transport.close()
        elif self._rest is None:  # asyncio's TLS drops what it still has when the client says more meanwhile
            self._rest = asyncio.get_running_loop().call_later(_TAKEN, self._go_on)

    def abort(self) -> None:
        """Cut the connection, whatever is still to be written; the kernel forgets it too."""
        if self.session.member.blocked:
            with contextlib.suppress(OSError):
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    # What a watch looks at

    @property
    def sock(self) -> socket.socket:
        """Its socket."""
        return cast("socket.socket", self.transport.get_extra_info("socket"))

    @property
    def held_up(self) -> bool:
        """Whether it is not read from, or takes nothing."""
        return not self.transport.is_closing() and (not self._reading or self.session.member.blocked)

    @property
    def unsent(self) -> int | None:
        """Bytes that wait to be taken by its kernel, or None if all could be written."""
        if not self.session.member.blocked:
            return None
        return self.transport.get_write_buffer_size() + _unacknowledged(self.sock)

    def __str__(self) -> str:
        peer = self.transport.get_extra_info("peername")
        where = format_address(*peer[:2]) if isinstance(peer, tuple) else "a Unix socket"
        return f"connection {self.session.member.ident} from {where}"


def _unacknowledged(sock: socket.socket) -> int:
    """Bytes that the kernel has for a peer, and that the peer's kernel has not taken."""
    try:
        (size,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))
    except OSError:  # not every system tells
        return 0
    return int(size)


def _to_nobody(data: bytes) -> None:
    """Write to a connection that is gone."""
