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
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from tests.harness.transcript import Membership, Recording, Transcript, Violation, Window

_DECIDED_BY_END = ("BYE ", "OK LEAVE")
"""How the end of a membership begins that may come together with all others of its server: a QUIT, a LEAVE or
a kick that comes while the server's end is on its way to the log is decided by that end."""


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
    observed = Transcript(observer)
    if len(observed.memberships) != 1 or any(observed.sent_messages()):
        observed.fail("an observer joins once, and says nothing")
    sequence = [line for window in observed.memberships[0].windows for line in window.received]
    if any(line.startswith("GAP ") for line in sequence):
        observed.fail("an observer keeps up, but there is a GAP")
    positions = defaultdict(list)
    for position, line in enumerate(sequence):
        positions[line].append(position)
    transcripts = [Transcript(other) for other in others]
    _check_messages(positions, transcripts)
    if presence:
        _check_names(sequence, positions, transcripts)
    matchers = [_Matcher(each, sequence, positions, presence=presence) for each in transcripts]
    for matcher in matchers:
        matcher.check()
    _check_ends_of_servers(sequence, matchers)
    return sequence


# The sequence


def _check_messages(positions: Mapping[str, list[int]], transcripts: Sequence[Transcript]) -> None:
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
    sequence: Sequence[str], positions: Mapping[str, list[int]], transcripts: Sequence[Transcript]
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
        for either in matcher.missed:
            wrong = [_missed_wrongly(matcher.transcript.server, missed, sequence, ends) for missed in either]
            if wrong[0] is not None and None not in wrong:
                matcher.transcript.fail(f"{sequence[wrong[0]]!r} did not come")


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
        missed: positions of the LEFT of those who seem to have left together with it; of each of its
            memberships, for every start that fits.
    """

    def __init__(
        self,
        transcript: Transcript,
        sequence: Sequence[str],
        positions: Mapping[str, list[int]],
        *,
        presence: bool,
    ) -> None:
        self.transcript = transcript
        self.ends: dict[int, str] = {}
        self.missed: list[list[range]] = []
        self._sequence = sequence
        self._positions = positions
        self._presence = presence

    def check(self) -> None:
        """Check each membership at the first position that fits."""
        at = 0
        for membership in self.transcript.memberships:
            at = self._fit(membership, at)

    def _fit(self, membership: Membership, earliest: int) -> int:
        """Try every possible start of a membership; return the position where it ended."""
        misfits: list[tuple[int, str]] = []
        fits: list[tuple[int, range]] = []
        for start in self._starts(membership, earliest):
            try:
                fits.append(self._follow(membership, start))
            except _MisfitError as misfit:
                misfits.append((misfit.position - start, str(misfit)))
                continue
            if not fits[-1][1]:
                return fits[-1][0]
        if fits:
            self.missed.append([missed for _, missed in fits])
            return fits[0][0]
        if not misfits:
            self.transcript.fail(f"it joined, but there is no 'JOINED {membership.name}'")
        return self.transcript.fail(max(misfits)[1])

    def _starts(self, membership: Membership, earliest: int) -> list[int]:
        if self._presence:
            return [at + 1 for at in self._find(f"JOINED {membership.name}", earliest)]
        first = next((window for window in membership.windows if window.sent or window.received), Window())
        if first.received[:1] and first.received[0].startswith("GAP "):
            return list(range(earliest, len(self._sequence) + 1))
        lines = (*first.sent[:1], *first.received[:1])
        return sorted({earliest, *(at for line in lines for at in self._find(line, earliest))})

    def _find(self, line: str, earliest: int) -> list[int]:
        return [at for at in self._positions.get(line, ()) if at >= earliest]

    def _follow(self, membership: Membership, start: int) -> tuple[int, range]:
        """Return the position where a membership ended, and those of what it missed."""
        at = start
        for window in membership.windows[:-1]:
            at = self._match_received(window, at)
            self._expect_sent(window, at)
        at = self._match_received(membership.windows[-1], at)
        if membership.ending in {"OK LEAVE", "BYE quit"}:
            self._expect_sent(membership.windows[-1], at)
        return self._end(membership, at) if self._presence else (at, range(at, at))

    def _match_received(self, window: Window, at: int) -> int:
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

    def _expect_sent(self, window: Window, at: int) -> None:
        """Check that every message sent before a response precedes the response in the sequence."""
        for line in window.sent:
            if line not in self._positions:
                raise _MisfitError(at, f"{line!r} was taken, but nobody heard it")
            if self._positions[line][0] >= at:
                raise _MisfitError(at, f"the answer behind {line!r} came where {self._line(at)!r} was due")

    def _end(self, membership: Membership, at: int) -> tuple[int, range]:
        left = f"LEFT {membership.name}"
        if membership.ending == "BYE shutdown" and at == len(self._sequence):
            return at, range(at, at)
        due = at
        if (
            membership.ending.startswith(_DECIDED_BY_END) and self.transcript.server
        ):  # which may end meanwhile
            while (self._line(at) or "").startswith("LEFT ") and self._line(at) != left:
                at += 1
        if membership.ending and self._line(at) != left:
            raise _MisfitError(due, f"{membership.ending!r} came where {self._line(due)!r} was due")
        if not (found := self._find(left, at)):
            raise _MisfitError(at, f"it vanished, but there is no {left!r}")
        self.ends[found[0]] = membership.ending
        return found[0] + 1, range(due, at)

    def _line(self, at: int) -> str | None:
        return self._sequence[at] if at < len(self._sequence) else None
