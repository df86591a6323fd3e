"""The load generator's command line: output, plots and exit statuses."""

import json
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess, run
from typing import Any, cast

import pexpect
import pytest

from simple_chat.bench.__main__ import main
from tests.harness.programs import ServerProcess, Terminal, find_program

DEADLINE = 60.0

COMMAND = (sys.executable, "-m", "simple_chat.bench")
SHORT = ("--clients", "20", "--senders", "3", "--seconds", "0.2")
Capture = pytest.CaptureFixture[str]


def bench(capsys: Capture, *options: str) -> CompletedProcess[str]:
    """Run the command line in this process, which saves the imports."""
    try:
        status = main(options)
    except SystemExit as ended:
        status = cast("int", ended.code)
    return CompletedProcess(options, status, *capsys.readouterr())


def measure(capsys: Capture, *options: str) -> dict[str, Any]:
    """Run it, check that every delivery was correct, and return the result."""
    ended = bench(capsys, *SHORT, "--json", *options)
    result = json.loads(ended.stdout)
    assert isinstance(result, dict)
    warning = result["warning"]  # a busy machine is no mistake
    assert (ended.returncode, ended.stderr) == (0, f"simple_chat.bench: {warning}\n" if warning else "")
    assert (result["lost"], result["faults"], result["first_faults"]) == (0, 0, [])
    assert result["deliveries"] > 0
    return result


def assert_fails(ended: CompletedProcess[str], status: int, reason: str) -> None:
    assert (ended.returncode, ended.stdout) == (status, "")
    assert re.fullmatch(f".*{reason}.*\n", ended.stderr)


def test_server_started_for_the_run_is_measured(capsys: Capture) -> None:
    results = (measure(capsys) for _ in range(10))  # a busy machine may give the server less time than a tick
    result = next(each for each in results if each["server_cpu"])
    assert (result["clients"], result["senders"], result["window"], result["rate"]) == (20, 3, 8, None)
    assert list(result["latency_us"]) == ["p50", "p90", "p99", "p99.9"]
    assert sorted(result["latency_us"].values()) == list(result["latency_us"].values())
    assert result["deliveries_per_second"] == pytest.approx(result["deliveries"] / result["seconds"])
    assert result["cpu_us_per_delivery"] > 0
    assert result["kib_per_member"] is not None
    assert result["server_cpu"] > 0
    assert result["tool_cpu"] > 0


def test_running_server_is_measured_twice(capsys: Capture, server: ServerProcess) -> None:
    where = ("--host", f"{server.host}:{server.port}")
    assert measure(capsys, *where, "--pid", str(server.process.pid))["cpu_us_per_delivery"] > 0
    assert measure(capsys, *where)["cpu_us_per_delivery"] is None  # and the names are free again


def test_every_client_may_send(capsys: Capture, server: ServerProcess) -> None:
    result = measure(capsys, "--port", server.port, "--senders", "20", "--window", "40")
    assert result["senders"] == 20


def test_rate_is_kept(capsys: Capture, server: ServerProcess) -> None:
    result = measure(capsys, "--port", server.port, "--rate", "200", "--size", "100", "--seconds", "0.5")
    assert (result["window"], result["rate"], result["size"]) == (None, 200, 100)
    assert result["messages"] == pytest.approx(200 * result["seconds"], rel=0.5)


def test_table_has_the_result(capsys: Capture, server: ServerProcess) -> None:
    ended = bench(capsys, *SHORT, "--port", server.port)
    assert ended.returncode == 0
    assert {"deliveries/s", "lost", "window"} <= set(re.findall(r"[\w/]+", ended.stdout))


@pytest.mark.parametrize(("name", "magic"), [("out.png", b"\x89PNG\r\n\x1a\n"), ("out.svg", b"<?xml")])
def test_plot_is_written(
    capsys: Capture, server: ServerProcess, tmp_path: Path, name: str, magic: bytes
) -> None:
    measure(capsys, "--port", server.port, "--plot", str(tmp_path / name))
    picture = (tmp_path / name).read_bytes()
    assert picture.startswith(magic)
    assert len(picture) > 10_000


def test_program_that_finds_no_server_prints_one_line_and_exits_with_1() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and does not listen
        port = unused.getsockname()[1]
        command = [*COMMAND, "--port", str(port)]
        ended = run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
        assert_fails(ended, 1, f"can't connect to 127.0.0.1:{port}: Connection refused")


def test_unknown_process_is_reported_in_one_line(capsys: Capture) -> None:
    assert_fails(bench(capsys, "--port", "1", "--pid", "4194305"), 1, "can't measure process 4194305")


def test_lost_deliveries_and_faults_are_counted(
    capsys: Capture, server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simple_chat.bench.load.DRAIN_TIMEOUT", 0.5)
    too_long = ("--size", "5000")  # for a line of that server
    where = ("--port", server.port)
    ended = bench(capsys, *where, "--clients", "3", "--seconds", "0.1", "--json", *too_long)
    assert ended.returncode == 1
    result = json.loads(ended.stdout)
    assert (result["lost"] >= 8 * 3, result["faults"]) == (True, 1)
    counts = f"lost deliveries: {result['lost']}, faults: 1, first fault: "
    fault = "client 0: received what the observer did not: "
    assert ended.stderr.startswith(f"simple_chat.bench: {counts}{fault}")
    assert ended.stderr.count("\n") == 1


# At a terminal


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """The program at a terminal, measuring for a long time."""
    command = [find_program("env"), "TERM=xterm", *COMMAND, "--clients", "2", "--seconds", "1000"]
    with Terminal(*command) as terminal:
        yield terminal


def test_terminal_shows_the_phases_and_ctrl_c_exits_with_130(terminal: Terminal) -> None:
    for phase in ("joining", "warming up", "measuring"):
        terminal.child.expect_exact(phase)
    terminal.child.sendintr()
    terminal.child.expect(pexpect.EOF)
    assert terminal.child.wait() == 130
    assert "Traceback" not in (terminal.child.before or "")


# Options


def test_help_is_printed_without_slow_imports() -> None:
    code = (
        "import sys\n"
        "from simple_chat.bench.__main__ import main\n"
        "try: main(['--help'])\n"
        "finally: assert not {'matplotlib', 'rich', 'psutil', 'uvloop'} & set(sys.modules)"
    )
    ended = run([sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("usage: python -m simple_chat.bench")


@pytest.mark.parametrize(
    "options",
    [
        "--clients 0",
        "--clients 2 --senders 3",
        "--window 8 --rate 5",
        "--size 32",
        "--seconds 0",
        "--seconds nan",
        "--port 0",
        "--pid 1",
        "--plot out.pdf",
        "--plot /no/such/folder/out.png",
        "surplus",
    ],
)
def test_invalid_option_exits_with_2_and_one_line(capsys: Capture, options: str) -> None:
    assert_fails(bench(capsys, *options.split()), 2, "--help shows all options")


@pytest.mark.parametrize(
    ("package", "options"), [("psutil", []), ("rich", []), ("matplotlib", ["--plot", "out.png"])]
)
def test_missing_package_exits_with_2_and_one_line(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, package: str, options: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    command = r"pip install 'simple_chat\[bench\]'"
    assert_fails(bench(capsys, *options), 2, f"{package} is not installed: {command}")
