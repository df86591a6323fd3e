"""What iterating over a `simple_chat.client.chat.Chat` yields: events of the room and of the connection.

Pure. Made for ``match``: `Message`, `Joined`, `Left` and `Gap` are those of the protocol.
"""

from dataclasses import dataclass

from simple_chat.core.protocol import Gap, Joined, Left, Message

__all__ = ["ChatEvent", "Disconnected", "Gap", "Joined", "Left", "Message", "Notice", "Reconnected"]


@dataclass(frozen=True, slots=True)
class Notice:
    """A text of the server for people: an INFO, or an ERR that answers no request."""

    text: str


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection is lost, or an attempt to reconnect failed; another attempt follows.

    Attributes:
        reason: why, for people.
        retry_in: seconds until the next attempt; 0 for at once, at another server.
    """

    reason: str
    retry_in: float


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The client is in the room again. It has missed what was sent in the meantime.

    Attributes:
        server: the address, if it is another server than before.
    """

    server: str | None = None


ChatEvent = Message | Joined | Left | Gap | Notice | Disconnected | Reconnected
