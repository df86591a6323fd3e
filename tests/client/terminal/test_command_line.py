"""The command line on a terminal: the name prompt, errors and colors."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.client.terminal.conftest import connected
from tests.harness.line_socket import FakeServer, LineSocket
from tests.harness.programs import ServerProcess
from tests.harness.screen import CLIENT, END, Screen, wrapped

Start = Callable[..., Screen]
Join = Callable[..., Screen]
Member = Callable[[str], LineSocket]

COLORS = re.compile(rb"\x1b\[[0-9;]*[1-9][0-9;]*m")


def test_missing_name_is_prompted_for(server: ServerProcess, start: Start) -> None:
    screen = start("--port", server.port)
    screen.wait_for("Your name in the room:")
    screen.type("ann")
    screen.wait_for("Your name in the room: ann", connected(server.port, "ann"), "ann>")


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])  # what is used depends on the locale
def test_bad_or_taken_name_at_the_question_is_asked_for_again(
    server: ServerProcess, member: Member, monkeypatch: pytest.MonkeyPatch, errors: str
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", f"utf-8:{errors}")
    member("ann")
    with Screen(*CLIENT, "--port", server.port, "--history", "0") as screen:
        answer_until_accepted(screen, server.port)


def answer_until_accepted(screen: Screen, port: str) -> None:
    """Answer the question for a name badly, then well, and leave."""
    invalid = "is not a valid name: 1 to 32 of A-Z a-z 0-9 . _ -, first a letter or digit"
    question = "Your name in the room:"
    screen.wait_for(question)
    for answer, refusal in {
        b"two words": f"bad-name: 'two words' {invalid}",
        b"": f"bad-name: '' {invalid}",
        b"M\xfcller": rf"bad-name: 'M\udcfcller' {invalid}",
        b"Ann": "name-taken: the name 'Ann' is taken",
    }.items():
        screen.press_bytes(answer + b"\r")
        screen.wait_for(*wrapped(f"simple_chat: {refusal}"), question)
    screen.type("ben")
    screen.wait_for(connected(port, "ann", "ben"), "ben>")
    screen.type("leave")
    assert screen.wait_for_exit() == 0


def test_name_that_only_the_server_refuses_is_asked_for_again(fake_server: FakeServer, start: Start) -> None:
    screen = start("--port", fake_server.port, "--history", "0")
    screen.wait_for("Your name in the room:")
    screen.type("root")
    fake_server.refuse("JOIN root", "ERR bad-name that name is reserved")
    screen.wait_for("simple_chat: bad-name: 'root': that name is reserved", "Your name in the room:")
    screen.type("ann")
    fake_server.refuse("JOIN ann", "ERR auth-required PASS <secret> first")
    screen.wait_for("Your name in the room: ann", f"Password of 127.0.0.1:{fake_server.port}:")
    screen.type("s3cret")
    with fake_server.accept_join("ann", "s3cret"):
        screen.wait_for(connected(fake_server.port, "ann"), "ann>")


def test_json_at_a_terminal_is_json_without_a_prompt(
    server: ServerProcess, member: Member, start: Start
) -> None:
    ben = member("ben")
    ann = start("--port", server.port, "--username", "ann", "--json")
    ben.wait_for("JOINED ann")
    ben.send("MSG hello")
    ann.wait_until(lambda: ann.raw.endswith(b'"name": "ben", "text": "hello"}\r\n'))
    ann.press("send hi\n")
    ben.wait_for("MSG ann hi")
    ann.press("leave\n")
    assert ann.wait_for_exit() == 0
    assert b"\x1b" not in ann.raw


def test_json_at_a_terminal_asks_for_no_name(start: Start) -> None:
    screen = start("--json")
    assert screen.wait_for_exit() == 2
    assert "the username is missing: --username NAME, or SIMPLE_CHAT_USERNAME" in "".join(screen.rows())


def test_end_of_input_at_the_name_prompt_is_status_130(start: Start) -> None:
    screen = start()
    screen.wait_for("Your name in the room:")
    screen.press(END)
    assert screen.wait_for_exit() == 130
    assert "Traceback" not in "".join(screen.rows())
    assert screen.is_restored()


def test_taken_name_is_one_line_on_stderr_and_no_prompt(
    server: ServerProcess, member: Member, tmp_path: Path
) -> None:
    member("Ann")
    errors = tmp_path / "errors"
    with Screen(
        "sh", "-c", 'exec "$@" 2>"$0"', str(errors), *CLIENT, "--port", server.port, "--username", "ann"
    ) as screen:
        assert screen.wait_for_exit() == 1
        assert screen.raw == b""
    assert (
        errors.read_text()
        == "simple_chat: name-taken: the name 'ann' is taken, choose another by --username\n"
    )


def test_server_of_another_protocol_is_one_line_and_status_1(fake_server: FakeServer, start: Start) -> None:
    screen = start("--port", fake_server.port, "--username", "ann")
    with fake_server.accept() as connection:
        connection.send("220 mail.example ESMTP")
        connection.close()
        assert screen.wait_for_exit() == 1
    assert screen.raw.count(b"\n") == 1
    assert screen.rows()[0].startswith(f"simple_chat: can't connect to 127.0.0.1:{fake_server.port}: ")


def test_invalid_name_is_one_escaped_line_and_status_2() -> None:
    with Screen(*CLIENT, "--username", "ann\x1b]0;x\x07") as screen:
        assert screen.wait_for_exit() == 2
    assert screen.raw.count(b"\n") == 1
    assert screen.raw.startswith(
        rb"python -m simple_chat.client: argument --username: 'ann\x1b]0;x\x07' is not a valid name"
    )


def test_colors_are_used_by_default(join: Join, member: Member) -> None:
    ann = join("ann")
    member("ben").send("MSG hello ann")
    ann.wait_for("* ben joined", "ben: hello ann", "ann>")
    assert COLORS.search(ann.raw)


@pytest.mark.parametrize(("options", "no_color"), [(["--color", "never"], ""), ([], "1")])
def test_colors_can_be_disabled(
    join: Join, member: Member, monkeypatch: pytest.MonkeyPatch, options: list[str], no_color: str
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    ann = join("ann", *options)
    member("ben").send("MSG hello ann")
    ann.wait_for("* ben joined", "ben: hello ann", "ann>")
    ann.type("who", "hello")
    ann.wait_until(lambda: "no command 'hello'" in "".join(ann.rows()))
    assert not COLORS.search(ann.raw)


def test_color_option_overrides_no_color(join: Join, member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    ann = join("ann", "--color", "always")
    member("ben").send("MSG hello ann")
    ann.wait_for("* ben joined", "ben: hello ann", "ann>")
    assert COLORS.search(ann.raw)


def test_dumb_terminal_gets_plain_lines_and_no_prompt(
    server: ServerProcess, start: Start, member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    ben = member("ben")
    ann = start("--port", server.port, "--username", "ann")
    ben.wait_for("JOINED ann")
    ben.send("MSG hello ann")
    ann.wait_for("ben: hello ann")
    ann.press("send hello ben\n")
    ben.wait_for("MSG ann hello ben")
    ann.press("leave\n")
    assert ann.wait_for_exit() == 0
    assert ann.rows() == ["ben: hello ann", "send hello ben", "leave"]
    assert b"\x1b" not in ann.raw
