"""What a server finds in its journal when it begins: all that was kept, a torn end cut off, or a refusal."""

import asyncio
import logging
import math
import os
import re
from array import array
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from simple_chat.core.backlog import NO_AUTHOR, Batch
from simple_chat.errors import JournalError
from simple_chat.journal.directory import Lock, Segment, delete_oldest, segments
from simple_chat.journal.file import FileJournal
from simple_chat.journal.policy import Policy
from simple_chat.journal.reader import JournalReader
from simple_chat.journal.record import encode_records
from tests.harness.programs import run_server_process, run_server_to_exit

DEADLINE = 10.0
TIME = 1606160901.0  # a Monday in November 2020, long ago

OLDER = [b"START", b"JOINED ann", b"MSG ann one"]
NEWER = [b"MSG ann two", b"MSG ann three", b"LEFT ann", b"JOINED bob", b"MSG bob four"]
FIRST = len(OLDER)
"""Number of the last segment's first record."""


class House:
    """A server that only takes what it is handed.

    Attributes:
        said: what the journal collects next.
    """

    def __init__(self) -> None:
        self.said: Batch | None = None
        self.handed: asyncio.Queue[Batch] = asyncio.Queue()

    def close_batch(self) -> Batch | None:
        return self.said

    def hand_out(self, batch: Batch) -> None:
        self.handed.put_nowait(batch)

    def journal_ready(self) -> None:
        pass

    def journal_fails(self, text: str) -> None:
        raise AssertionError(text)

    def journal_works(self, text: str) -> None:
        raise AssertionError(text)

    def journal_lost(self) -> None:
        raise AssertionError("the journal is lost")


def batch(first: int, *lines: bytes) -> Batch:
    """Lines that were said at a time that their number tells."""
    return Batch(first, [line + b"\n" for line in lines], array("Q", [NO_AUTHOR]) * len(lines), TIME + first)


def records(first: int, lines: Sequence[bytes]) -> list[bytes]:
    return [encode_records(batch(number, line)) for number, line in enumerate(lines, first)]


def write(folder: Path, *contents: Sequence[bytes]) -> list[Path]:
    """Write segments that follow each other."""
    first, paths = 0, list[Path]()
    for lines in contents:
        paths.append(Segment.named(folder, first).path)
        paths[-1].write_bytes(b"".join(records(first, lines)))
        first += len(lines)
    return paths


async def begin(folder: Path, *said: bytes, policy: Policy | None = None) -> list[bytes]:
    """Have a server begin and end, and something said meanwhile.

    Returns:
        What it recalled, up to its own START.
    """
    journal = await FileJournal.open(folder, policy or Policy())
    house = House()
    await journal.start(house)
    try:
        for number, line in enumerate(said, journal.past[-1].end):
            house.said = batch(number, line)
            journal.collect()
            async with asyncio.timeout(DEADLINE):
                await house.handed.get()
    finally:
        await journal.close()
    assert all(one.end == following.first for one, following in pairwise(journal.past))
    return [line[:-1] for each in journal.past for line in each.lines(0, each.end)]


async def everything(folder: Path) -> list[bytes]:
    """All lines of a journal, every one of which is checked."""
    found = [record async for some in JournalReader(folder).read() for record in some]
    assert [record.number for record in found] == list(range(len(found)))
    return [record.line for record in found]


async def assert_goes_on(folder: Path, before: Sequence[bytes]) -> None:
    """Begin twice, and find everything that was there before, and both beginnings."""
    assert await begin(folder, b"MSG cleo new") == [*before, b"START"]
    assert await everything(folder) == [*before, b"START", b"MSG cleo new"]
    assert (await begin(folder))[-3:] == [b"START", b"MSG cleo new", b"START"]
    assert await everything(folder) == [*before, b"START", b"MSG cleo new", b"START"]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    caplog.clear()
    return found


def cut_off(path: Path, size: int) -> str:
    return f"the last record of {path} is torn: {size} bytes are cut off"


