"""What can go wrong, as a small tree of exceptions."""

import os


class ChatError(Exception):
    """The root: catching it catches everything this package raises on purpose."""


class CommandError(ChatError):
    """A line can't be carried out; its sender is answered ``ERR``.

    Args:
        code: why, one of `simple_chat.core.protocol.Code`.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class ListenError(ChatError):
    """The server can't listen at an address it was given; the message says where and why."""


class ConfigError(ChatError):
    """A program can't be what it was told to be; the message says what is wrong, and with which file."""


class JournalError(ConfigError):
    """A journal can't be used; the message says which file, which line of it, and why."""


class ConnectError(ChatError):
    """No chat server answers where the client looked for one; the message says where and why."""


class JoinRefusedError(ChatError):
    """The server does not let the client in.

    Args:
        code: why, one of `simple_chat.core.protocol.Code` or a newer one.
        advice: what to do next, in the server's words.
    """

    def __init__(self, code: str, advice: str) -> None:
        super().__init__(f"{code}: {advice}")
        self.code = code
        self.advice = advice


class ConnectionLostError(ChatError):
    """The connection is gone. Whether the last lines arrived is not known."""


class InvalidMessageError(ChatError):
    """A text can't be sent as one line; the message says why."""


def describe_error(error: Exception) -> str:
    """Say why the system refused something, in the words that people know from it."""
    if isinstance(error, UnicodeError):
        return "that is no host name"  # what it says itself is about an encoding called idna
    if isinstance(error, OSError) and error.errno and type(error).__module__ == "builtins":
        return os.strerror(error.errno)  # asyncio wraps the same in a longer story
    return getattr(error, "strerror", None) or str(error)
