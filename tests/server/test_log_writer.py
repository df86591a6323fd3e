"""The log is written by a thread: a reader that stalls holds nobody up, and what it misses is counted."""

import fcntl
import logging
import os
import re
import select
from collections.abc import Iterator
from contextlib import suppress
from threading import Thread

import pytest

from simple_chat.server import log_writer
from simple_chat.server.log_writer import CAPACITY, LogWriter
from tests.harness.programs import DEADLINE

LINE = "x" * 1000


class Pipe:
    """A pipe that a log is written to.

    Attributes:
        writer: what writes it.
    """

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()
        self.writer = LogWriter(self.write_end)

    def read_lines(self, last: str) -> list[str]:
        """Read up to a line."""
        received = b""
        while not received.endswith(f"{last}\n".encode()):
            assert select.select([self.read_end], [], [], DEADLINE)[0], received[-100:]
            received += os.read(self.read_end, 65_536)
        return received.decode().splitlines()

    def fill(self) -> None:
        """Write until the writer drops a line, while nobody reads."""
        while not self.writer._dropped:
            self.writer.write(LINE)

    def close(self) -> None:
        with suppress(OSError):
            os.close(self.read_end)  # which ends a write that blocks
        self.writer.close()
        self.writer._thread.join(DEADLINE)
        os.close(self.write_end)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def test_lines_are_written_in_their_order(pipe: Pipe) -> None:
    lines = [f"line {number}" for number in range(5000)]
    for line in lines:
        pipe.writer.write(line)
    assert pipe.read_lines("line 4999") == lines


def test_records_are_formatted_when_they_are_logged(pipe: Pipe) -> None:
    changing = ["before"]
    pipe.writer.handle(logging.LogRecord("x", logging.INFO, "", 0, "%s", (changing,), None))
    changing[0] = "after"
    assert pipe.read_lines("['before']") == ["['before']"]


def test_text_that_is_no_unicode_is_written_escaped(pipe: Pipe) -> None:
    pipe.writer.write("\udcff and more")
    assert pipe.read_lines("more") == [r"\udcff and more"]


def test_lines_that_nobody_reads_are_dropped_and_counted_in_their_place(pipe: Pipe) -> None:
    pipe.fill()
    for _ in range(9):
        pipe.writer.write(LINE)
    assert pipe.writer._pending_bytes <= CAPACITY
    kept = 0
    while pipe.writer._pending_bytes > CAPACITY // 2:
        kept += os.read(pipe.read_end, 65_536).count(b"\n")
    pipe.writer.write("read again")
    lines = pipe.read_lines("read again")
    assert lines[-2:] == ["10 log lines dropped: they could not be written in time", "read again"]
    assert {len(line) for line in lines[1:-2]} == {1000}
    assert kept > 0


def test_close_reports_what_was_dropped_last(pipe: Pipe) -> None:
    pipe.fill()
    closing = Thread(target=pipe.writer.close)
    closing.start()
    assert pipe.read_lines("time")[-1] == "1 log lines dropped: they could not be written in time"
    closing.join(DEADLINE)
    assert not pipe.writer._thread.is_alive()


def test_close_gives_up_on_a_reader_that_stalls(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_writer, "CLOSE_TIMEOUT", 0.05)
    pipe.fill()
    pipe.writer.close()
    assert pipe.writer._thread.is_alive()


def test_lines_that_can_not_be_written_are_counted(pipe: Pipe) -> None:
    kept = os.dup(pipe.write_end)
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, pipe.write_end)
    os.close(full)
    pipe.writer.write("lost")
    while not pipe.writer._dropped:
        pass
    os.dup2(kept, pipe.write_end)
    os.close(kept)
    pipe.writer.write("there is room again")
    assert pipe.read_lines("again") == [
        "1 log lines dropped: they could not be written in time",
        "there is room again",
    ]


def test_descriptor_that_somebody_made_non_blocking_loses_nothing(pipe: Pipe) -> None:
    flags = fcntl.fcntl(pipe.write_end, fcntl.F_GETFL)
    fcntl.fcntl(pipe.write_end, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    for _ in range(200):
        pipe.writer.write(LINE)
    pipe.writer.write("end")
    lines = pipe.read_lines("end")
    assert len(lines) == 201
    assert all(re.fullmatch("x{1000}", line) for line in lines[:-1])


def test_record_that_cannot_be_formatted_fails_nobody_and_is_named() -> None:
    class Hostile:
        def __str__(self) -> str:
            raise ValueError("gone")

    reader, writer = os.pipe()
    log = LogWriter(writer)
    log.emit(logging.LogRecord("x", logging.INFO, "", 0, "%s failed", (Hostile(),), None))
    log.close()
    os.close(writer)
    with open(reader, encoding="utf-8") as lines:  # noqa: PTH123 - a descriptor
        assert lines.read() == "a line of the log can't be formatted: '%s failed': ValueError('gone')\n"
