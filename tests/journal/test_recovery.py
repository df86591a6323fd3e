"""Opening an existing journal: records are recovered, a torn end is cut off, damage is refused."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from simple_chat.errors import JournalError
from simple_chat.journal.base import Policy
from simple_chat.journal.directory import DirectoryLock
from simple_chat.journal.file import FileJournal
from simple_chat.journal.reader import JournalReader
from tests.harness.programs import run_server_process, run_server_to_exit
from tests.journal.harness import append, record, records, run_journal, take_warnings, write_segments

OLDER = [b"START", b"JOINED ann", b"MSG ann one"]
NEWER = [b"MSG ann two", b"MSG ann three", b"LEFT ann", b"JOINED bob", b"MSG bob four"]
FIRST = len(OLDER)
"""Number of the last segment's first record."""


async def read_all(directory: Path) -> list[bytes]:
    """Read and verify all lines of a journal."""
    found = [each async for some in JournalReader(directory).read() for each in some]
    assert [each.number for each in found] == list(range(len(found)))
    return [each.line for each in found]


async def assert_continues(directory: Path, before: Sequence[bytes]) -> None:
    """Open a journal twice, and find all earlier lines and both START markers."""
    assert await run_journal(directory, b"MSG cleo new") == [*before, b"START"]
    assert await read_all(directory) == [*before, b"START", b"MSG cleo new"]
    assert (await run_journal(directory))[-3:] == [b"START", b"MSG cleo new", b"START"]
    assert await read_all(directory) == [*before, b"START", b"MSG cleo new", b"START"]


def torn_warning(path: Path, size: int) -> str:
    return f"the last record of {path} is torn: {size} bytes are cut off"


