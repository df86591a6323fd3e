"""What systemd and the server tell each other: sockets that are handed over, and how the server is.

sd_listen_fds(3) and sd_notify(3). Started by anything else, there are none of the variables, and nothing
happens.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from simple_chat.core.text import sanitize
from simple_chat.errors import ListenError, describe_error

if TYPE_CHECKING:
    from simple_chat.server.server import Server

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_FIRST_DESCRIPTOR = 3
_NAMES = ("chat", "admin", "metrics")
_STATUS_INTERVAL = 5.0  # seconds


def take_sockets() -> dict[str, list[socket.socket]]:
    """Return the sockets that were handed over to this process, by their names; once.

    Raises:
        ListenError: a name does not say what the socket is for.
    """
    pid, count, names = (_take_variable(f"LISTEN_{each}") for each in ("PID", "FDS", "FDNAMES"))
    sockets: dict[str, list[socket.socket]] = {}
    if pid == str(os.getpid()) and count.isdigit():
        for descriptor, name in enumerate(_understand(names.split(":"), int(count)), _FIRST_DESCRIPTOR):
            os.set_inheritable(descriptor, False)  # noqa: FBT003 - the signature is Python's
            sockets.setdefault(name, []).append(socket.socket(fileno=descriptor))
    return sockets


def _understand(names: list[str], count: int) -> list[str]:
    """Return what sockets are for. If none of them has a name of its own, they are for chat."""
    unnamed = len({*names}) == 1 and (names[0] in {"", "unknown"} or names[0].endswith(".socket"))
    if unnamed:
        return ["chat"] * count
    for name in names:
        if name not in _NAMES:
            raise ListenError(
                f"a socket is handed over as {name!r}: "
                f"FileDescriptorName= has to be one of {', '.join(_NAMES)}"
            )
    return names


class Notifier:
    """Tells systemd how the server is, if it wants to know."""

    def __init__(self) -> None:
        path, pid = _take_variable("NOTIFY_SOCKET"), _take_variable("WATCHDOG_PID")
        microseconds = int(_take_variable("WATCHDOG_USEC") or 0)
        self._watched = microseconds > 0 and pid in {"", str(os.getpid())}
        self._interval = min(microseconds / 2e6, _STATUS_INTERVAL) if self._watched else _STATUS_INTERVAL
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if path else None
        self._status = ""

    def ready(self, server: "Server") -> None:
        """Say that the server listens, and from now on how it is: until the event loop ends, or hangs."""
        if self._sock is not None:
            self._send("READY=1")
            self._tick(server)

    def announcing(self, reload: Callable[[], Result]) -> Callable[[], Result]:
        """Return a function that reloads, and says so."""

        def announced() -> Result:
            self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
            try:
                return reload()
            finally:
                self._send("READY=1")

        return announced

    def stopping(self) -> None:
        """Say that the server takes no more lines."""
        self._send("STOPPING=1")

    def _tick(self, server: "Server") -> None:
        asyncio.get_running_loop().call_later(self._interval, self._tick, server)
        before, self._status = self._status, f"STATUS={_describe(server)}"
        lines = ["WATCHDOG=1"] * self._watched + [self._status] * (self._status != before)
        if lines:
            self._send(*lines, flags=socket.MSG_DONTWAIT)  # there is another tick

    def _send(self, *lines: str, flags: int = 0) -> None:
        """Send one datagram."""
        if self._sock is not None:
            try:
                self._sock.sendto("\n".join(lines).encode(), flags, self._address)
            except OSError as error:
                logger.warning("can't notify systemd: %s", describe_error(error))


def _describe(server: "Server") -> str:
    """Return how the server is, in a line."""
    members, admission = len(server.room.membership), server.admission
    people = f"{members} members, {admission.admitted} of {admission.max_clients} connections"
    return sanitize(server.readiness() or people)


def _take_variable(name: str) -> str:
    """Return a variable, empty if it is unset, and unset it: it is not meant for children."""
    return os.environ.pop(name, "")
