"""The text of a message tells when, by whom and as which of theirs it was sent.

Pure.
"""

import re
from dataclasses import dataclass

SHORTEST = 33
"""Bytes of the shortest text."""

_TEXT = re.compile(rb"@([0-9a-f]{16})([0-9a-f]{8})[0-9a-f]{8}x*(?=\r?\Z)")


def compose(sent: int, sender: int, number: int, size: int) -> str:
    """Write a text.

    Args:
        sent: time in nanoseconds.
        sender: number of the client that says it.
        number: how many the client has said before.
        size: bytes that the text is filled up to.
    """
    return f"@{sent:016x}{sender:08x}{number:08x}".ljust(size, "x")


@dataclass(frozen=True, slots=True)
class Found:
    """A text that was found at the end of a line.

    Attributes:
        text: all of it.
        sent: time in nanoseconds.
        sender: number of the client that said it.
    """

    text: bytes
    sent: int
    sender: int


def find(line: bytes) -> Found | None:
    """Find a text at the end of a line, which is without its LF; None if somebody else said it."""
    match = _TEXT.search(line)
    return match and Found(match[0], int(match[1], 16), int(match[2], 16))
