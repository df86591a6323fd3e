"""Thousands of abusers in one process: started by `tests.soak.abuse`, for Linux.

    python -m tests.soak.abusers HOST PORT IDLE GARBAGE MUTE DRIP PAUSE

Prints ``ready`` when all are connected, runs until its stdin ends, then prints its counts as JSON. An abuser
that the server disconnects connects again at once.
"""

import errno
import json
import os
import random
import select
import socket
import sys
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count
from time import monotonic

_CONNECTS_PER_POLL = 32
_POLL_TIMEOUT = 0.005  # seconds
_GARBAGE = random.randbytes(1 << 20)
_READ_EVENTS = select.EPOLLIN | select.EPOLLRDHUP


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of abuser.

    Attributes:
        name: in the counts.
        first: returns what it sends when it is connected.
        payload: returns what it sends each time.
        interval: seconds between payloads; 0 to send none.
        reads: whether it reads.
    """

    name: str
    first: Callable[[], bytes] = bytes
    payload: Callable[[], bytes] = bytes
    interval: float = 0.0
    reads: bool = True


class Abusers:
    """All abusers.

    Args:
        address: of the server.
        numbers: how many of each kind.
    """

    def __init__(self, address: tuple[str, int], numbers: dict[Kind, int]) -> None:
        self.counts: Counter[str] = Counter()
        self._address = address
        self._epoll = select.epoll()
        self._kinds: dict[int, Kind] = {}  # by file descriptor, as all below
        self._sockets: dict[int, socket.socket] = {}
        self._to_connect = deque(kind for kind, number in numbers.items() for _ in range(number))
        random.shuffle(self._to_connect)
        self._never_connected = len(self._to_connect)
        self._timers: list[tuple[float, int, int]] = []  # due time, timer, file descriptor
        self._active_timers: dict[int, int] = {}
        self._timer_numbers = count()

    def run(self, stdin: int) -> None:
        """Run until stdin ends."""
        self._epoll.register(stdin, select.EPOLLIN)
        while True:
            for _ in range(min(_CONNECTS_PER_POLL, len(self._to_connect))):
                self._connect(self._to_connect.popleft())
            for number, events in self._epoll.poll(_POLL_TIMEOUT):
                if number == stdin:
                    return
                if number in self._kinds:
                    self._handle(number, events)
            self._send_due(monotonic())

    def _connect(self, kind: Kind) -> None:
        sock = socket.socket()
        sock.setblocking(False)  # noqa: FBT003 - the signature is the socket's
        if not kind.reads:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        # From many addresses: each has 28,000 ports, which are in TIME_WAIT for a minute.
        sock.bind((f"127.0.1.{random.randint(1, 250)}", 0))
        if sock.connect_ex(self._address) not in {0, errno.EINPROGRESS}:
            sock.close()
            self.counts[f"{kind.name} failed to connect"] += 1
            self._to_connect.append(kind)
            return
        self._kinds[sock.fileno()], self._sockets[sock.fileno()] = kind, sock
        self._epoll.register(sock, select.EPOLLOUT)

    def _handle(self, number: int, events: int) -> None:
        kind, sock = self._kinds[number], self._sockets[number]
        try:
            if events & (select.EPOLLERR | select.EPOLLHUP):
                self._reconnect(number)
            elif events & select.EPOLLOUT:
                self._on_connected(number, kind)
            elif not sock.recv(65_536):
                self._reconnect(number)
        except BlockingIOError:
            pass
        except OSError:
            self._reconnect(number)

    def _on_connected(self, number: int, kind: Kind) -> None:
        self.counts[f"{kind.name} connected"] += 1
        self._epoll.modify(number, _READ_EVENTS if kind.reads else 0)
        if first := kind.first():
            self._sockets[number].send(first)
        if kind.interval:
            self._start_timer(number, monotonic() + random.uniform(0, kind.interval))
        self._never_connected -= 1
        if self._never_connected == 0:
            print("ready", flush=True)  # noqa: T201 - a program prints

    def _reconnect(self, number: int) -> None:
        kind = self._kinds.pop(number)
        self._active_timers.pop(number, None)
        self._epoll.unregister(number)
        self._sockets.pop(number).close()
        self.counts[f"{kind.name} disconnected"] += 1
        self._to_connect.append(kind)

    def _start_timer(self, number: int, due: float) -> None:
        self._active_timers[number] = timer = next(self._timer_numbers)
        heappush(self._timers, (due, timer, number))

    def _send_due(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            due, timer, number = heappop(self._timers)
            if self._active_timers.get(number) != timer:
                continue  # of a connection that is closed, whose file descriptor another may have
            kind = self._kinds[number]
            try:
                self.counts[f"{kind.name} bytes"] += self._sockets[number].send(kind.payload())
            except BlockingIOError:
                self.counts[f"{kind.name} blocked"] += 1
            except OSError:
                self._reconnect(number)
                continue
            self._start_timer(number, max(due + kind.interval, now))


def main() -> None:
    """Run the abusers of the command line."""
    host, port, *numbers, pause = sys.argv[1:]
    names = count()

    def garbage() -> bytes:
        at = random.randrange(len(_GARBAGE) - 4096)
        return _GARBAGE[at : at + random.randint(1, 4096)]

    def join() -> bytes:
        return f"JOIN mute{next(names)}\n".encode()

    kinds = (
        Kind("idle"),
        Kind("garbage", payload=garbage, interval=float(pause)),
        Kind("mute", first=join, reads=False),
        Kind("drip", payload=lambda: b"M", interval=1.0),
    )
    abusers = Abusers((host, int(port)), dict(zip(kinds, map(int, numbers), strict=True)))
    abusers.run(sys.stdin.fileno())
    cpu_seconds = sum(os.times()[:2])
    print(json.dumps({**abusers.counts, "CPU seconds": round(cpu_seconds, 1)}))  # noqa: T201


if __name__ == "__main__":
    main()
