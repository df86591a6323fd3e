"""How a journal can be kept.

Pure.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from simple_chat.core.backlog import BACKLOG

SEGMENT = 64 * 1024 * 1024
"""Bytes after which a segment is closed, by default."""


class Sync(StrEnum):
    """How safe a batch has to be before it is handed out.

    NONE: not at all, it is written a moment later. OS: the system has it, so that it survives the server.
    DISK: the disk has it, so that it survives the machine.
    """

    NONE = "none"
    OS = "os"
    DISK = "disk"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a journal is kept.

    Attributes:
        sync: how safe a batch has to be before it is handed out.
        segment: bytes after which a segment is closed.
        keep: bytes or time after which the oldest segments are deleted; None to keep all. With a time, a
            segment is closed after a day too.
        recall: bytes of what was said last that are read back, roughly.
    """

    sync: Sync = Sync.OS
    segment: int = SEGMENT
    keep: int | timedelta | None = None
    recall: int = BACKLOG
