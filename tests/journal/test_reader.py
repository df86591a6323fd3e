"""Reading a journal that changes between two reads."""

import errno
import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiofiles.threadpool.binary import AsyncBufferedReader

from simple_chat.errors import JournalError
from simple_chat.journal import reader as reader_module
from simple_chat.journal.reader import JournalReader
from simple_chat.journal.segment import Segment
from tests.journal.harness import append, record, write_segment


async def read(reader: JournalReader) -> list[tuple[int, bytes]]:
    return [(each.number, each.line) async for records in reader.read() for each in records]


async def test_second_read_returns_only_new_records(tmp_path: Path) -> None:
    path = write_segment(tmp_path, 0, b"a", b"b")
    reader = JournalReader(tmp_path)
    assert await read(reader) == [(0, b"a"), (1, b"b")]
    assert await read(reader) == []
    append(path, record(2, b"c"))
    write_segment(tmp_path, 3, b"d")
    assert await read(reader) == [(2, b"c"), (3, b"d")]
    assert (reader.segments, reader.torn) == (2, 0)


async def test_replacement_of_a_truncated_record_is_read(tmp_path: Path) -> None:
    path = write_segment(tmp_path, 0, b"a", b"b", b"c")
    reader = JournalReader(tmp_path)
    await read(reader)
    os.truncate(path, len(record(0, b"a")) + 5)
    assert await read(reader) == []
    assert reader.torn == 5
    os.truncate(path, len(record(0, b"a")))
    append(path, record(1, b"another"))
    assert await read(reader) == [(1, b"another")]


async def test_segment_that_replaces_records_of_the_one_before_is_read(tmp_path: Path) -> None:
    write_segment(tmp_path, 0, b"a", b"failed", b"write")
    reader = JournalReader(tmp_path)
    await read(reader)
    write_segment(tmp_path, 1, b"written", b"later")
    assert await read(reader) == [(1, b"written"), (2, b"later")]


async def test_records_deleted_before_they_were_read_raise(tmp_path: Path) -> None:
    path = write_segment(tmp_path, 0, b"a")
    reader = JournalReader(tmp_path)
    await read(reader)
    path.unlink()
    later = write_segment(tmp_path, 2, b"c")
    with pytest.raises(JournalError, match=re.escape(f"{later} begins with record 2 instead of 1: ")):
        await read(reader)


async def test_error_of_the_disk_names_the_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_segment(tmp_path, 0, b"a")

    async def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(AsyncBufferedReader, "read", fail, raising=False)
    with pytest.raises(OSError, match=f"{re.escape(str(path))}"):
        await read(JournalReader(tmp_path))


async def test_segment_deleted_while_a_time_is_looked_for_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleted = write_segment(tmp_path, 0, b"a")
    write_segment(tmp_path, 1, b"b")
    list_segments = reader_module.existing_segments

    def list_and_delete(directory: Path) -> list[Segment]:
        found = list_segments(directory)
        deleted.unlink(missing_ok=True)
        return found

    monkeypatch.setattr(reader_module, "existing_segments", list_and_delete)
    assert await read(JournalReader(tmp_path, datetime(2020, 1, 1, tzinfo=UTC))) == [(1, b"b")]


async def test_segment_deleted_while_the_journal_is_read_raises(tmp_path: Path) -> None:
    write_segment(tmp_path, 0, b"a")
    later = write_segment(tmp_path, 1, b"b")
    blocks = JournalReader(tmp_path).read()
    assert [each.number for each in await anext(blocks)] == [0]
    later.unlink()
    with pytest.raises(JournalError, match=re.escape(f"{later} was deleted before it was read")):
        await anext(blocks)
