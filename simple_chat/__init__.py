"""An asynchronous chat server that any ``nc`` or ``telnet`` can talk to.

The public face: `serve` runs a server inside a program of yours.
"""

from simple_chat.errors import ChatError, ListenError
from simple_chat.server.service import Server, Settings, serve

__all__ = ["ChatError", "ListenError", "Server", "Settings", "serve"]

__version__ = "0.1.0"
