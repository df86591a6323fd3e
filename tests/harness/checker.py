"""Checks what many clients received against what the protocol promises.

Pure: it is handed what each connection sent and received, and says what is wrong first. It needs

- an **observer**, who joined before all others, only listens, keeps up, and ends last: what it received
  is taken to be the sequence of the room, and is itself checked against what the others sent and got;
- texts that are unique, such as a name and a counter of its own;
- commands whose answers tell what became of them: JOIN, MSG, LEAVE, PING, WHO, HISTORY, HELP, QUIT, and
  anything else that is refused.

The connections may be those of several servers that share a room.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import pairwise
from sys import intern
from typing import NoReturn

_ROOM = ("MSG ", "JOINED ", "LEFT ", "GAP ")
_PARTS = ("NAMES ", "PAST ", "INFO ")  # of answers of several lines, which end in an OK


class Violation(AssertionError):  # noqa: N818 - it is what a test fails with
    """What was received is not what was promised; the message says where and why."""


class End(Enum):
    """How a connection ended."""

    CLEAN = auto()  # by a QUIT, a half-close, or by the server: there must be a BYE
    VANISHED = auto()  # the client was gone in the middle of anything: its last line may be torn


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One connection.

    Attributes:
        label: what it is called in a `Violation`.
        sent: the complete lines that it sent, in order; a half-close is a QUIT.
        received: every byte that it received.
        end: how it ended.
    """

    label: str
    sent: Sequence[str]
    received: bytes
    end: End


def check(observer: Recording, others: Iterable[Recording], *, presence: bool = True) -> list[str]:
    """Check everything; return the common sequence.

    Args:
        observer: see the module.
        others: all other connections.
        presence: whether every JOINED and LEFT was told, as it is below the presence limit. If not, it is
            not checked where a stay in the room began and ended, nor who held which name.

    Raises:
        Violation: the first thing that is wrong.
    """
    watching = _Conversation(observer)
    if len(watching.stays) != 1 or any(watching.said()):
        watching.fail("an observer joins once, and says nothing")
    sequence = [line for window in watching.stays[0].windows for line in window.heard]
    if any(line.startswith("GAP ") for line in sequence):
        watching.fail("an observer keeps up, but there is a GAP")
    places = defaultdict(list)
    for place, line in enumerate(sequence):
        places[line].append(place)
    conversations = [_Conversation(other) for other in others]
    _check_authors(places, conversations)
    if presence:
        _check_holders(sequence, places, conversations)
    for conversation in conversations:
        _Walk(conversation, sequence, places, presence=presence).check()
    return sequence


# One connection by itself


@dataclass(slots=True)
class _Window:
    """What happened between two answers: the order of what was said and what was heard is yet unknown."""

    said: list[str] = field(default_factory=list)  # own messages, as the others get them
    heard: list[str] = field(default_factory=list)  # lines of the room, and GAPs


@dataclass(slots=True)
class _Stay:
    """The time from a JOIN to its end, cut at each answer.

    Attributes:
        name: what the member was called.
        windows: one up to each answer, and one up to the end.
        ending: the answer that ended it: OK LEAVE or a BYE. Empty if the connection vanished.
    """

    name: str
    windows: list[_Window] = field(default_factory=lambda: [_Window()])
    ending: str = ""


