"""The exceptions of the package, and how an error is described to people."""

import os
from functools import singledispatch


class ChatError(Exception):
    """The base class of every exception that this package raises on purpose."""


class CommandError(ChatError):
    """A line can't be executed; its sender gets ``ERR``.

    Args:
        code: a `simple_chat.core.codes.Code`.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class ListenError(ChatError):
    """The server can't listen on an address; the message says which and why."""


class ConfigError(ChatError):
    """The configuration is invalid; the message says what is wrong, and in which file."""


class JournalError(ConfigError):
    """A journal can't be used; the message says which file, which line and why."""


class ConnectError(ChatError):
    """No connection to a chat server; the message says the address and why."""


class JoinRefusedError(ChatError):
    """The server refused PASS or JOIN.

    Args:
        code: a `simple_chat.core.codes.Code`, or one of a newer server.
        advice: what to do, in the server's words.
    """

    def __init__(self, code: str, advice: str) -> None:
        super().__init__(f"{code}: {advice}")
        self.code = code
        self.advice = advice


class ConnectionLostError(ChatError):
    """The connection is lost. Whether the last lines arrived is unknown."""


class InvalidMessageError(ChatError):
    """A text can't be sent as one line; the message says why."""


@singledispatch
def describe_error(error: BaseException) -> str:
    """Return what went wrong, in a few words for people.

    `simple_chat.tls` adds the errors of TLS. The result is empty for an error without a message.
    """
    return getattr(error, "strerror", None) or str(error)


@describe_error.register
def _(error: OSError) -> str:
    if error.errno and type(error).__module__ == "builtins":
        return os.strerror(error.errno)  # asyncio's own message wraps this one in a longer text
    return error.strerror or str(error)


@describe_error.register
def _(error: UnicodeError) -> str:  # noqa: ARG001 - its message is about an encoding called idna
    return "not a valid host name"
