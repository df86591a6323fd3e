"""Why the server ended a connection, for its log: the limit that was reached, its option and its value."""

from simple_chat.core.codes import Code
from simple_chat.core.conversation import ERRORS_MAX
from simple_chat.core.session import TRIES_MAX
from simple_chat.server.admission import Slot
from simple_chat.server.config import Settings


def explain(code: Code, settings: Settings, slot: Slot | None) -> str:
    """Return what stands behind a code; empty if it says all.

    Args:
        code: that the client was told.
        settings: of the server.
        slot: of the connection.
    """
    match code:
        case Code.TOO_MANY_CONNECTIONS | Code.BANNED if slot is not None:
            return slot.refusal
        case Code.JOIN_TIMEOUT:
            return f"no JOIN within {settings.join_timeout:g} s (--join-timeout)"
        case Code.TOO_MANY_ERRORS:
            return f"more than {ERRORS_MAX} refused lines before its first JOIN"
        case Code.AUTH_FAILED:
            return f"{TRIES_MAX} wrong passwords"
        case Code.NOT_CHAT:
            return "it speaks HTTP or TLS"
    return ""
