"""The journal tool: what it prints of a journal, and how it ends."""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals
from subprocess import PIPE, CompletedProcess, Popen, run

import pexpect
import pytest
from pexpect.fdpexpect import fdspawn

import simple_chat
from simple_chat.core.protocol import timestamp
from simple_chat.journal.__main__ import main
from simple_chat.journal.record import encode_records
from tests.harness.forked_program import ForkedProgram
from tests.harness.programs import DEADLINE, run_module_to_exit, run_server_process
from tests.journal import harness
from tests.journal.harness import append, time_of, write_segment

COMMAND = (sys.executable, "-m", "simple_chat.journal")
LINES = ["START", "JOINED ann", "MSG ann hello", "MSG ann 日本語 hä", "LEFT ann", "START", "JOINED bob"]

Tool = Callable[..., list[str]]
"""Runs the tool without errors, and returns the lines that it printed."""


def record(number: int, line: str) -> bytes:
    return harness.record(number, line.encode())


def printed(number: int, line: str) -> str:
    return f"{number} {timestamp(datetime.fromtimestamp(time_of(number), UTC))} {line}"


def printed_lines(*numbers: int) -> list[str]:
    return [printed(number, LINES[number]) for number in numbers]


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """The segments of a journal, with three, two and two records."""
    lines = [line.encode() for line in LINES]
    return [
        write_segment(tmp_path, first, *lines[first:stop]) for first, stop in pairwise([0, 3, 5, len(lines)])
    ]


@pytest.fixture
def directory(paths: list[Path]) -> Path:
    return paths[0].parent


@pytest.fixture
def tool(capsys: pytest.CaptureFixture[str]) -> Tool:
    """The tool in this process, which saves the start of an interpreter."""

    def run_here(*arguments: str | Path) -> list[str]:
        assert main([str(each) for each in arguments]) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        return captured.out.splitlines()

    return run_here


def run_tool(*arguments: str | Path) -> CompletedProcess[str]:
    """Run the tool as a program."""
    return run_module_to_exit("simple_chat.journal", *map(str, arguments))


def assert_fails(ended: CompletedProcess[str], reason: str, stdout: Sequence[str] = ()) -> None:
    assert (ended.returncode, ended.stdout.splitlines()) == (1, list(stdout))
    assert ended.stderr == f"simple_chat.journal: {reason}\n"


# Printing


def test_records_are_printed_without_checksums(directory: Path) -> None:
    ended = run_tool(directory)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == printed_lines(*range(7))
    assert printed_lines(2) == ["2 2020-11-23T19:50:21.123Z MSG ann hello"]


def test_json_has_the_clients_names_of_events(tool: Tool, directory: Path) -> None:
    found = [json.loads(line) for line in tool("--json", directory)]
    places = [f"{each.pop('number')} {each.pop('time')}" for each in found]
    assert places == [line.rpartition("Z ")[0] + "Z" for line in printed_lines(*range(7))]
    assert found == [
        {"event": "start"},
        {"event": "joined", "name": "ann"},
        {"event": "message", "name": "ann", "text": "hello"},
        {"event": "message", "name": "ann", "text": "日本語 hä"},
        {"event": "left", "name": "ann"},
        {"event": "start"},
        {"event": "joined", "name": "bob"},
    ]


LOCALES = {
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "latin-1, strict": {"PYTHONIOENCODING": "latin-1:strict"},
    "utf-16": {"PYTHONIOENCODING": "utf-16"},
    "C": {"LC_ALL": "C"},
    "C, without UTF-8": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
}


