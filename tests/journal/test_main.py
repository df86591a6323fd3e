"""The journal's command line: what it shows of a journal, and how it ends."""

import json
import os
import re
import sys
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from signal import SIG_DFL, SIGINT, SIGTERM, Signals, signal
from subprocess import PIPE, CompletedProcess, Popen, run

import pexpect
import pytest
from pexpect.fdpexpect import fdspawn

import simple_chat
from simple_chat.core.backlog import NO_AUTHOR, Batch
from simple_chat.core.protocol import timestamp
from simple_chat.journal.directory import Segment
from simple_chat.journal.record import encode_records
from tests.harness.programs import DEADLINE, run_server_process

COMMAND = (sys.executable, "-m", "simple_chat.journal")
TIME = 1795463301.123
LINES = ["START", "JOINED ann", "MSG ann hello", "MSG ann 日本語 hä", "LEFT ann", "START", "JOINED bob"]


def when(number: int) -> str:
    """The time that the tests give a record: a minute later each."""
    return timestamp(datetime.fromtimestamp(TIME + 60 * number, UTC))


def record(number: int, line: str) -> bytes:
    return encode_records(Batch(number, [line.encode() + b"\n"], array("Q", [NO_AUTHOR]), TIME + 60 * number))


def shown(*numbers: int) -> list[str]:
    return [f"{number} {when(number)} {LINES[number]}" for number in numbers]


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """The segments of a journal, with three, two and two records."""
    firsts = [0, 3, 5, len(LINES)]
    for first, stop in pairwise(firsts):
        content = b"".join(record(number, LINES[number]) for number in range(first, stop))
        Segment.named(tmp_path, first).path.write_bytes(content)
    return [Segment.named(tmp_path, first).path for first in firsts[:-1]]


@pytest.fixture
def folder(paths: list[Path]) -> Path:
    return paths[0].parent


def show(*arguments: str | Path) -> CompletedProcess[str]:
    return run([*COMMAND, *arguments], capture_output=True, text=True, timeout=DEADLINE, check=False)


def lines_of(ended: CompletedProcess[str]) -> list[str]:
    """What was printed, when all was well."""
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.splitlines()


def assert_fails(ended: CompletedProcess[str], reason: str, stdout: Sequence[str] = ()) -> None:
    assert (ended.returncode, ended.stdout.splitlines()) == (1, list(stdout))
    assert ended.stderr == f"simple_chat.journal: {reason}\n"


# What it shows


def test_records_are_shown_as_lines(folder: Path) -> None:
    assert lines_of(show(folder)) == shown(*range(7))
    assert shown(2) == ["2 2026-11-23T19:50:21.123Z MSG ann hello"]


def test_json_has_the_clients_names_of_events(folder: Path) -> None:
    found = [json.loads(line) for line in lines_of(show("--json", folder))]
    assert [(each.pop("number"), each.pop("time")) for each in found] == [(n, when(n)) for n in range(7)]
    assert found == [
        {"event": "start"},
        {"event": "joined", "name": "ann"},
        {"event": "message", "name": "ann", "text": "hello"},
        {"event": "message", "name": "ann", "text": "日本語 hä"},
        {"event": "left", "name": "ann"},
        {"event": "start"},
        {"event": "joined", "name": "bob"},
    ]


