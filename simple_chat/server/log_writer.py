"""The log's writer: a thread of its own, so that a reader of the log that stalls blocks nobody."""

import logging
import os
import select
import threading

CAPACITY = 1024 * 1024
"""Bytes that may wait to be written. Further lines are dropped, and counted in their place."""

CLOSE_TIMEOUT = 1.0
"""Seconds that the last lines have to be written."""


class LogWriter(logging.Handler):
    """Writes log records to a file descriptor in a daemon thread; a failed write drops its line.

    It writes to the descriptor itself: at its exit Python would wait for a thread that holds the lock of
    ``sys.stderr``.

    Args:
        descriptor: open for writing, such as 2.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._dropped = 0
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Format a record, and have it written soon. What fails in it must not fail whoever logs."""
        try:
            text = self.format(record)
        except Exception as error:  # noqa: BLE001 - whatever a value's __str__ raises
            text = f"a line of the log can't be formatted: {record.msg!r}: {error!r}"
        self.write(text)

    def write(self, text: str) -> None:
        """Have a line written soon, unless too much waits already."""
        line = f"{text}\n".encode(errors="backslashreplace")
        with self._changed:
            if self._pending_bytes + len(line) > CAPACITY:
                self._dropped += 1
                return
            self._report_dropped()
            self._append(line)

    def close(self) -> None:
        """Write what waits, for at most `CLOSE_TIMEOUT`; what is left then is lost."""
        with self._changed:
            if self._closed:
                return
            self._report_dropped()
            self._closed = True
            self._changed.notify()
        self._thread.join(CLOSE_TIMEOUT)
        super().close()

    def _report_dropped(self) -> None:
        if self._dropped:
            text, count, self._dropped = (
                "%d log lines dropped: they could not be written in time",
                self._dropped,
                0,
            )
            record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, (count,), None)
            self._append(f"{self.format(record)}\n".encode())

    def _append(self, line: bytes) -> None:
        self._pending.append(line)
        self._pending_bytes += len(line)
        self._changed.notify()

    # The thread

    def _run(self) -> None:
        while lines := self._next_lines():
            for line in lines:
                written = self._try_to_write(line)
                with self._changed:
                    self._pending_bytes -= len(line)
                    self._dropped += not written

    def _next_lines(self) -> list[bytes]:
        """Wait for lines; there are none after `close`."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._closed)
            lines, self._pending = self._pending, []
            return lines

    def _try_to_write(self, line: bytes) -> bool:
        """Write a line, however long it takes, and return whether that was possible."""
        while line:
            try:
                line = line[os.write(self._descriptor, line) :]
            except BlockingIOError:  # somebody who shares the descriptor has made it non-blocking
                select.select([], [self._descriptor], [])
            except OSError:  # the disk is full, say, or the reader is gone
                return False
        return True
