"""Codecs: how a connection's bytes become lines, and how lines become its bytes.

A `Codec` belongs to one connection. Its `Rendering` is shared by all connections of a kind, so that a batch
is rendered once for all of them. `PlainCodec` is the codec of the plain protocol: telnet is taken out of what
comes in, other protocols are detected, and lines go out with LF, or with CRLF to a client that sends CRLF.
"""

from abc import ABC, abstractmethod
from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol

from simple_chat.core.backlog import Batch
from simple_chat.core.codes import Code
from simple_chat.core.detect import BYTE_ORDER_MARK, HTTP_RESPONSE, PeerProtocol, detect_protocol
from simple_chat.core.framing import MAX_LINE, LineBuffer
from simple_chat.core.telnet import IAC, Telnet
from simple_chat.errors import CommandError


class Rendering(ABC):
    """How lines of the room become the bytes of one kind of client. Stateless; one instance a kind.

    A subclass has to define `render_line`, and `pack` if each write needs a frame of its own.
    """

    @abstractmethod
    def render_line(self, line: bytes, time: float) -> bytes:
        """Return the bytes of one line.

        Args:
            line: with its LF.
            time: of the line, in seconds since the epoch.
        """

    def pack(self, data: bytes) -> bytes:
        """Return what is written for lines that are rendered already."""
        return data

    def render(self, lines: bytes, time: float) -> bytes:
        """Return what is written for whole lines of one time."""
        return self.pack(b"".join([self.render_line(line + b"\n", time) for line in lines.split(b"\n")[:-1]]))

    def render_batch(self, batch: Batch) -> "RenderedBatch":
        """Return a batch as clients of this kind get it."""
        lines = [self.render_line(line, time) for _, time, line in batch.iter_lines(batch.first, batch.end)]
        return RenderedBatch(
            self, batch.first, b"".join(lines), array("Q", accumulate(map(len, lines), initial=0))
        )


class RenderedBatch:
    """A batch as clients of one kind get it.

    Args:
        rendering: of that kind.
        first: number of the first line.
        lines: all lines, rendered and joined.
        edges: offsets at which they begin, and the length of `lines`.

    Attributes:
        data: what is written for the whole batch.
    """

    __slots__ = ("_edges", "_first", "_lines", "_rendering", "data")

    def __init__(self, rendering: Rendering, first: int, lines: bytes, edges: "array[int]") -> None:
        self._first = first
        self.data = rendering.pack(lines)
        self._rendering = rendering
        self._lines = lines
        self._edges = edges

    def excluding(self, numbers: Sequence[int]) -> bytes:
        """Return what is written for the batch without some lines: nothing if none is left.

        Args:
            numbers: of the lines to leave out, rising.
        """
        if not numbers:
            return self.data
        lines, edges = self._lines, self._edges
        pieces: list[bytes] = []
        start = 0
        for number in numbers:
            index = number - self._first
            pieces.append(lines[start : edges[index]])
            start = edges[index + 1]
        pieces.append(lines[start:])
        rest = b"".join(pieces)
        return self._rendering.pack(rest) if rest else b""


class _LfRendering(Rendering):
    """Lines as they are."""

    def render_line(self, line: bytes, time: float) -> bytes:  # noqa: ARG002
        return line

    def render(self, lines: bytes, time: float) -> bytes:  # noqa: ARG002
        return lines

    def render_batch(self, batch: Batch) -> RenderedBatch:
        return RenderedBatch(self, batch.first, batch.data, batch.edges)


class _CrlfRendering(Rendering):
    """Each LF with a CR before it."""

    def render_line(self, line: bytes, time: float) -> bytes:
        return self.render(line, time)

    def render(self, lines: bytes, time: float) -> bytes:  # noqa: ARG002
        return lines.replace(b"\n", b"\r\n")

    def render_batch(self, batch: Batch) -> RenderedBatch:
        edges = array("Q", (edge + index for index, edge in enumerate(batch.edges)))
        return RenderedBatch(self, batch.first, batch.data.replace(b"\n", b"\r\n"), edges)


LF: Rendering = _LfRendering()
"""The rendering of clients whose lines end in LF."""

CRLF: Rendering = _CrlfRendering()
"""The rendering of clients that have sent a CRLF."""


class Codec(Protocol):
    """How one connection's bytes become lines, and lines become its bytes."""

    @property
    def has_replies(self) -> bool:
        """Whether `take_replies` may have something while lines are executed."""

    @property
    def rendering(self) -> Rendering:
        """How lines of the room are written from now on; may change after `next_line`."""

    @property
    def held(self) -> int:
        """Bytes that wait to be read as lines."""

    @property
    def empty(self) -> bool:
        """Whether `next_line` has nothing to return until more is fed, not even the end."""

    @property
    def at_end(self) -> bool:
        """Whether every line was read and none can follow."""

    def feed(self, data: bytes) -> None:
        """Add what the client sent.

        Raises:
            CommandError: not-chat.
        """

    def feed_eof(self) -> None:
        """Note that the client sends nothing more."""

    def next_line(self) -> str | None:
        """Return the next line without its line end, or None if it is still to come.

        Raises:
            CommandError: the line is refused; the next call goes on after it.
        """

    def take_replies(self) -> bytes:
        """Return bytes that the codec itself owes the client, and forget them."""

    def encode(self, lines: bytes) -> bytes:
        """Return what is written for whole lines that are for this client alone, each with its LF."""


class PlainCodec(LineBuffer):
    """The codec of the plain protocol.

    Args:
        max_line: bytes a line may have before its line end.
    """

    __slots__ = ("_telnet",)

    def __init__(self, max_line: int = MAX_LINE) -> None:
        super().__init__(max_line)
        self._telnet: Telnet | None = None  # until the client negotiates, which few do

    @property
    def rendering(self) -> Rendering:
        """LF, or CRLF once a line of the client has ended so."""
        return CRLF if self.crlf else LF

    def feed(self, data: bytes) -> None:
        """Add what the client sent.

        Raises:
            CommandError: not-chat, if the client talks TLS.
        """
        if self._telnet is not None or IAC in data:
            data = self._without_negotiation(data)
        LineBuffer.feed(self, data)
        if self.peer is None:
            self._detect_protocol()

    def _without_negotiation(self, data: bytes) -> bytes:
        if self._telnet is None:
            self._telnet = Telnet()
        return self._telnet.feed(data)

    def _detect_protocol(self) -> None:
        """Look at the first bytes that are no empty line, as long as the first line is not complete."""
        protocol = detect_protocol(self._data)
        if protocol is PeerProtocol.TLS:
            raise CommandError(Code.NOT_CHAT)
        if protocol is PeerProtocol.CHAT:
            self._data = self._data.removeprefix(BYTE_ORDER_MARK)

    @property
    def has_replies(self) -> bool:
        """Whether the client negotiates telnet options."""
        return self._telnet is not None

    def take_replies(self) -> bytes:
        """Return refusals of telnet options, each once, or the head of a response to HTTP."""
        if self.peer is PeerProtocol.HTTP:
            return HTTP_RESPONSE
        return b"" if self._telnet is None else self._telnet.take_refusals()

    def encode(self, lines: bytes) -> bytes:
        """Return what is written for whole lines, each with its LF."""
        return self.rendering.render(lines, 0.0)
