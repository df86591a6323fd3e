"""However the client ends, the terminal is as it was before, and the status tells how."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import run

import pytest

from tests.harness.line_socket import FakeServer, LineSocket
from tests.harness.programs import ServerProcess
from tests.harness.screen import END, INTERRUPT, Screen

Start = Callable[..., Screen]
Join = Callable[..., Screen]
Member = Callable[[str], LineSocket]

_CRASHING_CLIENT = """
from simple_chat.client import formatting
from simple_chat.client import __main__
formatting.TerminalFormatter.event = None
__main__.main()
"""


@pytest.mark.parametrize("keys", ["leave\r", "  LEAVE \r", END, INTERRUPT])
def test_leaving_is_status_0(join: Join, member: Member, keys: str) -> None:
    ben = member("ben")
    ann = join("ann")
    ann.press(keys)
    assert ann.wait_for_end() == 0
    assert ann.is_as_before()
    assert ben.wait_for("LEFT ann") == ["JOINED ann"]


def test_what_was_typed_before_leaving_is_sent(join: Join, member: Member) -> None:
    ben = member("ben")
    ann = join("ann")
    ann.paste("send one", "leave", "send two")
    ann.press("\r")
    assert ann.wait_for_end() == 0
    assert ben.wait_for("LEFT ann") == ["JOINED ann", "MSG ann one"]


def test_interrupt_clears_a_line_and_the_end_key_deletes_in_it(join: Join, member: Member) -> None:
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
def test_signal_is_an_end_in_order_with_its_status(
    join: Join, member: Member, number: int, status: int
) -> None:
    ben = member("ben")
    ann = join("ann")
    ann.press("send unsaid")
    ann.wait_for("ann> send unsaid")
    ann.child.kill(number)
    assert ann.wait_for_end() == status
    assert ann.is_as_before()
    assert "Traceback" not in "".join(ann.rows())
    assert ben.wait_for("LEFT ann") == ["JOINED ann"]


def test_window_that_is_closed_is_an_end_in_order(join: Join, member: Member) -> None:
    ben = member("ben")
    ann = join("ann")
    ann.child.ptyproc.fileobj.close()  # type: ignore[attr-defined]
    assert ben.wait_for("LEFT ann") == ["JOINED ann"]
    assert ann.child.ptyproc.wait() == 129  # type: ignore[attr-defined]


def test_interrupt_while_connecting_is_the_end_with_its_status(fake_server: FakeServer, start: Start) -> None:
    ann = start("--port", fake_server.port, "--username", "ann")
    with fake_server.accept():
        ann.press(INTERRUPT)
        assert ann.wait_for_end() == 130
    assert ann.is_as_before()


def test_crash_leaves_the_terminal_as_it_was_and_its_traceback(server: ServerProcess, member: Member) -> None:
    with Screen(sys.executable, "-c", _CRASHING_CLIENT, "--port", server.port, "--username", "ann") as ann:
        ann.wait_for("ann>")
        member("ben")
        assert ann.wait_for_end() == 1
        assert ann.is_as_before()
        assert "Traceback (most recent call last):" in ann.rows()
        assert "TypeError" in ann.rows()[-1]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_can_not_be_written_does_not_change_the_status_of_a_signal(
    stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    code = (
        "import sys\n"
        "from simple_chat.client import cli\n"
        f"sys.{stream}.write('for nobody')\n"
        "cli._flush_output()\n"
        "sys.exit(129)"
    )
    with Path("/dev/full").open("w") as nowhere:
        gone = {stream: nowhere.fileno()}
        assert run([sys.executable, "-c", code], **gone, check=False).returncode == 129  # type: ignore[call-overload]
