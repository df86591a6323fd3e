"""Check what many clients received against the guarantees of the protocol.

Pure: takes what each connection sent and received, and reports the first violation. It needs

- an **observer**, which joins before all others, only reads, never lags behind the backlog, and ends last:
  what it received is the sequence of the room, and is checked against what the others sent and received;
- unique message texts, such as the author's name and a counter;
- commands with recognizable responses: JOIN, MSG, LEAVE, PING, WHO, HISTORY, HELP, QUIT, and anything else
  that is rejected.

The connections may belong to several servers that share a room.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import pairwise
from sys import intern
from typing import NoReturn

_ROOM = ("MSG ", "JOINED ", "LEFT ", "GAP ")
_PARTS = ("NAMES ", "PAST ", "INFO ")  # of multi-line responses, which end in an OK


class Violation(AssertionError):  # noqa: N818 - raised as a test failure
    """A guarantee of the protocol is violated; the message says where and why."""


class End(Enum):
    """How a connection ended."""

    CLEAN = auto()  # by QUIT, half-close or the server: the last line must be a BYE
    VANISHED = auto()  # the connection was lost: its last line may be incomplete


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One connection.

    Attributes:
        label: its name in a `Violation`.
        sent: the complete lines it sent, in order; a half-close counts as QUIT.
        received: all bytes it received.
        end: how it ended.
        server: which one it belonged to, where that ends while other servers go on: all members that it has
            then leave at once, and need not be told of each other. Empty if none does so.
    """

    label: str
    sent: Sequence[str]
    received: bytes
    end: End
    server: str = ""


def check(
    observer: Recording,
    others: Iterable[Recording],
    *,
    presence: bool = True,
) -> list[str]:
    """Check all connections; return the common sequence.

    Args:
        observer: the observer; see the module docstring.
        others: all other connections.
        presence: whether every JOINED and LEFT was broadcast, as below the presence limit. If not, neither
            the positions where memberships began and ended nor the holders of names are checked.

    Raises:
        Violation: the first violation found.
    """
    observed = _Transcript(observer)
    if len(observed.memberships) != 1 or any(observed.sent_messages()):
        observed.fail("an observer joins once, and says nothing")
    sequence = [line for window in observed.memberships[0].windows for line in window.received]
    if any(line.startswith("GAP ") for line in sequence):
        observed.fail("an observer keeps up, but there is a GAP")
    positions = defaultdict(list)
    for position, line in enumerate(sequence):
        positions[line].append(position)
    transcripts = [_Transcript(other) for other in others]
    _check_messages(positions, transcripts)
    if presence:
        _check_names(sequence, positions, transcripts)
    matchers = [_Matcher(each, sequence, positions, presence=presence) for each in transcripts]
    for matcher in matchers:
        matcher.check()
    _check_ends_of_servers(sequence, matchers)
    return sequence


# One connection


@dataclass(slots=True)
class _Window:
    """Lines between two responses; the relative order of sent and received lines is still unknown."""

    sent: list[str] = field(default_factory=list)  # own messages, as other members receive them
    received: list[str] = field(default_factory=list)  # broadcasts and GAPs


@dataclass(slots=True)
class _Membership:
    """A membership, from a JOIN to its end, split at each response.

    Attributes:
        name: the member's name.
        windows: one up to each response, and one up to the end.
        ending: the response that ended it: OK LEAVE or a BYE. Empty if the connection was lost.
    """

    name: str
    windows: list[_Window] = field(default_factory=lambda: [_Window()])
    ending: str = ""


