"""The connections: an observer, the clients, and who says the start marks.

Each connection is read without streams or tasks of its own, so that thousands cost this program less than
they cost the server.
"""

import asyncio
import resource
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import cast

from simple_chat.address import format_address
from simple_chat.bench.dialect import Dialect
from simple_chat.bench.errors import LoadError
from simple_chat.bench.sync_marker import Arrival, Mark
from simple_chat.errors import describe_error

PATIENCE = 20.0
"""Seconds without anybody connecting, or coming in, after which there is no use in waiting."""

_BREATH = 20  # connections that are being opened at a time: fewer than a server lets wait
_MARK_EVERY = 0.2  # seconds
_LOOK_EVERY = 0.02  # seconds
_SPARE_FILES = 64  # for all that is no client

Take = Callable[[bytes], object]
"""Takes bytes that came in."""

Report = Callable[[float], None]
"""Is told which share of the work is done."""


def allow_files(clients: int) -> None:
    """Raise the soft limit of open files if it is too low; a server that is started inherits it.

    Raises:
        LoadError: the hard limit is too low.
    """
    needed = clients + _SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise LoadError(f"{needed} open files are needed, and the limit is {hard} (ulimit -Hn)")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


class Connection:
    """One connection; before the start, what comes in goes to its arrival.

    Args:
        label: what it is called in faults.

    Attributes:
        label: the same.
        transport: where to write.
        arrival: what came before the start.
        closed: whether it ended.
    """

    def __init__(self, label: str, prefix: str) -> None:
        self.label = label
        self.arrival = Arrival(prefix)
        self.transport: asyncio.Transport
        self.closed = False

    def receive(self, take: Take, data: bytes) -> None:
        """Let somebody else have what comes in from now on.

        Args:
            take: is given it.
            data: is given first.
        """
        self.transport.set_protocol(_Receiver(self, take))
        if data:
            take(data)


class _Receiver(asyncio.Protocol):
    def __init__(self, connection: Connection, take: Take, login: bytes = b"") -> None:
        self._connection = connection
        self._login = login
        self._take = take

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._connection.transport = cast("asyncio.Transport", transport)
        self._connection.transport.write(self._login)

    def data_received(self, data: bytes) -> None:
        self._take(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the signature is asyncio's
        self._connection.closed = True


class Crowd:
    """All connections to the server.

    Args:
        clients: how many there are beside the observer and the starter.
        dialect: how they log in.

    Attributes:
        observer: says nothing; it connects first, so that servers tend to write to it first.
        clients: the clients.
        starter: says the start marks, and then nothing.
    """

    def __init__(self, clients: int, dialect: Dialect) -> None:
        tag = secrets.token_hex(2)
        self._mark = Mark(tag)
        self._dialect = dialect
        self._names = (f"b{tag[1:]}{number:x}" for number in range(clients + 2))  # 9 bytes fit an IRC server
        prefix = self._mark.prefix
        self.observer = Connection("observer", prefix)
        self.clients = [Connection(f"client {number}", prefix) for number in range(clients)]
        self.starter = Connection("starter", prefix)
        self.all = [self.observer, *self.clients, self.starter]

    async def connect(self, host: str, port: int, report: Report) -> None:
        """Connect and log in, not all at the same time.

        Raises:
            LoadError: there is no server, or no longer.
        """
        try:
            for first in range(0, len(self.all), _BREATH):
                async with asyncio.timeout(PATIENCE):
                    breath = self.all[first : first + _BREATH]
                    await asyncio.gather(*(self._open(each, host, port) for each in breath))
                report(first / len(self.all))
        except (OSError, UnicodeError) as error:
            why = "no answer" if isinstance(error, TimeoutError) else describe_error(error)
            raise LoadError(f"can't connect to {format_address(host, port)}: {why}") from error

    async def _open(self, connection: Connection, host: str, port: int) -> None:
        login = self._dialect.log_in(next(self._names))
        loop = asyncio.get_running_loop()
        await loop.create_connection(
            lambda: _Receiver(connection, connection.arrival.take, login), host, port
        )

    async def start(self, report: Report) -> list[bytes]:
        """Wait until all are in the room.

        Returns:
            What the observer and each client got after the start.

        Raises:
            LoadError: somebody does not come in.
        """
        listeners = self.all[:-1]
        next_mark = 0.0
        for left in _waiting(listeners, lambda each: each.arrival.marked):
            if time.monotonic() >= next_mark:
                self._knock()
                next_mark = time.monotonic() + _MARK_EVERY
            report(1 - left / len(listeners))
            await asyncio.sleep(_LOOK_EVERY)
        for _ in _waiting(listeners, lambda each: each.arrival.after(self._mark.last) is not None):
            await asyncio.sleep(_LOOK_EVERY)
        return [each.arrival.after(self._mark.last) or b"" for each in listeners]

    def _knock(self) -> None:
        """Let everybody who is not known to be in the room enter, and say the next mark."""
        if self._dialect.enter:
            for each in self.all:
                if not each.arrival.marked:
                    each.transport.write(self._dialect.enter.encode())
        self.starter.transport.write(self._dialect.line(self._mark.next()))

    @contextmanager
    def closing(self) -> Iterator[None]:
        """Close all connections at the end."""
        try:
            yield
        finally:
            for each in self.all:
                if hasattr(each, "transport"):
                    each.transport.close()


def _waiting(connections: Iterable[Connection], is_there: Callable[[Connection], bool]) -> Iterator[int]:
    """Yield how many are not there yet, until all are.

    Raises:
        LoadError: somebody's connection ended, or nobody came for too long.
    """
    missing = list(connections)
    last_news = time.monotonic()
    while still := [each for each in missing if not is_there(each)]:
        if len(still) < len(missing):
            last_news = time.monotonic()
        closed = any(each.closed for each in still)
        if closed or time.monotonic() > last_news + PATIENCE:
            example = next((each for each in still if each.closed), still[0])
            what = "was disconnected" if closed else "is not in the room"
            raise LoadError(f"{example.label} {what}; the server's last line: {example.arrival.last_line!r}")
        missing = still
        yield len(still)
