"""How events look: to people, with or without color, and to programs.

Pure.
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
    HistoryMessage,
    Joined,
    Left,
    Message,
    Missed,
    Notice,
    Reconnected,
    Refused,
)
from simple_chat.core.protocol import timestamp
from simple_chat.core.text import sanitize
from simple_chat.errors import MessageRefusedError

# SGR codes of red to cyan: readable on dark and on light terminals, unlike black and white.
_NAME_COLORS = range(31, 37)

_NAMES_ON_JOINING = 10


class Formatter(Protocol):
    """Formats what is written to the user, one line each."""

    def event(self, event: ChatEvent, time: datetime) -> str:
        """Format an event of the room or the connection."""

    def names(self, names: Sequence[str]) -> str:
        """Format the answer to who."""

    def history_message(self, message: HistoryMessage) -> str:
        """Format a message of the history."""

    def input_error(self, line: int, reason: str, time: datetime) -> str:
        """Format why a line of the input can't be executed."""


class PlainFormatter:
    """For pipes: a message is ``name: text``, everything else begins with an asterisk."""

    def event(self, event: ChatEvent, time: datetime) -> str:  # noqa: ARG002 - a line has no time
        """Format an event of the room or the connection."""
        if isinstance(event, Message):
            return f"{event.name}: {event.text}"
        if isinstance(event, HistoryMessage):
            return self.history_message(event)
        return f"* {_describe(event)}"

    def names(self, names: Sequence[str]) -> str:
        """Format the answer to who."""
        return f"* {_list(names)}"

    def history_message(self, message: HistoryMessage) -> str:
        """Format a message of the history."""
        return f"{timestamp(message.time)} {message.name}: {message.text}"

    def input_error(self, line: int, reason: str, time: datetime) -> str:  # noqa: ARG002 - see above
        """Format why a line of the input can't be executed."""
        return f"* line {line}: {sanitize(reason)}"


class JsonFormatter:
    """For programs: one JSON object a line, whose ``event`` is its kind."""

    def event(self, event: ChatEvent, time: datetime) -> str:
        """Format an event of the room or the connection."""
        if isinstance(event, HistoryMessage):
            return self.history_message(event)
        values = {name: value for name, value in asdict(event).items() if value is not None}
        return _json(type(event).__name__.lower(), time=timestamp(time), **values)

    def names(self, names: Sequence[str]) -> str:
        """Format the answer to who."""
        return _json("names", names=list(names))

    def history_message(self, message: HistoryMessage) -> str:
        """Format a message of the history."""
        return _json("past", time=timestamp(message.time), name=message.name, text=message.text)

    def input_error(self, line: int, reason: str, time: datetime) -> str:
        """Format why a line of the input can't be executed."""
        return _json("error", time=timestamp(time), line=line, text=reason)


class TerminalFormatter:
    """For terminals: the time, the name in its color, the text.

    Args:
        username: highlighted in messages that mention it.
        color: whether to use colors.
    """

    def __init__(self, username: str, *, color: bool) -> None:
        self._color = color
        self._mention = re.compile(rf"(?<![\w.-]){re.escape(username)}(?![\w-])", re.IGNORECASE)

    def event(self, event: ChatEvent, time: datetime) -> str:
        """Format an event of the room or the connection."""
        if isinstance(event, Message):
            return self._message(f"{time:%H:%M}", event.name, event.text)
        if isinstance(event, HistoryMessage):
            return self.history_message(event)
        return self._notice(_describe(event), time)

    def connected(self, server: str, names: Sequence[str], time: datetime) -> str:
        """Format where the user is now, and who is there."""
        members = _list(names) if len(names) <= _NAMES_ON_JOINING else f"{len(names)} here, who lists them"
        return self._notice(f"connected to {sanitize(server)}; {members}; help lists commands", time)

    def day_change(self, time: datetime) -> str:
        """Format the date, for the first line of a day."""
        return self._notice(f"day changed to {time:%Y-%m-%d}", time)

    def names(self, names: Sequence[str], time: datetime) -> str:
        """Format the answer to who."""
        return f"{self._time(time)} * {_list([self._name(name) for name in names])}"

    def history_message(self, message: HistoryMessage) -> str:
        """Format a message of the history."""
        return self._message(f"{message.time.astimezone():%Y-%m-%d %H:%M}", message.name, message.text)

    def hint(self, text: str, time: datetime) -> str:
        """Format a hint about the user's input."""
        return f"{self._time(time)} {self._sgr('33', f'* {sanitize(text)}')}"

    def input_line(self, line: str, time: datetime) -> str:
        """Format a line of the user's input."""
        return f"{self._time(time)} {self._sgr('1', f'> {sanitize(line)}')}"

    def mentions(self, text: str) -> bool:
        """Return whether a message mentions the user."""
        return self._mention.search(text) is not None

    def _notice(self, text: str, time: datetime) -> str:
        return self._sgr("2", f"{time:%H:%M} * {text}")

    def _time(self, time: datetime) -> str:
        return self._sgr("2", f"{time:%H:%M}")

    def _message(self, time: str, name: str, text: str) -> str:
        text = self._mention.sub(lambda mention: self._sgr("1;7", mention[0]), text)
        return f"{self._sgr('2', time)} {self._name(name)}: {text}"

    def _name(self, name: str) -> str:
        color = _NAME_COLORS[zlib.crc32(name.lower().encode()) % len(_NAME_COLORS)]
        return self._sgr(str(color), name)

    def _sgr(self, attributes: str, text: str) -> str:
        """Wrap a text in Select Graphic Rendition sequences (ECMA-48, 8.3.117)."""
        return f"\x1b[{attributes}m{text}\x1b[0m" if self._color else text


_RoomEvent = Joined | Left | Gap | Notice
_ConnectionEvent = Refused | Disconnected | Reconnected | Missed


def _describe(event: _RoomEvent | _ConnectionEvent) -> str:
    match event:
        case Joined(name):
            return f"{name} joined"
        case Left(name):
            return f"{name} left"
        case Gap(count):
            return f"{count} lines are missing here: they came faster than they were read"
        case Notice(text):
            return text
        case _:
            return _describe_connection(event)


def _describe_connection(event: _ConnectionEvent) -> str:
    match event:
        case Refused(code, advice, count, messages):
            return str(MessageRefusedError(code, advice, count, messages))
        case Disconnected(reason, retry_in):
            when = f"in {retry_in:.1f} s, Enter tries now" if retry_in else "at once"
            return f"{reason}; next try {when}"
        case Reconnected(server):
            return "back in the room" if server is None else f"back in the room, now at {server}"
        case Missed(count, complete):
            missed = "1 message" if count == 1 else f"{count} messages"
            return f"missed meanwhile: {missed}{'' if complete else ', perhaps more'}"
        case _:
            assert_never(event)


def _list(names: Sequence[str]) -> str:
    return f"{len(names)} here: {', '.join(names)}"


def _json(event: str, **values: object) -> str:
    return json.dumps({"event": event, **values}, ensure_ascii=False)
