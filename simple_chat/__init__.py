"""An asynchronous chat server that any ``nc`` or ``telnet`` can talk to, and its client.

The public API: `connect` joins a room, `serve` runs a server. Each name is imported on first access, so that
a command line imports only what it uses.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simple_chat.client.chat import Chat, connect
    from simple_chat.client.events import (
        ChatEvent,
        Disconnected,
        Gap,
        Joined,
        Left,
        Message,
        Missed,
        Notice,
        Reconnected,
        Refused,
    )
    from simple_chat.core.protocol import HistoryMessage
    from simple_chat.errors import (
        AdminError,
        ChatError,
        CommandError,
        ConfigError,
        ConnectError,
        ConnectionLostError,
        InvalidMessageError,
        JoinRefusedError,
        JournalError,
        KickedError,
        ListenError,
        MessageRefusedError,
    )
    from simple_chat.journal.base import Sync
    from simple_chat.server.config import Settings
    from simple_chat.server.serve import serve
    from simple_chat.server.server import Server

__version__ = "0.1.0"

_LAZY_IMPORTS = {
    "AdminError": "errors",
    "Chat": "client.chat",
    "ChatError": "errors",
    "ChatEvent": "client.events",
    "CommandError": "errors",
    "ConfigError": "errors",
    "ConnectError": "errors",
    "ConnectionLostError": "errors",
    "Disconnected": "client.events",
    "Gap": "client.events",
    "HistoryMessage": "core.protocol",
    "InvalidMessageError": "errors",
    "JoinRefusedError": "errors",
    "Joined": "client.events",
    "JournalError": "errors",
    "KickedError": "errors",
    "Left": "client.events",
    "ListenError": "errors",
    "Message": "client.events",
    "MessageRefusedError": "errors",
    "Missed": "client.events",
    "Notice": "client.events",
    "Reconnected": "client.events",
    "Refused": "client.events",
    "Server": "server.server",
    "Settings": "server.config",
    "Sync": "journal.base",
    "connect": "client.chat",
    "serve": "server.serve",
}

__all__ = [
    "AdminError",
    "Chat",
    "ChatError",
    "ChatEvent",
    "CommandError",
    "ConfigError",
    "ConnectError",
    "ConnectionLostError",
    "Disconnected",
    "Gap",
    "HistoryMessage",
    "InvalidMessageError",
    "JoinRefusedError",
    "Joined",
    "JournalError",
    "KickedError",
    "Left",
    "ListenError",
    "Message",
    "MessageRefusedError",
    "Missed",
    "Notice",
    "Reconnected",
    "Refused",
    "Server",
    "Settings",
    "Sync",
    "connect",
    "serve",
]


if not TYPE_CHECKING:  # type checkers would accept any name

    def __getattr__(name):  # noqa: ANN001, ANN202 - hidden from type checkers
        if name not in _LAZY_IMPORTS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_LAZY_IMPORTS[name]}"), name)
