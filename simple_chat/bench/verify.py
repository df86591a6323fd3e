"""The exact check of every delivery: a client must get what the observer got, less its own lines.

The observer never says anything, so it gets every line: that is the reference. In it the texts must be those
that were sent, each sender's in their order and once. What a client gets is compared byte for byte, many
lines at a time, which is fast.

Pure.
"""

from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence

from simple_chat.bench import message
from simple_chat.bench.latency import Latencies

_SHOWN = 80  # bytes of a line that a fault shows


class Reference:
    """What the observer got since the start.

    Positions in it are numbers of bytes since the start.

    Args:
        senders: how many clients say something; their numbers begin with 0.

    Attributes:
        faults: what is wrong with what the observer got.
        end: position behind the last whole line.
        own: where each sender's lines begin and end, as far as its stream has not passed them.
    """

    def __init__(self, senders: int) -> None:
        self.faults: list[str] = []
        self.end = 0
        self.own: list[deque[tuple[int, int]]] = [deque() for _ in range(senders)]
        self._texts: list[deque[bytes]] = [deque() for _ in range(senders)]  # on their way
        self._bytes = bytearray()  # whole lines, from position _base on
        self._base = 0
        self._torn = b""  # what came of the line behind them
        self._ends = array("Q")  # of the lines that messages arrived in
        self._sent = array("Q")  # the times of the same messages
        self._forgotten = 0  # messages before them
        self._waiting: list[Stream] = []

    # What is sent, and what arrives

    def expect(self, sender: int, text: bytes) -> None:
        """Take note of a text that is being sent."""
        self._texts[sender].append(text)

    def grow(self, data: bytes) -> None:
        """Take what the observer got; streams that waited for it go on."""
        data = self._torn + data
        whole = data.rfind(b"\n") + 1
        lines, self._torn = data[:whole], data[whole:]
        self._bytes += lines
        for line in lines.split(b"\n")[:-1]:
            start, self.end = self.end, self.end + len(line) + 1
            if found := message.find(line):
                self._note(found, start)
        waiting, self._waiting = self._waiting, []
        for stream in waiting:
            stream.advance()

    def wait(self, stream: "Stream") -> None:
        """Let a stream advance when there is more of the reference."""
        self._waiting.append(stream)

    def finish(self) -> None:
        """Note what can be wrong only if nothing more comes."""
        if self._torn:
            self.faults.append(f"observer: the last line has no end: {self._torn[:_SHOWN]!r}")

    def _note(self, found: message.Found, start: int) -> None:
        if found.sender >= len(self.own):
            self.faults.append(f"observer: nobody said {found.text[:_SHOWN]!r}")
            return
        self.own[found.sender].append((start, self.end))
        if self._is_next(found):
            self._ends.append(self.end)
            self._sent.append(found.sent)

    def _is_next(self, found: message.Found) -> bool:
        """Whether it is the next that its sender said, or at least one that was still to come."""
        texts = self._texts[found.sender]
        if texts and texts[0] == found.text:
            texts.popleft()
            return True
        lost = texts.index(found.text) if found.text in texts else None
        what = (
            "comes twice or was never said" if lost is None else f"comes, but {lost} said before it did not"
        )
        self.faults.append(f"observer: {found.text[:_SHOWN]!r} {what}")
        for _ in range(0 if lost is None else lost + 1):
            texts.popleft()
        return lost is not None

    # What streams ask

    def has(self, data: bytes, position: int) -> bool:
        """Whether these bytes are at that position."""
        return self._bytes.startswith(data, position - self._base)  # memcmp, and no copy

    def messages(self, position: int) -> int:
        """How many messages came up to a position."""
        return self._forgotten + bisect_right(self._ends, position)

    def sent(self, begin: int, end: int) -> Sequence[int]:
        """When the messages were sent that came between two positions, in nanoseconds."""
        return self._sent[self.messages(begin) - self._forgotten : self.messages(end) - self._forgotten]

    def line(self, position: int) -> tuple[int, bytes]:
        """Return where the line begins that a position is in, and that line."""
        at = position - self._base
        start = self._bytes.rfind(b"\n", 0, at) + 1
        return start + self._base, bytes(self._bytes[start : self._bytes.find(b"\n", at) + 1])

    # What the load asks

    @property
    def complete(self) -> bool:
        """Whether no text is on its way any more."""
        return not any(self._texts)

    def forget(self, position: int) -> None:
        """Forget what every stream has passed."""
        gone = self.messages(position) - self._forgotten
        del self._ends[:gone], self._sent[:gone], self._bytes[: position - self._base]
        self._forgotten += gone
        self._base = position


