"""Why there is no result."""

from simple_chat.errors import ChatError


class LoadError(ChatError):
    """The load can't be made or measured; the message says why in one line."""
