"""The exceptions of the package, and how an error is described to people."""

import os
from collections.abc import Sequence
from functools import singledispatch

_QUOTED_MAX = 5  # messages in the text of an error
_QUOTED_LENGTH = 100  # characters of each


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


class AdminError(ChatError):
    """An operator's command can't be carried out.

    Args:
        code: one word for programs.
        problem: what is wrong, for people.
    """

    def __init__(self, code: str, problem: str) -> None:
        super().__init__(problem)
        self.code = code


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


class KickedError(ChatError):
    """An operator ended the connection, to a chat that is not to come back.

    Args:
        code: ``kicked`` or ``banned``.
        reason: in the server's words.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


class ConnectionLostError(ChatError):
    """The connection is lost. Whether the last lines arrived is unknown."""


class InvalidMessageError(ChatError):
    """A text can't be sent as one line; the message says why."""


class MessageRefusedError(ChatError):
    """The server refused messages; the message says which and why.

    Args:
        code: why it refused the first; a `simple_chat.core.codes.Code`, or one of a newer server.
        advice: what to do, in the server's words.
        count: how many it refused.
        messages: the texts among which they are, oldest first. If there are `count`, these are the ones.
    """

    def __init__(self, code: str, advice: str, count: int, messages: Sequence[str]) -> None:
        verb = "was" if count == 1 else "were"
        among = "" if count == len(messages) else f"{count} of "
        super().__init__(f"{among}{quote_messages(messages)} {verb} refused: {code}: {advice}")
        self.code = code
        self.advice = advice
        self.count = count
        self.messages = tuple(messages)


def quote_messages(messages: Sequence[str]) -> str:
    """Return texts in quotes, long ones shortened; of many only the first and the last."""
    if len(messages) > _QUOTED_MAX:
        return f"the messages from {_quote(messages[0])} to {_quote(messages[-1])}"
    return ", ".join(map(_quote, messages))


def _quote(text: str) -> str:
    return repr(text if len(text) <= _QUOTED_LENGTH else f"{text[:_QUOTED_LENGTH]}…")


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
