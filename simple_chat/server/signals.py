"""The signals of the server's process: SIGTERM and SIGINT stop it, SIGHUP reloads its configuration.

A signal that was ignored when the process started stays ignored: nohup and shells ask for it in this way.
"""

import asyncio
import signal
from collections.abc import Callable

from simple_chat.process import heeded

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_MEANINGLESS = (signal.SIGUSR1, signal.SIGUSR2)  # log rotation sends them by habit


def disarm() -> None:
    """Let no signal end the process but those that stop it; called before anything else."""
    for number in _MEANINGLESS:
        signal.signal(number, signal.SIG_IGN)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, lambda _number, _frame: None)  # until `on_reload`


def on_stop(callback: Callable[[], object]) -> None:
    """Call a function on SIGTERM and SIGINT, instead of the one before."""
    for number in heeded(_STOP_SIGNALS):
        asyncio.get_running_loop().add_signal_handler(number, callback)


def ignore_stop() -> None:
    """Ignore SIGTERM and SIGINT from now on: the end has come, and its exit status is settled."""
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def on_reload(callback: Callable[[], object]) -> None:
    """Call a function on SIGHUP."""
    for number in heeded([signal.SIGHUP]):
        asyncio.get_running_loop().add_signal_handler(number, callback)
