"""The journal's directory: what is in it, who can read it, and what can't be done with it."""

import errno
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from simple_chat.errors import JournalError
from simple_chat.journal.base import Policy
from simple_chat.journal.directory import DirectoryLock, fsync_directory
from tests.journal.harness import first_numbers, run_journal, take_warnings, write_segment

LINES = [b"START", b"JOINED ann", b"MSG ann one"]


def mode(path: Path) -> int:
    """Return the permissions of a file or directory."""
    return path.stat().st_mode & 0o777


def modes(directory: Path) -> set[str]:
    return {f"{path.name[-3:]} {mode(path):o}" for path in directory.iterdir()}


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
async def test_new_journal_is_its_owners_only(tmp_path: Path) -> None:
    await run_journal(tmp_path / "a" / "b", *LINES, policy=Policy(segment_bytes=1))
    assert mode(tmp_path / "a" / "b") == 0o700
    assert modes(tmp_path / "a" / "b") == {"log 600", "ock 600"}


@pytest.mark.usefixtures("open_umask")
async def test_files_in_a_directory_of_the_operator_are_their_owners_only(tmp_path: Path) -> None:
    directory = tmp_path / "journal"
    directory.mkdir(0o755)
    await run_journal(directory)
    assert modes(directory) == {"log 600", "ock 600"}
    assert mode(directory) == 0o755


@pytest.mark.parametrize(
    ("directory", "file", "warnings"),
    [
        (0o755, 0o644, 1),
        (0o711, 0o604, 1),
        (0o711, 0o602, 1),
        (0o703, 0o600, 1),
        (0o770, 0o666, 0),
        (0o750, 0o640, 0),
        (0o755, 0o640, 0),
    ],
)
async def test_journal_that_everybody_can_read_is_left_so_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, directory: int, file: int, warnings: int
) -> None:
    place = tmp_path / "a journal"
    place.mkdir()
    path = write_segment(place, 0, *LINES)
    path.chmod(file)
    place.chmod(directory)
    await run_journal(place)
    warning = f"everybody on this machine can read or change the journal in {place}: chmod -R o= '{place}'"
    assert take_warnings(caplog) == [warning] * warnings
    assert (mode(path), mode(place)) == (file, directory)


# What is no segment


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "directory"])
async def test_segment_that_is_no_file_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = write_segment(tmp_path, 0)
    path.unlink()
    make(path)
    with pytest.raises(
        JournalError, match=re.escape(f"{path} is not a file, but named like one of a journal")
    ):
        await run_journal(tmp_path)
    DirectoryLock(tmp_path).release()


async def test_other_files_are_left_alone(tmp_path: Path) -> None:
    for name in ("notes.log", "00000000000000000000.log.gz", "\u0660" * 20 + ".log", "1" * 20 + ".log~"):
        (tmp_path / name).write_text("x")
    assert await run_journal(tmp_path) == [b"START"]
    assert first_numbers(tmp_path) == [0]
    assert len(os.listdir(tmp_path)) == 6  # noqa: PTH208 - iterdir is no function for a coroutine


async def test_error_names_the_file_that_can_not_be_used(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    message = f"can't write a journal in {tmp_path}: lock: Is a directory"
    with pytest.raises(JournalError, match=f"^{re.escape(message)}$"):
        await run_journal(tmp_path)


# A directory that can't be synced


def failing_fsync(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)


def test_directory_without_fsync_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_fsync(monkeypatch, errno.EINVAL)
    fsync_directory(tmp_path)


def test_failed_fsync_of_a_directory_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_fsync(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        fsync_directory(tmp_path)
