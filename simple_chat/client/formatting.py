"""How events look: to people, with or without colour, and to programs.

Pure: it is handed the time.
"""

import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Protocol, assert_never

from simple_chat.client.events import (
    ChatEvent,
    Disconnected,
    Gap,
    Joined,
    Left,
    Message,
    Notice,
    Reconnected,
)
from simple_chat.core.protocol import HistoryMessage, timestamp
from simple_chat.core.text import sanitize

# Six colours that are readable on dark and on light terminals alike: red to cyan without black and white.
_NAME_COLOURS = range(31, 37)


class View(Protocol):
    """How to write what is to be shown, a line each."""

    def event(self, event: ChatEvent, time: datetime) -> str:
        """Write an event of the room or the connection."""

    def names(self, names: Sequence[str]) -> str:
        """Write who is in the room."""

    def past(self, past: HistoryMessage) -> str:
        """Write something that was said before."""


class PlainView:
    """For pipes: a message is ``name: text``, everything else begins with an asterisk."""

    def event(self, event: ChatEvent, time: datetime) -> str:  # noqa: ARG002 - a pipe has other clocks
        """Write an event of the room or the connection."""
        if isinstance(event, Message):
            return f"{event.name}: {event.text}"
        return f"* {_tell(event)}"

    def names(self, names: Sequence[str]) -> str:
        """Write who is in the room."""
        return f"* {_list(names)}"

    def past(self, past: HistoryMessage) -> str:
        """Write something that was said before."""
        return f"{timestamp(past.time)} {past.name}: {past.text}"


class JsonView:
    """For programs: one JSON object a line, named by its ``event``."""

    def event(self, event: ChatEvent, time: datetime) -> str:
        """Write an event of the room or the connection."""
        values = {name: value for name, value in asdict(event).items() if value is not None}
        return _json(type(event).__name__.lower(), time=timestamp(time), **values)

    def names(self, names: Sequence[str]) -> str:
        """Write who is in the room."""
        return _json("names", names=list(names))

    def past(self, past: HistoryMessage) -> str:
        """Write something that was said before."""
        return _json("past", time=timestamp(past.time), name=past.name, text=past.text)


class TerminalView:
    """For people: the time, the name in its colour, the text.

    Args:
        username: highlighted where somebody mentions it.
        colour: whether escape sequences may be used.
    """

    def __init__(self, username: str, *, colour: bool) -> None:
        self._colour = colour
        self._mention = re.compile(rf"(?<![\w.-]){re.escape(username)}(?![\w-])", re.IGNORECASE)

    def event(self, event: ChatEvent, time: datetime) -> str:
        """Write an event of the room or the connection."""
        if isinstance(event, Message):
            return self._said(f"{time:%H:%M}", event.name, event.text)
        return self._paint("2", f"{time:%H:%M} * {_tell(event)}")

    def names(self, names: Sequence[str]) -> str:
        """Write who is in the room."""
        return f"* {_list([self._name(name) for name in names])}"

    def past(self, past: HistoryMessage) -> str:
        """Write something that was said before."""
        return self._said(f"{past.time.astimezone():%Y-%m-%d %H:%M}", past.name, past.text)

    def hint(self, text: str) -> str:
        """Write what the user should know about what was typed."""
        return self._paint("33", f"* {sanitize(text)}")

    def typed(self, line: str) -> str:
        """Write what the user has typed."""
        return self._paint("1", sanitize(line))

    def _said(self, time: str, name: str, text: str) -> str:
        text = self._mention.sub(lambda found: self._paint("1;7", found[0]), text)
        return f"{self._paint('2', time)} {self._name(name)}: {text}"

    def _name(self, name: str) -> str:
        colour = _NAME_COLOURS[zlib.crc32(name.lower().encode()) % len(_NAME_COLOURS)]
        return self._paint(str(colour), name)

    def _paint(self, attributes: str, text: str) -> str:
        return f"\x1b[{attributes}m{text}\x1b[0m" if self._colour else text


def _tell(event: Joined | Left | Gap | Notice | Disconnected | Reconnected) -> str:
    match event:
        case Joined(name):
            return f"{name} joined"
        case Left(name):
            return f"{name} left"
        case Gap(count):
            return f"{count} lines are missing here: they came faster than they were read"
        case Notice(text):
            return text
        case Disconnected(why, retry_in):
            return f"{why}; next try {f'in {retry_in:.1f} s' if retry_in else 'at once'}"
        case Reconnected(server):
            return "back in the room" if server is None else f"back in the room, now at {server}"
        case _:
            assert_never(event)


def _list(names: Sequence[str]) -> str:
    return f"{len(names)} here: {', '.join(names)}"


def _json(event: str, **values: object) -> str:
    return json.dumps({"event": event, **values}, ensure_ascii=False)
