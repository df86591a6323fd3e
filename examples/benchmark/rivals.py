"""The servers that are compared, and how each is started."""

import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, Popen

from simple_chat.bench.dialect import SIMPLE_CHAT, Dialect
from simple_chat.bench.server_process import Target

_USUAL_ROOM = Path(__file__).with_name("usual_room.py")
_PATIENCE = 10.0  # seconds that a server has to start
_IRC = Dialect("NICK {name}\r\nUSER {name} 0 * :x\r\n", "PRIVMSG #room :{text}\r\n", "JOIN #room\r\n")

# Both without name lookups, limits and brakes against floods: what is measured is the fan-out.
_NGIRCD = """
[Global]
Name = irc.example.net
Info = benchmark
Listen = 127.0.0.1
Ports = {port}
[Limits]
MaxConnections = 0
MaxConnectionsIP = 0
MaxJoins = 0
MaxPenaltyTime = 0
[Options]
DNS = no
Ident = no
PAM = no
"""
_INSPIRCD = """
<server name="irc.example.net" description="benchmark" network="benchmark">
<admin name="nobody" email="nobody@example.net" nick="nobody">
<bind address="127.0.0.1" port="{port}" type="clients">
<connect allow="*" resolvehostnames="no" useident="no" timeout="60" pingfreq="600" fakelag="no"
 localmax="100000" globalmax="100000" threshold="1000000" commandrate="1000000000"
 recvq="1M" softsendq="64M" hardsendq="256M">
<performance somaxconn="4096" softlimit="100000" netbuffersize="65535">
<log method="file" type="* -USERINPUT -USEROUTPUT" level="default" target="{folder}/log">
<pid file="{folder}/pid">
"""


@dataclass(frozen=True, slots=True)
class Rival:
    """A server that can be started.

    Attributes:
        name: as the table shows it.
        command: makes the command line from a folder to write into and a port.
        dialect: what it speaks.
        crowd: how many members it is compared with at most.
    """

    name: str
    command: Callable[[Path, int], list[str]]
    dialect: Dialect = SIMPLE_CHAT
    crowd: int = 10_000


def rivals(reference: str | None) -> list[Rival]:
    """All that there are on this machine.

    Args:
        reference: a program that takes a port and serves the same protocol, if there is one.
    """
    found = [
        Rival("simple_chat, uvloop", lambda _, port: _simple_chat(port, "uvloop")),
        Rival("simple_chat, asyncio", lambda _, port: _simple_chat(port, "asyncio")),
        Rival("asyncio streams", lambda _, port: [sys.executable, str(_USUAL_ROOM), str(port)]),
    ]
    # Joining an IRC channel tells all who are in it: a crowd takes the square of its size to come in.
    if shutil.which("ngircd"):
        found.append(Rival("ngircd", _ngircd, _IRC, 500))
    if shutil.which("inspircd"):
        found.append(Rival("InspIRCd", _inspircd, _IRC, 500))
    if reference:
        found.append(Rival("C, epoll", lambda _, port: [reference, str(port)]))
    return found


def _simple_chat(port: int, loop: str) -> list[str]:
    return [sys.executable, "-m", "simple_chat.server", "--port", str(port), "--loop", loop, "--rate", "0"]


def _ngircd(folder: Path, port: int) -> list[str]:
    return ["ngircd", "--nodaemon", "--config", _write(folder / "ngircd.conf", _NGIRCD, port)]


def _inspircd(folder: Path, port: int) -> list[str]:
    return [
        "inspircd",
        "--nofork",
        "--runasroot",
        "--config",
        _write(folder / "inspircd.conf", _INSPIRCD, port),
    ]


def _write(path: Path, settings: str, port: int) -> str:
    path.write_text(settings.format(port=port, folder=path.parent))
    return str(path)


@contextmanager
def running(rival: Rival, folder: Path) -> Iterator[Target]:
    """Run a server on a free port of this machine, where it finds its settings in a folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Popen(rival.command(folder, port), stdout=DEVNULL, stderr=DEVNULL) as process:
        try:
            _wait_for(port)
            yield Target("127.0.0.1", port, process.pid)
        finally:
            process.terminate()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