class _Conversation:
    """One connection's lines, sorted: the answers put to their questions, the others into stays.

    Args:
        recording: what was sent and received.

    Attributes:
        stays: the times in the room, in order.
    """

    def __init__(self, recording: Recording) -> None:
        self.stays: list[_Stay] = []
        self._label = recording.label
        self._stay: _Stay | None = None  # the one that goes on
        self._guesses: list[_Stay] = []  # stays whose JOIN was not answered, so that nobody knows
        self._questions = iter(recording.sent)
        self._sort(self._lines(recording))
        self._take_unanswered()

    def fail(self, reason: str) -> NoReturn:
        """Raise a `Violation`."""
        raise Violation(f"{self._label}: {reason}")

    def said(self) -> Iterator[str]:
        """All messages that it sent, as the others get them, in order."""
        for stay in (*self.stays, *self._guesses):
            for window in stay.windows:
                yield from window.said

    def names(self) -> Iterator[str]:
        """The names that it joined under, or may have."""
        return (stay.name for stay in (*self.stays, *self._guesses))

    def _lines(self, recording: Recording) -> list[str]:
        *whole, torn = recording.received.split(b"\n")
        lines = [line.decode() for line in whole]
        if lines and not lines[0].startswith("HELLO "):
            self.fail(f"the first line is no HELLO: {lines[0]!r}")
        for line in lines[:-1]:
            if line.startswith("BYE "):
                self.fail(f"there is more behind {line!r}")
        if recording.end is End.CLEAN and torn:
            self.fail(f"the last line is torn: {torn!r}")
        if recording.end is End.CLEAN and not (lines and lines[-1].startswith("BYE ")):
            self.fail("the end was clean, but there is no BYE")
        return lines[1:]

    def _sort(self, lines: list[str]) -> None:
        for line in lines:
            if line.startswith(_ROOM):
                if self._stay is None:
                    self.fail(f"{line!r} came while it was not in the room")
                self._stay.windows[-1].heard.append(intern(line))  # everybody hears the same
            elif line.startswith("BYE ") and line != "BYE quit":  # nobody asked for it
                if self._stay is not None:
                    self._stay.ending = line
            elif not line.startswith(_PARTS):
                self._put_to_question(line)

    def _put_to_question(self, answer: str) -> None:
        for question in self._questions:
            verb, _, argument = question.partition(" ")
            if verb == "MSG" and self._stay is not None:
                self._say(self._stay, argument)
            elif _is_answer(answer, verb, argument):
                self._take_answer(answer, argument)
                return
            else:
                self.fail(f"{question!r} was answered {answer!r}")
        self.fail(f"nothing was asked that is answered {answer!r}")

    def _take_answer(self, answer: str, argument: str) -> None:
        if answer.startswith("OK JOIN "):
            self._stay = _Stay(argument)
            self.stays.append(self._stay)
        elif self._stay is not None and answer in {"OK LEAVE", "BYE quit"}:
            self._stay.ending = answer
            self._stay = None
        elif self._stay is not None:
            self._stay.windows.append(_Window())

    def _take_unanswered(self) -> None:
        """Take what was sent last: it was carried out as far as it came."""
        for question in self._questions:
            verb, _, argument = question.partition(" ")
            if verb == "MSG" and self._stay is not None:
                self._say(self._stay, argument)
            elif verb == "LEAVE":
                self._stay = None
            elif verb == "JOIN" and self._stay is None:
                self._stay = _Stay(argument)
                self._guesses.append(self._stay)

    @staticmethod
    def _say(stay: _Stay, text: str) -> None:
        stay.windows[-1].said.append(f"MSG {stay.name} {text}")


def _is_answer(answer: str, verb: str, argument: str) -> bool:
    if answer.startswith("ERR "):
        return verb not in {"PING", "QUIT", "WHO", "HELP"}
    match verb:
        case "JOIN":
            return answer == f"OK JOIN {argument}"
        case "PING":
            return answer == f"PONG {argument}"
        case "QUIT":
            return answer == "BYE quit"
        case _:
            return answer.split()[:2] == ["OK", verb]


# The sequence by itself


def _check_authors(places: Mapping[str, list[int]], conversations: Sequence[_Conversation]) -> None:
    """Every message was sent, came once, and behind what its sender had said before."""
    said = {line for conversation in conversations for line in conversation.said()}
    for line, where in places.items():
        if line.startswith("MSG ") and line not in said:
            raise Violation(f"nobody sent {line!r}")
        if line.startswith("MSG ") and len(where) > 1:
            raise Violation(f"{line!r} came {len(where)} times")
    for conversation in conversations:
        own = [line for line in conversation.said() if line in places]
        for line, next_line in pairwise(own):
            if places[line] > places[next_line]:
                conversation.fail(f"{next_line!r} came before {line!r}")


def _check_holders(
    sequence: Sequence[str], places: Mapping[str, list[int]], conversations: Sequence[_Conversation]
) -> None:
    """Nobody came under a name that was held, or did anything under one that was not, or was made up."""
    held: set[str] = set()
    for line in sequence:
        verb, name = line.split(" ", 2)[:2]
        key = name.lower()
        if verb == "JOINED" and key in held:
            raise Violation(f"{line!r} came before the LEFT of who had that name")
        if verb != "JOINED" and key not in held:
            raise Violation(f"{line!r} came, but nobody in the room had that name")
        if verb == "JOINED":
            held.add(key)
        elif verb == "LEFT":
            held.remove(key)
    asked = Counter(name for conversation in conversations for name in conversation.names())
    for line, where in places.items():
        if line.startswith("JOINED ") and len(where) > asked[line.removeprefix("JOINED ")]:
            raise Violation(f"{line!r} came {len(where)} times, more often than somebody joined")


