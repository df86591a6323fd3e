"""An asynchronous chat server that any ``nc`` or ``telnet`` can talk to, and its client.

The public face: `connect` is being in a room, `serve` runs a server inside a program of yours.
"""

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
    ListenError,
    UnsendableTextError,
)
from simple_chat.protocol import Past
from simple_chat.server.service import Server, Settings, serve

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
    "Left",
    "ListenError",
    "Message",
    "Notice",
    "Past",
    "Reconnected",
    "Server",
    "Settings",
    "UnsendableTextError",
    "connect",
    "serve",
]

__version__ = "0.1.0"
