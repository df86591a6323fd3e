"""Journals made by hand: batches, encoded records and segments; and a host for a journal."""

import asyncio
import logging
from array import array
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from simple_chat.core.backlog import NO_AUTHOR, Batch
from simple_chat.journal.base import Policy
from simple_chat.journal.directory import list_segments
from simple_chat.journal.file import FileJournal
from simple_chat.journal.record import encode_records
from simple_chat.journal.segment import FILE_MODE, Segment

TIME = 1606160901.123
"""2020-11-23T19:48:21.123Z in seconds since the epoch: longer ago than any retention in the tests."""


DEADLINE = 10.0
"""Seconds that a journal may take to write a batch."""


class RecordingHost:
    """A `JournalHost` that records what it is told.

    Attributes:
        broadcasts: all batches it was told to broadcast.
        notices: all texts for members.
    """

    def __init__(self) -> None:
        self.broadcasts: list[Batch] = []
        self.notices: list[str] = []
        self._ready = asyncio.Event()

    async def ready(self) -> None:
        """Wait until the journal is ready, for the first time since the last call."""
        async with asyncio.timeout(DEADLINE):
            await self._ready.wait()
        self._ready.clear()

    def broadcast(self, batch: Batch) -> None:
        self.broadcasts.append(batch)

    def on_commit(self) -> None:
        self._ready.set()

    def on_unavailable(self, text: str) -> None:
        self.notices.append(text)

    def on_recovered(self, text: str) -> None:
        self.notices.append(text)


def time_of(number: int) -> float:
    """Return the time of a record: one minute later for each number."""
    return TIME + 60 * number


def make_batch(first: int, *lines: bytes, time: float | None = None) -> Batch:
    """Make a batch of lines without authors, with the time of its first line unless told otherwise."""
    authors = array("Q", [NO_AUTHOR]) * len(lines)
    times = [(first, time_of(first) if time is None else time)]
    return Batch(first, [line + b"\n" for line in lines], authors, times)


def record(number: int, line: bytes) -> bytes:
    """Encode a record."""
    return encode_records(make_batch(number, line))


def records(first: int, *lines: bytes) -> list[bytes]:
    """Encode consecutive records, each with its own time."""
    return [record(number, line) for number, line in enumerate(lines, first)]


def write_segment(directory: Path, first: int, *lines: bytes) -> Path:
    """Write a segment."""
    path = Segment.within(directory, first).path
    path.touch(FILE_MODE)
    path.write_bytes(b"".join(records(first, *lines)))
    return path


def append(path: Path, data: bytes) -> None:
    """Append bytes to a file."""
    with path.open("ab") as file:
        file.write(data)


def write_segments(directory: Path, *contents: Sequence[bytes]) -> list[Path]:
    """Write consecutive segments."""
    first, paths = 0, list[Path]()
    for lines in contents:
        paths.append(write_segment(directory, first, *lines))
        first += len(lines)
    return paths


def first_numbers(directory: Path) -> list[int]:
    """Return by which numbers the segments of a journal are named."""
    return [segment.first for segment in list_segments(directory)]


async def run_journal(directory: Path, *lines: bytes, policy: Policy | None = None) -> list[bytes]:
    """Open a journal, submit lines one by one, and close it.

    Returns:
        The recovered lines, up to this journal's own START.
    """
    journal = await FileJournal.open(directory, policy or Policy())
    host = RecordingHost()
    journal.start(host)
    try:
        for number, line in enumerate(lines, journal.recovered[-1].end):
            journal.submit(make_batch(number, line))
            await host.ready()
    finally:
        await journal.close()
    assert host.notices == []
    assert all(one.end == following.first for one, following in pairwise(journal.recovered))
    return [line[:-1] for batch in journal.recovered for _, _, line in batch.iter_lines(0, batch.end)]


def take_warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return all warnings so far, and forget them."""
    found = [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]
    caplog.clear()
    return found