# One connection within the sequence


class _MisfitError(Exception):
    """A stay can't have begun where it was tried, because of a line further on.

    Args:
        place: of that line.
        reason: what is wrong with it.
    """

    def __init__(self, place: int, reason: str) -> None:
        super().__init__(reason)
        self.place = place


class _Walk:
    """Follows one connection through the sequence.

    Args:
        conversation: the connection.
        sequence: the lines of the room.
        places: where each of them is.
        presence: whether JOINED and LEFT are told.
    """

    def __init__(
        self,
        conversation: _Conversation,
        sequence: Sequence[str],
        places: Mapping[str, list[int]],
        *,
        presence: bool,
    ) -> None:
        self._conversation = conversation
        self._sequence = sequence
        self._places = places
        self._presence = presence

    def check(self) -> None:
        """Check each stay, at whichever place it fits."""
        at = 0
        for stay in self._conversation.stays:
            at = self._fit(stay, at)

    def _fit(self, stay: _Stay, earliest: int) -> int:
        """Try every place where a stay may have begun; return where it ended."""
        misfits: list[tuple[int, str]] = []
        for start in self._starts(stay, earliest):
            try:
                return self._follow(stay, start)
            except _MisfitError as misfit:
                misfits.append((misfit.place - start, str(misfit)))
        if not misfits:
            self._conversation.fail(f"it joined, but there is no 'JOINED {stay.name}'")
        return self._conversation.fail(max(misfits)[1])

    def _starts(self, stay: _Stay, earliest: int) -> list[int]:
        if self._presence:
            return [at + 1 for at in self._find(f"JOINED {stay.name}", earliest)]
        first = next((window for window in stay.windows if window.said or window.heard), _Window())
        if first.heard[:1] and first.heard[0].startswith("GAP "):
            return list(range(earliest, len(self._sequence) + 1))
        lines = (*first.said[:1], *first.heard[:1])
        return sorted({earliest, *(at for line in lines for at in self._find(line, earliest))})

    def _find(self, line: str, earliest: int) -> list[int]:
        return [at for at in self._places.get(line, ()) if at >= earliest]

    def _follow(self, stay: _Stay, start: int) -> int:
        at = start
        for window in stay.windows[:-1]:
            at = self._listen(window, at)
            self._expect_said(window, at)
        at = self._listen(stay.windows[-1], at)
        if stay.ending in {"OK LEAVE", "BYE quit"}:
            self._expect_said(stay.windows[-1], at)
        return self._end(stay, at) if self._presence else at

    def _listen(self, window: _Window, at: int) -> int:
        """Pass what was heard, and what was said along with it; return the place behind."""
        own = {at for line in window.said for at in self._places.get(line, ())}
        for line in window.heard:
            while at in own:
                at += 1
            if at < len(self._sequence) and self._sequence[at] == line:
                at += 1
            elif line.startswith("GAP "):
                at = self._pass_over(int(line.removeprefix("GAP ")), at, own)
            elif line in window.said:
                raise _MisfitError(at, f"{line!r} came back to its sender")
            else:
                raise _MisfitError(at, f"{line!r} came where {self._line(at)!r} was due")
        while at in own:
            at += 1
        return at

    def _pass_over(self, lines: int, at: int, own: set[int]) -> int:
        for _ in range(lines):
            while at in own:
                at += 1
            at += 1
        if at > len(self._sequence):
            raise _MisfitError(len(self._sequence), f"'GAP {lines}', but there were fewer lines")
        return at

    def _expect_said(self, window: _Window, at: int) -> None:
        """Everything that was said before an answer is in the sequence, before the answer's place."""
        for line in window.said:
            if line not in self._places:
                raise _MisfitError(at, f"{line!r} was taken, but nobody heard it")
            if self._places[line][0] >= at:
                raise _MisfitError(at, f"the answer behind {line!r} came where {self._line(at)!r} was due")

    def _end(self, stay: _Stay, at: int) -> int:
        left = f"LEFT {stay.name}"
        if stay.ending == "BYE shutdown" and at == len(self._sequence):
            return at
        if stay.ending and self._line(at) != left:
            raise _MisfitError(at, f"{stay.ending!r} came where {self._line(at)!r} was due")
        if not (found := self._find(left, at)):
            raise _MisfitError(at, f"it vanished, but there is no {left!r}")
        return found[0] + 1

    def _line(self, at: int) -> str | None:
        return self._sequence[at] if at < len(self._sequence) else None
