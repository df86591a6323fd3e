"""The password prompt, which never echoes."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from socket import socket

import pytest
import trustme

from tests.client.terminal.conftest import connected
from tests.harness.line_socket import FakeServer
from tests.harness.screen import DEADLINE, END, INTERRUPT, Screen
from tests.harness.tls_servers import encrypt_key

Start = Callable[..., Screen]

REQUIRED = "ERR auth-required there is a password here, PASS <secret> first"
FAILED = "ERR auth-failed that is not the password"
WRONG = "simple_chat: auth-failed: that is not the password"

PROMPTING = """
import signal, sys, threading
from simple_chat.client.auth import prompt_password

def send_signal():
    with open(sys.argv[1]) as go:
        go.read()
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

threading.Thread(target=send_signal, daemon=True).start()
prompt_password("the room")
"""


@pytest.fixture
def ann(fake_server: FakeServer, start: Start) -> Screen:
    """A client of `fake_server`."""
    return start("--port", fake_server.port, "--username", "ann", "--history", "0")


@pytest.fixture
def prompt(fake_server: FakeServer, ann: Screen) -> str:
    """The password prompt of `ann`, which is displayed."""
    fake_server.refuse("JOIN ann", REQUIRED)
    prompt_text = f"Password of 127.0.0.1:{fake_server.port}:"
    ann.wait_for(prompt_text)
    return prompt_text


def test_password_is_prompted_for_without_echo(fake_server: FakeServer, ann: Screen, prompt: str) -> None:
    ann.type("s3cret word")
    with fake_server.accept_join("ann", "s3cret word") as connection:
        ann.wait_for(prompt, connected(fake_server.port, "ann"), "ann>")
        ann.type("send hello")
        connection.wait_for("MSG hello")
        ann.wait_for("> send hello", "ann>")
    assert b"s3cret" not in ann.raw


def test_prompt_names_the_server_that_requires_the_password(fake_server: FakeServer, start: Start) -> None:
    with socket() as closed:
        closed.bind(("127.0.0.1", 0))
        away = f"127.0.0.1:{closed.getsockname()[1]}"
        hosts = f"{away},127.0.0.1:{fake_server.port}"
        ann = start("--host", hosts, "--username", "ann", "--history", "0")
        fake_server.refuse("JOIN ann", REQUIRED)
        ann.wait_for(f"Password of 127.0.0.1:{fake_server.port}:")
        ann.type("s3cret")
        with fake_server.accept_join("ann", "s3cret"):
            ann.wait_until(lambda: ann.rows()[-1] == "ann>")


def test_wrong_password_is_prompted_for_again(fake_server: FakeServer, ann: Screen, prompt: str) -> None:
    ann.type("wr0ng")
    fake_server.refuse("PASS wr0ng", FAILED)
    ann.wait_for(prompt, WRONG, prompt)
    ann.type("s3cret")
    with fake_server.accept_join("ann", "s3cret"):
        ann.wait_for(prompt, WRONG, prompt, connected(fake_server.port, "ann"), "ann>")
    assert b"wr0ng" not in ann.raw
    assert b"s3cret" not in ann.raw


def test_three_wrong_passwords_are_status_1(fake_server: FakeServer, ann: Screen, prompt: str) -> None:
    for number in range(3):
        ann.wait_for(*number * [prompt, WRONG], prompt)
        ann.type(f"wr0ng {number}")
        fake_server.refuse(f"PASS wr0ng {number}", FAILED)
    assert ann.wait_for_exit() == 1
    assert ann.rows() == [*3 * [prompt, WRONG]]
    assert b"wr0ng" not in ann.raw
    assert ann.is_restored()


@pytest.mark.parametrize(
    ("typed", "complaint"),
    [
        (b"", "an empty password can't be sent"),
        (b"\xff\xfe", "the password can't be sent: it is not valid Unicode"),
    ],
    ids=["empty", "bytes"],
)
def test_invalid_password_is_prompted_for_again(
    fake_server: FakeServer, ann: Screen, prompt: str, typed: bytes, complaint: str
) -> None:
    ann.press_bytes(typed + b"\r")
    ann.wait_for(prompt, f"simple_chat: {complaint}", prompt)
    ann.type("s3cret")
    with fake_server.accept_join("ann", "s3cret"):
        ann.wait_for("ann>")


@pytest.mark.parametrize("key", [INTERRUPT, END])
def test_no_password_is_status_130_and_no_message(ann: Screen, prompt: str, key: str) -> None:
    ann.press(key)
    assert ann.wait_for_exit() == 130
    assert ann.rows() == [prompt]
    assert ann.raw.endswith(b"\r\n")  # the shell's prompt is on a line of its own
    assert ann.is_restored()


def test_ctrl_c_within_a_password_is_status_130_and_does_not_echo_it(ann: Screen, prompt: str) -> None:
    ann.press("s3cr", INTERRUPT)
    assert ann.wait_for_exit() == 130
    assert ann.rows() == [prompt]
    assert ann.is_restored()


@pytest.mark.usefixtures("prompt")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signal_at_the_prompt_restores_the_terminal_and_sets_the_status(
    ann: Screen, number: int, status: int
) -> None:
    ann.process.send_signal(number)
    assert ann.wait_for_exit() == status
    assert "Traceback" not in "".join(ann.rows())
    assert ann.is_restored()


def test_signal_just_before_the_read_ends_the_prompt(tmp_path: Path) -> None:
    """Sent to a thread, the signal does not interrupt the read, as if it came before it."""
    go = tmp_path / "go"
    os.mkfifo(go)
    with Screen(sys.executable, "-c", PROMPTING, str(go)) as screen:
        screen.wait_for("Password of the room:")
        go.write_text("")
        assert screen.wait_for_exit() == 143
        assert screen.is_restored()


@pytest.mark.usefixtures("prompt")
def test_closed_terminal_at_the_prompt_is_status_129(ann: Screen) -> None:
    ann.hang_up()
    assert ann.process.wait(DEADLINE) == 129


@pytest.mark.usefixtures("prompt")
def test_prompted_password_is_sent_again_on_reconnecting(fake_server: FakeServer, ann: Screen) -> None:
    ann.type("s3cret")
    for _ in range(2):
        with fake_server.accept_join("ann", "s3cret"):
            ann.wait_until(lambda: ann.rows()[-1] == "ann>")
    ann.wait_until(lambda: "* back in the room" in ann.rows())
    assert b"s3cret" not in ann.raw


def test_new_password_is_prompted_for_on_reconnecting(fake_server: FakeServer, ann: Screen) -> None:
    with fake_server.accept_join("ann"):
        ann.wait_for("ann>")
    fake_server.refuse("JOIN ann", REQUIRED)
    ann.wait_until(lambda: ann.rows()[-1] == f"Password of 127.0.0.1:{fake_server.port}:")
    ann.type("s3cret")
    with fake_server.accept_join("ann", "s3cret"):
        ann.wait_until(lambda: ann.rows()[-1] == "ann>")
    assert b"s3cret" not in ann.raw


@pytest.mark.parametrize("by_file", [False, True])
def test_configured_password_is_not_prompted_for(
    fake_server: FakeServer,
    start: Start,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    by_file: bool,  # noqa: FBT001 (a parameter)
) -> None:
    (tmp_path / "password").write_text("s3cret\nnot this\n")
    monkeypatch.setenv("SIMPLE_CHAT_PASSWORD", "the variable's" if by_file else "s3cret")
    options = ["--password-file", str(tmp_path / "password")] if by_file else []
    ann = start("--port", fake_server.port, "--username", "ann", "--history", "0", *options)
    with fake_server.accept_join("ann", "s3cret"):
        ann.wait_for("ann>")
    assert ann.rows() == [connected(fake_server.port, "ann"), "ann>"]


def test_wrong_configured_password_is_status_1(
    fake_server: FakeServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMPLE_CHAT_PASSWORD", "wr0ng")
    ann = start("--port", fake_server.port, "--username", "ann")
    fake_server.refuse("PASS wr0ng", FAILED)
    assert ann.wait_for_exit() == 1
    assert ann.rows() == [WRONG]


def test_passphrase_of_a_key_is_not_prompted_for(start: Start, tmp_path: Path) -> None:
    leaf = trustme.CA().issue_cert("ann@example.org")
    certificate, key = tmp_path / "c", tmp_path / "k"
    leaf.cert_chain_pems[0].write_to_path(certificate)
    key.write_bytes(encrypt_key(leaf.private_key_pem.bytes()))
    ann = start("--username", "ann", "--tls", "--tls-cert", str(certificate), "--tls-key", str(key))
    assert ann.wait_for_exit() == 1
    why = "the key in it is encrypted, store it without a passphrase"
    assert "".join(ann.raw.decode().splitlines()) == f"simple_chat: can't use {key}: {why}"
