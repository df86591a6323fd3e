"""Which entries of the log have the last messages: a starting server reads these again for HISTORY.

Pure.
"""

from collections import deque
from typing import NamedTuple


class _Entry(NamedTuple):
    """An entry of the log that has messages.

    Attributes:
        messages: how many.
        position: of the entry.
    """

    messages: int
    position: int


class MessageIndex:
    """The entries with the last messages."""

    def __init__(self) -> None:
        self._entries: deque[_Entry] = deque()
        self._messages = 0  # in all of them

    @property
    def positions(self) -> list[int]:
        """The positions of the entries, oldest first."""
        return [each.position for each in self._entries]

    def add(self, messages: int, position: int, *, reach: int) -> None:
        """Add an entry, and drop the oldest ones that are not needed for as many messages.

        Args:
            messages: how many the entry has.
            position: of the entry; later than all others.
            reach: messages to keep.
        """
        self._entries.append(_Entry(messages, position))
        self._messages += messages
        while self._messages - self._entries[0].messages >= reach:
            self._messages -= self._entries.popleft().messages

    def clear(self) -> None:
        """Drop all entries."""
        self._entries.clear()
        self._messages = 0
