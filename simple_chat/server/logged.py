"""How a connection appears to operators: in the log, and in LIST."""

import asyncio
import logging

from simple_chat.address import host_of
from simple_chat.core.conversation import Conversation
from simple_chat.core.handshake import Event
from simple_chat.server.logs import MAX_LINES

logger = logging.getLogger(__name__)

WINDOW = 60.0
"""Seconds of the windows in which a connection's lines are counted."""

_JOINS_LOGGED = 600
"""Lines a minute about who joins, at most: more tell little, and may be a flood."""


class LoggedConversation(Conversation):
    """A conversation that logs who joins from where.

    Attributes:
        connection: whose conversation it is.
    """

    __slots__ = ("connection",)

    connection: "LoggedConnection"

    def enter(self, event: Event) -> None:
        """Change the state."""
        super().enter(event)
        if event is Event.JOINED and self.subscriber.member is not None:
            self.connection.log(
                logging.INFO, "joined", f"joined as {self.subscriber.member.name}", kind="joined"
            )


class LoggedConnection(asyncio.Protocol):
    """A connection that can be told from others.

    Args:
        address: host and port of its peer, as HOST:PORT; empty for a Unix socket. A closed socket does not
            tell it any more.

    Attributes:
        address: the same.
        face: what the client came by: plain, tls or unix.
        session: what is said on it.
        since: when it was made, in whole seconds since the epoch.
        transport: the event loop's side of it.
    """

    __slots__ = ("_executed_before", "_executed_last", "address", "face", "session", "since", "transport")

    face: str
    session: Conversation
    since: int
    transport: asyncio.Transport

    def __init__(self, address: str) -> None:
        self.address = address
        self._executed_before = 0  # lines, when the current window began
        self._executed_last = 0  # lines of the window before

    def start_window(self) -> None:
        """Begin another window of `WINDOW` seconds in which lines are counted."""
        executed = self.session.executed
        self._executed_last, self._executed_before = executed - self._executed_before, executed

    def lines_per_minute(self, elapsed: float) -> int:
        """Return about how many lines were executed in the last minute: the window before counts in part.

        Args:
            elapsed: seconds of the current window.
        """
        rest = self._executed_last * max(1 - elapsed / WINDOW, 0)
        return round(self.session.executed - self._executed_before + rest)

    @property
    def host(self) -> str:
        """The IP address of its peer; empty for a Unix socket."""
        return host_of(self.address)

    def log(self, level: int, event: str, text: str, *, kind: str = "") -> None:
        """Log what happens to it.

        Args:
            level: of the line.
            event: in one word, for programs.
            text: for people.
            kind: of which only some are logged a minute; by default, the text.
        """
        if not logger.isEnabledFor(level):
            return
        member = self.session.subscriber.member
        fields = {
            "event": event,
            "connection": self.session.subscriber.ident,
            "member": None if member is None else member.name,
            "address": self.address or "unix",
            "kind": kind or text,
            "limit": _JOINS_LOGGED if event == "joined" else MAX_LINES,
        }
        logger.log(level, "%s %s", self, text, extra=fields)

    def __str__(self) -> str:
        return f"connection {self.session.subscriber.ident} from {self.address or 'a Unix socket'}"
