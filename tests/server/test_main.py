"""The server's command line: its options, what it says when it can't start, and how it ends."""

import os
import re
import socket
import sys
from contextlib import suppress
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals
from subprocess import PIPE, CompletedProcess, Popen

import pytest

import simple_chat
from tests.harness import programs
from tests.harness.programs import (
    DEADLINE,
    ServerProcess,
    Terminal,
    find_program,
    run_server_process,
    run_server_to_exit,
)

ELSEWHERE = "203.0.113.1"  # set aside for documentation (RFC 5737): no machine's address


def assert_refused(ended: CompletedProcess[str], status: int, reason: str) -> None:
    assert (ended.returncode, ended.stdout) == (status, "")
    assert re.fullmatch(f".*{reason}.*\n", ended.stderr)  # a dot is no line end: exactly one line


# What it tells of itself


def test_help_names_the_environment_variables() -> None:
    ended = run_server_to_exit("--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert {"SIMPLE_CHAT_SERVER_HOST", "SIMPLE_CHAT_SERVER_PORT"} <= set(re.findall(r"\w+", ended.stdout))


def test_help_names_commands_exit_statuses_and_the_manual() -> None:
    text = " ".join(run_server_to_exit("--help").stdout.split())
    assert "hash-password" in text
    assert "see ctl --help" in text
    assert "Exit status: 0 after SIGTERM or SIGINT; 1 if" in text
    (manual,) = re.findall(r"The manual is (\S+)\.$", text)
    assert Path(simple_chat.__file__).parents[1].joinpath(manual).exists()


def test_version_is_the_packages() -> None:
    ended = run_server_to_exit("--version")
    assert (ended.returncode, ended.stdout) == (0, f"simple_chat {simple_chat.__version__}\n")


# Where it listens


@pytest.mark.parametrize("option", ["--host", "--ip"])
def test_host_is_an_option_that_goes_before_its_variable(option: str) -> None:
    with run_server_process(option, "127.0.0.2", SIMPLE_CHAT_SERVER_HOST=ELSEWHERE) as server:
        assert server.host == "127.0.0.2"
        server.join("alice")


def test_host_is_taken_from_its_variable() -> None:
    with run_server_process(SIMPLE_CHAT_SERVER_HOST="127.0.0.2") as server:
        assert server.host == "127.0.0.2"


def test_all_hosts_of_options_or_variable_are_listened_on() -> None:
    for server in (
        run_server_process("--host", "127.0.0.2", "--host", "[::1]:0"),
        run_server_process(SIMPLE_CHAT_SERVER_HOST="127.0.0.2, ::1"),
    ):
        with server as process:
            assert process.host == "127.0.0.2"
            process.log.expect(r"listening on \[::1\]:(\d+)\n")
            found = process.log.match
            assert isinstance(found, re.Match)
            process.join("alice")
            process.join("bob", "::1", found[1])


def test_unix_socket_alone_is_all_that_is_listened_on(tmp_path: Path) -> None:
    path = str(tmp_path / "chat")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SIMPLE_CHAT_")}
    command = [sys.executable, "-m", "simple_chat.server", "--unix", path]
    with Popen(command, env=environment, stderr=PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            assert server.stderr.readline().endswith(f" listening on unix:{path}\n")
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(DEADLINE)
                sock.connect(path)
                assert sock.recv(6) == b"HELLO "
            server.terminate()
            assert server.wait(DEADLINE) == 0
            assert "listening" not in server.stderr.read()
        finally:
            server.kill()


def test_port_option_goes_before_its_variable(server: ServerProcess) -> None:
    with run_server_process(SIMPLE_CHAT_SERVER_PORT=server.port) as another:  # it has --port 0
        assert another.port != server.port


def test_port_is_taken_from_its_variable(server: ServerProcess) -> None:
    ended = run_server_to_exit(SIMPLE_CHAT_SERVER_PORT=server.port)
    assert_refused(ended, 1, f"127.0.0.1:{server.port}: Address already in use")


def test_empty_variables_count_as_unset() -> None:
    with run_server_process(SIMPLE_CHAT_SERVER_HOST="") as server:
        assert server.host == "127.0.0.1"
    ended = run_server_to_exit("--host", ELSEWHERE, SIMPLE_CHAT_SERVER_PORT="")
    assert_refused(ended, 1, f"{ELSEWHERE}:8090")


# What keeps it from starting


def test_bad_option_is_refused_in_one_line() -> None:
    ended = run_server_to_exit("--drain", "soon")
    assert_refused(ended, 2, "'soon' is not a number of seconds .*--help shows all options")


def test_bad_port_in_the_variable_is_refused_in_one_line() -> None:
    ended = run_server_to_exit(SIMPLE_CHAT_SERVER_PORT="x")
    assert_refused(ended, 2, "SIMPLE_CHAT_SERVER_PORT: 'x' is not a whole number from 0 to 65535")


def test_port_in_use_is_reported_in_one_line(server: ServerProcess) -> None:
    ended = run_server_to_exit("--port", server.port)
    assert_refused(ended, 1, f"can't listen on 127.0.0.1:{server.port}: Address already in use")


def test_port_can_be_shared() -> None:
    with (
        run_server_process("--reuse-port") as one,
        run_server_process("--reuse-port", "--port", one.port) as two,
    ):
        assert two.port == one.port
        assert_refused(run_server_to_exit("--port", one.port), 1, "Address already in use")


@pytest.mark.parametrize("host", [ELSEWHERE, "\N{SNOWMAN}.invalid"])
def test_unusable_host_is_reported_in_one_line(host: str) -> None:
    assert_refused(run_server_to_exit("--host", host), 1, f"can't listen on {re.escape(host)}:8090: .+")


def test_unusable_host_in_the_environment_is_reported_in_one_line() -> None:
    assert_refused(
        run_server_to_exit(SIMPLE_CHAT_SERVER_HOST=ELSEWHERE), 1, f"can't listen on {ELSEWHERE}:8090: .+"
    )


def test_unix_socket_of_a_live_server_is_left_alone(tmp_path: Path) -> None:
    path = str(tmp_path / "chat")
    with run_server_process("--unix", path) as server:
        server.log.expect_exact(f"listening on unix:{path}\n")
        assert_bad_unix_path(run_server_to_exit("--port", "0", "--unix", path), path)
        server.join("alice", "-U", path)


def test_unix_socket_that_a_dead_server_left_is_taken_over(tmp_path: Path) -> None:
    path = str(tmp_path / "chat")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    with run_server_process("--unix", path) as server:
        server.log.expect_exact(f"listening on unix:{path}\n")
        server.join("alice", "-U", path)


def test_file_in_the_unix_sockets_place_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "diary"
    path.write_text("dear diary")
    assert_bad_unix_path(run_server_to_exit("--port", "0", "--unix", str(path)), str(path))
    assert path.read_text() == "dear diary"


def test_empty_unix_path_is_refused_and_harms_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mode = tmp_path.stat().st_mode
    monkeypatch.chdir(tmp_path)
    ended = run_server_to_exit(
        "--port", "0", "--unix=", PYTHONPATH=str(Path(simple_chat.__file__).parents[1])
    )
    assert ended.returncode in {1, 2}
    assert tmp_path.stat().st_mode == mode


@pytest.mark.parametrize("path", ["/no/such/folder/chat", "/tmp/" + 200 * "x"])
def test_unix_path_that_cannot_be_is_told_without_traceback(path: str) -> None:
    assert_bad_unix_path(run_server_to_exit("--port", "0", "--unix", path), path)


def assert_bad_unix_path(ended: CompletedProcess[str], path: str) -> None:
    assert ended.returncode == 1
    *_, last = ended.stderr.splitlines()
    assert last.startswith(f"simple_chat: can't listen on unix:{path}: ")
    assert "Traceback" not in ended.stderr


# What can be set


@pytest.mark.parametrize(("loop", "uses_uvloop"), [("asyncio", False), ("uvloop", True), ("auto", True)])
def test_loop_can_be_chosen(
    monkeypatch: pytest.MonkeyPatch,
    loop: str,
    uses_uvloop: bool,  # noqa: FBT001 (a parameter)
) -> None:
    monkeypatch.setattr(programs, "_SERVER", [*programs._SERVER])  # not forked, which would have loaded both
    with run_server_process("--loop", loop) as server:
        server.join("alice")
        loaded = Path(f"/proc/{server.process.pid}/maps").read_text()
        assert ("uvloop" in loaded) == uses_uvloop


@pytest.mark.parametrize(
    ("segment", "keep", "left"), [("1K", "1K", 1), ("1024", "2K", 2), ("1M", "9d", 1), ("1K", "1G", 5)]
)
def test_journal_is_kept_in_segments_as_far_as_wanted(
    tmp_path: Path, segment: str, keep: str, left: int
) -> None:
    options = ("--journal", str(tmp_path), "--journal-segment", segment, "--journal-keep", keep)
    with run_server_process(*options) as server:
        alice = server.join("alice")
        for _ in range(4):
            alice.type(f"MSG {'x' * 1000}")
            alice.barrier()
        alice.type("MSG last")
        alice.barrier()
    assert len(list(tmp_path.glob("*.log"))) == left


def test_history_can_be_switched_off() -> None:
    with run_server_process("--history", "0") as server:
        alice = server.join("alice")
        alice.type("MSG hello", "HISTORY")
        assert alice.barrier() == ["OK HISTORY 0"]


def test_history_reaches_back_as_far_as_it_was_set() -> None:
    with run_server_process("--history", "2") as server:
        alice = server.join("alice")
        alice.type("MSG one", "MSG two", "MSG three", "HISTORY")
        *past, end = alice.barrier()
        assert [line.split()[-1] for line in past] == ["two", "three"]
        assert end == "OK HISTORY 2"


def test_longest_line_can_be_set() -> None:
    with run_server_process("--max-line", "64") as server:
        alice, bob = server.join("alice"), server.join("bob")
        fits = 60 * "x"
        bob.type(f"MSG {fits}", f"MSG {fits}x")
        assert bob.barrier() == ["ERR line-too-long the line was dropped, send shorter ones"]
        assert alice.barrier() == ["JOINED bob", f"MSG bob {fits}"]


def test_above_the_presence_limit_comings_and_goings_are_not_told() -> None:
    with run_server_process("--presence-limit", "0") as server:
        alice = server.join("alice")
        server.pipe(b"JOIN bot\nMSG hi\n")
        server.join("bob")
        alice.type("WHO")
        assert alice.barrier() == ["MSG bot hi", "NAMES alice bob", "OK WHO 2"]


# What it logs


@pytest.mark.parametrize("options", [[], ["-v"], ["--verbose"]], ids=str)
def test_nothing_that_clients_send_is_logged(options: list[str]) -> None:
    with run_server_process(*options) as server:
        alice = server.join("alice")
        server.pipe(
            b"JOIN ./Private\nPASS private\nprivate\nJOIN private\nMSG private\nMSG private \xfc\nprivate"
        )
        assert "MSG private private" in alice.barrier()
        alice.close()
        log = server.stop()
    assert set(re.findall("joined as (.*)\n", log)) == {"alice", "private"}
    assert not re.search("private|alice", re.sub(" joined as .*\n", "", log), re.IGNORECASE)
    assert log.count(" connected\n") == log.count(" closed: end of stream\n") == (2 if options else 0)


# How it ends


@pytest.mark.parametrize("signal", [SIGTERM, SIGINT])
def test_signal_delivers_everything_received_then_bye(server: ServerProcess, signal: Signals) -> None:
    alice, bob = server.join("alice"), server.join("bob")
    stranger = server.nc()
    said = [f"{number} and all the rest of the line" for number in range(1000)]
    bob.type(*(f"MSG {line}" for line in said))
    bob.barrier()
    server.process.send_signal(signal)
    assert alice.wait_for("BYE shutdown") == ["JOINED bob", *(f"MSG bob {line}" for line in said)]
    assert bob.wait_for("BYE shutdown") == []
    assert stranger.wait_for("BYE shutdown") == []
    for terminal in (alice, bob, stranger):
        terminal.close()
    assert server.process.wait(DEADLINE) == 0


def test_signal_during_a_flood_delivers_the_same_prefix_to_all(server: ServerProcess, tmp_path: Path) -> None:
    alice, bob = server.join("alice"), server.join("bob")
    flood = tmp_path / "flood"
    flood.write_text("JOIN bot\n" + "".join(f"MSG {number}\n" for number in range(100_000)))
    command = f"exec {find_program('nc.openbsd')} {server.host} {server.port} <{flood} >/dev/null"
    with Terminal("/bin/sh", "-c", command):
        alice.wait_for("MSG bot 99")
        server.process.send_signal(SIGTERM)
        rest = alice.wait_for("BYE shutdown")
        taken = [f"MSG bot {number}" for number in range(100 + len(rest))]
        assert rest == taken[100:]
        assert bob.wait_for("BYE shutdown") == ["JOINED bot", *taken]
        for terminal in (alice, bob):
            terminal.close()
    assert server.process.wait(DEADLINE) == 0


@pytest.mark.parametrize("signal", [SIGTERM, SIGINT])
def test_second_signal_ends_the_drain(signal: Signals) -> None:
    with run_server_process("--drain", "600") as server, socket.socket() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.settimeout(DEADLINE)
        stuck.connect((server.host, int(server.port)))
        stuck.sendall(b"JOIN stuck\n")
        alice = server.nc()
        server.pipe(b"JOIN bot\n" + 1700 * (b"MSG " + 4000 * b"x" + b"\n"))  # more than the kernel buffers
        server.process.send_signal(signal)
        alice.wait_for("BYE shutdown")
        alice.close()
        assert server.process.poll() is None
        server.process.send_signal(signal)
        assert server.process.wait(DEADLINE) == 0
        assert b"BYE" not in read_to_end(stuck)


def read_to_end(sock: socket.socket) -> bytes:
    received = b""
    with suppress(ConnectionResetError):
        while data := sock.recv(65536):
            received += data
    return received
