"""Connections that open and end in every way, more than a thousand per second.

Plain sockets, which cost less than the server under test. Each way is a generator; a batch of them advances
in step, so that their waits for the server overlap.
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
_GARBAGE = (
    b"GET / HTTP/1.1\r\nHost: chat.example\r\nAccept: */*\r\n\r\n",
    b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + bytes(range(128)),
    b"\xff\xfd\x03\xff\xfb\x18\xff\xfa\x1f\x00\x50\x00\x18",
    b"x" * 10_000 + b"\nMSG \xc3\n",
    b"NICK ann\n" * 16,
)


class _Client:
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

    def read_until(self, expected: bytes) -> None:
        while expected not in self.received:
            self._read()

    def read_to_end(self) -> None:
        with suppress(EOFError):
            while True:
                self._read()

    def _read(self) -> None:
        data = self._sock.recv(65_536)
        if not data:
            raise EOFError(f"the connection ended after {self.received[-80:]!r}")
        self.received += data

    def close(self) -> None:
        self._sock.close()

    def reset(self) -> None:
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()


class Observer:
    """A member that checks every JOINED and LEFT.

    Attributes:
        joined: number of JOINEDs.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        self.joined = 0
        self._present: set[str] = set()
        self._sock = socket.create_connection(address, DEADLINE)
        self._sock.sendall(f"JOIN {OBSERVER}\n".encode())
        self._incomplete = b""

    def read(self) -> None:
        """Read what has arrived, without waiting."""
        self._sock.setblocking(False)  # noqa: FBT003 - the signature is the socket's
        with suppress(BlockingIOError):
            while True:
                self._process(self._sock.recv(1 << 20))
        self._sock.settimeout(DEADLINE)

    def wait_until_alone(self) -> None:
        """Wait until nobody else is in the room, by JOINED and LEFT and by WHO."""
        deadline = monotonic() + DEADLINE
        answer = ""
        while answer != "OK WHO 1" or self._present:
            assert monotonic() < deadline, f"{answer}; still present: {sorted(self._present)[:9]}"
            self._sock.sendall(b"WHO\n")
            answer = self._read_answer()

    def _read_answer(self) -> str:
        """Read up to the end of an answer to WHO."""
        while True:
            for line in self._process(self._sock.recv(1 << 20)):
                if line.startswith("OK WHO "):
                    return line

    def close(self) -> None:
        self._sock.close()

    def _process(self, data: bytes) -> list[str]:
        assert data, "the observer's connection ended"
        *lines, self._incomplete = (self._incomplete + data).split(b"\n")
        events = [line.decode() for line in lines]
        for line in events:
            verb, _, name = line.partition(" ")
            assert verb not in {"GAP", "BYE", "ERR"}, line
            if verb == "JOINED":
                assert name not in self._present, f"{line} came twice"
                self._present.add(name)
                self.joined += 1
            elif verb == "LEFT":
                self._present.remove(name)
        return events


class Churn:
    """Opens and ends connections.

    Args:
        address: of the server; the name `OBSERVER` must be taken there.
        sources: local addresses to connect from: each has 28,000 ports, which are in TIME_WAIT for a minute.
        drop: makes the server close a member's connection; only where the server is in this process.
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
        self._clients: list[_Client] = []  # of the current batch
        self._drop = drop or (lambda _name: None)
        ways = [self._quit, self._half_close, self._close, self._close_unread, self._leave_and_close]
        ways += [
            self._reset,
            self._reset_within_line,
            self._reset_at_once,
            self._get_refused,
            self._send_errors,
        ]
        ways += [self._send_garbage] * len(_GARBAGE)
        if drop is not None:
            ways.append(self._get_dropped)
        self._ways = cycle(ways)
        self._garbage = cycle(_GARBAGE)

    def run(self, cycles: int, observer: Observer) -> None:
        """Open and end connections, each in the next way, and wait until all have left."""
        each = (way() for way in islice(self._ways, cycles))
        while batch := list(islice(each, _BATCH)):
            try:
                _advance_in_step(batch)
            finally:  # if one failed, the others are still open
                while self._clients:
                    self._clients.pop().close()
            observer.read()
        observer.wait_until_alone()

    def _connect(self) -> _Client:
        client = _Client(self._address, next(self._sources))
        self._clients.append(client)
        return client

    def _name(self) -> str:
        return f"name{next(self._numbers)}"

    def _quit(self) -> Steps:
        client = self._connect()
        client.send(f"JOIN {self._name()}", "MSG hello", "QUIT")
        yield
        client.read_to_end()
        assert client.received.endswith(b"\nBYE quit\n"), client.received
        client.close()

    def _half_close(self) -> Steps:
        client = self._connect()
        client.send(f"JOIN {self._name()}", "MSG hello")
        client.half_close()
        yield
        client.read_to_end()
        assert client.received.endswith(b"\nBYE quit\n"), client.received
        client.close()

    def _close(self) -> Steps:
        client = self._join()
        yield
        client.read_until(b"\nPONG in\n")
        client.close()

    def _close_unread(self) -> Steps:
        """Linux resets a connection that is closed with unread data."""
        client = self._join()
        yield
        client.close()

    def _leave_and_close(self) -> Steps:
        client = self._connect()
        client.send(f"JOIN {self._name()}", "LEAVE", f"JOIN {self._name()}", "HISTORY 2", "LEAVE", "PING out")
        yield
        client.read_until(b"\nPONG out\n")
        client.close()

    def _reset(self) -> Steps:
        client = self._join()
        yield
        client.read_until(b"\nPONG in\n")
        client.reset()

    def _reset_within_line(self) -> Steps:
        client = self._join()
        client.write(b"MSG that is not com")
        yield
        client.reset()

    def _reset_at_once(self) -> Steps:
        self._connect().reset()
        yield

    def _get_refused(self) -> Steps:
        client = self._connect()
        client.send(f"JOIN {OBSERVER}")
        yield
        client.read_until(b"\nERR name-taken ")
        client.close()

    def _send_errors(self) -> Steps:
        client = self._join()
        client.write(b"JOIN x\nNICK\nMSG\nMSG \xff\n" + b"x" * 5_000 + b"\nPING errors\n")
        yield
        client.read_until(b"\nPONG errors\n")
        assert client.received.count(b"\nERR ") == 5, client.received
        client.close()

    def _send_garbage(self) -> Steps:
        """Either side may close first."""
        client = self._connect()
        with suppress(ConnectionError):
            client.write(next(self._garbage))
            client.half_close()
        yield
        with suppress(ConnectionError):
            client.read_to_end()
        client.close()

    def _get_dropped(self) -> Steps:
        client, name = self._connect(), self._name()
        client.send(f"JOIN {name}", "PING in")
        yield
        client.read_until(b"\nPONG in\n")
        self._drop(name)
        yield
        with suppress(ConnectionError):
            client.read_to_end()
        client.close()

    def _join(self) -> _Client:
        client = self._connect()
        client.send(f"JOIN {self._name()}", "MSG hello", "PING in")
        return client


def _advance_in_step(batch: list[Steps]) -> None:
    while batch:
        batch = [steps for steps in batch if _advance(steps)]


def _advance(steps: Iterator[None]) -> bool:
    """Return whether there are more steps."""
    return next(steps, steps) is None
