"""One NATS server as a process: start, kill, pause, and what it reports of itself over HTTP."""

import contextlib
import json
import os
import shutil
import signal
import sysconfig
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from subprocess import DEVNULL, STDOUT, Popen
from typing import Any

from tests.harness.programs import find_program

HOST = "127.0.0.1"

DEADLINE = 60.0
"""Seconds after which a wait fails. An election takes some of them."""

_REQUEST_TIMEOUT = 1.0  # seconds
_TAIL = 4000  # bytes of the log
_LIMITS = {"max_mem": 2**28, "max_file": 2**32}  # bytes


class NatsServer:
    """One server, running or not.

    Args:
        folder: for its configuration, its log and its store.
        number: from 0 on.
        ports: free ones; three are used.

    Attributes:
        paused: whether it is stopped by SIGSTOP.
    """

    def __init__(self, folder: Path, number: int, ports: Iterator[int]) -> None:
        self.name = f"n{number + 1}"
        self.client_port, self.cluster_port, self._http_port = next(ports), next(ports), next(ports)
        self.paused = False
        self._process: Popen[bytes] | None = None
        self._configuration = folder / f"{self.name}.conf"
        self._log = folder / f"{self.name}.log"
        self._store = folder / self.name

    @property
    def process(self) -> Popen[bytes]:
        """The process that was started last."""
        assert self._process is not None, f"{self.name} was never started"
        return self._process

    @property
    def running(self) -> bool:
        """Whether there is a process, paused or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def responsive(self) -> bool:
        """Whether it runs and is not paused."""
        return self.running and not self.paused

    def configure(self, options: dict[str, Any], *, sync: bool) -> None:
        """Write its configuration.

        Args:
            options: beside those that every server has.
            sync: whether to store what is acknowledged at once.
        """
        storage = {"store_dir": str(self._store), **_LIMITS, **({"sync_interval": "always"} if sync else {})}
        common = {
            "server_name": self.name,
            "listen": f"{HOST}:{self.client_port}",
            "http": f"{HOST}:{self._http_port}",
            "jetstream": storage,
        }
        self._configuration.write_text(json.dumps(common | options, indent=2))  # NATS reads JSON too

    def start(self) -> None:
        """Start it unless it runs, and resume it if it is paused."""
        if self.paused:
            self.resume()
        if self.running:
            return
        command = [_executable(), "--config", str(self._configuration)]
        with self._log.open("ab") as log:
            self._process = Popen(command, stdin=DEVNULL, stdout=log, stderr=STDOUT)

    def kill(self) -> None:
        """Kill it, paused or not, and wait for its end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(DEADLINE)
        self.paused = False

    def pause(self) -> None:
        """Stop it by SIGSTOP: its connections stay open, and it does nothing."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)
        self.paused = True

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self.process.send_signal(signal.SIGCONT)
        self.paused = False

    def fetch(self, path: str) -> dict[str, Any]:
        """Return what it reports of itself over HTTP; {} if it does not answer, or is not healthy."""
        connection = HTTPConnection(HOST, self._http_port, timeout=_REQUEST_TIMEOUT)
        with contextlib.closing(connection), contextlib.suppress(OSError, HTTPException):
            connection.request("GET", path)
            response = connection.getresponse()
            report: dict[str, Any] = json.loads(response.read())
            return report if response.status == 200 else {}
        return {}

    def log_tail(self) -> str:
        """Return the end of its log."""
        log = self._log.read_bytes() if self._log.exists() else b""
        return f"--- {self.name}\n{log[-_TAIL:].decode(errors='replace')}"


def _executable() -> str:
    """Return nats-server of this environment, or else whichever is installed."""
    return shutil.which("nats-server", path=sysconfig.get_path("scripts")) or find_program("nats-server")
