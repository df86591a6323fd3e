"""Bad company, ten thousand of them in one process: started by `tests.soak.abuse`, and for Linux.

    python -m tests.soak.abusers HOST PORT IDLE GARBAGE MUTE DRIP PAUSE

It says ``ready`` when all are connected, goes on until its stdin ends, and then says as JSON what became of
them. Whoever is thrown out comes again at once.
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

_AT_ONCE = 32  # connections that are opened before events are looked at again
_PATIENCE = 0.005  # seconds that events are waited for
_GARBAGE = random.randbytes(1 << 20)
_READS = select.EPOLLIN | select.EPOLLRDHUP


@dataclass(frozen=True, slots=True)
class Kind:
    """What one of them does.

    Attributes:
        name: what it is called in the counts.
        first: what it sends when it is connected.
        piece: makes what it sends again and again.
        pause: seconds in between; 0 for nothing more at all.
        reads: whether it takes what it is sent.
    """

    name: str
    first: Callable[[], bytes] = bytes
    piece: Callable[[], bytes] = bytes
    pause: float = 0.0
    reads: bool = True


class Swarm:
    """All of them.

    Args:
        address: of the server.
        wanted: how many of each kind there are to be.
    """

    def __init__(self, address: tuple[str, int], wanted: dict[Kind, int]) -> None:
        self.counts: Counter[str] = Counter()
        self._address = address
        self._epoll = select.epoll()
        self._kinds: dict[int, Kind] = {}  # by file descriptor
        self._sockets: dict[int, socket.socket] = {}
        self._to_come = deque(kind for kind, number in wanted.items() for _ in range(number))
        random.shuffle(self._to_come)
        self._first_time = len(self._to_come)  # who were never connected yet
        self._due: list[tuple[float, int, int]] = []  # when, a number, whose turn it is
        self._turns: dict[int, int] = {}  # the number of whose turn is still to come
        self._numbers = count()

    def run(self, stdin: int) -> None:
        """Go on until stdin ends."""
        self._epoll.register(stdin, select.EPOLLIN)
        while True:
            for _ in range(min(_AT_ONCE, len(self._to_come))):
                self._come(self._to_come.popleft())
            for number, events in self._epoll.poll(_PATIENCE):
                if number == stdin:
                    return
                if number in self._kinds:
                    self._handle(number, events)
            self._send_due(monotonic())

    def _come(self, kind: Kind) -> None:
        sock = socket.socket()
        sock.setblocking(False)  # noqa: FBT003 - the signature is the socket's
        if not kind.reads:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        # From many addresses: each has 28,000 ports, and one is not free again for a minute.
        sock.bind((f"127.0.1.{random.randint(1, 250)}", 0))
        if sock.connect_ex(self._address) not in {0, errno.EINPROGRESS}:
            sock.close()
            self.counts[f"{kind.name} not connected"] += 1
            self._to_come.append(kind)
            return
        self._kinds[sock.fileno()], self._sockets[sock.fileno()] = kind, sock
        self._epoll.register(sock, select.EPOLLOUT)

    def _handle(self, number: int, events: int) -> None:
        kind, sock = self._kinds[number], self._sockets[number]
        try:
            if events & (select.EPOLLERR | select.EPOLLHUP):
                self._go(number)
            elif events & select.EPOLLOUT:
                self._be_connected(number, kind)
            elif not sock.recv(65_536):
                self._go(number)
        except BlockingIOError:
            pass
        except OSError:
            self._go(number)

    def _be_connected(self, number: int, kind: Kind) -> None:
        self.counts[f"{kind.name} connected"] += 1
        self._epoll.modify(number, _READS if kind.reads else 0)
        if first := kind.first():
            self._sockets[number].send(first)
        if kind.pause:
            self._plan(number, monotonic() + random.uniform(0, kind.pause))
        self._first_time -= 1
        if self._first_time == 0:
            print("ready", flush=True)  # noqa: T201 - a program prints

    def _go(self, number: int) -> None:
        kind = self._kinds.pop(number)
        self._turns.pop(number, None)
        self._epoll.unregister(number)
        self._sockets.pop(number).close()
        self.counts[f"{kind.name} thrown out"] += 1
        self._to_come.append(kind)

    def _plan(self, number: int, time: float) -> None:
        self._turns[number] = turn = next(self._numbers)
        heappush(self._due, (time, turn, number))

    def _send_due(self, now: float) -> None:
        while self._due and self._due[0][0] <= now:
            time, turn, number = heappop(self._due)
            if self._turns.get(number) != turn:
                continue  # it is gone, and another has its number
            kind = self._kinds[number]
            try:
                self.counts[f"{kind.name} bytes"] += self._sockets[number].send(kind.piece())
            except BlockingIOError:
                self.counts[f"{kind.name} held up"] += 1
            except OSError:
                self._go(number)
                continue
            self._plan(number, max(time + kind.pause, now))


def main() -> None:
    """Be bad company."""
    host, port, *numbers, pause = sys.argv[1:]
    names = count()

    def garbage() -> bytes:
        at = random.randrange(len(_GARBAGE) - 4096)
        return _GARBAGE[at : at + random.randint(1, 4096)]

    def joining() -> bytes:
        return f"JOIN mute{next(names)}\n".encode()

    idle = Kind("idle")
    loud = Kind("garbage", piece=garbage, pause=float(pause))
    mute = Kind("mute", first=joining, reads=False)
    drip = Kind("drip", piece=lambda: b"M", pause=1.0)
    kinds = (idle, loud, mute, drip)
    swarm = Swarm((host, int(port)), dict(zip(kinds, map(int, numbers), strict=True)))
    swarm.run(sys.stdin.fileno())
    seconds = sum(os.times()[:2])
    print(json.dumps({**swarm.counts, "processor seconds": round(seconds, 1)}))  # noqa: T201


if __name__ == "__main__":
    main()
