"""A supervisor as systemd is one: it hands listening sockets over, and is notified."""

import fcntl
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import PIPE, Popen

from tests.harness.programs import DEADLINE, ServerProcess

_FREE_DESCRIPTORS = 40
_LAUNCH = """
import os, sys
descriptors, pid, arguments = eval(sys.argv[1]), sys.argv[2] or str(os.getpid()), sys.argv[3:]
for number, descriptor in enumerate(descriptors, 3):
    os.dup2(descriptor, number)
os.environ |= {"LISTEN_PID": pid, "WATCHDOG_PID": pid}
os.execv(sys.executable, [sys.executable, "-m", "simple_chat.server", *arguments])
"""


class Supervisor:
    """Starts servers, and receives what they notify it of.

    Args:
        directory: for its socket.
        abstract: whether that has no path.

    Attributes:
        sock: receives.
        pid: whom it means with sockets and watchdog; empty for the servers that it starts.
        wrapper: command that is put before theirs.
    """

    pid = ""
    wrapper: Sequence[str] = ()

    def __init__(self, directory: Path, *, abstract: bool = False) -> None:
        self.path = f"@{directory}/notify" if abstract else f"{directory}/notify"
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.path.replace("@", "\0"))
        self.sock.settimeout(DEADLINE)

    def receive(self) -> list[str]:
        """Return the lines of the next datagram."""
        return self.sock.recv(4096).decode().split("\n")

    def wait_for(self, line: str) -> list[str]:
        """Return the lines before one that begins with a text, and that line."""
        lines: list[str] = []
        while not (lines and lines[-1].startswith(line)):
            for each in self.receive():
                lines.append(each)
                if each.startswith(line):
                    break
        return lines

    @contextmanager
    def run(
        self, *options: str, sockets: Sequence[tuple[str, socket.socket]] = (), **variables: str
    ) -> Iterator[ServerProcess]:
        """Run a server, and check its exit status at the end.

        Args:
            options: of its command line.
            sockets: to hand over, with their names.
            variables: of its environment.
        """
        with self.start(*options, sockets=sockets, **variables) as process:
            try:
                with ExitStack() as terminals:
                    server = ServerProcess(process, terminals)
                    yield server
                server.stop()
            finally:
                process.kill()

    def start(
        self, *options: str, sockets: Sequence[tuple[str, socket.socket]] = (), **variables: str
    ) -> Popen[bytes]:
        """Start a server."""
        handed = {
            "LISTEN_FDS": str(len(sockets)),
            "LISTEN_FDNAMES": ":".join(name for name, _ in sockets),
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SIMPLE_CHAT_")}
        environment = inherited | {"NOTIFY_SOCKET": self.path} | (handed if sockets else {}) | variables
        # They are to be 3, 4, ... there, and here these are in use.
        copies = [fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD, _FREE_DESCRIPTORS) for _, sock in sockets]
        command = [*self.wrapper, sys.executable, "-c", _LAUNCH, str(copies), self.pid, *options]
        try:
            return Popen(command, env=environment, stderr=PIPE, pass_fds=copies)
        finally:
            for copy in copies:
                os.close(copy)
