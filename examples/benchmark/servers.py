"""The servers to compare, and how to start each."""

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

_ASYNCIO_STREAMS = Path(__file__).with_name("asyncio_streams.py")
_START_TIMEOUT = 10.0  # seconds
_IRC = Dialect("NICK {name}\r\nUSER {name} 0 * :x\r\n", "PRIVMSG #room :{text}\r\n", "JOIN #room\r\n")
_IRC_MEMBERS_MAX = 500  # a JOIN goes to everybody in the channel: n members take n squared lines to join

# No name lookups, limits or flood protection: the benchmark measures fan-out.
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
<log method="file" type="* -USERINPUT -USEROUTPUT" level="default" target="{directory}/log">
<pid file="{directory}/pid">
"""


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """A server that can be started.

    Attributes:
        name: its row in the tables.
        command: returns the command line for a working directory and a port.
        dialect: its protocol.
        members_max: largest room to measure it with.
    """

    name: str
    command: Callable[[Path, int], list[str]]
    dialect: Dialect = SIMPLE_CHAT
    members_max: int = 10_000


def installed_servers(reference: str | None) -> list[ServerSpec]:
    """Return the servers that are installed on this machine.

    Args:
        reference: a program that takes a port and serves the same protocol, if there is one.
    """
    servers = [
        ServerSpec("simple_chat, uvloop", lambda _, port: _simple_chat(port, "uvloop")),
        ServerSpec("simple_chat, asyncio", lambda _, port: _simple_chat(port, "asyncio")),
        ServerSpec("asyncio streams", lambda _, port: [sys.executable, str(_ASYNCIO_STREAMS), str(port)]),
    ]
    if shutil.which("ngircd"):
        servers.append(ServerSpec("ngircd", _ngircd, _IRC, _IRC_MEMBERS_MAX))
    if shutil.which("inspircd"):
        servers.append(ServerSpec("InspIRCd", _inspircd, _IRC, _IRC_MEMBERS_MAX))
    if reference:
        servers.append(ServerSpec("C, epoll", lambda _, port: [reference, str(port)]))
    return servers


def _simple_chat(port: int, loop: str) -> list[str]:
    return [sys.executable, "-m", "simple_chat.server", "--port", str(port), "--loop", loop, "--rate", "0"]


def _ngircd(directory: Path, port: int) -> list[str]:
    return ["ngircd", "--nodaemon", "--config", _write_config(directory / "ngircd.conf", _NGIRCD, port)]


def _inspircd(directory: Path, port: int) -> list[str]:
    config = _write_config(directory / "inspircd.conf", _INSPIRCD, port)
    return ["inspircd", "--nofork", "--runasroot", "--config", config]


def _write_config(path: Path, template: str, port: int) -> str:
    path.write_text(template.format(port=port, directory=path.parent))
    return str(path)


@contextmanager
def run_server(server: ServerSpec, directory: Path) -> Iterator[Target]:
    """Run a server on a free port for the length of the block.

    Args:
        server: the server.
        directory: its working directory, for its configuration.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Popen(server.command(directory, port), stdout=DEVNULL, stderr=DEVNULL) as process:
        try:
            _wait_until_listening(port)
            yield Target("127.0.0.1", port, process.pid)
        finally:
            process.terminate()


def _wait_until_listening(port: int) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
