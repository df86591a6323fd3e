"""The load generator's error."""

from simple_chat.errors import ChatError


class LoadError(ChatError):
    """The load can't be generated or measured; the message says why in one line."""
