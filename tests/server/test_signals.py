"""What signals do to the server's process: they stop it or reload its files, and nothing else ends it."""

import re
import sys
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, Signals

import argon2
import pytest

from tests.harness import programs
from tests.harness.loops import LOOPS
from tests.harness.programs import DEADLINE, ServerProcess, run_server_process

HASHER = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def test_sighup_reloads_nothing_without_files(server: ServerProcess) -> None:
    ann = server.join("ann")
    server.process.send_signal(SIGHUP)
    server.log.expect_exact(" INFO reload: nothing changed\n")
    assert ann.barrier() == []


@pytest.mark.parametrize("number", [SIGUSR1, SIGUSR2], ids=str)
def test_signals_that_mean_nothing_are_ignored(server: ServerProcess, number: Signals) -> None:
    ann = server.join("ann")
    server.process.send_signal(number)
    assert ann.barrier() == []
    assert ann.barrier() == []


def test_signals_that_were_ignored_at_start_stay_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    ignoring = ("/bin/sh", "-c", 'trap "" HUP INT && exec "$@"', "sh")
    monkeypatch.setattr(programs, "_SERVER", (*ignoring, *programs._SERVER))
    with run_server_process() as server:
        ann = server.join("ann")
        for number in (SIGHUP, SIGINT):
            server.process.send_signal(number)
            assert ann.barrier() == []
        server.process.send_signal(SIGTERM)
        assert ann.wait_for("BYE shutdown") == []
        ann.close()
        assert server.wait().count("reload") == 0


SIGNALLED = """
import os, signal, sys
from simple_chat.server import __main__
real = __main__.{where}
def signalled(*arguments, **options):
    os.kill(os.getpid(), signal.{signal})
    return real(*arguments, **options)
__main__.{where} = signalled
sys.exit(__main__.main())
"""


def signal_at(monkeypatch: pytest.MonkeyPatch, number: Signals, where: str) -> None:
    """Let servers receive a signal where they call a function."""
    program = SIGNALLED.format(where=where, signal=number.name)
    monkeypatch.setattr(programs, "_SERVER", (sys.executable, "-c", program))


def test_sighup_while_it_starts_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    signal_at(monkeypatch, SIGHUP, "asyncio.Runner")
    with run_server_process() as server:
        assert server.join("ann").barrier() == []


@pytest.mark.parametrize("where", ["cli.parse", "LogWriter", "logs.configure"])
def test_sigint_while_it_starts_ends_it_without_a_word(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    signal_at(monkeypatch, SIGINT, where)
    ended = programs.run_server_to_exit("--port", "0")
    assert (ended.returncode, ended.stderr) == (128 + SIGINT, "")


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("number", [SIGINT, SIGTERM], ids=str)
def test_signal_behind_the_end_does_not_change_the_status(
    monkeypatch: pytest.MonkeyPatch, number: Signals, loop: str
) -> None:
    signal_at(monkeypatch, number, "LogWriter.close")
    with run_server_process("--loop", loop) as server:
        assert "shutting down" in server.stop()


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(HASHER.hash("first"))
    return path


def try_password(server: ServerProcess, secret: str) -> bool:
    """Return whether a password is accepted."""
    return server.pipe(f"PASS {secret}\n".encode()).splitlines()[1] == b"OK PASS"


def test_sighup_reloads_the_password_and_drops_nobody(password_file: Path) -> None:
    with run_server_process("--password-file", str(password_file)) as server:
        ann = server.nc()
        ann.type("PASS first", "JOIN ann")
        ann.wait_for("OK JOIN ann")
        password_file.write_text(HASHER.hash("second"))
        assert not try_password(server, "second")
        server.process.send_signal(SIGHUP)
        server.log.expect_exact(f" INFO reload: password-file: read again ({password_file})\n")
        assert (try_password(server, "first"), try_password(server, "second")) == (False, True)
        assert ann.barrier() == []


@pytest.mark.parametrize("content", [None, "no hash"])
def test_password_that_can_not_be_read_again_leaves_the_old_one(
    password_file: Path, content: str | None
) -> None:
    with run_server_process("--password-file", str(password_file)) as server:
        password_file.unlink()
        if content is not None:
            password_file.write_text(content)
        server.process.send_signal(SIGHUP)
        server.log.expect(r" ERROR nothing reloaded: [^\n]+\n")
        assert try_password(server, "first")
        assert len(re.findall("ERROR", server.stop())) == 1
        assert server.process.wait(DEADLINE) == 0
