"""One connection: bytes between a socket and its `Session`, and the backpressure of both sides."""

import asyncio
import contextlib
import logging
from typing import Protocol, cast

from simple_chat.room import Room
from simple_chat.server.settings import Settings
from simple_chat.session import Session

logger = logging.getLogger(__name__)

LINGER = 2.0
"""Seconds that a client has to read its BYE and close. Closing at once while bytes of the client are
unread would send a reset, which may erase the BYE on its way."""


class Keeper(Protocol):
    """Who keeps the connections: the server, as a connection sees it."""

    room: Room
    settings: Settings

    def add(self, connection: "Connection") -> None:
        """Take note of a connection."""

    def remove(self, connection: "Connection") -> None:
        """Forget a connection."""

    def schedule(self, connection: "Connection") -> None:
        """Give a connection its turn soon."""


class Connection(asyncio.Protocol):
    """What the event loop tells of one connection.

    Everything that the room has to do is done in the server's next turn, for all connections at once.

    Args:
        keeper: whose room it is.
    """

    __slots__ = ("_deadline", "_keeper", "_peer_ended", "_reading", "session", "transport")

    session: Session
    transport: asyncio.Transport

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._reading = True
        self._peer_ended = False
        self._deadline: asyncio.TimerHandle | None = None

    # What the event loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the client."""
        self.transport = cast("asyncio.Transport", transport)
        # Without a buffer of its own a transport says at once that a client reads too slowly.
        self.transport.set_write_buffer_limits(high=0)
        self.session = Session(
            self._keeper.room, self.transport.write, max_line=self._keeper.settings.max_line
        )
        self._keeper.add(self)
        logger.debug("%s connected", self)

    def data_received(self, data: bytes) -> None:
        """Take in what the client sent."""
        self.session.receive(data)
        self._regulate()  # now: the loop may have much more of it to tell before the next turn
        self._keeper.schedule(self)

    def eof_received(self) -> bool:
        """The client sends nothing more, but may still want to read."""
        self._peer_ended = True
        self.session.receive_eof()
        self._keeper.schedule(self)
        return True

    def pause_writing(self) -> None:
        """The client doesn't take what was written."""
        self._keeper.room.block(self.session.member)

    def resume_writing(self) -> None:
        """The client took everything that was written."""
        self._keeper.room.unblock(self.session.member)
        self._keeper.schedule(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever ended it."""
        logger.debug("%s gone: %s", self, exc or "closed")
        if self._deadline is not None:
            self._deadline.cancel()
        self.session.lost()
        self._keeper.remove(self)

    # What the server's turn does

    def settle(self) -> bool:
        """Write what is due.

        Returns:
            Whether it wants another turn.
        """
        if self.transport.is_closing():
            return False
        again = self.session.settle()
        self._regulate()
        if self.session.over:
            self._finish()
        return again

    def _regulate(self) -> None:
        """Go on reading or stop, as the session wants."""
        if self._reading != self.session.wants_input:
            self._reading = self.session.wants_input
            if self._reading:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    def abort(self) -> None:
        """Cut the connection, whatever is still to be written."""
        self.transport.abort()

    def _finish(self) -> None:
        """End the connection in order: our side first, then the client's, or else the deadline."""
        if self._deadline is None:
            patience = self._keeper.settings.drain if self.session.member.blocked else LINGER
            self._deadline = asyncio.get_running_loop().call_later(patience, self.abort)
            if self.transport.can_write_eof() and not self._peer_ended:
                with contextlib.suppress(OSError):  # a reset that we are yet to be told of
                    self.transport.write_eof()
        if self._peer_ended or not self.transport.can_write_eof():
            self.transport.close()

    def __str__(self) -> str:
        return f"connection {self.session.member.ident}"
