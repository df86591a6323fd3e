"""What a `simple_chat.client.chat.Chat` tells: the room's events, and what happens to the connection.

Pure. Made for ``match``: `Message`, `Joined`, `Left` and `Gap` are those of the wire.
"""

from dataclasses import dataclass

from simple_chat.core.protocol import Gap, Joined, Left, Message

__all__ = ["ChatEvent", "Disconnected", "Gap", "Joined", "Left", "Message", "Notice", "Reconnected"]


@dataclass(frozen=True, slots=True)
class Notice:
    """The server has something to say to people."""

    text: str


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection is gone, or could not be made again, and will be tried again.

    Attributes:
        reason: for people.
        retry_in: seconds until the next try; 0 if there is another server, which is tried at once.
    """

    reason: str
    retry_in: float


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The client is in the room again. What was said meanwhile passed it by.

    Attributes:
        server: where, if that is another server than before.
    """

    server: str | None = None


ChatEvent = Message | Joined | Left | Gap | Notice | Disconnected | Reconnected
