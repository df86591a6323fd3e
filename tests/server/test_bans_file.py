from pathlib import Path

import pytest

from simple_chat import ConfigError
from simple_chat.core.bans import Ban
from simple_chat.core.network import parse_network
from simple_chat.server.bans_file import read_bans, write_bans

BANS = [
    Ban("ann", parse_network("192.0.2.7"), 1_800_000_000, "spam"),
    Ban(None, parse_network("2001:db8::/32")),
]


def test_bans_are_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "bans"
    write_bans(path, BANS)
    assert read_bans(path) == BANS
    assert path.read_text().splitlines()[1:] == [
        "ann 192.0.2.7 2027-01-15T08:00:00Z spam",
        "- 2001:db8::/32 -",
    ]
    write_bans(path, [])
    assert read_bans(path) == []
    assert [*tmp_path.iterdir()] == [path]


def test_missing_file_has_no_bans(tmp_path: Path) -> None:
    assert read_bans(tmp_path / "none") == []


def test_file_that_people_edited_is_read(tmp_path: Path) -> None:
    path = tmp_path / "bans"
    path.write_text("# mine\n\n  \nann   -\t-   too  loud\nben - -\n")
    assert read_bans(path) == [Ban("ann", None, None, "too  loud"), Ban("ben", None)]


def test_line_that_is_no_ban_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bans"
    path.write_text("ann - -\nben\n")
    with pytest.raises(ConfigError, match=f"{path}:2: 'ben' has not the columns"):
        read_bans(path)


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"can't read {tmp_path}: Is a directory"):
        read_bans(tmp_path)
    (tmp_path / "bans").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="can't read"):
        read_bans(tmp_path / "bans")


def test_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "bans"
    write_bans(path, BANS)
    (tmp_path / "bans.new").mkdir()
    with pytest.raises(IsADirectoryError):
        write_bans(path, [])
    assert read_bans(path) == BANS
