"""The server demands a password: it is asked for, and nobody who looks on sees it."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from socket import socket

import pytest
import trustme

from tests.harness.line_socket import FakeServer
from tests.harness.screen import END, INTERRUPT, Screen
from tests.harness.tls_servers import encrypt_key

Start = Callable[..., Screen]

REQUIRED = "ERR auth-required there is a password here, PASS <secret> first"
FAILED = "ERR auth-failed that is not the password"
WRONG = "simple_chat: auth-failed: that is not the password"

ASKING = """
import signal, sys, threading
from simple_chat.client.auth import prompt_password

def strike():
    with open(sys.argv[1]) as go:
        go.read()
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

threading.Thread(target=strike, daemon=True).start()
prompt_password("the room")
"""


@pytest.fixture
def ann(fake_server: FakeServer, start: Start) -> Screen:
    """A client at a server."""
    return start("--port", fake_server.port, "--username", "ann", "--history", "0")


@pytest.fixture
def question(fake_server: FakeServer, ann: Screen) -> str:
    """What the client asks, and has asked."""
    fake_server.refuse("JOIN ann", REQUIRED)
    asked = f"Password of 127.0.0.1:{fake_server.port}:"
    ann.wait_for(asked)
    return asked


def test_password_is_asked_for_without_echo(fake_server: FakeServer, ann: Screen, question: str) -> None:
    ann.type("s3cret word")
    with fake_server.accept_join("ann", "s3cret word") as connection:
        ann.wait_for(question, "ann>")
        ann.type("send hello")
        connection.wait_for("MSG hello")
        ann.wait_for(question, "> send hello", "ann>")
    assert b"s3cret" not in ann.raw


def test_password_is_asked_for_in_the_name_of_the_server_that_demands_it(
    fake_server: FakeServer, start: Start
) -> None:
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


def test_wrong_password_is_asked_for_again(fake_server: FakeServer, ann: Screen, question: str) -> None:
    ann.type("wr0ng")
    fake_server.refuse("PASS wr0ng", FAILED)
    ann.wait_for(question, WRONG, question)
    ann.type("s3cret")
    with fake_server.accept_join("ann", "s3cret"):
        ann.wait_for(question, WRONG, question, "ann>")
    assert b"wr0ng" not in ann.raw
    assert b"s3cret" not in ann.raw


def test_password_that_is_wrong_three_times_is_the_end_with_status_1(
    fake_server: FakeServer, ann: Screen, question: str
) -> None:
    for number in range(3):
        ann.wait_for(*number * [question, WRONG], question)
        ann.type(f"wr0ng {number}")
        fake_server.refuse(f"PASS wr0ng {number}", FAILED)
    assert ann.wait_for_end() == 1
    assert ann.rows() == [*3 * [question, WRONG]]
    assert b"wr0ng" not in ann.raw
    assert ann.is_as_before()


@pytest.mark.parametrize(
    ("typed", "complaint"),
    [
        (b"", "an empty password can't be sent"),
        (b"\xff\xfe", "the password can't be sent: it is not valid Unicode"),
    ],
    ids=["empty", "bytes"],
)
def test_password_that_cannot_be_sent_is_asked_for_again(
    fake_server: FakeServer, ann: Screen, question: str, typed: bytes, complaint: str
) -> None:
    ann.child.send(typed + b"\r")
    ann.wait_for(question, f"simple_chat: {complaint}", question)
    ann.type("s3cret")
    with fake_server.accept_join("ann", "s3cret"):
        ann.wait_for("ann>")


@pytest.mark.parametrize("key", [INTERRUPT, END])
def test_user_who_gives_no_password_goes_without_a_word(ann: Screen, question: str, key: str) -> None:
    ann.press(key)
    assert ann.wait_for_end() == 130
    assert ann.rows() == [question]
    assert ann.raw.endswith(b"\r\n")  # the shell's prompt is on a line of its own
    assert ann.is_as_before()


def test_interrupt_in_the_middle_of_a_password_is_the_end_and_does_not_show_it(
    ann: Screen, question: str
) -> None:
    ann.press("s3cr", INTERRUPT)
    assert ann.wait_for_end() == 130
    assert ann.rows() == [question]
    assert ann.is_as_before()


@pytest.mark.usefixtures("question")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signal_at_the_question_is_an_end_in_order_with_its_status(
    ann: Screen, number: int, status: int
) -> None:
    ann.child.kill(number)
    assert ann.wait_for_end() == status
    assert "Traceback" not in "".join(ann.rows())
    assert ann.is_as_before()


def test_signal_that_does_not_interrupt_the_reading_ends_the_question_too(tmp_path: Path) -> None:
    """As when it comes just before the reading begins."""
    go = tmp_path / "go"
    os.mkfifo(go)
    with Screen(sys.executable, "-c", ASKING, str(go)) as screen:
        screen.wait_for("Password of the room:")
        go.write_text("")
        assert screen.wait_for_end() == 143
        assert screen.is_as_before()


@pytest.mark.usefixtures("question")
def test_window_that_is_closed_at_the_question_is_an_end_in_order(ann: Screen) -> None:
    ann.child.ptyproc.fileobj.close()  # type: ignore[attr-defined]
    assert ann.child.ptyproc.wait() == 129  # type: ignore[attr-defined]


@pytest.mark.usefixtures("question")
def test_password_that_was_asked_for_is_sent_again_when_the_client_comes_back(
    fake_server: FakeServer, ann: Screen
) -> None:
    ann.type("s3cret")
    for _ in range(2):
        with fake_server.accept_join("ann", "s3cret"):
            ann.wait_until(lambda: ann.rows()[-1] == "ann>")
    ann.wait_until(lambda: "* back in the room" in ann.rows())
    assert b"s3cret" not in ann.raw


def test_password_that_is_new_when_the_client_comes_back_is_asked_for(
    fake_server: FakeServer, ann: Screen
) -> None:
    with fake_server.accept_join("ann"):
        ann.wait_for("ann>")
    fake_server.refuse("JOIN ann", REQUIRED)
    ann.wait_until(lambda: ann.rows()[-1] == f"Password of 127.0.0.1:{fake_server.port}:")
    ann.type("s3cret")
    with fake_server.accept_join("ann", "s3cret"):
        ann.wait_until(lambda: ann.rows()[-1] == "ann>")
    assert b"s3cret" not in ann.raw


@pytest.mark.parametrize("by_file", [False, True])
def test_password_that_was_given_is_not_asked_for(
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
    assert ann.rows()[0] == "ann>"


def test_given_password_that_is_wrong_is_the_end_with_status_1(
    fake_server: FakeServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMPLE_CHAT_PASSWORD", "wr0ng")
    ann = start("--port", fake_server.port, "--username", "ann")
    fake_server.refuse("PASS wr0ng", FAILED)
    assert ann.wait_for_end() == 1
    assert ann.rows() == [WRONG]


def test_passphrase_of_a_key_is_not_asked_for(start: Start, tmp_path: Path) -> None:
    leaf = trustme.CA().issue_cert("ann@example.org")
    certificate, key = tmp_path / "c", tmp_path / "k"
    leaf.cert_chain_pems[0].write_to_path(certificate)
    key.write_bytes(encrypt_key(leaf.private_key_pem.bytes()))
    ann = start("--username", "ann", "--tls", "--tls-cert", str(certificate), "--tls-key", str(key))
    assert ann.wait_for_end() == 1
    why = "the key in it is encrypted, store it without a passphrase"
    assert "".join(ann.raw.decode().splitlines()) == f"simple_chat: can't use {key}: {why}"
