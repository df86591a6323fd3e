"""Connections that come and end in every way, a thousand and more a second.

Plain sockets: what comes and goes this fast must cost less than the server that it is to wear out. Each way
is a generator, and a batch of them goes on in step, so that nobody waits for the server alone.
"""

import socket
import struct
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from itertools import count, cycle, islice
from time import monotonic

from tests.harness.peer import DEADLINE

Steps = Generator[None, None, None]

OBSERVER = "observer"
_BATCH = 48  # connections at a time
_RUBBISH = (
    b"GET / HTTP/1.1\r\nHost: chat.example\r\nAccept: */*\r\n\r\n",
    b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(range(128)),
    b"\xff\xfd\x03\xff\xfb\x18\xff\xfa\x1f\x00\x50\x00\x18",
    b"x" * 10_000 + b"\nMSG \xc3\n",
    b"NICK ann\n" * 16,
)


class _Guest:
    """One connection."""

    def __init__(self, address: tuple[str, int], source: str) -> None:
        self._sock = socket.create_connection(address, DEADLINE, (source, 0))
        self.received = b""

    def send(self, *lines: str) -> None:
        self.write("".join(f"{line}\n" for line in lines).encode())

    def write(self, data: bytes) -> None:
        self._sock.sendall(data)

    def half_close(self) -> None:
        self._sock.shutdown(socket.SHUT_WR)

    def read_until(self, mark: bytes) -> None:
        while mark not in self.received:
            self._read()

    def read_to_end(self) -> None:
        with suppress(EOFError):
            while True:
                self._read()

    def _read(self) -> None:
        data = self._sock.recv(65_536)
        if not data:
            raise EOFError(f"the connection ended behind {self.received[-80:]!r}")
        self.received += data

    def close(self) -> None:
        self._sock.close()

    def reset(self) -> None:
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()