class _Transcript:
    """One connection's lines: responses matched to their commands, broadcasts grouped by membership.

    Args:
        recording: what was sent and received.

    Attributes:
        memberships: all of them, in order.
        server: as in the recording.
    """

    def __init__(self, recording: Recording) -> None:
        self.memberships: list[_Membership] = []
        self.server = recording.server
        self._label = recording.label
        self._current: _Membership | None = None  # the open membership, if any
        self._uncertain: list[_Membership] = []  # memberships whose JOIN was not answered
        self._commands = iter(recording.sent)
        self._sort(self._lines(recording))
        self._process_unanswered()

    def fail(self, reason: str) -> NoReturn:
        """Raise a `Violation`."""
        raise Violation(f"{self._label}: {reason}")

    def sent_messages(self) -> Iterator[str]:
        """Return all messages it sent, as other members receive them, in order."""
        for membership in (*self.memberships, *self._uncertain):
            for window in membership.windows:
                yield from window.sent

    def names(self) -> Iterator[str]:
        """Return the names it joined with, or may have."""
        return (membership.name for membership in (*self.memberships, *self._uncertain))

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
                if self._current is None:
                    self.fail(f"{line!r} came while it was not in the room")
                self._current.windows[-1].received.append(intern(line))  # shared by all connections
            elif line.startswith("BYE ") and line != "BYE quit":  # unsolicited
                if self._current is not None:
                    self._current.ending = line
            elif not line.startswith(_PARTS):
                self._match_response(line)

    def _match_response(self, response: str) -> None:
        for command in self._commands:
            verb, _, argument = command.partition(" ")
            if verb == "MSG" and self._current is not None:
                self._record_sent(self._current, argument)
            elif _is_response(response, verb, argument):
                self._process_response(response, argument)
                return
            else:
                self.fail(f"{command!r} was answered {response!r}")
        self.fail(f"nothing was asked that is answered {response!r}")

    def _process_response(self, response: str, argument: str) -> None:
        if response.startswith("OK JOIN "):
            self._current = _Membership(argument)
            self.memberships.append(self._current)
        elif self._current is not None and response in {"OK LEAVE", "BYE quit"}:
            self._current.ending = response
            self._current = None
        elif self._current is not None:
            self._current.windows.append(_Window())

    def _process_unanswered(self) -> None:
        """Process the unanswered commands at the end: a prefix of them may have been executed."""
        for command in self._commands:
            verb, _, argument = command.partition(" ")
            if verb == "MSG" and self._current is not None:
                self._record_sent(self._current, argument)
            elif verb == "LEAVE":
                self._current = None
            elif verb == "JOIN" and self._current is None:
                self._current = _Membership(argument)
                self._uncertain.append(self._current)

    @staticmethod
    def _record_sent(membership: _Membership, text: str) -> None:
        membership.windows[-1].sent.append(f"MSG {membership.name} {text}")


def _is_response(response: str, verb: str, argument: str) -> bool:
    if response.startswith("ERR "):
        return verb not in {"PING", "QUIT", "WHO", "HELP"}
    match verb:
        case "JOIN":
            return response == f"OK JOIN {argument}"
        case "PING":
            return response == f"PONG {argument}"
        case "QUIT":
            return response == "BYE quit"
        case _:
            return response.split()[:2] == ["OK", verb]


# The sequence


def _check_messages(positions: Mapping[str, list[int]], transcripts: Sequence[_Transcript]) -> None:
    """Check that every message was sent, occurs once, and follows its author's earlier messages."""
    sent = {line for transcript in transcripts for line in transcript.sent_messages()}
    for line, where in positions.items():
        if line.startswith("MSG ") and line not in sent:
            raise Violation(f"nobody sent {line!r}")
        if line.startswith("MSG ") and len(where) > 1:
            raise Violation(f"{line!r} came {len(where)} times")
    for transcript in transcripts:
        own = [line for line in transcript.sent_messages() if line in positions]
        for line, next_line in pairwise(own):
            if positions[line] > positions[next_line]:
                transcript.fail(f"{next_line!r} came before {line!r}")


def _check_names(
    sequence: Sequence[str], positions: Mapping[str, list[int]], transcripts: Sequence[_Transcript]
) -> None:
    """Check that names are unique, that only members act, and that every JOINED was asked for."""
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
    requested = Counter(name for transcript in transcripts for name in transcript.names())
    for line, where in positions.items():
        if line.startswith("JOINED ") and len(where) > requested[line.removeprefix("JOINED ")]:
            raise Violation(f"{line!r} came {len(where)} times, more often than somebody joined")


def _check_ends_of_servers(sequence: Sequence[str], matchers: Sequence["_Matcher"]) -> None:
    """Check that who missed somebody's LEFT left together with them: with the end of their common server."""
    ends = defaultdict[int, set[tuple[str, str]]](set)  # who vanished early may match several memberships
    for matcher in matchers:
        for at, ending in matcher.ends.items():
            ends[at].add((matcher.transcript.server, ending))
    for matcher in matchers:
        for missed in matcher.missed:
            wrong = _missed_wrongly(matcher.transcript.server, missed, sequence, ends)
            if wrong is not None:
                matcher.transcript.fail(f"{sequence[wrong]!r} did not come")


def _missed_wrongly(
    server: str, missed: range, sequence: Sequence[str], ends: Mapping[int, set[tuple[str, str]]]
) -> int | None:
    """Return the position of a LEFT that should have come, if there is one among those that were missed."""
    for at in missed:
        if ends.get(at) and server not in {each for each, _ in ends[at]}:
            return at
    end = missed.start
    while end < len(sequence) and sequence[end].startswith("LEFT "):
        end += 1
    together = {each for at in range(missed.start, end) for each in ends.get(at, ())}
    if end < len(sequence) and (server, "BYE shutdown") not in together:  # no server ended here
        return missed.start
    return None


# One connection within the sequence


class _MisfitError(Exception):
    """A membership cannot start at the position tried, because of a later line.

    Args:
        position: of that line.
        reason: what is wrong with it.
    """

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(reason)
        self.position = position


