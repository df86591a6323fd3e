"""One end of a simulated connection: an asyncio transport whose bytes come late, and in any pieces.

What it writes waits in its buffer, then on the wire and in the kernel of its peer, which together hold a
window of bytes. As on Linux, a close with unread bytes is a reset, a reset that arrives does not take away
what came before it, and an end that is not read from notices nothing.
"""

import asyncio
import errno
import math
import sys
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.simulation.machine import OUTSIDE, Machine
from tests.simulation.sockets import SimulatedSocket, Tap

if TYPE_CHECKING:
    from tests.simulation.network import Network

_WINDOW = 40 * 1024
"""Bytes that one direction holds beyond the sender's buffer."""

_TICK = 0.001
"""Seconds between two moments at which packets arrive: often several at once, as where a server was busy."""

KEEPALIVE = 90.0
"""Seconds after which an end notices that the other is gone without a word."""


class End(asyncio.Transport):
    """One end of a connection.

    Attributes:
        peer: the other end.
        machine: whose it is.
        sock: its socket.
    """

    peer: "End"

    def __init__(self, network: "Network", machine: Machine, name: str) -> None:
        super().__init__()
        self._network = network
        self._loop = network.loop
        self.machine = machine
        self.descriptor = network.new_descriptor()
        self.sock = SimulatedSocket(self)
        self._name = name
        self._random = network.random_of(name)
        self._tap = Tap()
        if machine.taps is not None:
            machine.taps.append(self._tap)
        self._protocol: asyncio.Protocol | None = None
        self._buffer = bytearray()  # not sent
        self._high, self._low = 65536, 16384
        self._writing_paused = False
        self._reading = True
        self._wire = 0  # bytes sent that the peer's protocol has not got
        self._last_arrival = 0.0
        self._kept_back: list[tuple[Callable[..., None], tuple[object, ...]]] = []  # by a cut
        self._incoming: deque[bytes] = deque()  # in this end's kernel
        self._eof_sent = self._eof_received = self._eof_delivered = False
        self._closing = False
        self._closed = False
        self._error: OSError | None = None  # a reset that has arrived

    # The transport

    def attach(self, protocol: asyncio.Protocol) -> None:
        """Give the end its protocol."""
        self._protocol = protocol
        self._tap.server = self.peer.machine.name
        protocol.connection_made(self)
        self._deliver()

    def get_extra_info(self, name: str, default: object = None) -> Any:  # noqa: ANN401
        """Return what is known of the connection."""
        return {"socket": self.sock, "peername": ("127.0.0.1", int(self._name[:-1]))}.get(name, default)

    def is_closing(self) -> bool:
        """Return whether it is closed or closing."""
        return self._closing

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Change the protocol."""
        self._protocol = protocol  # type: ignore[assignment]

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
        return self._protocol  # type: ignore[return-value]

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set when writing is paused and resumed."""
        self._high = 65536 if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait."""
        return len(self._buffer)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes."""
        if self._closing or self._error is not None or not data:
            if self._error is not None and not self._closing:
                self._fail(self._error)
            return
        self._buffer += data
        self._tap_sent(data)
        self._send()
        if len(self._buffer) > self._high and not self._writing_paused:
            self._writing_paused = True
            self._protocol.pause_writing()  # type: ignore[union-attr]

    def _tap_sent(self, data: bytes | bytearray | memoryview) -> None:
        if self.machine.taps is not None:
            self._tap.sent += data

    def can_write_eof(self) -> bool:
        """Return that it half-closes."""
        return True

    def write_eof(self) -> None:
        """Close the sending side behind what was written."""
        if not self._eof_sent:
            self._eof_sent = True
            self._send()

    def is_reading(self) -> bool:
        """Return whether it reads."""
        return self._reading

    def pause_reading(self) -> None:
        """Leave what comes in the kernel."""
        self._reading = False

    def resume_reading(self) -> None:
        """Read again."""
        self._reading = True
        self._call(self._deliver)

    def close(self) -> None:
        """Send what waits, then close; with unread bytes that is a reset."""
        if not self._closing:
            self._closing = True
            if self._incoming:
                self._reset()
            self._eof_sent = True
            self._send()

    def abort(self) -> None:
        """Reset the connection."""
        self._closing = True
        self._reset()
        self._call(self._close, None)

    # What goes out

    def _send(self) -> None:
        """Put on the wire what the window has room for, in pieces of any size."""
        window = _WINDOW if self.peer.machine.reads_slowly else sys.maxsize
        while self._buffer and self._wire < window:
            size = min(len(self._buffer), window - self._wire)
            if self._random.random() < 0.25:
                size = self._random.randint(1, size)
            piece = bytes(self._buffer[:size])
            del self._buffer[:size]
            self._wire += size
            self._transmit(self.peer.on_data, piece)
        if self._writing_paused and len(self._buffer) <= self._low and not self._closed:
            self._writing_paused = False
            self._call(self._resume_protocol)
        if self._eof_sent and not self._buffer:
            self._transmit_eof()

    def _resume_protocol(self) -> None:
        if not self._closed and self._protocol is not None:
            self._protocol.resume_writing()

    def _transmit_eof(self) -> None:
        if not self.peer._eof_received and not self.peer._closed:
            self._transmit(self.peer.on_eof)
        if self._closing:
            self._call(self._close, None)

    def _transmit(self, arrive: Callable[..., None], *arguments: object) -> None:
        """Have something arrive at the peer, behind all that was sent before."""
        if self._network.is_cut(self.machine, self.peer.machine):
            self._kept_back.append((arrive, arguments))
            return
        low, high = self._network.latency
        arrival = self._loop.now + self._random.uniform(low, high)
        self._last_arrival = max(self._last_arrival, math.ceil(arrival / _TICK) * _TICK)
        self._loop.call_at(self._last_arrival, arrive, *arguments, context=OUTSIDE)

    def send_again(self) -> None:
        """Send what was kept back."""
        kept_back, self._kept_back = self._kept_back, []
        for arrive, arguments in kept_back:
            self._transmit(arrive, *arguments)

    def _on_read(self, size: int) -> None:
        """Note that the peer's protocol has got bytes: the window moves on."""
        self._wire -= size
        if not self._closed:
            self._send()

    # What comes in

    def on_data(self, piece: bytes) -> None:
        """Take a piece into the kernel."""
        if self._closed:
            self._reset()
            return
        self._incoming.append(piece)
        self._call(self._deliver)

    def on_eof(self) -> None:
        """Note that the peer sends nothing more."""
        self._eof_received = True
        self._call(self._deliver)

    def on_reset(self) -> None:
        """Note that the peer has reset the connection."""
        if self._error is None:
            self._error = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
        self._call(self._deliver)

    def _deliver(self) -> None:
        """Give the protocol what the kernel has, while it reads."""
        protocol = self._protocol
        if protocol is None:
            return
        while self._incoming and self._reading and not self._closing:
            protocol.data_received(self.take())
        if self._incoming or not self._reading or self._closed:
            return
        if self._error is not None:
            self._fail(self._error)
        elif self._eof_received and not self._eof_delivered and not self._closing:
            self._eof_delivered = True
            if not protocol.eof_received():
                self.close()

    def take(self) -> bytes:
        """Take a piece out of the kernel."""
        piece = self._incoming.popleft()
        if self.machine.taps is not None:
            self._tap.received += piece
        self.peer._on_read(len(piece))
        return piece

    def read(self, size: int) -> bytes:
        """Read as `os.read` does: all that has come, but for what is left of a piece that is too large.

        Raises:
            OSError: it was reset, or there is nothing.
        """
        if not self._incoming:
            raise self._error or BlockingIOError(errno.EAGAIN, "nothing")
        found = b""
        while self._incoming and len(found) + len(self._incoming[0]) <= max(size, len(self._incoming[0])):
            found += self.take()
        return found

    @property
    def failed(self) -> bool:
        """Whether the kernel knows that the peer is gone."""
        return self._error is not None

    # The end

    def _fail(self, error: OSError) -> None:
        self._closing = True
        self._buffer.clear()
        self._call(self._close, error)

    def _reset(self) -> None:
        self._buffer.clear()
        self._eof_sent = True
        self._transmit(self.peer.on_reset)

    def _close(self, error: OSError | None) -> None:
        if self._closed:
            return
        self._closed = True
        if self._protocol is not None:
            self._protocol.connection_lost(error)
        self._incoming.clear()
        self._network.forget(self)

    def vanish(self, *, power: bool) -> None:
        """Be gone with the machine."""
        self._closed = self._closing = True
        self._network.forget(self)
        if not power:
            self._transmit(self.peer.on_reset)
        else:
            self._loop.call_later(KEEPALIVE, self.peer.on_silence, context=OUTSIDE)

    def on_silence_behind_cut(self) -> None:
        """Note that, if it still hears nothing."""
        if self._network.is_cut(self.machine, self.peer.machine):
            self.on_silence()

    def on_silence(self) -> None:
        """Note that the peer has been silent for too long."""
        if self._error is None and not self._closed:
            self._error = TimeoutError(errno.ETIMEDOUT, "Connection timed out")
            self._call(self._deliver)

    def _call(self, callback: Callable[..., None], *arguments: object) -> None:
        """Call something on the machine of this end, soon."""
        self._loop.call_soon(callback, *arguments, context=self.machine.context)