@pytest.fixture(autouse=True)
def nothing_else_is_logged_as_wrong(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert warnings(caplog) == []


# A journal that is whole


async def test_new_journal_begins_with_start(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert await begin(folder) == [b"START"]
    await assert_goes_on(folder, [b"START"])


async def test_all_is_recalled_that_is_wanted(tmp_path: Path) -> None:
    write(tmp_path, OLDER[:1], OLDER[1:], NEWER)
    await assert_goes_on(tmp_path, OLDER + NEWER)


async def test_as_much_is_recalled_as_is_wanted_or_a_little_more(tmp_path: Path) -> None:
    lines = [b"MSG ann " + b"x" * 1000] * 1000
    write(tmp_path, lines)
    recalled = await begin(tmp_path, policy=Policy(recall=1000))
    assert 0 < len(recalled) < len(lines)
    assert await everything(tmp_path) == [*lines, b"START"]


async def test_older_segments_are_read_only_as_far_as_wanted(tmp_path: Path) -> None:
    damaged, read, last = write(tmp_path, OLDER[:1], OLDER[1:], NEWER)
    damaged.write_bytes(b"nobody reads this\nnor this\n")
    both, one = read.stat().st_size, len(records(2, OLDER[2:])[0])
    for more, count in [(0, 0), (1, 0), (one - 1, 0), (one, 1), (one + 1, 1), (both - 1, 1), (both, 2)]:
        recalled = await begin(tmp_path, policy=Policy(recall=last.stat().st_size + more))
        assert recalled[:count] == OLDER[len(OLDER) - count :]
        assert recalled[count : count + len(NEWER)] == NEWER
    with pytest.raises(JournalError, match=re.escape(f"{damaged}, line 1: this is not what was kept")):
        await everything(tmp_path)


# A last record that is torn


@pytest.mark.parametrize("whole", [2, 3, 4])
async def test_torn_last_record_is_cut_off(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, whole: int
) -> None:
    kept = records(FIRST, NEWER)
    for torn in range(len(kept[whole]) + 1):
        folder = tmp_path / str(torn)
        folder.mkdir()
        _, path = write(folder, OLDER, NEWER)
        os.truncate(path, len(b"".join(kept[:whole])) + torn)
        found = NEWER[:whole] if torn < len(kept[whole]) else NEWER[: whole + 1]
        await assert_goes_on(folder, OLDER + found)
        assert warnings(caplog) == ([cut_off(path, torn)] if 0 < torn < len(kept[whole]) else [])


@pytest.mark.parametrize("broken", [2, 3, 4])
async def test_flipped_bit_is_cut_off_or_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: int
) -> None:
    kept = records(FIRST, NEWER)
    start, end = len(b"".join(kept[:broken])), len(b"".join(kept[: broken + 1]))
    for bit in range(start * 8, end * 8):
        folder = tmp_path / str(bit)
        folder.mkdir()
        _, path = write(folder, OLDER, NEWER)
        written = bytearray(path.read_bytes())
        written[bit // 8] ^= 1 << bit % 8
        path.write_bytes(written)
        if written.count(b"\n", start) < 2:  # the last line, which may be two without the line end between
            assert await begin(folder) == [*OLDER, *NEWER[:broken], b"START"]
            assert await everything(folder) == [*OLDER, *NEWER[:broken], b"START"]
            assert warnings(caplog) == [cut_off(path, len(written) - start)]
        else:
            with pytest.raises(JournalError, match=re.escape(f"{path}, line {broken + 1}: this is not")):
                await begin(folder)
            assert path.read_bytes() == written


async def test_torn_record_alone_in_the_last_segment_is_cut_off(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, path = write(tmp_path, OLDER, NEWER)
    os.truncate(path, 10)
    await assert_goes_on(tmp_path, OLDER)
    assert warnings(caplog) == [cut_off(path, 10)]


async def test_behind_an_empty_last_segment_the_one_before_is_recalled(tmp_path: Path) -> None:
    write(tmp_path, OLDER, NEWER, [])
    await assert_goes_on(tmp_path, OLDER + NEWER)


async def test_journal_of_an_empty_segment_begins(tmp_path: Path) -> None:
    write(tmp_path, [])
    await assert_goes_on(tmp_path, [])


# What could not be kept


@pytest.mark.parametrize("rest", [b"torn", b"".join(records(3, [b"MSG ann lost", b"MSG ann lost too"]))])
async def test_what_the_next_segment_has_instead_is_no_part_of_the_journal(
    tmp_path: Path, rest: bytes
) -> None:
    older, _, _ = write(tmp_path, OLDER, NEWER, [])
    with older.open("ab") as file:
        file.write(rest)
    await assert_goes_on(tmp_path, OLDER + NEWER)


async def test_rest_before_an_empty_last_segment_is_not_recalled(tmp_path: Path) -> None:
    older, _ = write(tmp_path, OLDER, [])
    with older.open("ab") as file:
        file.write(records(3, [b"MSG ann lost"])[0])
    await assert_goes_on(tmp_path, OLDER)


# Damage


@pytest.mark.parametrize(
    ("order", "line", "wrong"),
    [
        ([0, 2, 3, 4], 2, "this is record 5 where 4 should be"),
        ([0, 1, 1, 2], 3, "this is record 4 where 5 should be"),
        ([1, 2, 3], 1, "this is record 4 where 3 should be"),
    ],
    ids=["missing", "doubled", "first one missing"],
)
async def test_record_that_is_missing_or_doubled_is_refused(
    tmp_path: Path, order: list[int], line: int, wrong: str
) -> None:
    _, path = write(tmp_path, OLDER, NEWER)
    kept = records(FIRST, NEWER)
    path.write_bytes(b"".join(kept[n] for n in order))
    with pytest.raises(JournalError, match=re.escape(f"{path}, line {line}: {wrong}")):
        await begin(tmp_path)


async def test_refused_journal_is_left_to_others(tmp_path: Path) -> None:
    (path,) = write(tmp_path, OLDER)
    path.write_bytes(b"a diary\nof mine\n")
    with pytest.raises(JournalError):
        await begin(tmp_path)
    assert path.read_bytes() == b"a diary\nof mine\n"
    Lock(tmp_path).release()


async def test_missing_segment_is_refused_where_its_records_are_wanted(tmp_path: Path) -> None:
    older, missing, _ = write(tmp_path, OLDER, NEWER, [])
    missing.unlink()
    wrong = f"{older} should reach to record {FIRST + len(NEWER) - 1}, and ends with {FIRST - 1}"
    with pytest.raises(JournalError, match=re.escape(wrong)):
        await begin(tmp_path)


async def test_missing_segment_is_found_by_who_reads_everything(tmp_path: Path) -> None:
    older, missing, _ = write(tmp_path, OLDER, NEWER, NEWER)
    missing.unlink()
    assert await begin(tmp_path, policy=Policy(recall=1)) == [*NEWER, b"START"]
    with pytest.raises(JournalError, match=re.escape(f"{older} should reach to record 7, and ends with 2")):
        await everything(tmp_path)


async def test_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(JournalError, match=f"can't keep a journal in {re.escape(str(path))}: "):
        await begin(path)


# Two servers


async def test_second_server_is_refused(tmp_path: Path) -> None:
    journal = await FileJournal.open(tmp_path, Policy())
    try:
        with pytest.raises(
            JournalError, match=f"another server keeps its journal in {re.escape(str(tmp_path))}"
        ):
            await begin(tmp_path)
    finally:
        await journal.close()
    await assert_goes_on(tmp_path, [b"START"])


def test_second_server_says_so_and_ends(tmp_path: Path) -> None:
    with run_server_process("--journal", str(tmp_path)) as server:
        ended = run_server_to_exit("--port", "0", "--journal", str(tmp_path))
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr == f"simple_chat: another server keeps its journal in {tmp_path}\n"
        server.join("alice")


# What is deleted


def left(folder: Path) -> list[int]:
    return [segment.first for segment in segments(folder)]


@pytest.fixture
def four(tmp_path: Path) -> list[Path]:
    """Segments of 100 bytes that begin with 0, 1, 2 and 3, the older ones written earlier."""
    paths = write(tmp_path, *([line] for line in NEWER[:4]))
    for number, path in enumerate(paths):
        path.write_bytes(b"x" * 100)
        os.utime(path, (TIME + number, TIME + number))
    return paths


@pytest.mark.parametrize(
    ("size", "kept"), [(400, 4), (399, 3), (300, 3), (101, 1), (100, 1), (99, 1), (0, 1), (math.inf, 4)]
)
def test_oldest_segments_are_deleted_beyond_a_size(four: list[Path], size: float, kept: int) -> None:
    delete_oldest(four[0].parent, size=size)
    assert left(four[0].parent) == [0, 1, 2, 3][-kept:]


@pytest.mark.parametrize(("before", "kept"), [(0, 4), (1, 3), (1.5, 2), (3, 1), (100, 1)])
def test_oldest_segments_are_deleted_before_a_time(four: list[Path], before: float, kept: int) -> None:
    delete_oldest(four[0].parent, before=TIME + before)
    assert left(four[0].parent) == [0, 1, 2, 3][-kept:]


def test_later_segment_is_kept_behind_one_that_is_kept(four: list[Path]) -> None:
    os.utime(four[1], (TIME + 9, TIME + 9))
    delete_oldest(four[0].parent, before=TIME + 5)
    assert left(four[0].parent) == [1, 2, 3]


@pytest.mark.parametrize(
    ("keep", "kept"),
    [(1, [FIRST]), (timedelta(days=1), [FIRST, FIRST + len(NEWER)])],  # the last one is over a day old
    ids=["size", "age"],
)
async def test_server_deletes_when_it_begins(tmp_path: Path, keep: int | timedelta, kept: list[int]) -> None:
    for path in write(tmp_path, OLDER, NEWER):
        os.utime(path, (0, 0))
    assert await begin(tmp_path, policy=Policy(keep=keep)) == [*OLDER, *NEWER, b"START"]
    assert left(tmp_path) == kept


async def test_server_deletes_when_a_segment_is_full(tmp_path: Path) -> None:
    await begin(tmp_path, *NEWER, policy=Policy(segment=1, keep=1))
    assert left(tmp_path) == [len(NEWER)]