class Observer:
    """A member who sees everybody come and go.

    Attributes:
        joined: how many came.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        self.joined = 0
        self._present: set[str] = set()
        self._sock = socket.create_connection(address, DEADLINE)
        self._sock.sendall(f"JOIN {OBSERVER}\n".encode())
        self._torn = b""

    def read(self) -> None:
        """Read what there is, without waiting."""
        self._sock.setblocking(False)  # noqa: FBT003 - the signature is the socket's
        with suppress(BlockingIOError):
            while True:
                self._take(self._sock.recv(1 << 20))
        self._sock.settimeout(DEADLINE)

    def settle(self) -> None:
        """Wait until nobody else is there, by what was told and by what WHO says."""
        deadline = monotonic() + DEADLINE
        count = ""
        while count != "OK WHO 1" or self._present:
            assert monotonic() < deadline, f"{count}; still there: {sorted(self._present)[:9]}"
            self._sock.sendall(b"WHO\n")
            while not (found := [line for line in self._take(self._sock.recv(1 << 20)) if "OK WHO" in line]):
                pass
            count = found[-1]

    def close(self) -> None:
        self._sock.close()

    def _take(self, data: bytes) -> list[str]:
        assert data, "the observer's connection ended"
        *lines, self._torn = (self._torn + data).split(b"\n")
        told = [line.decode() for line in lines]
        for line in told:
            verb, _, name = line.partition(" ")
            assert verb not in {"GAP", "BYE", "ERR"}, line
            if verb == "JOINED":
                assert name not in self._present, f"{line} came twice"
                self._present.add(name)
                self.joined += 1
            elif verb == "LEFT":
                self._present.remove(name)
        return told


class Churn:
    """Comes and goes.

    Args:
        address: of the server, where somebody holds the name `OBSERVER`.
        sources: addresses of this machine to come from: a port that a connection had can't be used again
            for a minute, and there are 28,000.
        drop: has the server drop a member by its name, for whoever has the server at hand.
    """

    def __init__(
        self,
        address: tuple[str, int],
        sources: tuple[str, ...] = ("127.0.0.1",),
        drop: Callable[[str], None] | None = None,
    ) -> None:
        self._address = address
        self._sources = cycle(sources)
        self._numbers = count()
        self._guests: list[_Guest] = []  # of this batch
        self._drop = drop or (lambda _name: None)
        ends = [self._quit, self._half_close, self._close, self._close_unread, self._leave_and_close]
        ends += [self._reset, self._reset_in_mid_line, self._reset_at_once, self._be_refused, self._err]
        ends += [self._send_rubbish] * len(_RUBBISH)
        if drop is not None:
            ends.append(self._be_dropped)
        self._ends = cycle(ends)
        self._rubbish = cycle(_RUBBISH)

    def run(self, cycles: int, observer: Observer) -> None:
        """Let as many come and go, each in the next way; wait until all are gone."""
        each = (end() for end in islice(self._ends, cycles))
        while batch := list(islice(each, _BATCH)):
            try:
                _go_on_in_step(batch)
            finally:  # if one failed, the others would be left in the middle
                while self._guests:
                    self._guests.pop().close()
            observer.read()
        observer.settle()

    def _guest(self) -> _Guest:
        guest = _Guest(self._address, next(self._sources))
        self._guests.append(guest)
        return guest

    def _name(self) -> str:
        return f"name{next(self._numbers)}"

    def _quit(self) -> Steps:
        guest = self._guest()
        guest.send(f"JOIN {self._name()}", "MSG hello", "QUIT")
        yield
        guest.read_to_end()
        assert guest.received.endswith(b"\nBYE quit\n"), guest.received
        guest.close()

    def _half_close(self) -> Steps:
        guest = self._guest()
        guest.send(f"JOIN {self._name()}", "MSG hello")
        guest.half_close()
        yield
        guest.read_to_end()
        assert guest.received.endswith(b"\nBYE quit\n"), guest.received
        guest.close()

    def _close(self) -> Steps:
        guest = self._joined()
        yield
        guest.read_until(b"\nPONG in\n")
        guest.close()

    def _close_unread(self) -> Steps:
        """What was not read makes it a reset, for Linux."""
        guest = self._joined()
        yield
        guest.close()

    def _leave_and_close(self) -> Steps:
        guest = self._guest()
        guest.send(f"JOIN {self._name()}", "LEAVE", f"JOIN {self._name()}", "HISTORY 2", "LEAVE", "PING out")
        yield
        guest.read_until(b"\nPONG out\n")
        guest.close()

    def _reset(self) -> Steps:
        guest = self._joined()
        yield
        guest.read_until(b"\nPONG in\n")
        guest.reset()

    def _reset_in_mid_line(self) -> Steps:
        guest = self._joined()
        guest.write(b"MSG that is not com")
        yield
        guest.reset()

    def _reset_at_once(self) -> Steps:
        self._guest().reset()
        yield

    def _be_refused(self) -> Steps:
        guest = self._guest()
        guest.send(f"JOIN {OBSERVER}")
        yield
        guest.read_until(b"\nERR name-taken ")
        guest.close()

    def _err(self) -> Steps:
        guest = self._joined()
        guest.write(b"JOIN x\nNICK\nMSG\nMSG \xff\n" + b"x" * 5_000 + b"\nPING errors\n")
        yield
        guest.read_until(b"\nPONG errors\n")
        assert guest.received.count(b"\nERR ") == 5, guest.received
        guest.close()

    def _send_rubbish(self) -> Steps:
        """Whichever side has enough of it first."""
        guest = self._guest()
        with suppress(ConnectionError):
            guest.write(next(self._rubbish))
            guest.half_close()
        yield
        with suppress(ConnectionError):
            guest.read_to_end()
        guest.close()

    def _be_dropped(self) -> Steps:
        guest, name = self._guest(), self._name()
        guest.send(f"JOIN {name}", "PING in")
        yield
        guest.read_until(b"\nPONG in\n")
        self._drop(name)
        yield
        with suppress(ConnectionError):
            guest.read_to_end()
        guest.close()

    def _joined(self) -> _Guest:
        guest = self._guest()
        guest.send(f"JOIN {self._name()}", "MSG hello", "PING in")
        return guest


def _go_on_in_step(batch: list[Steps]) -> None:
    while batch:
        batch = [steps for steps in batch if _goes_on(steps)]


def _goes_on(steps: Iterator[None]) -> bool:
    return next(steps, steps) is None
