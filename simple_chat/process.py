"""What both programs ask of their process: which signals to heed, and descriptors 0 to 2."""

import os
import signal
from collections.abc import Iterable


def heeded(signals: Iterable[signal.Signals]) -> list[signal.Signals]:
    """Return the signals that are not ignored; those that nohup or a shell ignored at the start stay so."""
    return [each for each in signals if signal.getsignal(each) is not signal.SIG_IGN]


def open_standard_descriptors() -> None:
    """Open stdin, stdout and stderr on the null device where they are closed.

    Otherwise the next socket or file would take their number, and be read from or written to in their place.
    """
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)