class _Matcher:
    """Match one connection against the sequence.

    Args:
        conversation: the connection.
        sequence: all broadcasts of the room.
        positions: of each line in the sequence.
        presence: whether JOINED and LEFT are broadcast.

    Attributes:
        ends: of its memberships: the position of their LEFT, and what was said last.
        missed: positions of the LEFT of those who seem to have left together with it.
    """

    def __init__(
        self,
        transcript: _Transcript,
        sequence: Sequence[str],
        positions: Mapping[str, list[int]],
        *,
        presence: bool,
    ) -> None:
        self.transcript = transcript
        self.ends: dict[int, str] = {}
        self.missed: list[range] = []
        self._sequence = sequence
        self._positions = positions
        self._presence = presence

    def check(self) -> None:
        """Check each membership at the first position that fits."""
        at = 0
        for membership in self.transcript.memberships:
            at = self._fit(membership, at)

    def _fit(self, membership: _Membership, earliest: int) -> int:
        """Try every possible start of a membership; return the position where it ended."""
        misfits: list[tuple[int, str]] = []
        for start in self._starts(membership, earliest):
            try:
                return self._follow(membership, start)
            except _MisfitError as misfit:
                misfits.append((misfit.position - start, str(misfit)))
        if not misfits:
            self.transcript.fail(f"it joined, but there is no 'JOINED {membership.name}'")
        return self.transcript.fail(max(misfits)[1])

    def _starts(self, membership: _Membership, earliest: int) -> list[int]:
        if self._presence:
            return [at + 1 for at in self._find(f"JOINED {membership.name}", earliest)]
        first = next((window for window in membership.windows if window.sent or window.received), _Window())
        if first.received[:1] and first.received[0].startswith("GAP "):
            return list(range(earliest, len(self._sequence) + 1))
        lines = (*first.sent[:1], *first.received[:1])
        return sorted({earliest, *(at for line in lines for at in self._find(line, earliest))})

    def _find(self, line: str, earliest: int) -> list[int]:
        return [at for at in self._positions.get(line, ()) if at >= earliest]

    def _follow(self, membership: _Membership, start: int) -> int:
        at = start
        for window in membership.windows[:-1]:
            at = self._match_received(window, at)
            self._expect_sent(window, at)
        at = self._match_received(membership.windows[-1], at)
        if membership.ending in {"OK LEAVE", "BYE quit"}:
            self._expect_sent(membership.windows[-1], at)
        return self._end(membership, at) if self._presence else at

    def _match_received(self, window: _Window, at: int) -> int:
        """Match the received lines, skipping own messages; return the position after them."""
        own = {at for line in window.sent for at in self._positions.get(line, ())}
        for line in window.received:
            while at in own:
                at += 1
            if at < len(self._sequence) and self._sequence[at] == line:
                at += 1
            elif line.startswith("GAP "):
                at = self._skip_gap(int(line.removeprefix("GAP ")), at, own)
            elif line in window.sent:
                raise _MisfitError(at, f"{line!r} came back to its sender")
            else:
                raise _MisfitError(at, f"{line!r} came where {self._line(at)!r} was due")
        while at in own:
            at += 1
        return at

    def _skip_gap(self, lines: int, at: int, own: set[int]) -> int:
        for _ in range(lines):
            while at in own:
                at += 1
            at += 1
        if at > len(self._sequence):
            raise _MisfitError(len(self._sequence), f"'GAP {lines}', but there were fewer lines")
        return at

    def _expect_sent(self, window: _Window, at: int) -> None:
        """Check that every message sent before a response precedes the response in the sequence."""
        for line in window.sent:
            if line not in self._positions:
                raise _MisfitError(at, f"{line!r} was taken, but nobody heard it")
            if self._positions[line][0] >= at:
                raise _MisfitError(at, f"the answer behind {line!r} came where {self._line(at)!r} was due")

    def _end(self, membership: _Membership, at: int) -> int:
        left = f"LEFT {membership.name}"
        if membership.ending == "BYE shutdown" and at == len(self._sequence):
            return at
        due = at
        if membership.ending in {"BYE shutdown", "BYE quit"} and self.transcript.server:
            while (self._line(at) or "").startswith("LEFT ") and self._line(at) != left:
                at += 1
        if membership.ending and self._line(at) != left:
            raise _MisfitError(due, f"{membership.ending!r} came where {self._line(due)!r} was due")
        if not (found := self._find(left, at)):
            raise _MisfitError(at, f"it vanished, but there is no {left!r}")
        self.ends[found[0]] = membership.ending
        if at > due:
            self.missed.append(range(due, at))
        return found[0] + 1

    def _line(self, at: int) -> str | None:
        return self._sequence[at] if at < len(self._sequence) else None
