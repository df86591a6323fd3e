"""How a connection appears in the log: by its number and address, with its name once it has joined."""

import asyncio
import logging

from simple_chat.address import format_address
from simple_chat.core.conversation import Conversation
from simple_chat.core.handshake import Event
from simple_chat.server.activity import Activity
from simple_chat.server.logs import MAX_LINES

logger = logging.getLogger(__name__)

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

    Attributes:
        activity: since when there is one, and how much it sends.
        face: what the client came by: plain, tls or unix.
        session: what is said on it.
        transport: the event loop's side of it.
    """

    __slots__ = ("activity", "face", "session", "transport")

    activity: Activity
    face: str
    session: Conversation
    transport: asyncio.Transport

    @property
    def host(self) -> str:
        """The IP address of its peer; empty for a Unix socket."""
        peer = self.transport.get_extra_info("peername")
        return str(peer[0]) if isinstance(peer, tuple) else ""

    @property
    def address(self) -> str:
        """Address and port of its peer; empty for a Unix socket."""
        peer = self.transport.get_extra_info("peername")
        return format_address(*peer[:2]) if isinstance(peer, tuple) else ""

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
