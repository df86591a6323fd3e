"""Options, variables, and what keeps a client from joining."""

import re
from collections.abc import Callable
from pathlib import Path
from socket import socket

import pytest

from tests.harness.line_socket import FakeServer, LineSocket
from tests.harness.programs import ServerProcess, run_server_process
from tests.harness.screen import CLIENT, END, Screen

Start = Callable[..., Screen]
Join = Callable[..., Screen]
Member = Callable[[str], LineSocket]

COLORS = re.compile(rb"\x1b\[[0-9;]*[1-9][0-9;]*m")


def test_user_is_asked_for_a_name(server: ServerProcess, start: Start) -> None:
    screen = start("--port", server.port)
    screen.wait_for("Your name in the room:")
    screen.type("ann")
    screen.wait_for("Your name in the room: ann", "ann>")


def test_user_who_gives_no_name_goes_without_a_word(start: Start) -> None:
    screen = start()
    screen.wait_for("Your name in the room:")
    screen.press(END)
    assert screen.wait_for_end() == 130
    assert "Traceback" not in "".join(screen.rows())
    assert screen.is_as_before()


def test_variables_say_who_and_where(
    server: ServerProcess, start: Start, member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMPLE_CHAT_USERNAME", "ann")
    monkeypatch.setenv("SIMPLE_CHAT_SERVER_HOST", server.host)
    monkeypatch.setenv("SIMPLE_CHAT_SERVER_PORT", server.port)
    ben = member("ben")
    start().wait_for("ann>")
    ben.wait_for("JOINED ann")


def test_options_go_before_variables(
    server: ServerProcess, start: Start, member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMPLE_CHAT_USERNAME", "nobody")
    monkeypatch.setenv("SIMPLE_CHAT_SERVER_HOST", "nowhere.invalid")
    monkeypatch.setenv("SIMPLE_CHAT_SERVER_PORT", "1")
    ben = member("ben")
    start("--host", server.host, "--port", server.port, "--username", "ann").wait_for("ann>")
    ben.wait_for("JOINED ann")


def test_unix_socket_leads_to_the_server(start: Start, tmp_path: Path) -> None:
    path = str(tmp_path / "chat")
    with run_server_process("--unix", path):
        start("--unix", path, "--port", "1", "--username", "ann").wait_for("ann>")


def test_taken_name_is_one_line_on_stderr_and_status_1(
    server: ServerProcess, member: Member, tmp_path: Path
) -> None:
    member("Ann")
    errors = tmp_path / "errors"
    with Screen(
        "sh", "-c", 'exec "$@" 2>"$0"', str(errors), *CLIENT, "--port", server.port, "--username", "ann"
    ) as screen:
        assert screen.wait_for_end() == 1
        assert screen.raw == b""
    assert (
        errors.read_text() == "simple_chat: name-taken: somebody here has that name, JOIN with another one\n"
    )


def test_missing_server_is_one_line_that_says_where_and_status_1(start: Start) -> None:
    with socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = str(closed.getsockname()[1])
        screen = start("--username", "ann", "--port", port)
        assert screen.wait_for_end() == 1
    assert screen.rows() == [f"simple_chat: can't connect to 127.0.0.1:{port}: Connection refused"]


def test_server_that_speaks_something_else_is_one_line_and_status_1(
    fake_server: FakeServer, start: Start
) -> None:
    screen = start("--port", fake_server.port, "--username", "ann")
    with fake_server.accept() as connection:
        connection.send("220 mail.example ESMTP")
        connection.close()
        assert screen.wait_for_end() == 1
    assert screen.raw.count(b"\n") == 1
    assert screen.rows()[0].startswith(f"simple_chat: can't connect to 127.0.0.1:{fake_server.port}: ")


@pytest.mark.parametrize(
    ("arguments", "variables", "complaint"),
    [
        (["--username", "a b"], {}, "'a b' is not a valid name: 1 to 32 of A-Z a-z 0-9 . _ -"),
        ([], {"SIMPLE_CHAT_USERNAME": "-ann"}, "'-ann' is not a valid name"),
        (["--username", "ann\x1b]0;x\x07"], {}, r"'ann\x1b]0;x\x07' is not a valid name"),
        ([], {"SIMPLE_CHAT_SERVER_PORT": "http"}, "'http' is not a whole number from 0 to 65535"),
        (["--port", "65536"], {}, "'65536' is not a whole number from 0 to 65535"),
        (["--history", "-1"], {}, "--history"),
        (["--color", "blue"], {}, "invalid choice: 'blue'"),
        (["--frobnicate"], {}, "--frobnicate"),
    ],
)
def test_bad_option_or_variable_is_one_line_and_status_2(
    monkeypatch: pytest.MonkeyPatch,
    start: Start,
    arguments: list[str],
    variables: dict[str, str],
    complaint: str,
) -> None:
    monkeypatch.setenv("SIMPLE_CHAT_USERNAME", "ann")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    screen = start(*arguments)
    assert screen.wait_for_end() == 2
    assert screen.raw.count(b"\n") == 1
    assert b"python -m simple_chat.client: " in screen.raw
    assert complaint.encode() in screen.raw


def test_colors_are_used_on_a_terminal(join: Join, member: Member) -> None:
    ann = join("ann")
    member("ben").send("MSG hello ann")
    ann.wait_for("* ben joined", "ben: hello ann", "ann>")
    assert COLORS.search(ann.raw)


@pytest.mark.parametrize(("options", "no_color"), [(["--color", "never"], ""), ([], "1")])
def test_no_colors_are_used_if_not_wanted(
    join: Join, member: Member, monkeypatch: pytest.MonkeyPatch, options: list[str], no_color: str
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    ann = join("ann", *options)
    member("ben").send("MSG hello ann")
    ann.wait_for("* ben joined", "ben: hello ann", "ann>")
    ann.type("who", "hello")
    ann.wait_until(lambda: "no command 'hello'" in "".join(ann.rows()))
    assert not COLORS.search(ann.raw)


def test_colors_are_used_always_if_wanted_so(
    join: Join, member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    assert ann.wait_for_end() == 0
    assert ann.rows() == ["ben: hello ann", "send hello ben", "leave"]
    assert b"\x1b" not in ann.raw