class Stream:
    """What one client got since the start, and whether it is what it should be.

    Args:
        reference: what the observer got.
        sender: the client's number if it says something.
        latencies: takes those of this client, if it is one of the sample.

    Attributes:
        position: up to where in the reference it is right, own lines included.
        fault: the first thing that was wrong; nothing is checked after it.
    """

    __slots__ = ("_held", "_latencies", "_own", "_own_passed", "_reference", "fault", "position")

    def __init__(self, reference: Reference, sender: int | None, latencies: Latencies | None) -> None:
        self.position = 0
        self.fault: str | None = None
        self._reference = reference
        self._own = deque[tuple[int, int]]() if sender is None else reference.own[sender]
        self._own_passed = 0
        self._latencies = latencies
        self._held = deque[tuple[bytes, int]]()  # came before the observer got it

    def take(self, data: bytes, now: int) -> None:
        """Check what the client got.

        Args:
            data: the bytes.
            now: when, in nanoseconds.
        """
        if self._held:
            self._held.append((data, now))
        elif not self.fault and (rest := self._match(data, now)):
            self._hold(rest, now)

    def advance(self) -> None:
        """Go on with what was held back: the reference has grown."""
        while self._held:
            data, now = self._held.popleft()
            if rest := self._match(data, now):
                self._hold(rest, now)
                return

    def finish(self) -> None:
        """Note what can be wrong only if nothing more comes."""
        if self._held:
            self.fail(f"got what the observer did not: {self._held[0][0][:_SHOWN]!r}")

    def fail(self, fault: str) -> None:
        """Note that something is wrong, if it is the first."""
        self.fault = self.fault or fault
        self._held.clear()

    @property
    def at_end(self) -> bool:
        """Whether it has all that the reference has."""
        self._pass_own()
        return self.position == self._reference.end

    def messages(self) -> int:
        """How many messages of others it got."""
        return self._reference.messages(self.position) - self._own_passed

    def _hold(self, rest: bytes, now: int) -> None:
        self._held.appendleft((rest, now))
        self._reference.wait(self)

    def _match(self, data: bytes, now: int) -> bytes:
        """Compare with the reference, and return what is beyond its end."""
        while data:
            self._pass_own()
            stop = self._own[0][0] if self._own else self._reference.end
            piece = data[: stop - self.position]
            if not piece:
                break
            if not self._reference.has(piece, self.position):
                self._differ(piece)
                return b""
            self._go_to(self.position + len(piece), now)
            data = data[len(piece) :]
        return data

    def _go_to(self, position: int, now: int) -> None:
        if self._latencies:
            self._latencies.add(self._reference.sent(self.position, position), now)
        self.position = position

    def _pass_own(self) -> None:
        while self._own and self._own[0][0] == self.position:
            _, end = self._own.popleft()
            self._own_passed += self._reference.messages(end) - self._reference.messages(self.position)
            self.position = end

    def _differ(self, piece: bytes) -> None:
        right = next(
            size for size in range(len(piece)) if not self._reference.has(piece[: size + 1], self.position)
        )
        start, expected = self._reference.line(self.position + right)
        begin = max(start - self.position, 0)
        got = piece[begin : begin + _SHOWN]
        self.fail(f"got {got!r} where the observer got {expected[:_SHOWN]!r}")
