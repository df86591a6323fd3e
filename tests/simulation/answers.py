"""Check what WHO and HISTORY were answered, against the lines around the answer.

Pure. `tests.harness.checker` has checked these lines already.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise


class Answers:
    """The answers to one connection, checked line by line.

    Args:
        messages: all messages of the room, in order, as members receive them.
        history: messages that HISTORY has to reach back; 0 if that is not certain.
        observer: name of a member who was there all the time.
        sent: the lines that the connection sent.
    """

    def __init__(self, messages: Sequence[str], history: int, observer: str, sent: Sequence[str]) -> None:
        self._places = {line: place for place, line in enumerate(messages)}
        self._history = history
        self._observer = observer
        self._limits = (int(line[8:] or 2**31) for line in sent if line.startswith("HISTORY"))
        self._heard = -1  # place of the last message that came
        self._members: set[str] | None = None  # as the last WHO and what came since tell
        self._named: list[str] = []
        self._past: list[str] = []

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
                self._past.append("MSG " + rest.partition(" ")[2])
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
        if self._observer not in names:
            yield f"WHO was answered {sorted(names)}, without {self._observer}"
        self._members = {*names}

    def _check_history(self, answer: str) -> Iterator[str]:
        past, self._past = self._past, []
        limit = next(self._limits, 0)
        places = [self._places.get(line, -1) for line in past]
        if answer != f"HISTORY {len(past)}" or len(past) > limit:
            yield f"OK {answer} came after {len(past)} messages, of at most {limit}"
        steps = {after - before for before, after in pairwise(places)}
        if steps - {1} and (self._history or min(steps) < 1):  # a slow reader may miss what was dropped
            yield f"HISTORY was answered with messages at {places}"
        if len(past) < min(limit, self._history, self._heard + 1):
            yield f"HISTORY was answered with {len(past)} messages, after message {self._heard + 1} was heard"
