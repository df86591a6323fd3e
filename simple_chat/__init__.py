"""An asynchronous chat server that any ``nc`` or ``telnet`` can talk to, and its client.

The public face: `connect` is being in a room, `serve` runs a server inside a program of yours. What is
named here is loaded when it is first asked for, so that no command line pays for more than it uses.
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
        Notice,
        Reconnected,
    )
    from simple_chat.errors import (
        ChatError,
        ConnectError,
        ConnectionLostError,
        JoinRefusedError,
        JournalError,
        LineRefusedError,
        ListenError,
        SetupError,
        UnsendableTextError,
    )
    from simple_chat.journal.policy import Sync
    from simple_chat.protocol import Past
    from simple_chat.server.service import Server, serve
    from simple_chat.server.settings import Settings

__version__ = "0.1.0"

_HOMES = {
    "Chat": "client.chat",
    "ChatError": "errors",
    "ChatEvent": "client.events",
    "ConnectError": "errors",
    "ConnectionLostError": "errors",
    "Disconnected": "client.events",
    "Gap": "client.events",
    "JoinRefusedError": "errors",
    "Joined": "client.events",
    "JournalError": "errors",
    "Left": "client.events",
    "LineRefusedError": "errors",
    "ListenError": "errors",
    "Message": "client.events",
    "Notice": "client.events",
    "Past": "protocol",
    "Reconnected": "client.events",
    "Server": "server.service",
    "Settings": "server.settings",
    "SetupError": "errors",
    "Sync": "journal.policy",
    "UnsendableTextError": "errors",
    "connect": "client.chat",
    "serve": "server.service",
}

__all__ = [
    "Chat",
    "ChatError",
    "ChatEvent",
    "ConnectError",
    "ConnectionLostError",
    "Disconnected",
    "Gap",
    "JoinRefusedError",
    "Joined",
    "JournalError",
    "Left",
    "LineRefusedError",
    "ListenError",
    "Message",
    "Notice",
    "Past",
    "Reconnected",
    "Server",
    "Settings",
    "SetupError",
    "Sync",
    "UnsendableTextError",
    "connect",
    "serve",
]


if not TYPE_CHECKING:  # a type checker would take it for a promise that there is every name

    def __getattr__(name):  # noqa: ANN001, ANN202 - which no type checker reads
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
