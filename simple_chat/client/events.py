"""What iterating over a `simple_chat.client.chat.Chat` yields: events of the room and of the connection.

Pure. Made for ``match``: `Message`, `Joined`, `Left`, `Gap` and `HistoryMessage` are those of the protocol.
"""

from dataclasses import dataclass

from simple_chat.core.protocol import Gap, HistoryMessage, Joined, Left, Message

__all__ = [
    "ChatEvent",
    "Disconnected",
    "Gap",
    "HistoryMessage",
    "Joined",
    "Left",
    "Message",
    "Missed",
    "Notice",
    "Reconnected",
    "Refused",
]


@dataclass(frozen=True, slots=True)
class Notice:
    """A text of the server for people: an INFO, or an ERR that is about no line of this client."""

    text: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The server refused messages.

    Attributes:
        code: why it refused the first; a `simple_chat.core.codes.Code`, or one of a newer server.
        advice: what to do, in the server's words.
        count: how many it refused.
        messages: the texts among which they are, oldest first: the last 100 that were sent since the server
            answered anything. If there are `count`, these are the ones.
    """

    code: str
    advice: str
    count: int
    messages: tuple[str, ...]


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
    """The client is in the room again. `Missed` follows, if the history has something it missed.

    Attributes:
        server: the address, if it is another server than before.
    """

    server: str | None = None


@dataclass(frozen=True, slots=True)
class Missed:
    """Messages that were said while the client was away follow, each as a `HistoryMessage`.

    Attributes:
        count: how many.
        complete: whether they are certainly all. They are not if there were more than 100, or if the history
            does not reach back to what the client had seen, as that of a server that was restarted.
    """

    count: int
    complete: bool


ChatEvent = (
    Message | Joined | Left | Gap | Notice | Refused | Disconnected | Reconnected | Missed | HistoryMessage
)
