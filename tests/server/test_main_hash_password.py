"""A password for the server: its hash is made, and what the command line says of both."""

import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from io import BytesIO, TextIOWrapper
from pathlib import Path
from subprocess import CompletedProcess, run

import argon2
import pexpect
import pytest
import trustme

from simple_chat.server.__main__ import main
from tests.harness.programs import DEADLINE, run_server_process, run_server_to_exit

COMMAND = ("-m", "simple_chat.server", "hash-password")
WITHOUT_ARGON2 = """
import sys
sys.modules["argon2"] = None
from simple_chat.server.__main__ import main
sys.exit(main(sys.argv[1:]))
"""

QUICK_HASHER = partial(argon2.PasswordHasher, time_cost=1, memory_cost=8, parallelism=1)
CTRL_C, CTRL_D = "\x03", "\x04"


@dataclass
class HashPassword:
    """The command in this process, with its input from a pipe."""

    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def __call__(self, entry: bytes, encoding: str = "utf-8", errors: str = "strict") -> tuple[int, str, str]:
        """Return the exit status, stdout and stderr."""
        self.monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(entry), encoding, errors))
        status = main(["hash-password"])
        return status, *self.capsys.readouterr()


@pytest.fixture
def hash_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> HashPassword:
    """The command, with hashes that are quickly made."""
    monkeypatch.setattr(argon2, "PasswordHasher", QUICK_HASHER)
    return HashPassword(monkeypatch, capsys)


def assert_is_hash_of(printed: str, secret: str) -> None:
    assert re.fullmatch(r"\$argon2id\$[^\n]+\n", printed)
    assert argon2.PasswordHasher().verify(printed.strip(), secret)


def assert_refused(ended: CompletedProcess[str], reason: str) -> None:
    assert (ended.returncode, ended.stdout) == (1, "")
    assert re.fullmatch(f".*{reason}.*\n", ended.stderr)  # a dot is no line end: exactly one line


# From a pipe


@pytest.mark.parametrize(
    "entry", [b"open sesame\n", b"open sesame\r\n", b"open sesame", b"open sesame\nmore\n"]
)
def test_from_a_pipe_a_line_is_read(hash_of: HashPassword, entry: bytes) -> None:
    status, printed, complaints = hash_of(entry)
    assert (status, complaints) == (0, "")
    assert_is_hash_of(printed, "open sesame")


def test_byte_order_mark_is_no_part_of_the_password(hash_of: HashPassword) -> None:
    _, printed, _ = hash_of(b"\xef\xbb\xbfopen sesame\r\n")
    assert_is_hash_of(printed, "open sesame")


def test_password_may_be_any_text() -> None:
    entry, environment = " ωpen \t sésame 🔑 \n".encode(), os.environ | {"PYTHONUTF8": "1"}
    command = [sys.executable, *COMMAND]
    ended = run(command, input=entry, env=environment, capture_output=True, timeout=DEADLINE, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert_is_hash_of(ended.stdout.decode(), " ωpen \t sésame 🔑 ")


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
@pytest.mark.parametrize("entry", [b"", b"\n", b"\r\n", b"x" * 4092, b"\xfcber\n"], ids=len)
def test_unsendable_password_is_refused_in_one_line(hash_of: HashPassword, entry: bytes, errors: str) -> None:
    status, printed, complaint = hash_of(entry, errors=errors)
    assert (status, printed) == (1, "")
    assert re.fullmatch(r"simple_chat: a password is [^\n]+\n", complaint)


# At a terminal


@pytest.fixture
def terminal() -> Iterator["pexpect.spawn[str]"]:
    child = pexpect.spawn(sys.executable, [*COMMAND], encoding="utf-8", timeout=DEADLINE)
    yield child
    child.close()


def answer(terminal: "pexpect.spawn[str]", *entries: str) -> tuple[int | None, str]:
    """Answer what is asked; return the exit status and what is to be seen behind the questions."""
    for question, entry in zip(["Password: ", "Repeat the password: "], entries, strict=False):
        terminal.expect_exact(question)
        assert str(terminal.before).strip() == ""  # nothing of what was typed
        terminal.send(entry)
    terminal.expect(pexpect.EOF)
    terminal.wait()
    return terminal.exitstatus, str(terminal.before).replace("\r\n", "\n").strip("\n")


def test_terminal_prompts_twice_without_echo(terminal: "pexpect.spawn[str]") -> None:
    status, seen = answer(terminal, "open sesame\n", "open sesame\n")
    assert status == 0
    assert_is_hash_of(f"{seen}\n", "open sesame")


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        (["open sesame\n", "open sesam\n"], "simple_chat: the passwords differ"),
        (["\n", "\n"], "simple_chat: a password is one line of text, of at most 4091 bytes"),
    ],
    ids=["different", "empty"],
)
def test_different_or_empty_entries_are_refused_in_one_line(
    terminal: "pexpect.spawn[str]", entries: list[str], complaint: str
) -> None:
    assert answer(terminal, *entries) == (1, complaint)


