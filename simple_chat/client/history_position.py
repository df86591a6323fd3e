"""Which messages of the history a client that was away has missed.

Pure. No line says what number it has, so the place is found by what the client saw: the newest message that
the history had when it was asked last, and the messages that came since.
"""

from collections import deque
from collections.abc import Sequence
from difflib import SequenceMatcher

from simple_chat.core.protocol import HistoryMessage, Message
from simple_chat.core.text import name_key

MISSED_MAX = 100
"""Messages that are asked for after reconnecting."""

_Said = tuple[str, str]  # name and text


class HistoryPosition:
    """How far a client knows the room's history.

    The client asks for the history after each JOIN. Until it is answered, messages may come both ways.

    Args:
        username: the client's. Its own messages are in the history, and it never misses them.
    """

    def __init__(self, username: str) -> None:
        self._own = name_key(username)
        self._answered = False  # so that `_newest` is known
        self._newest: HistoryMessage | None = None  # None if there was no history
        self._seen: deque[_Said] = deque(maxlen=MISSED_MAX)  # since then
        self._arrived: deque[_Said] = deque(maxlen=MISSED_MAX)  # since JOIN, while the history is asked for
        self._asking = False

    @property
    def known(self) -> bool:
        """Whether anything is known, so that something can be found to be missed."""
        return self._answered or bool(self._seen)

    def on_message(self, message: Message) -> None:
        """Note a message that arrived."""
        (self._arrived if self._asking else self._seen).append((message.name, message.text))

    def on_join(self) -> None:
        """Note that the client has joined and asks for the history."""
        self._arrived.clear()
        self._asking = True

    def on_history(self, history: Sequence[HistoryMessage]) -> tuple[list[HistoryMessage], bool]:
        """Note the answer.

        Args:
            history: the end of it, oldest first.

        Returns:
            What was missed: nothing if nothing was known. And whether that is certainly all.
        """
        start = self._end_of_known(history)
        later = [each for each in history[start or 0 :] if name_key(each.name) != self._own]
        while self._arrived and later and self._arrived.pop() == _said(later[-1]):
            later.pop()
        end = _end_of_seen([_said(each) for each in later], list(self._seen))
        missed = later[end or 0 :] if self.known else []
        complete = start is not None or end is not None
        self._answered, self._newest = True, history[-1] if history else None
        self._seen.clear()
        self._stop_asking()
        return missed, complete

    def on_no_history(self) -> None:
        """Note that the answer will not come, because the connection is lost or the server refused."""
        if self._arrived:  # what was missed before them is lost; what comes next is not
            self._answered, self._newest = False, None
            self._seen = self._arrived.copy()
        self._stop_asking()

    def _stop_asking(self) -> None:
        self._arrived.clear()
        self._asking = False

    def _end_of_known(self, history: Sequence[HistoryMessage]) -> int | None:
        """Return where the messages begin that came after the last answer, None if that is not certain."""
        if self._newest is None:
            return 0 if self._answered and len(history) < MISSED_MAX else None
        indexes = (index for index in reversed(range(len(history))) if history[index] == self._newest)
        return next((index + 1 for index in indexes), None)


def _said(message: HistoryMessage) -> _Said:
    return message.name, message.text


def _end_of_seen(later: list[_Said], seen: list[_Said]) -> int | None:
    """Return where the messages begin that came after those that were seen, None if none of them is there.

    Some may be missing on both sides: a crashed server lost the last ones, a slow client got a GAP.
    """
    blocks = SequenceMatcher(None, later, seen, autojunk=False).get_matching_blocks()
    return max((block.a + block.size for block in blocks if block.size), default=None)
