"""What a connection asks of its server."""

from typing import TYPE_CHECKING, Protocol

from simple_chat.core.codes import Code
from simple_chat.core.counters import End
from simple_chat.core.limits import Limits
from simple_chat.core.room import Room, Sequencer
from simple_chat.server.config import Settings

if TYPE_CHECKING:
    from simple_chat.server.connection import Connection


class ConnectionManager(Protocol):
    """The owner of the connections, as a connection sees it."""

    room: Room
    sequencer: Sequencer
    settings: Settings
    limits: Limits
    auth_required: bool
    seconds: int

    def add(self, connection: "Connection") -> None:
        """Add a connection that was made."""

    def remove(self, connection: "Connection", reason: Code | End) -> None:
        """Remove a connection that is gone, and count why."""

    def schedule(self, connection: "Connection") -> None:
        """Give a connection a turn soon."""

    def track_backpressured(self, connection: "Connection") -> None:
        """Watch a connection that is not read from, or can't be written to."""

    def check_password(self, connection: "Connection", secret: str) -> None:
        """Have a password that a connection sent checked, unless that is under way."""
