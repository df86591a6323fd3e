"""The exact check of every delivery: a client must receive what the observer received, less its own lines.

The observer sends nothing, so it receives every line: its bytes are the reference. Their texts must be those
that were sent, once and in each sender's order. What a client receives is compared with them byte for byte,
many lines at a time, which is fast.

Pure.
"""

from array import array
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence

from simple_chat.bench import message
from simple_chat.bench.latency import LatencyRecorder

_EXCERPT = 80  # bytes of a line in a fault message


class Reference:
    """What the observer received. Positions are bytes since the start.

    Args:
        senders: number of clients that send; they are numbered from 0.

    Attributes:
        faults: what is wrong with what the observer received.
        end: position behind the last complete line.
        own_ranges: where each sender's lines begin and end, unless its own stream is past them.
    """

    def __init__(self, senders: int) -> None:
        self.faults: list[str] = []
        self.end = 0
        self.own_ranges: list[deque[tuple[int, int]]] = [deque() for _ in range(senders)]
        self._in_flight: list[deque[bytes]] = [deque() for _ in range(senders)]
        self._data = bytearray()  # complete lines, from position _base on
        self._base = 0
        self._incomplete = b""  # of the line behind them
        self._message_ends = array("Q")  # positions
        self._send_times = array("Q")  # of the same messages
        self._discarded = 0  # messages before them
        self._blocked: list[ClientStream] = []

    # Input

    def expect(self, sender: int, text: bytes) -> None:
        """Expect a text that is being sent."""
        self._in_flight[sender].append(text)

    def feed(self, data: bytes) -> None:
        """Process bytes that the observer received, and resume the streams that were ahead of it."""
        data = self._incomplete + data
        complete = data.rfind(b"\n") + 1
        lines, self._incomplete = data[:complete], data[complete:]
        self._data += lines
        for line in lines.split(b"\n")[:-1]:
            start, self.end = self.end, self.end + len(line) + 1
            if parsed := message.parse(line):
                self._record(parsed, start)
        blocked, self._blocked = self._blocked, []
        for stream in blocked:
            stream.resume()

    def resume_on_growth(self, stream: "ClientStream") -> None:
        """Resume a stream when the observer has received more."""
        self._blocked.append(stream)

    def finish(self) -> None:
        """Check what is only wrong if nothing more arrives."""
        if self._incomplete:
            self.faults.append(f"observer: incomplete last line: {self._incomplete[:_EXCERPT]!r}")

    def _record(self, parsed: message.ParsedMessage, start: int) -> None:
        if parsed.sender >= len(self.own_ranges):
            self.faults.append(f"observer: unknown sender: {parsed.text[:_EXCERPT]!r}")
            return
        self.own_ranges[parsed.sender].append((start, self.end))
        if self._match_in_flight(parsed):
            self._message_ends.append(self.end)
            self._send_times.append(parsed.sent_at)

    def _match_in_flight(self, parsed: message.ParsedMessage) -> bool:
        """Return whether a message is in flight, and record a fault unless it is its sender's next."""
        texts = self._in_flight[parsed.sender]
        if texts and texts[0] == parsed.text:
            texts.popleft()
            return True
        skipped = texts.index(parsed.text) if parsed.text in texts else None
        what = (
            "is a duplicate, or was never sent" if skipped is None else f"came before {skipped} earlier ones"
        )
        self.faults.append(f"observer: {parsed.text[:_EXCERPT]!r} {what}")
        for _ in range(0 if skipped is None else skipped + 1):
            texts.popleft()
        return skipped is not None

    # Queries of the streams

    def matches(self, data: bytes, position: int) -> bool:
        """Return whether these bytes are at that position."""
        return self._data.startswith(data, position - self._base)  # memcmp, without a copy

    def messages_before(self, position: int) -> int:
        """Return the number of messages that end at or before a position."""
        return self._discarded + bisect_right(self._message_ends, position)

    def send_times(self, begin: int, end: int) -> Sequence[int]:
        """Return when the messages between two positions were sent, in nanoseconds."""
        first, stop = self.messages_before(begin), self.messages_before(end)
        return self._send_times[first - self._discarded : stop - self._discarded]

    def line_at(self, position: int) -> tuple[int, bytes]:
        """Return the start of the line that contains a position, and that line."""
        at = position - self._base
        start = self._data.rfind(b"\n", 0, at) + 1
        return start + self._base, bytes(self._data[start : self._data.find(b"\n", at) + 1])

    # Queries of the load

    @property
    def complete(self) -> bool:
        """Whether no message is in flight."""
        return not any(self._in_flight)

    def discard_before(self, position: int) -> None:
        """Free the memory of what every stream is past."""
        count = self.messages_before(position) - self._discarded
        del self._message_ends[:count], self._send_times[:count], self._data[: position - self._base]
        self._discarded += count
        self._base = position


