"""The client's command line: what it rejects, and what it loads to do so."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import run

import pytest
import trustme

from simple_chat.client import cli
from simple_chat.client.__main__ import main
from tests.client.pipe_client import CLIENT, Outcome, assert_error

Main = Callable[..., Outcome]


@pytest.fixture
def main_outcome(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Main:
    """Runs the client in this process, as in a pipe, with nothing configured in the environment."""
    for name in ("SERVER_HOST", "SERVER_PORT", "USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"SIMPLE_CHAT_{name}", raising=False)
    monkeypatch.setenv("TERM", "dumb")

    def run_main(*arguments: str) -> Outcome:
        try:
            status = main(arguments)
        except SystemExit as exit_:
            status = int(exit_.code or 0)
        return Outcome(status, *capsys.readouterr())

    return run_main


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--username=", "argument --username: '' is not a valid name"),
        ("--username two\u00a0words", r"'two\xa0words' is not a valid name: 1 to 32 of A-Z a-z 0-9 . _ -"),
        ("--username -bot", "there is no option -bot"),
        ("--username=-bot", "'-bot' is not a valid name"),
        ("--username bot --port x", "'x' is not a whole number from 0 to 65535"),
        ("--username bot --port 65536", "'65536' is not a whole number from 0 to 65535"),
        ("--username bot --host 127.0.0.1:x", "'127.0.0.1:x' is neither HOST nor HOST:PORT"),
        ("--username bot --history -1", "--history"),
        ("--username bot --color red", "invalid choice: 'red'"),
        ("--username bot --password-file=", "must not be empty"),
        ("--username bot --frobnicate", "there is no option --frobnicate"),
        ("--username bot a:b", "argument HOST[:PORT]: 'a:b' is neither HOST nor HOST:PORT"),
        ("--unix=", "argument --unix: must not be empty"),
    ],
)
def test_invalid_option_is_one_line_and_status_2(main_outcome: Main, options: str, message: str) -> None:
    outcome = main_outcome(*options.split(" "))
    assert_error(outcome, 2, message)
    assert_error(outcome, 2, "(--help shows all options)")


def test_missing_username_is_one_line_and_status_2(main_outcome: Main) -> None:
    assert_error(main_outcome(), 2, "--username NAME, or SIMPLE_CHAT_USERNAME")


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("USERNAME", "", "the username is missing"),
        ("USERNAME", "-ann", ": SIMPLE_CHAT_USERNAME: '-ann' is not a valid name"),
        ("SERVER_PORT", "http", ": SIMPLE_CHAT_SERVER_PORT: 'http' is not a whole number from 0 to 65535"),
    ],
)
def test_invalid_variable_is_one_line_and_status_2(
    main_outcome: Main, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    monkeypatch.setenv("SIMPLE_CHAT_USERNAME", "bot")
    monkeypatch.setenv(f"SIMPLE_CHAT_{variable}", value)
    assert_error(main_outcome(), 2, message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--tls-ca ca.pem", "--tls-ca needs --tls"),
        ("--tls-cert both.pem", "--tls-cert needs --tls"),
        ("--tls-cert cert.pem --tls-key key.pem", "--tls-cert needs --tls"),
        ("--tls --tls-key key.pem", "--tls-key needs --tls-cert"),
        ("--tls --tls-ca=", "--tls-ca: must not be empty"),
        ("--tls --unix chat", "--tls is for TCP: it can't be used with --unix"),
        ("--tls --no-verify", "there is no option --no-verify"),
    ],
)
def test_invalid_combination_of_tls_options_is_status_2(
    main_outcome: Main, options: str, message: str
) -> None:
    outcome = main_outcome("--username", "bot", *options.split())
    assert_error(outcome, 2, f"{message} (--help shows all options)")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--tls --tls-ca missing", "can't use missing: No such file or directory"),
        ("--tls --tls-ca key.pem", "can't use key.pem: there is no certificate in it"),
        ("--tls --tls-cert cert.pem", "can't use cert.pem: there is no private key in it"),
    ],
)
def test_unusable_tls_file_is_one_line_and_status_1(
    main_outcome: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    leaf = trustme.CA().issue_cert("bot@example.org")
    leaf.cert_chain_pems[0].write_to_path("cert.pem")
    leaf.private_key_pem.write_to_path("key.pem")
    assert_error(main_outcome("--username", "bot", *options.split()), 1, f"simple_chat: {message}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "can't read {}: No such file or directory"),
        (b"", "can't use {}: its first line, the password, is empty"),
        (b"\ns3cret\n", "can't use {}: its first line, the password, is empty"),
        (b"s3cret\xff\n", "can't use {}: its first line is not UTF-8"),
        (b"s3cret\ragain\n", "{}: a password of several lines can't be sent"),
        (10_000 * b"s3cret", "{}: the password is too long"),
    ],
    ids=["missing", "empty", "empty line", "bytes", "carriage return", "long"],
)
def test_unusable_password_file_is_one_line_and_status_1(
    main_outcome: Main,
    closed_port: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    content: bytes | None,
    message: str,
) -> None:
    monkeypatch.setenv("SIMPLE_CHAT_PASSWORD", "s3cret")
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
    options = ("--username", "bot", "--password-file", str(path), "--port", str(closed_port))
    outcome = main_outcome(*options)
    assert_error(outcome, 1, f"simple_chat: {message.format(path)}")
    assert "s3cret" not in outcome.stderr


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("s3cret\nagain", "a password of several lines can't be sent"),
        (1_000 * "s3cret", "the password is too long"),
        ("s3cret\udcff", "the password can't be sent: it is not valid Unicode"),
    ],
)
def test_unusable_password_in_the_variable_names_it(
    main_outcome: Main, closed_port: int, monkeypatch: pytest.MonkeyPatch, value: str, message: str
) -> None:
    monkeypatch.setenv("SIMPLE_CHAT_PASSWORD", value)
    outcome = main_outcome("--username", "bot", "--port", str(closed_port))
    assert_error(outcome, 1, f"simple_chat: SIMPLE_CHAT_PASSWORD: {message}")
    assert "s3cret" not in outcome.stderr


def test_unreadable_password_file_is_one_line_and_status_1(main_outcome: Main, tmp_path: Path) -> None:
    outcome = main_outcome("--username", "bot", "--password-file", str(tmp_path))
    assert_error(outcome, 1, f"can't read {tmp_path}: Is a directory")


def test_error_of_several_servers_has_the_address_of_each(main_outcome: Main, closed_port: int) -> None:
    hosts = ("127.0.0.1", "127.0.0.2")
    outcome = main_outcome("--username", "bot", "--port", str(closed_port), "--host", ",".join(hosts))
    first, second = (f"can't connect to {host}:{closed_port}: Connection refused" for host in hosts)
    assert_error(outcome, 1, f"simple_chat: {first}; {second}")


def test_missing_unix_socket_is_one_line_and_status_1(main_outcome: Main) -> None:
    outcome = main_outcome("--unix", "/no/such/chat", "--username", "bot")
    assert_error(outcome, 1, "can't connect to unix:/no/such/chat: No such file or directory")


def test_fault_of_the_client_is_one_line_and_status_1(
    main_outcome: Main, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> int:
        raise LookupError("two\nlines \x1b[2J")

    monkeypatch.setattr(cli, "_run", fail)
    where = r"test_main\.py:\d+"
    outcome = main_outcome("--username", "bot")
    assert (outcome.status, outcome.stdout) == (1, "")
    expected = rf"simple_chat: internal error, please report it: LookupError: two␊lines ␛\[2J \({where}\)\n"
    assert re.fullmatch(expected, outcome.stderr)


def test_ctrl_c_before_the_client_handles_it_is_status_130(
    main_outcome: Main, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", interrupt)
    assert main_outcome("--username", "bot") == Outcome(130)


def test_help_names_the_variables_and_imports_little() -> None:
    help_ = run(
        [sys.executable, "-X", "importtime", *CLIENT[1:], "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    variables = {f"SIMPLE_CHAT_{each}" for each in ("SERVER_HOST", "SERVER_PORT", "USERNAME", "PASSWORD")}
    assert variables <= set(re.findall(r"\w+", help_.stdout))
    assert "argparse" in help_.stderr
    for module in ("prompt_toolkit", "asyncio", "ssl"):
        assert module not in help_.stderr
