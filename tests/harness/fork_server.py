"""Forks Python programs for `tests.harness.forked_program`: python -m tests.harness.fork_server DESCRIPTOR.

It has imported what they import, which takes each of them 0.1 s of processor time; a fork takes a few ms.
"""

import atexit
import fcntl
import gc
import json
import os
import runpy
import signal
import socket
import sys
import termios
import threading
import time
from contextlib import suppress
from importlib import import_module
from typing import Any

_PROGRAMS = (
    "simple_chat.client.__main__",
    "simple_chat.journal.__main__",
    "simple_chat.server.__main__",
    "tests.harness.quick_client",
    "tests.harness.quick_server",
)
_IMPORTED_LATE = (
    "concurrent.futures.thread",
    "encodings.idna",
    "prompt_toolkit.input.vt100",
    "prompt_toolkit.key_binding.bindings.search",
    "simple_chat.client.cli",
    "simple_chat.client.input_history",
    "simple_chat.client.terminal",
    "simple_chat.journal.file",
    "simple_chat.server.auth",
    "uvloop",
)


def _wait_for_module(requests: socket.socket) -> str:
    """Fork for each request; return the module to run, in the process that is to run it."""
    while True:
        data, descriptors, *_ = socket.recv_fds(requests, 1, 4)
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


def _become_supervisor_and_program(status: int, *standard: int) -> None:
    """Fork once more: the new process returns, the other reports its number and its end."""
    if pid := os.fork():
        for descriptor in standard:
            os.close(descriptor)
        os.write(status, f"{pid}\n".encode())
        os.write(status, f"{os.waitpid(pid, 0)[1]}\n".encode())
        os._exit(0)
    os.close(status)
    for number, descriptor in enumerate(standard):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - not a path, nor ever closed
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115


def _prepare(request: dict[str, Any]) -> str:
    """Give this process what a new program has; return the module to run."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if request["has_terminal"]:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.chdir(request["directory"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    sys.argv[1:] = request["arguments"]
    return str(request["module"])


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _preload() -> None:
    for name in (*_PROGRAMS, *_IMPORTED_LATE):
        with suppress(ImportError):  # of uvloop, which is not there everywhere
            import_module(name)
    for name in _PROGRAMS:
        del sys.modules[name]  # which is to be run as __main__
    gc.freeze()  # what is never looked at again stays in shared memory


def _run(module: str) -> None:
    """Run a module as Python does, up to its end.

    All that Python does then is done, but for freeing each object, which would copy the memory that it shares
    with others: that takes longer than all else.
    """
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if not isinstance(end.code, int):
            raise
        status = end.code
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(status)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the tests, and they end this
    _preload()
    _run(_wait_for_module(socket.socket(fileno=int(sys.argv[1]))))
