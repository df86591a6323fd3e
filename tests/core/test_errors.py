"""The exceptions, and their descriptions."""

import errno
import os
import socket

import pytest

from simple_chat import errors
from simple_chat.errors import ChatError, CommandError, JoinRefusedError, describe_error


def test_every_error_is_a_chat_error() -> None:
    things = vars(errors).values()
    defined = [each for each in things if isinstance(each, type) and each.__module__ == errors.__name__]
    assert len(defined) > 1
    assert all(issubclass(error, ChatError) for error in defined)


def test_command_error_has_its_code() -> None:
    error = CommandError("bad-name")
    assert (error.code, str(error)) == ("bad-name", "bad-name")


def test_join_refused_error_has_its_code_and_advice() -> None:
    error = JoinRefusedError("name-taken", "take another one")
    assert (error.code, error.advice) == ("name-taken", "take another one")
    assert str(error) == "name-taken: take another one"


@pytest.mark.parametrize(
    ("error", "description"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed"), os.strerror(errno.ECONNREFUSED)),
        (OSError(errno.EADDRINUSE, "error while attempting to bind"), os.strerror(errno.EADDRINUSE)),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
        (OSError("no number"), "no number"),
        (UnicodeEncodeError("idna", "a..b", 1, 2, "label empty or too long"), "not a valid host name"),
        (ValueError("no such thing"), "no such thing"),
    ],
)
def test_error_is_described_in_the_words_of_the_system(error: Exception, description: str) -> None:
    assert describe_error(error) == description
