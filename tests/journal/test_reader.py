"""Reading on in a journal that changes between one look and the next."""

import os
import re
from array import array
from pathlib import Path

import pytest

from simple_chat.core.backlog import NO_AUTHOR, Batch
from simple_chat.errors import JournalError
from simple_chat.journal.directory import Segment
from simple_chat.journal.reader import JournalReader
from simple_chat.journal.record import encode_records


def record(number: int, line: bytes = b"START") -> bytes:
    return encode_records(Batch(number, [line + b"\n"], array("Q", [NO_AUTHOR]), 0.0))


def write(folder: Path, first: int, *lines: bytes) -> Path:
    path = Segment.named(folder, first).path
    path.write_bytes(b"".join(record(number, line) for number, line in enumerate(lines, first)))
    return path


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


async def look(transcript: JournalReader) -> list[tuple[int, bytes]]:
    return [(record.number, record.line) async for some in transcript.read() for record in some]


async def test_only_what_is_new_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, 0, b"a", b"b")
    transcript = JournalReader(tmp_path)
    assert await look(transcript) == [(0, b"a"), (1, b"b")]
    assert await look(transcript) == []
    append(path, record(2, b"c"))
    write(tmp_path, 3, b"d")
    assert await look(transcript) == [(2, b"c"), (3, b"d")]
    assert (transcript.segments, transcript.torn) == (2, 0)


async def test_what_comes_in_place_of_a_record_that_was_taken_back_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, 0, b"a", b"b", b"c")
    transcript = JournalReader(tmp_path)
    await look(transcript)
    os.truncate(path, len(record(0, b"a")) + 5)
    assert await look(transcript) == []
    assert transcript.torn == 5
    os.truncate(path, len(record(0, b"a")))
    append(path, record(1, b"another"))
    assert await look(transcript) == [(1, b"another")]


async def test_segment_that_has_records_once_more_is_read(tmp_path: Path) -> None:
    write(tmp_path, 0, b"a", b"not", b"kept")
    transcript = JournalReader(tmp_path)
    await look(transcript)
    write(tmp_path, 1, b"kept", b"now")
    assert await look(transcript) == [(1, b"kept"), (2, b"now")]


async def test_records_that_were_deleted_before_they_were_read_are_missed(tmp_path: Path) -> None:
    path = write(tmp_path, 0, b"a")
    transcript = JournalReader(tmp_path)
    await look(transcript)
    path.unlink()
    later = write(tmp_path, 2, b"c")
    with pytest.raises(JournalError, match=re.escape(f"{later} should begin with record 1")):
        await look(transcript)
