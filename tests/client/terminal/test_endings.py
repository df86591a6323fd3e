"""Every exit restores the terminal and has its status."""

import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import run

import pytest

from tests.client.terminal.conftest import RUN_CLIENT
from tests.harness.line_socket import FakeServer, LineSocket
from tests.harness.programs import ServerProcess
from tests.harness.screen import DEADLINE, END, INTERRUPT, Screen

Start = Callable[..., Screen]
Join = Callable[..., Screen]
Member = Callable[[str], LineSocket]

FAULTS = {
    "event": "formatting.TerminalFormatter.event = None",
    "key": "terminal._Terminal._on_tab = lambda self, event: 1 // 0",
    "timer": "scrollback.Scrollback._redraw = None",
}
"""Faults of the client that show at the prompt."""


@pytest.mark.parametrize("keys", ["leave\r", "  LEAVE \r", END, INTERRUPT])
def test_leaving_is_status_0(join: Join, member: Member, keys: str) -> None:
    ben = member("ben")
    ann = join("ann")
    ann.press(keys)
    assert ann.wait_for_exit() == 0
    assert ann.is_restored()
    assert ben.wait_for("LEFT ann") == ["JOINED ann"]


def test_input_before_leave_is_sent_and_input_after_it_is_not(join: Join, member: Member) -> None:
    ben = member("ben")
    ann = join("ann")
    ann.paste("send one", "leave", "send two")
    ann.press("\r")
    assert ann.wait_for_exit() == 0
    assert ben.wait_for("LEFT ann") == ["JOINED ann", "MSG ann one"]


def test_ctrl_c_clears_the_line_and_ctrl_d_deletes_a_character(join: Join, member: Member) -> None:
    ben = member("ben")
    ann = join("ann")
    ann.press("send oops", INTERRUPT)
    ann.wait_for("ann>")
    ann.press("xsend hello", "\x01", END)
    ann.wait_for("ann> send hello")
    ann.press("\r")
    assert ben.wait_for("MSG ann hello") == ["JOINED ann"]


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_signal_leaves_the_room_and_sets_the_status(
    join: Join, member: Member, number: int, status: int
) -> None:
    ben = member("ben")
    ann = join("ann")
    ann.press("send unsent")
    ann.wait_for("ann> send unsent")
    ann.process.send_signal(number)
    assert ann.wait_for_exit() == status
    assert ann.is_restored()
    assert "Traceback" not in "".join(ann.rows())
    assert ben.wait_for("LEFT ann") == ["JOINED ann"]


def test_closed_terminal_leaves_the_room_with_status_129(join: Join, member: Member) -> None:
    ben = member("ben")
    ann = join("ann")
    ann.hang_up()
    assert ben.wait_for("LEFT ann") == ["JOINED ann"]
    assert ann.process.wait(DEADLINE) == 129


def test_ctrl_c_while_connecting_is_status_130(fake_server: FakeServer, start: Start) -> None:
    ann = start("--port", fake_server.port, "--username", "ann")
    with fake_server.accept():
        ann.press(INTERRUPT)
        assert ann.wait_for_exit() == 130
    assert ann.is_restored()


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_fault_of_the_client_is_one_line_and_status_1_and_restores_the_terminal(
    server: ServerProcess, member: Member, fault: str
) -> None:
    imports = "from simple_chat.client import formatting, scrollback, terminal"
    client = f"{imports}\n{fault}\n{RUN_CLIENT}"
    with Screen(sys.executable, "-c", client, "--port", server.port, "--username", "ann") as ann:
        ann.wait_until(lambda: "help lists commands" in "".join(ann.rows()))
        member("ben")
        ann.press("h\t")
        assert ann.wait_for_exit() == 1
        assert ann.is_restored()
        lines = "".join(ann.raw.decode().splitlines()[-2:])
        assert re.search(r"simple_chat: internal error, please report it: \w+: .* \([\w.<>]+:\d+\)$", lines)
        assert "Traceback" not in lines


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_unwritable_output_does_not_change_the_status_of_a_signal(
    stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    code = (
        "import sys\n"
        "from simple_chat.client import cli\n"
        f"sys.{stream}.write('lost')\n"
        "cli._flush_output()\n"
        "sys.exit(129)"
    )
    with Path("/dev/full").open("w") as full:
        streams = {stream: full.fileno()}
        assert run([sys.executable, "-c", code], **streams, check=False).returncode == 129  # type: ignore[call-overload]
