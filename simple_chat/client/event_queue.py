"""The events that a program has not read yet. Bounded: the oldest make room for new ones.

Pure.
"""

from collections import deque

from simple_chat.client.events import ChatEvent, Gap, HistoryMessage, Message, Notice, Refused

MAX_SIZE = 8 * 1024 * 1024
"""Size of the unread events, in characters; as much as a server keeps for a slow reader."""

EVENT_SIZE = 200
"""What an event counts beside its texts; about what it takes in memory."""


class EventQueue:
    """Unread events. What is dropped is told in its place, by a `Gap` with the number of events."""

    def __init__(self) -> None:
        self._events: deque[ChatEvent] = deque()
        self._size = 0
        self._dropped = 0

    def __len__(self) -> int:
        return len(self._events) + (self._dropped > 0)

    def put(self, event: ChatEvent) -> None:
        """Add an event."""
        self._events.append(event)
        self._size += _size(event)
        while self._size > MAX_SIZE:
            oldest = self._pop()
            self._dropped += oldest.count if isinstance(oldest, Gap) else 1

    def get(self) -> ChatEvent:
        """Remove the oldest event, and return it.

        Raises:
            IndexError: there is none.
        """
        if self._dropped:
            gap, self._dropped = Gap(self._dropped), 0
            return gap
        return self._pop()

    def _pop(self) -> ChatEvent:
        event = self._events.popleft()
        self._size -= _size(event)
        return event


def _size(event: ChatEvent) -> int:
    match event:
        case Message(text=text) | HistoryMessage(text=text) | Notice(text=text):
            return EVENT_SIZE + len(text)
        case Refused(messages=messages):
            return EVENT_SIZE + sum(map(len, messages))
        case _:
            return EVENT_SIZE
