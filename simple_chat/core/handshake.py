"""The states of a connection, what is kept of it before its first JOIN, and how it is closed.

The rules are a table: which event leads from which state to which. An event that the table does not have for
a state is a fault of the caller.
"""

from dataclasses import dataclass
from enum import Enum, auto

from simple_chat.core.codes import Code


class State(Enum):
    """The state of a connection.

    Attributes:
        meaning: in words; it also keeps two states with the same flags apart.
        accepts_input: whether lines of the client are executed in it.
        ending: whether the connection is closed or about to be.
    """

    AUTHENTICATING = ("a password is needed first", True, False)
    VERIFYING = ("a password is being checked", False, False)
    HANDSHAKE = ("nothing is missing but the first JOIN", True, False)
    ESTABLISHED = ("it has joined, and may leave and join again", True, False)
    CLOSING = ("it is to leave the room and get BYE, which wait for their place", False, True)
    CLOSED = ("BYE is in its place; the connection ends once it is written", False, True)
    LOST = ("the connection is gone", False, True)

    def __init__(self, meaning: str, accepts_input: bool, ending: bool) -> None:  # noqa: FBT001 - a table
        self.meaning = meaning
        self.accepts_input = accepts_input
        self.ending = ending


class Event(Enum):
    """What changes the state of a connection."""

    PASSWORD_SENT = auto()
    PASSWORD_ACCEPTED = auto()
    PASSWORD_REJECTED = auto()
    JOINED = auto()
    CLOSE = auto()
    BYE_PLACED = auto()
    CONNECTION_LOST = auto()


TRANSITIONS: dict[State, dict[Event, State]] = {
    State.AUTHENTICATING: {
        Event.PASSWORD_SENT: State.VERIFYING,
        Event.CLOSE: State.CLOSING,
        Event.CONNECTION_LOST: State.LOST,
    },
    State.VERIFYING: {
        Event.PASSWORD_ACCEPTED: State.HANDSHAKE,
        Event.PASSWORD_REJECTED: State.AUTHENTICATING,
        Event.CLOSE: State.CLOSING,
        Event.CONNECTION_LOST: State.LOST,
    },
    State.HANDSHAKE: {
        Event.JOINED: State.ESTABLISHED,
        Event.CLOSE: State.CLOSING,
        Event.CONNECTION_LOST: State.LOST,
    },
    State.ESTABLISHED: {
        Event.JOINED: State.ESTABLISHED,
        Event.CLOSE: State.CLOSING,
        Event.CONNECTION_LOST: State.LOST,
    },
    State.CLOSING: {
        Event.JOINED: State.CLOSING,  # a JOIN that was in flight
        Event.BYE_PLACED: State.CLOSED,
        Event.CONNECTION_LOST: State.LOST,
    },
    State.CLOSED: {
        Event.CONNECTION_LOST: State.LOST,
    },
    State.LOST: {
        Event.JOINED: State.LOST,  # a JOIN that was in flight
    },
}


@dataclass(slots=True)
class Handshake:
    """What is kept of a client until its first JOIN.

    Attributes:
        tries_left: passwords that it may still try.
        errors: lines that were refused.
        secret: the password that is being checked.
    """

    tries_left: int
    errors: int = 0
    secret: str | None = None


@dataclass(slots=True)
class Closing:
    """How a connection is closed.

    Attributes:
        lines: what is written last, each with its LF.
        code: why, if the server closes it because of what the client does, or an operator wants.
        text: the same in words, if the code does not say all.
    """

    lines: bytes
    code: Code | None = None
    text: str = ""
