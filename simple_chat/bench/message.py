"""Message texts that carry their send time, their sender and their number.

Pure.
"""

import re
from dataclasses import dataclass

SIZE_MIN = 33
"""Bytes of the shortest text: ``@``, 16 hexadecimal digits of the time, 8 of the sender, 8 of the number."""

_TEXT = re.compile(rb"@([0-9a-f]{16})([0-9a-f]{8})[0-9a-f]{8}x*(?=\r?\Z)")


@dataclass(frozen=True, slots=True)
class ParsedMessage:
    """A text found at the end of a line.

    Attributes:
        text: the whole text.
        sent_at: time in nanoseconds.
        sender: number of the client that sent it.
    """

    text: bytes
    sent_at: int
    sender: int


def compose(sent_at: int, sender: int, number: int, size: int) -> str:
    """Compose a text.

    Args:
        sent_at: time in nanoseconds.
        sender: number of the client that sends it.
        number: messages this client sent before.
        size: bytes to pad the text to.
    """
    return f"@{sent_at:016x}{sender:08x}{number:08x}".ljust(size, "x")


def parse(line: bytes) -> ParsedMessage | None:
    """Return the text at the end of a line without LF, or None if the line has none."""
    match = _TEXT.search(line)
    return match and ParsedMessage(match[0], int(match[1], 16), int(match[2], 16))
