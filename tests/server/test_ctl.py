"""``ctl``, against the server as a program."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess, run

import pytest

from tests.harness.programs import DEADLINE, ServerProcess, run_server_process


def ctl(path: Path, *words: str) -> CompletedProcess[str]:
    """Run one command."""
    command = [sys.executable, "-m", "simple_chat.server", "ctl", "--admin", str(path), *words]
    return run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)


def carried_out(path: Path, *words: str) -> str:
    """Run one command that succeeds, and return what it prints."""
    result = ctl(path, *words)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of an admin socket."""
    return tmp_path / "admin"


@contextmanager
def operated_server(path: Path, *options: str) -> Iterator[ServerProcess]:
    with run_server_process("--admin", str(path), *options) as server:
        yield server


def test_server_is_shown_as_tables_and_as_json(path: Path) -> None:
    with operated_server(path) as server:
        server.join("ann")
        server.join("ben")
        head, *rows = carried_out(path, "list").splitlines()
        assert head.split() == [
            *[
                "connection",
                "name",
                "address",
                "face",
                "since",
                "lines_per_minute",
                "behind",
                "unsent",
                "state",
            ]
        ]
        assert [row.split()[1] for row in rows] == ["ann", "ben"]
        (ann,) = json.loads(carried_out(path, "--json", "list", "a*"))
        assert (ann["name"], ann["face"], ann["behind"], ann["state"]) == ("ann", "plain", 0, "joined")
        assert json.loads(carried_out(path, "--json", "status"))["members"] == 2
        assert "members_here" in carried_out(path, "STATUS")
        assert json.loads(carried_out(path, "--json", "list", "x*")) == []


def test_member_is_kicked_and_banned_and_the_log_says_by_whom(path: Path) -> None:
    with operated_server(path) as server:
        ann, ben = server.join("ann"), server.join("ben")
        assert carried_out(path, "kick", "ann", "be", "nice") == "done\n"
        assert ann.wait_for("BYE kicked")[-1] == "ERR kicked be nice"
        assert carried_out(path, "ban", "ben", "for", "10m", "spam").splitlines()[0].split() == [
            *["name", "network", "until", "reason"]
        ]
        assert ben.wait_for("BYE banned")[-1].startswith("ERR banned spam (until ")
        (ban,) = json.loads(carried_out(path, "--json", "bans"))
        assert (ban["name"], ban["network"], ban["reason"]) == ("ben", "-", "spam")
        log = server.stop()
        assert "): kick ann be nice\n" in log
        assert "INFO admin (uid " in log
        assert "banned ben - " in log


def test_bans_outlive_the_program(path: Path) -> None:
    with operated_server(path) as server:
        carried_out(path, "ban", "ben")
        server.stop()
    with operated_server(path) as server:
        assert b"BYE banned\n" in server.pipe(b"JOIN ben\n")
        carried_out(path, "unban", "ben")
        assert b"OK JOIN ben\n" in server.pipe(b"JOIN ben\n")


def test_server_is_drained(path: Path) -> None:
    with operated_server(path) as server:
        ann = server.join("ann")
        assert carried_out(path, "drain") == "done\n"
        ann.wait_for("BYE shutdown")
        assert "shutting down\n" in server.wait()


def test_log_level_changes_while_running(path: Path) -> None:
    with operated_server(path) as server:
        server.pipe(b"")
        carried_out(path, "log", "debug")
        server.pipe(b"JOIN ann\n")
        carried_out(path, "log", "info")
        server.pipe(b"JOIN ben\n")
        log = server.stop()
        assert log.count(" connected\n") == 1


def test_broken_bans_file_changes_nothing(path: Path) -> None:
    with operated_server(path) as server:
        carried_out(path, "ban", "ben")
        file = path.with_name("admin.bans")
        file.write_text("rubbish\n")
        result = ctl(path, "reload")
        assert result.returncode == 1
        assert result.stderr.startswith(f"simple_chat: {file}:1: 'rubbish' has not the columns")
        assert b"BYE banned\n" in server.pipe(b"JOIN ben\n")
        file.write_text("")
        carried_out(path, "reload")
        assert b"OK JOIN ben\n" in server.pipe(b"JOIN ben\n")


@pytest.mark.parametrize(
    ("words", "status", "problem"),
    [
        (["kick", "ann"], 1, "simple_chat: nobody here is called 'ann'\n"),
        (["unban", "ann"], 1, "simple_chat: 'ann' is not banned: BANS lists those that are\n"),
        (["ban", "127.0.0.1"], 1, "simple_chat: 127.0.0.1 has this machine's own address"),
        (["rubbish"], 2, "python -m simple_chat.server ctl: there is no command 'rubbish'"),
        (["kick"], 2, "python -m simple_chat.server ctl: the name of a member is missing"),
        ([], 2, "python -m simple_chat.server ctl: the following arguments are required: COMMAND"),
    ],
)
def test_refused_command_has_an_exit_status(path: Path, words: list[str], status: int, problem: str) -> None:
    with operated_server(path):
        result = ctl(path, *words)
        assert result.returncode == status
        assert result.stderr.startswith(problem)
        assert result.stdout == ""


def test_missing_server_and_missing_path_are_named(path: Path) -> None:
    result = ctl(path, "status")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"simple_chat: no answer on unix:{path}: No such file or directory\n"
    command = [sys.executable, "-m", "simple_chat.server", "ctl", "status"]
    bare = run(command, capture_output=True, text=True, timeout=DEADLINE, check=False, env={})
    assert bare.returncode == 2
    assert "--admin (or SIMPLE_CHAT_SERVER_ADMIN) is missing" in bare.stderr