def test_letters_that_the_output_does_not_know_are_replaced(folder: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    ended = run([*COMMAND, "--from", "3", folder], env=environment, stdout=PIPE, timeout=DEADLINE, check=True)
    assert "MSG ann ??? hä\n".encode("latin-1") in ended.stdout


@pytest.mark.parametrize("number", range(7))
def test_it_begins_with_a_number(folder: Path, number: int) -> None:
    assert lines_of(show("--from", str(number), folder)) == shown(*range(number, 7))


@pytest.mark.parametrize("start", ["7", "99", "2026-11-23T19:54:21.124", "2027-01-01"])
def test_behind_the_end_is_nothing(folder: Path, start: str) -> None:
    assert lines_of(show("--from", start, folder)) == []


@pytest.mark.parametrize(
    ("time", "number"),
    [
        ("2026-11-23", 0),
        ("2026-11-23T19:48", 0),
        ("2026-11-23T19:48:21.123Z", 0),
        ("2026-11-23T19:48:21.124Z", 1),
        ("2026-11-23T19:51", 3),
        ("2026-11-23T19:52", 4),
        ("2026-11-23T21:52+02:00", 4),
        ("2026-11-23T19:52:21.123Z", 4),
        ("2026-11-23T19:53", 5),
        ("2026-11-23 19:53:21.124", 6),
    ],
)
def test_it_begins_with_a_time(folder: Path, time: str, number: int) -> None:
    assert lines_of(show("--from", time, folder)) == shown(*range(number, 7))


@pytest.mark.parametrize("start", ["5", "6", "2026-11-23T19:54"])
def test_older_segments_are_not_read(paths: list[Path], start: str) -> None:
    paths[0].write_bytes(record(0, LINES[0]) + b"no record\nnor this\n")
    assert lines_of(show("--from", start, paths[0].parent))[-1:] == shown(6)


@pytest.mark.parametrize("content", [b"", record(5, LINES[5])[:-5]], ids=["empty", "torn"])
def test_time_is_found_before_a_segment_without_records(paths: list[Path], content: bytes) -> None:
    paths[2].write_bytes(content)
    assert lines_of(show("--from", "2026-11-23T19:52", paths[0].parent)) == shown(4)


def test_journal_whose_oldest_segments_were_deleted_begins_later(paths: list[Path]) -> None:
    paths[0].unlink()
    for start in ("0", "2026-11-23"):
        assert lines_of(show("--from", start, paths[0].parent)) == shown(*range(3, 7))


def test_torn_last_record_is_not_shown(paths: list[Path]) -> None:
    os.truncate(paths[2], paths[2].stat().st_size - 5)
    assert lines_of(show(paths[0].parent)) == shown(*range(6))


# What it verifies


def test_verifying_tells_what_is_there(folder: Path) -> None:
    told = "7 records in 3 segments, from 0 (2026-11-23T19:48:21.123Z) to 6 (2026-11-23T19:54:21.123Z)"
    assert lines_of(show("--verify", folder)) == [told]


def test_verifying_may_begin_later(folder: Path) -> None:
    assert lines_of(show("--verify", "--from", "6", folder)) == [
        "1 record in 1 segment, from 6 (2026-11-23T19:54:21.123Z) to 6 (2026-11-23T19:54:21.123Z)"
    ]


def test_torn_last_record_is_no_damage(paths: list[Path]) -> None:
    os.truncate(paths[2], paths[2].stat().st_size - 5)
    (told,) = lines_of(show("--verify", paths[0].parent))
    assert told.startswith("6 records in 3 segments, from 0 ")
    assert told.endswith(f"; the last record is torn: {len(record(6, LINES[6])) - 5} bytes")


def test_empty_segment_has_no_records(tmp_path: Path) -> None:
    Segment.named(tmp_path, 0).path.touch()
    assert lines_of(show("--verify", tmp_path)) == ["0 records in 1 segment"]
    assert lines_of(show(tmp_path)) == []


def damage(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


@pytest.mark.parametrize(
    ("segment", "old", "new", "wrong"),
    [
        (0, b"JOINED", b"jOINED", ", line 2: this is not what was kept"),
        (1, record(4, LINES[4]), b"", " should reach to record 4, and ends with 3"),
        (2, record(5, LINES[5]), record(5, LINES[5]) * 2, ", line 2: this is record 5 where 6 should be"),
    ],
    ids=["flipped bit", "record missing", "record doubled"],
)
def test_damage_is_told(paths: list[Path], segment: int, old: bytes, new: bytes, wrong: str) -> None:
    damage(paths[segment], old, new)
    assert_fails(show("--verify", paths[0].parent), f"{paths[segment]}{wrong}")


def test_printing_stops_at_damage(paths: list[Path]) -> None:
    damage(paths[1], b"LEFT", b"LEFt")
    wrong = f"{paths[1]} should reach to record 4, and ends with 3"
    assert_fails(show(paths[0].parent), wrong, shown(0, 1, 2, 3))


def test_missing_segment_is_damage(paths: list[Path]) -> None:
    paths[1].unlink()
    wrong = f"{paths[0]} should reach to record 4, and ends with 2"
    assert_fails(show("--verify", paths[0].parent), wrong)


@pytest.mark.parametrize("options", [[], ["--verify"], ["--follow"], ["--from", "2026-11-23"]], ids=str)
def test_without_a_journal_it_fails(tmp_path: Path, options: list[str]) -> None:
    assert_fails(show(*options, tmp_path), f"there is no journal in {tmp_path}")
    assert_fails(show(*options, tmp_path / "x"), f"{tmp_path / 'x'} is no directory")


def test_segment_that_can_not_be_read_is_named(paths: list[Path]) -> None:
    paths[1].unlink()
    paths[1].mkdir()
    assert_fails(show("--from", "3", paths[0].parent), f"{paths[1]}: Is a directory")


# What it follows


def _obey_interrupts() -> None:
    """Let Ctrl-C end a program, even where the tests run in the background and inherit that it does not."""
    signal(SIGINT, SIG_DFL)


@contextmanager
def following(folder: Path, *options: str) -> Iterator["fdspawn[str]"]:
    """Follow a journal, and end with Ctrl-C when every line was read; on stderr there is to be nothing."""
    with Popen(
        [*COMMAND, "--follow", *options, folder],
        stdout=PIPE,
        stderr=PIPE,
        preexec_fn=_obey_interrupts,  # noqa: PLW1509 - there are no threads
    ) as process:
        try:
            assert process.stdout is not None
            output = fdspawn(process.stdout, encoding="utf-8", timeout=DEADLINE)
            yield output
            process.send_signal(SIGINT)
            output.expect(pexpect.EOF)
            assert output.before == ""
            assert process.wait(DEADLINE) == 128 + SIGINT
            assert process.stderr is not None
            assert process.stderr.read() == b""
        finally:
            process.kill()


def next_line(output: "fdspawn[str]") -> str:
    output.expect_exact("\n")
    return str(output.before)


def next_lines(output: "fdspawn[str]", count: int) -> list[str]:
    return [next_line(output) for _ in range(count)]


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_server_is_followed_from_segment_to_segment(tmp_path: Path) -> None:
    options = ("--journal", str(tmp_path), "--journal-segment", "1K")
    with run_server_process(*options) as server, following(tmp_path) as output:
        assert next_line(output).endswith(" START")
        alice, said = server.join("alice"), [f"{number} " + 100 * "x" for number in range(40)]
        for line in said:
            alice.type(f"MSG {line}")
            alice.barrier()
        expected = ["JOINED alice", *(f"MSG alice {line}" for line in said)]
        found = [line.split(" ", 2) for line in next_lines(output, len(expected))]
        assert [line for _, _, line in found] == expected
        assert [int(number) for number, _, _ in found] == list(range(1, len(expected) + 1))
    assert len(list(tmp_path.glob("*.log"))) > 3
    assert re.match(r"43 records in \d+ segments, from 0 ", lines_of(show("--verify", tmp_path))[0])


def test_following_begins_where_it_was_told(folder: Path) -> None:
    with following(folder, "--from", "5", "--json") as output:
        assert [json.loads(line)["number"] for line in next_lines(output, 2)] == [5, 6]


@pytest.mark.parametrize("start", ["8", "2026-11-23T19:56"])
def test_start_that_is_yet_to_come_is_waited_for(paths: list[Path], start: str) -> None:
    with following(paths[0].parent, "--from", start) as output:
        for number in (7, 8, 9):
            append(paths[2], record(number, "START"))
        assert next_lines(output, 2) == [f"{number} {when(number)} START" for number in (8, 9)]


def test_half_a_record_is_waited_for(paths: list[Path]) -> None:
    whole, half = record(7, "LEFT bob"), len(record(7, "LEFT bob")) // 2
    append(paths[2], whole[:half])
    with following(paths[0].parent) as output:
        assert next_lines(output, 7) == shown(*range(7))
        append(paths[2], whole[half:])
        assert next_line(output) == f"7 {when(7)} LEFT bob"


def test_half_a_record_that_is_cut_off_is_forgotten(paths: list[Path]) -> None:
    size = paths[2].stat().st_size
    append(paths[2], record(7, "MSG bob lost")[:-1])
    with following(paths[0].parent) as output:
        assert next_lines(output, 7) == shown(*range(7))
        os.truncate(paths[2], size)
        append(paths[2], record(7, "LEFT bob"))
        assert next_line(output) == f"7 {when(7)} LEFT bob"


def test_half_a_record_is_passed_over_when_a_new_segment_has_it(paths: list[Path]) -> None:
    append(paths[2], record(7, "MSG bob lost")[:-1])
    with following(paths[0].parent) as output:
        assert next_lines(output, 7) == shown(*range(7))
        Segment.named(paths[0].parent, 7).path.write_bytes(record(7, "LEFT bob") + record(8, "START"))
        assert next_lines(output, 2) == [f"7 {when(7)} LEFT bob", f"8 {when(8)} START"]


def test_following_stops_at_damage(paths: list[Path]) -> None:
    append(paths[2], b"no record\nnor this\n")
    assert_fails(
        show("--follow", "--from", "6", paths[0].parent), f"{paths[2]}, line 3: this is not what was kept"
    )


def test_line_of_damage_is_counted_from_the_segments_beginning(paths: list[Path]) -> None:
    with Popen([*COMMAND, "-f", paths[0].parent], stdout=PIPE, stderr=PIPE) as process:
        try:
            assert process.stdout is not None
            output = fdspawn(process.stdout, encoding="utf-8", timeout=DEADLINE)
            assert next_lines(output, 7) == shown(*range(7))
            append(paths[2], record(7, "LEFT bob") + b"no record\nnor this\n")
            assert process.wait(DEADLINE) == 1
            assert process.stderr is not None
            told = process.stderr.read().decode()
        finally:
            process.kill()
    assert told == f"simple_chat.journal: {paths[2]}, line 4: this is not what was kept\n"


# How it ends


def test_sigterm_ends_it(folder: Path) -> None:
    with Popen([*COMMAND, "-f", folder], stdout=PIPE, stderr=PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(SIGTERM)
        _, told = process.communicate(timeout=DEADLINE)
        assert (process.returncode, told) == (-SIGTERM, b"")


def test_reader_that_goes_ends_it_quietly(tmp_path: Path) -> None:
    content = b"".join(record(number, "MSG ann " + 100 * "x") for number in range(3000))
    Segment.named(tmp_path, 0).path.write_bytes(content)  # more than a pipe holds
    script = '"$@" | head -1; exit ${PIPESTATUS[0]}'
    ended = run(
        ["bash", "-c", script, "bash", *COMMAND, tmp_path],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (128 + Signals.SIGPIPE, "")
    assert ended.stdout.startswith(f"0 {when(0)} MSG ann x")


def test_output_that_is_full_is_told(folder: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        ended = run([*COMMAND, folder], stdout=full, stderr=PIPE, text=True, timeout=DEADLINE, check=False)
    assert (ended.returncode, ended.stderr) == (1, "simple_chat.journal: No space left on device\n")


def test_closed_output_does_no_harm(folder: Path) -> None:
    script = 'exec "$@" >&- 2>&-'
    for path, status in {folder: 0, folder / "x": 1}.items():
        command = ["sh", "-c", script, "sh", *COMMAND, str(path)]
        assert run(command, timeout=DEADLINE, check=False).returncode == status


# What it tells of itself


def test_version_is_the_packages() -> None:
    assert lines_of(show("--version")) == [f"simple_chat {simple_chat.__version__}"]


def test_help_names_the_options() -> None:
    assert {"--json", "--from", "--follow", "--verify"} <= set(re.findall(r"--\w+", show("--help").stdout))


@pytest.mark.parametrize(
    "options",
    [
        "",
        "a b",
        "--from= x",
        "--from soon x",
        "--from -1 x",
        "--from 2026-13-01 x",
        f"--from {5000 * '9'} x",
        "--verify --follow x",
        "--verify --json x",
        "--fol x",
    ],
    ids=lambda options: options[:20],
)
def test_bad_option_is_refused_in_one_line(options: str) -> None:
    ended = show(*options.split())
    assert (ended.returncode, ended.stdout) == (2, "")
    assert re.fullmatch(r".*\(--help shows all options\)\n", ended.stderr)