@pytest.fixture(autouse=True)
def no_other_warnings(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert take_warnings(caplog) == []


# A complete journal


async def test_new_journal_begins_with_start(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b"
    assert await run_journal(directory) == [b"START"]
    await assert_continues(directory, [b"START"])


async def test_lines_of_all_segments_are_recovered(tmp_path: Path) -> None:
    write_segments(tmp_path, OLDER[:1], OLDER[1:], NEWER)
    await assert_continues(tmp_path, OLDER + NEWER)


async def test_recovery_stops_near_its_size_limit(tmp_path: Path) -> None:
    lines = [b"MSG ann " + b"x" * 1000] * 1000
    write_segments(tmp_path, lines)
    recovered = await run_journal(tmp_path, policy=Policy(recover_bytes=1000))
    assert 0 < len(recovered) < len(lines)
    assert await read_all(tmp_path) == [*lines, b"START"]


async def test_older_segments_are_read_only_up_to_the_size_limit(tmp_path: Path) -> None:
    damaged, older, last = write_segments(tmp_path, OLDER[:1], OLDER[1:], NEWER)
    damaged.write_bytes(b"nobody reads this\nnor this\n")
    both, one = older.stat().st_size, len(record(2, OLDER[2]))
    for more, count in [(0, 0), (1, 0), (one - 1, 0), (one, 1), (one + 1, 1), (both - 1, 1), (both, 2)]:
        policy = Policy(recover_bytes=last.stat().st_size + more)
        recovered = await run_journal(tmp_path, policy=policy)
        assert recovered[:count] == OLDER[len(OLDER) - count :]
        assert recovered[count : count + len(NEWER)] == NEWER
    with pytest.raises(JournalError, match=re.escape(f"{damaged}, line 1: checksum mismatch")):
        await read_all(tmp_path)


# A torn last record


async def test_torn_last_record_is_cut_off_wherever_it_ends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    *complete, last = records(FIRST, *NEWER)
    for torn in range(len(last) + 1):
        directory = tmp_path / str(torn)
        directory.mkdir()
        _, path = write_segments(directory, OLDER, NEWER)
        os.truncate(path, len(b"".join(complete)) + torn)
        await assert_continues(directory, OLDER + (NEWER[:-1] if torn < len(last) else NEWER))
        assert take_warnings(caplog) == ([torn_warning(path, torn)] if 0 < torn < len(last) else [])


@pytest.mark.parametrize("broken", [2, 3, 4])
async def test_flipped_bit_is_cut_off_at_the_end_and_refused_elsewhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: int
) -> None:
    encoded = records(FIRST, *NEWER)
    start, end = len(b"".join(encoded[:broken])), len(b"".join(encoded[: broken + 1]))
    for place in range(start, end):
        directory = tmp_path / str(place)
        directory.mkdir()
        _, path = write_segments(directory, OLDER, NEWER)
        content = bytearray(path.read_bytes())
        content[place] ^= 1 << place % 8  # test_record flips every bit
        path.write_bytes(content)
        if content.count(b"\n", start) < 2:  # without its LF the last but one is part of the last line
            assert await run_journal(directory) == [*OLDER, *NEWER[:broken], b"START"]
            assert await read_all(directory) == [*OLDER, *NEWER[:broken], b"START"]
            assert take_warnings(caplog) == [torn_warning(path, len(content) - start)]
        else:
            with pytest.raises(JournalError, match=re.escape(f"{path}, line {broken + 1}: checksum mism")):
                await run_journal(directory)
            assert path.read_bytes() == content


async def test_torn_record_alone_in_the_last_segment_is_cut_off(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, path = write_segments(tmp_path, OLDER, NEWER)
    os.truncate(path, 10)
    await assert_continues(tmp_path, OLDER)
    assert take_warnings(caplog) == [torn_warning(path, 10)]


@pytest.mark.parametrize("before", [[], [OLDER, NEWER]], ids=["alone", "after others"])
async def test_empty_last_segment_is_continued(tmp_path: Path, before: list[list[bytes]]) -> None:
    write_segments(tmp_path, *before, [])
    await assert_continues(tmp_path, [line for lines in before for line in lines])


# What a failed write has left


@pytest.mark.parametrize("rest", [b"torn", b"".join(records(3, b"MSG ann lost", b"MSG ann lost too"))])
@pytest.mark.parametrize("later", [[], NEWER], ids=["empty", "with records"])
async def test_records_that_the_next_segment_replaces_are_not_recovered(
    tmp_path: Path, rest: bytes, later: list[bytes]
) -> None:
    older, *_ = write_segments(tmp_path, OLDER, later)
    append(older, rest)
    await assert_continues(tmp_path, OLDER + later)


# Damage


@pytest.mark.parametrize(
    ("order", "line", "problem"),
    [
        ([0, 2, 3, 4], 2, "record 5 instead of 4"),
        ([0, 1, 1, 2], 3, "record 4 instead of 5"),
        ([1, 2, 3], 1, "record 4 instead of 3"),
    ],
    ids=["missing", "duplicate", "first missing"],
)
async def test_missing_or_duplicate_record_is_refused(
    tmp_path: Path, order: list[int], line: int, problem: str
) -> None:
    _, path = write_segments(tmp_path, OLDER, NEWER)
    encoded = records(FIRST, *NEWER)
    path.write_bytes(b"".join(encoded[n] for n in order))
    with pytest.raises(JournalError, match=re.escape(f"{path}, line {line}: {problem}")):
        await run_journal(tmp_path)


async def test_refused_journal_is_unchanged_and_unlocked(tmp_path: Path) -> None:
    (path,) = write_segments(tmp_path, OLDER)
    path.write_bytes(b"a diary\nof mine\n")
    with pytest.raises(JournalError):
        await run_journal(tmp_path)
    assert path.read_bytes() == b"a diary\nof mine\n"
    DirectoryLock(tmp_path).release()


async def test_missing_segment_is_refused_if_its_records_are_needed(tmp_path: Path) -> None:
    older, missing, _ = write_segments(tmp_path, OLDER, NEWER, [])
    missing.unlink()
    problem = f"{older} ends with record {FIRST - 1} instead of {FIRST + len(NEWER) - 1}"
    with pytest.raises(JournalError, match=re.escape(problem)):
        await run_journal(tmp_path)


async def test_missing_segment_is_found_when_all_records_are_read(tmp_path: Path) -> None:
    older, missing, _ = write_segments(tmp_path, OLDER, NEWER, NEWER)
    missing.unlink()
    assert await run_journal(tmp_path, policy=Policy(recover_bytes=1)) == [*NEWER, b"START"]
    with pytest.raises(JournalError, match=re.escape(f"{older} ends with record 2 instead of 7")):
        await read_all(tmp_path)


async def test_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(
        JournalError, match=f"^can't write a journal in {re.escape(str(path))}: it is not a dir"
    ):
        await run_journal(path)


# Two servers


async def test_directory_of_a_running_journal_is_refused(tmp_path: Path) -> None:
    journal = await FileJournal.open(tmp_path, Policy())
    try:
        with pytest.raises(
            JournalError, match=f"another server keeps its journal in {re.escape(str(tmp_path))}"
        ):
            await run_journal(tmp_path)
    finally:
        await journal.close()
    await assert_continues(tmp_path, [b"START"])


def test_second_server_exits_with_an_error(tmp_path: Path) -> None:
    with run_server_process("--journal", str(tmp_path)) as server:
        ended = run_server_to_exit("--port", "0", "--journal", str(tmp_path))
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr == f"simple_chat: another server keeps its journal in {tmp_path}\n"
        server.join("alice")
