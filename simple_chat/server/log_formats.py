"""The formats of the log: text for people, JSON for programs, and text for systemd's journal.

Text from the network can't forge a line in any of them. What a record is about is in its ``extra``:
``event``, ``connection``, ``member`` and ``address``. JSON has these as fields, text in the message.
"""

import json
import logging
import os
from datetime import UTC, datetime

from simple_chat.core.text import sanitize

_FIELDS = ("event", "connection", "member", "address")

_PRIORITIES = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "INFO": 6, "DEBUG": 7}
"""Those of syslog (RFC 5424, section 6.2.1), as sd-daemon(3) has them at the start of a line."""


class TextFormatter(logging.Formatter):
    """Format a record with its time in UTC, and without control characters, which would act on a terminal."""

    def __init__(self, line: str = "%(asctime)s %(levelname)s %(message)s") -> None:
        super().__init__(line)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        """Format a time with its zone (RFC 3339)."""
        return _format_time(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        """Format a record as one line, whatever its message contains."""
        return sanitize(super().formatMessage(record))

    def formatException(self, ei: object) -> str:  # noqa: N802
        """Format a traceback, indented: the text of the exception is not trusted either."""
        text = super().formatException(ei)  # type: ignore[arg-type]
        return "\n".join(f"  {sanitize(line)}" for line in text.split("\n"))


class JournaldFormatter(TextFormatter):
    """Format a record for systemd's journal, which adds the time: with a priority on each line."""

    def __init__(self) -> None:
        super().__init__("%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; every line of a traceback has its priority too."""
        priority = f"<{_PRIORITIES.get(record.levelname, 6)}>"
        return "\n".join(priority + line for line in super().format(record).split("\n"))


class JsonFormatter(logging.Formatter):
    """Format a record as one line of JSON, all of it ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record; fields that it does not have are left out."""
        given = {name: getattr(record, name) for name in _FIELDS if getattr(record, name, None) is not None}
        line = {
            "time": _format_time(record),
            "level": record.levelname,
            **given,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _format_time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def formatter(log_format: str, descriptor: int) -> logging.Formatter:
    """Return the formatter of a log.

    Args:
        log_format: text or json.
        descriptor: of the file that it is written to.
    """
    if log_format == "json":
        return JsonFormatter()
    return JournaldFormatter() if _is_journal(descriptor) else TextFormatter()


def _is_journal(descriptor: int) -> bool:
    """Return whether systemd's journal reads a file: it names its device and inode (systemd.exec(5))."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