def run_in_locale(locale: str, *arguments: str | Path) -> bytes:
    """Run the tool as a program, and return what it printed."""
    environment = os.environ | LOCALES[locale]
    ended = run([*COMMAND, *arguments], env=environment, capture_output=True, timeout=DEADLINE, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
    return ended.stdout


@pytest.mark.parametrize(
    ("locale", "encoding", "text"),
    [
        ("latin-1", "latin-1", "MSG ann ??? hä"),
        ("latin-1, strict", "latin-1", "MSG ann ??? hä"),
        ("utf-16", "utf-16", "MSG ann 日本語 hä"),
        ("C", "utf-8", "MSG ann 日本語 hä"),
        ("C, without UTF-8", "ascii", "MSG ann ??? h?"),
    ],
)
def test_characters_that_stdout_can_not_encode_are_replaced(
    directory: Path, locale: str, encoding: str, text: str
) -> None:
    assert printed(3, text) in run_in_locale(locale, directory).decode(encoding).splitlines()


@pytest.mark.parametrize("locale", LOCALES)
def test_json_is_utf8_in_every_locale(directory: Path, locale: str) -> None:
    lines = run_in_locale(locale, "--json", directory).decode("utf-8").splitlines()
    assert json.loads(lines[3])["text"] == "日本語 hä"
    assert "日本語 hä" in lines[3]


@pytest.mark.parametrize("line", [b"MSG ann \xed\xa0\x80 \xff", b"\xff\xfe"], ids=["text", "event"])
def test_bytes_that_are_no_utf8_are_replaced(tmp_path: Path, line: bytes) -> None:
    write_segment(tmp_path, 0, line)
    (text,) = run_in_locale("C", tmp_path).decode("utf-8").splitlines()
    (encoded,) = run_in_locale("C", "--json", tmp_path).decode("utf-8").splitlines()
    assert text == printed(0, line.decode(errors="replace"))
    assert not any("\ud800" <= each <= "\udfff" for each in str(json.loads(encoded)))


@pytest.mark.parametrize("number", range(7))
def test_printing_starts_with_a_number(tool: Tool, directory: Path, number: int) -> None:
    assert tool("--from", str(number), directory) == printed_lines(*range(number, 7))


@pytest.mark.parametrize("start", ["7", "99", "2020-11-23T19:54:21.124", "2021-01-01"])
def test_start_after_the_end_prints_nothing(tool: Tool, directory: Path, start: str) -> None:
    assert tool("--from", start, directory) == []


@pytest.mark.parametrize(
    ("time", "number"),
    [
        ("2020-11-23", 0),
        ("2020-11-23T19:48", 0),
        ("2020-11-23T19:48:21.123Z", 0),
        ("2020-11-23T19:48:21.124Z", 1),
        ("2020-11-23T19:51", 3),
        ("2020-11-23T19:52", 4),
        ("2020-11-23T21:52+02:00", 4),
        ("2020-11-23T19:52:21.123Z", 4),
        ("2020-11-23T19:53", 5),
        ("2020-11-23 19:53:21.124", 6),
    ],
)
def test_printing_starts_with_a_time(tool: Tool, directory: Path, time: str, number: int) -> None:
    assert tool("--from", time, directory) == printed_lines(*range(number, 7))


def write_timed(directory: Path, first: int, *times: str) -> Path:
    """Write a segment of messages that say their times."""
    path = write_segment(directory, first)
    for number, time in enumerate(times, first):
        seconds = datetime.fromisoformat(time).replace(tzinfo=UTC).timestamp()
        append(path, encode_records(harness.make_batch(number, f"MSG ann {time}".encode(), time=seconds)))
    return path


@pytest.mark.parametrize("start", ["2", "3", "2026-11-23", "2026-11-25"])
def test_segments_before_the_start_are_not_read(tool: Tool, tmp_path: Path, start: str) -> None:
    damaged = write_timed(tmp_path, 0, "2026-11-20", "2026-11-21")
    write_timed(tmp_path, 2, "2026-11-22", "2026-11-25")
    content = damaged.read_bytes()
    damaged.write_bytes(content.replace(b" MSG ann 2026-11-20", b" MSG bob 2026-11-20"))
    assert tool("--from", start, tmp_path)[-1].endswith("MSG ann 2026-11-25")


UNSORTED = [
    ("2026-11-20", "2026-11-22"),
    ("2038-01-19", "2038-01-20"),  # a clock ahead
    ("2026-11-23", "2026-11-25"),
    ("1970-01-01", "1970-01-02"),  # a clock without a battery
    ("2026-11-25T12:00", "2026-11-25T11:00", "2026-11-25T13:00"),  # a clock that is corrected
    ("2026-11-26",),
]


@pytest.mark.parametrize("layout", ["a segment each", "pairs", "one segment"])
def test_time_is_found_though_times_are_not_sorted(tool: Tool, tmp_path: Path, layout: str) -> None:
    flat = [time for times in UNSORTED for time in times]
    size = {"pairs": 2, "one segment": len(flat)}.get(layout, 1)
    for first in range(0, len(flat), size):
        write_timed(tmp_path, first, *flat[first : first + size])
    for start in [*flat, "1960-01-01", "2027-01-01", "2026-11-25T11:30", "2039-01-01"]:
        expected = [f"MSG ann {time}" for time in flat if time >= start]
        assert [line.split(" ", 2)[2] for line in tool("--from", start, tmp_path)] == expected


@pytest.mark.parametrize("content", [b"", record(5, LINES[5])[:-5]], ids=["empty", "torn"])
def test_time_is_found_before_a_segment_without_records(
    tool: Tool, paths: list[Path], content: bytes
) -> None:
    paths[2].write_bytes(content)
    assert tool("--from", "2020-11-23T19:52", paths[0].parent) == printed_lines(4)


def test_start_before_the_oldest_segment_prints_all_records(tool: Tool, paths: list[Path]) -> None:
    paths[0].unlink()
    for start in ("0", "2020-11-23"):
        assert tool("--from", start, paths[0].parent) == printed_lines(*range(3, 7))


# Verifying


def test_verify_prints_a_summary(tool: Tool, directory: Path) -> None:
    summary = "7 records in 3 segments, from 0 (2020-11-23T19:48:21.123Z) to 6 (2020-11-23T19:54:21.123Z)"
    assert tool("--verify", directory) == [summary]


def test_verify_counts_from_the_start_point(tool: Tool, directory: Path) -> None:
    assert tool("--verify", "--from", "6", directory) == [
        "1 record in 1 segment, from 6 (2020-11-23T19:54:21.123Z) to 6 (2020-11-23T19:54:21.123Z)"
    ]


def test_torn_last_record_is_reported_and_not_printed(tool: Tool, paths: list[Path]) -> None:
    os.truncate(paths[2], paths[2].stat().st_size - 5)
    assert tool(paths[0].parent) == printed_lines(*range(6))
    (summary,) = tool("--verify", paths[0].parent)
    assert summary.startswith("6 records in 3 segments, from 0 ")
    assert summary.endswith(f"; the last record is torn: {len(record(6, LINES[6])) - 5} bytes")


def test_empty_segment_has_no_records(tool: Tool, tmp_path: Path) -> None:
    write_segment(tmp_path, 0)
    assert tool("--verify", tmp_path) == ["0 records in 1 segment"]
    assert tool(tmp_path) == []


def damage(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


@pytest.mark.parametrize(
    ("segment", "old", "new", "problem"),
    [
        (0, b"JOINED", b"jOINED", ", line 2: checksum mismatch"),
        (1, record(4, LINES[4]), b"", " ends with record 3 instead of 4"),
        (2, record(5, LINES[5]), record(5, LINES[5]) * 2, ", line 2: record 5 instead of 6"),
    ],
    ids=["flipped bit", "missing record", "duplicate record"],
)
def test_verify_names_the_damaged_segment(
    paths: list[Path], segment: int, old: bytes, new: bytes, problem: str
) -> None:
    damage(paths[segment], old, new)
    assert_fails(run_tool("--verify", paths[0].parent), f"{paths[segment]}{problem}")


def test_verify_finds_a_missing_segment(paths: list[Path]) -> None:
    paths[1].unlink()
    problem = f"{paths[0]} ends with record 2 instead of 4"
    assert_fails(run_tool("--verify", paths[0].parent), problem)


def test_printing_stops_at_damage(paths: list[Path]) -> None:
    damage(paths[1], b"LEFT", b"LEFt")
    problem = f"{paths[1]} ends with record 3 instead of 4"
    assert_fails(run_tool(paths[0].parent), problem, printed_lines(0, 1, 2, 3))


@pytest.mark.parametrize("options", [[], ["--verify"], ["--follow"], ["--from", "2020-11-23"]], ids=str)
def test_empty_directory_is_refused(tmp_path: Path, options: list[str]) -> None:
    assert_fails(run_tool(*options, tmp_path), f"there is no journal in {tmp_path}")


def test_missing_directory_is_refused(tmp_path: Path) -> None:
    assert_fails(run_tool(tmp_path / "x"), f"{tmp_path / 'x'} is not a directory")


def test_unreadable_segment_is_named(paths: list[Path]) -> None:
    paths[1].unlink()
    paths[1].mkdir()
    problem = f"{paths[1]} is not a file, but named like one of a journal"
    assert_fails(run_tool("--from", "3", paths[0].parent), problem)


# Following


@contextmanager
def following(directory: Path, *options: str) -> Iterator["fdspawn[str]"]:
    """Follow a journal, and end with SIGINT after every line was read; nothing may be on stderr."""
    arguments = ("--follow", *options, str(directory))
    with ForkedProgram("simple_chat.journal", arguments, os.environ, stdout=PIPE) as process:
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


def test_running_server_is_followed_across_segments(tool: Tool, tmp_path: Path) -> None:
    options = ("--journal", str(tmp_path), "--journal-segment", "1K")
    with run_server_process(*options) as server, following(tmp_path) as output:
        assert next_line(output).endswith(" START")
        alice, texts = server.join("alice"), [f"{number} " + 100 * "x" for number in range(40)]
        for text in texts:
            alice.type(f"MSG {text}")
            alice.barrier()
        expected = ["JOINED alice", *(f"MSG alice {text}" for text in texts)]
        found = [line.split(" ", 2) for line in next_lines(output, len(expected))]
        assert [line for _, _, line in found] == expected
        assert [int(number) for number, _, _ in found] == list(range(1, len(expected) + 1))
    assert len(list(tmp_path.glob("*.log"))) > 3
    assert re.match(r"43 records in \d+ segments, from 0 ", tool("--verify", tmp_path)[0])


def test_following_starts_with_a_number(directory: Path) -> None:
    with following(directory, "--from", "5", "--json") as output:
        assert [json.loads(line)["number"] for line in next_lines(output, 2)] == [5, 6]


@pytest.mark.parametrize("start", ["8", "2020-11-23T19:56"])
def test_following_waits_for_a_start_in_the_future(paths: list[Path], start: str) -> None:
    with following(paths[0].parent, "--from", start) as output:
        for number in (7, 8, 9):
            append(paths[2], record(number, "START"))
        assert next_lines(output, 2) == [printed(8, "START"), printed(9, "START")]


def test_following_waits_for_the_rest_of_a_record(paths: list[Path]) -> None:
    whole, half = record(7, "LEFT bob"), len(record(7, "LEFT bob")) // 2
    append(paths[2], whole[:half])
    with following(paths[0].parent) as output:
        assert next_lines(output, 7) == printed_lines(*range(7))
        append(paths[2], whole[half:])
        assert next_line(output) == printed(7, "LEFT bob")


def test_following_skips_a_torn_record_that_is_truncated(paths: list[Path]) -> None:
    size = paths[2].stat().st_size
    append(paths[2], record(7, "MSG bob lost")[:-1])
    with following(paths[0].parent) as output:
        assert next_lines(output, 7) == printed_lines(*range(7))
        os.truncate(paths[2], size)
        append(paths[2], record(7, "LEFT bob"))
        assert next_line(output) == printed(7, "LEFT bob")


def test_following_skips_a_torn_record_that_a_new_segment_replaces(paths: list[Path]) -> None:
    append(paths[2], record(7, "MSG bob lost")[:-1])
    with following(paths[0].parent) as output:
        assert next_lines(output, 7) == printed_lines(*range(7))
        write_segment(paths[0].parent, 7, b"LEFT bob", b"START")
        assert next_lines(output, 2) == [printed(7, "LEFT bob"), printed(8, "START")]


def test_following_stops_at_damage(paths: list[Path]) -> None:
    append(paths[2], b"no record\nnor this\n")
    ended = run_tool("--follow", "--from", "6", paths[0].parent)
    assert_fails(ended, f"{paths[2]}, line 3: checksum mismatch")


def test_damaged_line_is_counted_from_the_start_of_its_segment(paths: list[Path]) -> None:
    with Popen([*COMMAND, "-f", paths[0].parent], stdout=PIPE, stderr=PIPE) as process:
        try:
            assert process.stdout is not None
            output = fdspawn(process.stdout, encoding="utf-8", timeout=DEADLINE)
            assert next_lines(output, 7) == printed_lines(*range(7))
            append(paths[2], record(7, "LEFT bob") + b"no record\nnor this\n")
            assert process.wait(DEADLINE) == 1
            assert process.stderr is not None
            error = process.stderr.read().decode()
        finally:
            process.kill()
    assert error == f"simple_chat.journal: {paths[2]}, line 4: checksum mismatch\n"


# Exit


def test_sigterm_ends_following(directory: Path) -> None:
    with Popen([*COMMAND, "-f", directory], stdout=PIPE, stderr=PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(SIGTERM)
        _, error = process.communicate(timeout=DEADLINE)
        assert (process.returncode, error) == (-SIGTERM, b"")


def test_broken_pipe_ends_it_without_a_traceback(tmp_path: Path) -> None:
    write_segment(tmp_path, 0, *[b"MSG ann " + 100 * b"x"] * 3000)  # more than a pipe holds
    script = '"$@" | head -1; exit ${PIPESTATUS[0]}'
    ended = run(
        ["bash", "-c", script, "bash", *COMMAND, tmp_path],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (128 + Signals.SIGPIPE, "")
    assert ended.stdout.startswith(printed(0, "MSG ann x"))


def test_full_stdout_is_an_error(directory: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        ended = run([*COMMAND, directory], stdout=full, stderr=PIPE, text=True, timeout=DEADLINE, check=False)
    assert (ended.returncode, ended.stderr) == (1, "simple_chat.journal: No space left on device\n")


def test_closed_stdout_and_stderr_keep_the_exit_status(directory: Path) -> None:
    script = 'exec "$@" >&- 2>&-'
    for path, status in {directory: 0, directory / "x": 1}.items():
        command = ["sh", "-c", script, "sh", *COMMAND, str(path)]
        assert run(command, timeout=DEADLINE, check=False).returncode == status


# The command line


def print_and_exit(option: str) -> None:
    with pytest.raises(SystemExit) as raised:
        main([option])
    assert raised.value.code == 0


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    print_and_exit("--version")
    assert capsys.readouterr().out == f"simple_chat {simple_chat.__version__}\n"


def test_help_names_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    print_and_exit("--help")
    options = set(re.findall(r"--\w+", capsys.readouterr().out))
    assert {"--json", "--from", "--follow", "--verify"} <= options


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
def test_bad_option_is_refused_in_one_line(capsys: pytest.CaptureFixture[str], options: str) -> None:
    with pytest.raises(SystemExit) as raised:
        main(options.split())
    assert raised.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(r".*\(--help shows all options\)\n", captured.err)
