"""Forks Python programs for `tests.harness.forked_program`: python -m tests.harness.fork_server DESCRIPTOR.

It has imported what they import, which takes each of them 0.1 s of processor time; a fork takes a few ms.
"""

import gc
import json
import os
import runpy
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

_PRELOADED = ("simple_chat.server.__main__", "simple_chat.journal.__main__", "tests.harness.timing")


def _wait_for_module(requests: socket.socket) -> str:
    """Fork for each request; return the module to run, in the process that is to run it."""
    while True:
        data, descriptors, *_ = socket.recv_fds(requests, 1, 3)
        if not data:
            sys.exit()
        with requests.makefile() as lines:
            request = json.loads(lines.readline())
        if os.fork() == 0:
            requests.close()
            _become_supervisor_and_program(*descriptors)
            return _prepare(request)
        for descriptor in descriptors:
            os.close(descriptor)
        _reap()


def _become_supervisor_and_program(stdout: int, stderr: int, status: int) -> None:
    """Fork once more: the new process returns, the other reports its number and its end."""
    if pid := os.fork():
        os.close(stdout)
        os.close(stderr)
        os.write(status, f"{pid}\n".encode())
        os.write(status, f"{os.waitpid(pid, 0)[1]}\n".encode())
        os._exit(0)
    os.close(status)
    for number, descriptor in ((1, stdout), (2, stderr)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - not a path, nor ever closed
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115


def _prepare(request: dict[str, Any]) -> str:
    """Give this process what a new program has; return the module to run."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv[1:] = request["arguments"]
    return str(request["module"])


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _preload(modules: Sequence[str]) -> None:
    for name in modules:
        import_module(name)
        del sys.modules[name]  # which is to be run as __main__
    gc.freeze()  # what is never looked at again stays in shared memory


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the tests, and they end this
    _preload(_PRELOADED)
    runpy.run_module(
        _wait_for_module(socket.socket(fileno=int(sys.argv[1]))), run_name="__main__", alter_sys=True
    )