class ClientStream:
    """What one client received, compared with the reference.

    Args:
        reference: what the observer received.
        sender: the client's number if it sends.
        latencies: records this client's, if it is in the sample.

    Attributes:
        position: position in the reference up to which it is correct, own lines included.
        fault: the first thing that is wrong; nothing is checked behind it.
    """

    __slots__ = ("_ahead", "_latencies", "_own", "_own_skipped", "_reference", "fault", "position")

    def __init__(self, reference: Reference, sender: int | None, latencies: LatencyRecorder | None) -> None:
        self.position = 0
        self.fault: str | None = None
        self._reference = reference
        self._own = deque[tuple[int, int]]() if sender is None else reference.own_ranges[sender]
        self._own_skipped = 0
        self._latencies = latencies
        self._ahead = deque[tuple[bytes, int]]()  # arrived before the observer received it

    def feed(self, data: bytes, now: int) -> None:
        """Check received bytes.

        Args:
            data: the bytes.
            now: time in nanoseconds.
        """
        if self._ahead:
            self._ahead.append((data, now))
        elif not self.fault and (rest := self._match(data, now)):
            self._hold(rest, now)

    def resume(self) -> None:
        """Check held bytes: the reference has grown."""
        while self._ahead:
            data, now = self._ahead.popleft()
            if rest := self._match(data, now):
                self._hold(rest, now)
                return

    def finish(self) -> None:
        """Check what is only wrong if nothing more arrives."""
        if self._ahead:
            self.fail(f"received what the observer did not: {self._ahead[0][0][:_EXCERPT]!r}")

    def fail(self, fault: str) -> None:
        """Record a fault, if it is the first."""
        self.fault = self.fault or fault
        self._ahead.clear()

    @property
    def at_end(self) -> bool:
        """Whether it has received all of the reference."""
        self._skip_own()
        return self.position == self._reference.end

    def messages(self) -> int:
        """Return the number of messages of others that it received."""
        return self._reference.messages_before(self.position) - self._own_skipped

    def _hold(self, rest: bytes, now: int) -> None:
        self._ahead.appendleft((rest, now))
        self._reference.resume_on_growth(self)

    def _match(self, data: bytes, now: int) -> bytes:
        """Compare with the reference, and return what is beyond its end."""
        while data:
            self._skip_own()
            stop = self._own[0][0] if self._own else self._reference.end
            piece = data[: stop - self.position]
            if not piece:
                break
            if not self._reference.matches(piece, self.position):
                self._fail_at_mismatch(piece)
                return b""
            self._advance(self.position + len(piece), now)
            data = data[len(piece) :]
        return data

    def _advance(self, position: int, now: int) -> None:
        if self._latencies:
            self._latencies.record_batch(self._reference.send_times(self.position, position), now)
        self.position = position

    def _skip_own(self) -> None:
        while self._own and self._own[0][0] == self.position:
            _, end = self._own.popleft()
            before, after = map(self._reference.messages_before, (self.position, end))
            self._own_skipped += after - before
            self.position = end

    def _fail_at_mismatch(self, piece: bytes) -> None:
        matching = next(
            size
            for size in range(len(piece))
            if not self._reference.matches(piece[: size + 1], self.position)
        )
        start, expected = self._reference.line_at(self.position + matching)
        begin = max(start - self.position, 0)
        received = piece[begin : begin + _EXCERPT]
        self.fail(f"received {received!r} where the observer received {expected[:_EXCERPT]!r}")
