"""The journal's directory: who can read it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from simple_chat.journal.base import Policy
from tests.journal.harness import run_journal, take_warnings, write_segment

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
