"""What can be set of a server."""

from dataclasses import dataclass

from simple_chat.backlog import BACKLOG
from simple_chat.framing import MAX_LINE
from simple_chat.room import HISTORY, PRESENCE_LIMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What can be set of a server; the defaults are those of the command line.

    Attributes:
        max_line: bytes a line may have before its line end.
        backlog: bytes kept for slow readers and for HISTORY.
        history: messages that HISTORY reaches back; 0 for none.
        presence_limit: members above which JOINED and LEFT are not told.
        drain: seconds that clients have to take what is theirs when the server ends.
    """

    max_line: int = MAX_LINE
    backlog: int = BACKLOG
    history: int = HISTORY
    presence_limit: int = PRESENCE_LIMIT
    drain: float = 10.0
