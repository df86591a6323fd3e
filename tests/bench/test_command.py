"""The load tool's command line: what it prints, draws and answers, and its exit statuses."""

import json
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess, run
from typing import Any

import pexpect
import pytest

from tests.harness.programs import ServerProcess, Terminal, find_program

DEADLINE = 60.0

BENCH = (sys.executable, "-m", "simple_chat.bench")
SHORT = ("--clients", "20", "--senders", "3", "--seconds", "0.5")


def bench(*options: str) -> CompletedProcess[str]:
    return run([*BENCH, *options], capture_output=True, text=True, timeout=DEADLINE, check=False)


def measured(*options: str) -> dict[str, Any]:
    """Run it, check that all is well, and return the result."""
    ended = bench(*SHORT, "--json", *options)
    result = json.loads(ended.stdout)
    assert isinstance(result, dict)
    warning = result["warning"]  # a busy machine is no mistake
    assert (ended.returncode, ended.stderr) == (0, f"simple_chat.bench: {warning}\n" if warning else "")
    assert (result["lost"], result["faults"], result["first_faults"]) == (0, 0, [])
    assert result["deliveries"] > 0
    return result


def assert_refused(ended: CompletedProcess[str], status: int, reason: str) -> None:
    assert (ended.returncode, ended.stdout) == (status, "")
    assert re.fullmatch(f".*{reason}.*\n", ended.stderr)


def test_own_server_is_measured() -> None:
    result = measured()
    assert (result["clients"], result["senders"], result["window"], result["rate"]) == (20, 3, 8, None)
    assert list(result["latency_us"]) == ["p50", "p90", "p99", "p99.9"]
    assert sorted(result["latency_us"].values()) == list(result["latency_us"].values())
    assert result["deliveries_per_second"] == pytest.approx(result["deliveries"] / result["seconds"])
    assert result["cpu_us_per_delivery"] > 0
    assert result["kib_per_member"] is not None
    assert result["server_cpu"] > 0
    assert result["tool_cpu"] > 0


def test_running_server_is_measured(server: ServerProcess) -> None:
    where = ("--host", server.host, "--port", server.port)
    assert measured(*where, "--pid", str(server.process.pid))["cpu_us_per_delivery"] > 0
    assert measured(*where)["cpu_us_per_delivery"] is None  # and the names are free again


def test_everybody_may_be_a_sender() -> None:
    assert measured("--senders", "20", "--window", "40")["senders"] == 20


def test_rate_is_kept() -> None:
    result = measured("--rate", "200", "--size", "100")
    assert (result["window"], result["rate"], result["size"]) == (None, 200, 100)
    assert result["messages"] == pytest.approx(200 * result["seconds"], rel=0.5)


def test_table_shows_the_result() -> None:
    ended = bench(*SHORT)
    assert ended.returncode == 0
    assert {"deliveries/s", "lost", "window"} <= set(re.findall(r"[\w/]+", ended.stdout))


@pytest.mark.parametrize(("name", "magic"), [("out.png", b"\x89PNG\r\n\x1a\n"), ("out.svg", b"<?xml")])
def test_plot_is_drawn(tmp_path: Path, name: str, magic: bytes) -> None:
    measured("--plot", str(tmp_path / name))
    picture = (tmp_path / name).read_bytes()
    assert picture.startswith(magic)
    assert len(picture) > 10_000


def test_server_that_is_not_there_is_told_in_one_line() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and does not listen
        port = unused.getsockname()[1]
        assert_refused(
            bench("--port", str(port)), 1, f"can't connect to 127.0.0.1:{port}: Connection refused"
        )


def test_process_that_is_not_there_is_told_in_one_line(server: ServerProcess) -> None:
    assert_refused(bench("--port", server.port, "--pid", "4194305"), 1, "there is no process 4194305")


def test_mistakes_of_the_server_are_told_and_counted(server: ServerProcess) -> None:
    too_long = "5000"  # for a line of that server
    ended = bench("--port", server.port, "--clients", "3", "--seconds", "0.1", "--size", too_long, "--json")
    assert ended.returncode == 1
    result = json.loads(ended.stdout)
    assert (result["lost"] >= 8 * 3, result["faults"]) == (True, 1)
    told = (
        f"deliveries lost: {result['lost']}, faults: 1, the first: client 0: got what the observer did not: "
    )
    assert ended.stderr.startswith(f"simple_chat.bench: {told}")
    assert ended.stderr.count("\n") == 1


# At a terminal


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """The tool, with all the time in the world, at a terminal."""
    command = [find_program("env"), "TERM=xterm", *BENCH, "--clients", "2", "--seconds", "1000"]
    with Terminal(*command) as terminal:
        yield terminal


def test_terminal_shows_how_far_it_is_and_ctrl_c_ends_it(terminal: Terminal) -> None:
    for phase in ("joining", "warming up", "measuring"):
        terminal.child.expect_exact(phase)
    terminal.child.sendintr()
    terminal.child.expect(pexpect.EOF)
    assert terminal.child.wait() == 130
    assert "Traceback" not in (terminal.child.before or "")


# What it is asked


def test_help_is_shown_without_what_takes_long_to_load() -> None:
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
def test_bad_option_is_refused_in_one_line(options: str) -> None:
    assert_refused(bench(*options.split()), 2, "--help shows all options")


@pytest.mark.parametrize(
    ("package", "options"), [("psutil", []), ("rich", []), ("matplotlib", ["--plot", "out.png"])]
)
def test_package_that_is_not_installed_is_told_in_one_line(package: str, options: list[str]) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from simple_chat.bench.__main__ import main\n"
        f"sys.exit(main({options}))"
    )
    ended = run([sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert_refused(ended, 2, f"{package} is not installed: it comes with simple_chat's extra 'bench'")
