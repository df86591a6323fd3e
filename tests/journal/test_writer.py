"""Writing a journal: when the next segment begins, what is deleted, and a clock that is wrong."""

import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from simple_chat.journal import clock as clock_module
from simple_chat.journal import file, segment
from simple_chat.journal.base import Policy
from simple_chat.journal.file import FileJournal
from simple_chat.journal.record import encode_records
from simple_chat.journal.recovery import recover
from simple_chat.journal.segment import Segment
from simple_chat.journal.writer import JournalWriter
from tests.journal.harness import (
    TIME,
    RecordingHost,
    append,
    first_numbers,
    make_batch,
    run_journal,
    take_warnings,
    write_segment,
    write_segments,
)

OLDER = [b"START", b"JOINED ann", b"MSG ann one"]
NEWER = [b"MSG ann two", b"MSG ann three", b"LEFT ann", b"JOINED bob", b"MSG bob four"]
FIRST = len(OLDER)

DAY = 86_400.0

SetClock = Callable[..., None]
"""Sets the clock to a time, in seconds since the epoch; with ``passed=True`` that much time passes."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """A clock that stands still until it is set."""
    now, uptime = TIME, 0.0

    def set_clock(seconds: float, *, passed: bool = False) -> None:
        nonlocal now, uptime
        uptime += seconds - now if passed else 0.0
        now = seconds

    monkeypatch.setattr(time, "time", lambda: now)
    monkeypatch.setattr(clock_module, "_uptime", lambda: uptime)
    return set_clock


@pytest.fixture(autouse=True)
def no_other_warnings(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert take_warnings(caplog) == []


# Retention


@pytest.mark.parametrize(
    ("retention", "firsts"), [(1, [FIRST]), (timedelta(days=1), [FIRST, 8])], ids=["size", "age"]
)
async def test_retention_is_applied_at_start(
    tmp_path: Path, clock: SetClock, retention: int | timedelta, firsts: list[int]
) -> None:
    paths = write_segments(tmp_path, OLDER, NEWER)
    os.utime(paths[0], (TIME, TIME))
    os.utime(paths[1], (TIME + 1.5 * DAY, TIME + 1.5 * DAY))
    clock(TIME + 2 * DAY)
    assert await run_journal(tmp_path, policy=Policy(retention=retention)) == [*OLDER, *NEWER, b"START"]
    assert first_numbers(tmp_path) == firsts


async def test_retention_is_applied_when_a_segment_is_full(tmp_path: Path) -> None:
    await run_journal(tmp_path, *NEWER, policy=Policy(segment_bytes=1, retention=1))
    assert first_numbers(tmp_path) == [len(NEWER)]


# A clock that is wrong


FUTURE = 2_147_483_647.0
"""2038-01-19, in seconds since the epoch."""

KEEP = Policy(retention=timedelta(days=30))


async def run_days(directory: Path, clock: SetClock, *times: float) -> None:
    """Run a journal that gets a line at each time, while time passes as the clock says."""
    clock(times[0])
    journal = await FileJournal.open(directory, KEEP)
    host = RecordingHost()
    journal.start(host)
    for number, each in enumerate(times[1:], journal.recovered[-1].end):
        clock(each, passed=True)
        journal.submit(make_batch(number, b"MSG ann x", time=each))
        await host.ready()
    await journal.close()


def days_from(begin: float, count: int) -> list[float]:
    return [begin + day * 1.001 * DAY for day in range(count)]


async def test_lines_are_deleted_when_they_are_too_old(tmp_path: Path, clock: SetClock) -> None:
    await run_days(tmp_path, clock, *days_from(TIME, 40))
    assert first_numbers(tmp_path) == list(range(9, 40))


async def test_months_without_a_line_count_while_the_server_runs(tmp_path: Path, clock: SetClock) -> None:
    await run_days(tmp_path, clock, TIME, TIME + DAY / 2, TIME + 40 * DAY, TIME + 80 * DAY)
    assert first_numbers(tmp_path) == [2, 3]


@pytest.mark.parametrize("leap", [FUTURE - TIME, 25 * DAY, 2 * DAY], ids=["2038", "near", "days"])
async def test_clock_that_is_wrong_at_start_deletes_nothing(
    tmp_path: Path, clock: SetClock, caplog: pytest.LogCaptureFixture, leap: float
) -> None:
    await run_days(tmp_path, clock, *days_from(TIME, 29))
    before, end = first_numbers(tmp_path), TIME + 29 * DAY
    assert take_warnings(caplog) == []
    for restart in range(3):
        await run_days(tmp_path, clock, end + leap + restart)
        assert len(take_warnings(caplog)) == (restart == 0)
    await run_days(tmp_path, clock, end + leap + 60, end + leap + 3600)
    assert first_numbers(tmp_path) == [*before, 29]
    await run_days(tmp_path, clock, end + 7200)  # it is set right
    (warning,) = take_warnings(caplog)
    assert warning.startswith("the clock says 2020-12-22 ")
    assert first_numbers(tmp_path) == [*before, 29, 34]
    await run_days(tmp_path, clock, *days_from(end + 10_000, 31))
    assert first_numbers(tmp_path)[0] == 34


@pytest.mark.parametrize("leap", [FUTURE - TIME, -40 * 365 * DAY], ids=["2038", "1980"])
async def test_clock_that_leaps_while_the_server_runs_deletes_nothing(
    tmp_path: Path, clock: SetClock, caplog: pytest.LogCaptureFixture, leap: float
) -> None:
    clock(TIME)
    journal = await FileJournal.open(tmp_path, KEEP)
    host = RecordingHost()
    journal.start(host)
    times = [TIME + 1.1 * DAY, TIME + 2.2 * DAY, leap + TIME + 2.2 * DAY, TIME + 2.2 * DAY]
    for number, each in enumerate(times, 1):
        clock(each, passed=number < 3)
        journal.submit(make_batch(number, b"MSG ann x", time=each))
        await host.ready()
    await journal.close()
    assert first_numbers(tmp_path) == [0, 1, 2, 3, 4]
    assert [each.startswith("the clock says ") for each in take_warnings(caplog)] == [True, True]
    await run_days(tmp_path, clock, TIME + 2.3 * DAY)
    assert first_numbers(tmp_path) == [0, 1, 2, 3, 4]


async def test_segment_is_closed_after_a_day_though_it_began_in_the_future(
    tmp_path: Path, clock: SetClock
) -> None:
    append(write_segment(tmp_path, 0), encode_records(make_batch(0, b"START", time=FUTURE)))
    clock(TIME)
    os.utime(Segment.within(tmp_path, 0).path, (TIME, TIME))
    await run_days(tmp_path, clock, TIME + 60)
    assert first_numbers(tmp_path) == [0, 1]


async def test_server_that_starts_and_writes_nothing_leaves_the_time_of_the_last_segment(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_segment(tmp_path, 0)
    append(path, encode_records(make_batch(0, b"START", time=TIME)) + b"1 torn")
    os.utime(path, (TIME, TIME))
    writer = JournalWriter(tmp_path, KEEP)
    await writer.resume(await recover(tmp_path, 0))
    assert path.stat().st_mtime == TIME
    assert [" is torn: " in each for each in take_warnings(caplog)] == [True]
    await writer.close()


# Files that are moved


async def test_segment_that_is_moved_away_is_followed_by_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment, "CHECK_INTERVAL", 0)
    monkeypatch.setattr(file, "RETRY_DELAY", 0.01)
    journal = await FileJournal.open(tmp_path, Policy())
    host = RecordingHost()
    journal.start(host)
    path, moved = Segment.within(tmp_path, 0).path, tmp_path / "moved"
    path.rename(moved)
    before = moved.read_bytes()
    journal.submit(make_batch(1, b"MSG ann x", time=time.time()))
    await host.ready()
    await journal.close()
    assert host.notices[0].startswith("The journal can't be written (somebody moved the segment away): ")
    assert (first_numbers(tmp_path), moved.read_bytes()) == ([1], before)
