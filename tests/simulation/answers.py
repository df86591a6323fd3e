"""Check what WHO and HISTORY were answered, against the lines around the answer.

Pure. `tests.harness.checker` has checked these lines already.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Room:
    """What is known of the room.

    Attributes:
        places: of its messages, as members receive them, in their order.
        history: messages that HISTORY has to reach back; 0 if that is not certain.
        said_before: the first messages, which HISTORY need not have.
        observer: name of a member who was there all the time.
        spans: times between which messages can have been said, in seconds since the epoch: one for each way
            in which a clock was wrong.
        times: of messages, as HISTORY told them; all are told the same.
    """

    places: dict[str, int]
    history: int
    said_before: int
    observer: str
    spans: Sequence[tuple[float, float]]
    times: dict[str, str] = field(default_factory=dict)


class Answers:
    """The answers to one connection, checked line by line.

    Args:
        room: what is known of the room.
        sent: the lines that the connection sent.
    """

    def __init__(self, room: Room, sent: Sequence[str]) -> None:
        self._places = room.places
        self._room = room
        self._limits = (int(line[8:] or 2**31) for line in sent if line.startswith("HISTORY"))
        self._heard = -1  # place of the last message that came
        self._members: set[str] | None = None  # as the last WHO and what came since tell
        self._named: list[str] = []
        self._past: list[str] = []
        self._times: list[str] = []

    def check(self, received: Sequence[str]) -> Iterator[str]:
        """Yield what is wrong."""
        for line in received:
            verb, _, rest = line.partition(" ")
            if verb != "OK":
                self._follow(line, verb, rest)
            elif rest.startswith("WHO "):
                yield from self._check_who(rest)
            elif rest.startswith("HISTORY "):
                yield from self._check_history(rest)
            elif rest.startswith("JOIN "):
                self._members = None

    def _follow(self, line: str, verb: str, rest: str) -> None:
        """Take in a line that is no end of an answer."""
        match verb:
            case "NAMES":
                self._named += rest.split(" ")
            case "PAST":
                time, _, message = rest.partition(" ")
                self._past.append("MSG " + message)
                self._times.append(time)
            case "MSG":
                self._heard = max(self._heard, self._places.get(line, -1))
            case "GAP":
                self._members = None
            case "JOINED" if self._members is not None:
                self._members.add(rest)
            case "LEFT" if self._members is not None:
                self._members.discard(rest)

    def _check_who(self, answer: str) -> Iterator[str]:
        names, self._named = self._named, []
        if answer != f"WHO {len(names)}" or len({name.lower() for name in names}) != len(names):
            yield f"OK {answer} came after the names {names}"
        if self._members is not None and self._members != {*names}:
            yield f"WHO was answered {sorted(names)} where {sorted(self._members)} were members"
        if self._room.observer not in names:
            yield f"WHO was answered {sorted(names)}, without {self._room.observer}"
        self._members = {*names}

    def _check_history(self, answer: str) -> Iterator[str]:
        past, self._past = self._past, []
        limit = next(self._limits, 0)
        places = [self._places.get(line, -1) for line in past]
        if answer != f"HISTORY {len(past)}" or len(past) > limit:
            yield f"OK {answer} came after {len(past)} messages, of at most {limit}"
        steps = {after - before for before, after in pairwise(places)}
        certain = self._room.history and not self._room.said_before
        if steps - {1} and (certain or min(steps) < 1):  # a slow reader may miss what was dropped
            yield f"HISTORY was answered with messages at {places}"
        if len(past) < min(limit, self._room.history, self._heard + 1 - self._room.said_before):
            yield f"HISTORY was answered with {len(past)} messages, after message {self._heard + 1} was heard"
        yield from self._check_times(past)

    def _check_times(self, past: Sequence[str]) -> Iterator[str]:
        times, self._times = self._times, []
        for line, time in zip(past, times, strict=True):
            if (before := self._room.times.setdefault(line, time)) != time:
                yield f"HISTORY told two times of {line!r}: {before} and {time}"
            seconds = datetime.fromisoformat(time).timestamp()
            if not any(first <= seconds <= last for first, last in self._room.spans):
                yield f"{line!r} was not said at {time}"
