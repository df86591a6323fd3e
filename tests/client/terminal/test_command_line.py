"""The command line on a terminal: the name prompt, errors and colors."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.line_socket import FakeServer, LineSocket
from tests.harness.programs import ServerProcess
from tests.harness.screen import CLIENT, END, Screen

Start = Callable[..., Screen]
Join = Callable[..., Screen]
Member = Callable[[str], LineSocket]

COLORS = re.compile(rb"\x1b\[[0-9;]*[1-9][0-9;]*m")


def test_missing_name_is_prompted_for(server: ServerProcess, start: Start) -> None:
    screen = start("--port", server.port)
    screen.wait_for("Your name in the room:")
    screen.type("ann")
    screen.wait_for("Your name in the room: ann", "ann>")


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
        errors.read_text() == "simple_chat: name-taken: somebody here has that name, JOIN with another one\n"
    )


def test_server_of_another_protocol_is_one_line_and_status_1(fake_server: FakeServer, start: Start) -> None:
    screen = start("--port", fake_server.port, "--username", "ann")
    with fake_server.accept() as connection:
        connection.send("220 mail.example ESMTP")
        connection.close()
        assert screen.wait_for_exit() == 1
    assert screen.raw.count(b"\n") == 1
    assert screen.rows()[0].startswith(f"simple_chat: can't connect to 127.0.0.1:{fake_server.port}: ")


def test_invalid_name_is_one_escaped_line_and_status_2(start: Start) -> None:
    screen = start("--username", "ann\x1b]0;x\x07")
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