@pytest.mark.parametrize("key", [CTRL_C, CTRL_D], ids=["Ctrl-C", "Ctrl-D"])
@pytest.mark.parametrize("before", [[], ["open sesame\n"]], ids=["first", "second"])
def test_interrupted_prompt_shows_no_traceback(
    terminal: "pexpect.spawn[str]", before: list[str], key: str
) -> None:
    status, seen = answer(terminal, *before, key)
    assert status == 128 + signal.SIGINT
    assert seen.strip("^CD\b") == ""


# What needs argon2


@pytest.mark.parametrize(
    "arguments", [["hash-password"], ["--port", "0", "--password-file", "file"]], ids=str
)
def test_missing_argon2_names_the_package_to_install(arguments: list[str]) -> None:
    command = [sys.executable, "-c", WITHOUT_ARGON2, *arguments]
    ended = run(command, input="open sesame\n", capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert_refused(ended, re.escape("simple_chat: passwords need argon2: pip install 'simple_chat[auth]'"))


# What the server does with it


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A file with the hash of a password."""
    path = tmp_path / "password"
    path.write_text(f"{QUICK_HASHER().hash('open sesame')}\n")
    return str(path)


def test_password_is_required_and_not_logged(file: str) -> None:
    with run_server_process("-v", "--password-file", file) as server:
        alice, eve = server.nc(), server.nc()
        alice.type("JOIN alice", "PASS open sesame", "JOIN alice")
        assert [line.split(" there")[0] for line in alice.barrier()] == [
            *["ERR auth-required", "OK PASS", "OK JOIN alice"]
        ]
        eve.type("PASS sesame street", "PASS sesame street", "PASS sesame street")
        assert [line.split(" that")[0] for line in eve.wait_for("BYE auth-failed")] == ["ERR auth-failed"] * 3
        eve.close()
        alice.close()
        log = server.stop()
    assert "disconnected: auth-failed" in log
    assert "sesame" not in log


def test_byte_order_mark_is_no_part_of_the_hash(file: str) -> None:
    Path(file).write_bytes(b"\xef\xbb\xbf" + Path(file).read_bytes())
    with run_server_process("--password-file", file) as server:
        alice = server.nc()
        alice.type("PASS open sesame", "JOIN alice")
        assert alice.barrier() == ["OK PASS", "OK JOIN alice"]


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda path: path.unlink(), "can't read {path}: No such file or directory"),
        (lambda path: (path.unlink(), path.mkdir()), "can't read {path}: Is a directory"),
        (
            lambda path: path.write_bytes(b"\xff"),
            "can't read {path}: no password's hash, make one with hash-password",
        ),
        (
            lambda path: path.write_bytes(b""),
            "can't read {path}: no password's hash, make one with hash-password",
        ),
        (
            lambda path: path.write_text("open sesame\n"),
            "can't read {path}: no password's hash, make one with hash-password",
        ),
    ],
    ids=["missing", "folder", "binary", "empty", "password"],
)
def test_invalid_password_file_is_reported_in_one_line(
    file: str, write: Callable[[Path], object], reason: str
) -> None:
    write(Path(file))
    ended = run_server_to_exit("--port", "0", "--password-file", file)
    assert_refused(ended, f"^simple_chat: {re.escape(reason.format(path=file))}")
    assert "open sesame" not in ended.stderr


# On a network


def test_password_on_a_network_needs_tls(file: str) -> None:
    ended = run_server_to_exit("--host", "0.0.0.0", "--port", "0", "--password-file", file)
    assert_refused(ended, r"^simple_chat: on 0\.0\.0\.0:\d+ a password needs TLS \(or --insecure\)")


def test_insecure_allows_a_password_without_tls(file: str) -> None:
    with run_server_process("--host", "0.0.0.0", "--password-file", file, "--insecure") as server:
        assert "WARNING" not in server.stop()


def test_open_server_on_a_network_warns_once() -> None:
    with run_server_process("--host", "0.0.0.0") as server:
        log = server.stop()
    assert log.count("WARNING") == 1
    assert f"WARNING no password: anybody who reaches 0.0.0.0:{server.port} can join\n" in log


def test_open_server_that_demands_certificates_does_not_warn(tmp_path: Path) -> None:
    authority, certificate, ca = trustme.CA(), tmp_path / "both.pem", tmp_path / "ca.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(certificate)
    authority.cert_pem.write_to_path(ca)
    tls = ("--tls-cert", str(certificate), "--tls-client-ca", str(ca))
    with run_server_process("--host", "0.0.0.0", *tls) as server:
        assert "WARNING" not in server.stop()
