"""The client loses its server and reconnects."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from subprocess import PIPE, Popen

import pytest

from tests.client.terminal.conftest import RUN_CLIENT, connected
from tests.harness.line_socket import FakeServer, connect
from tests.harness.programs import ServerProcess, run_server_process
from tests.harness.screen import Screen

Start = Callable[..., Screen]


@contextmanager
def killable_server() -> Iterator[ServerProcess]:
    """Run a server that the test may kill."""
    command = [sys.executable, "-m", "simple_chat.server", "--port", "0"]
    with Popen(command, stderr=PIPE) as process, ExitStack() as terminals:
        try:
            yield ServerProcess(process, terminals)
        finally:
            process.kill()


def test_client_reconnects_to_a_killed_server_and_keeps_the_input_line(start: Start) -> None:
    with killable_server() as killed:
        ann = start("--port", killed.port, "--username", "ann")
        ann.wait_for("ann>")
        ann.press("send still here")
        ann.wait_for("ann> send still here")
        killed.process.kill()
        ann.wait_until(lambda: "* connection lost: " in "".join(ann.rows()))
        ann.wait_until(lambda: ann.rows()[-1] == "ann> send still here")
    ann.press("\r")
    ann.wait_until(lambda: "* not sent: still here" in ann.rows())
    with run_server_process("--port", killed.port), connect(killed.port) as ben:
        ben.join("ben")
        ann.wait_until(lambda: "* back in the room" in ann.rows())
        ann.type("send and back")
        assert ben.wait_for("MSG ann and back") == ["JOINED ann"]
        ben.send("MSG welcome")
        ann.wait_for("ben: welcome", "ann>")
        ann.type("leave")
        assert ann.wait_for_exit() == 0


def test_client_moves_to_the_next_server_and_keeps_the_input_line(start: Start) -> None:
    with killable_server() as killed, run_server_process() as other, connect(other.port) as ben:
        ben.join("ben")
        servers = ("--host", f"127.0.0.1:{killed.port}", "--host", f"127.0.0.1:{other.port}")
        ann = start(*servers, "--username", "ann")
        ann.wait_for("ann>")
        ann.press("send still here")
        ann.wait_for("ann> send still here")
        killed.process.kill()
        ann.wait_until(lambda: f"* back in the room, now at 127.0.0.1:{other.port}" in ann.rows())
        _, lost, *_ = ann.rows()
        assert lost.startswith("* connection lost: ")
        assert lost.endswith("; next try at once")
        ann.wait_until(lambda: ann.rows()[-1] == "ann> send still here")
        ann.press("\r")
        assert ben.wait_for("MSG ann still here") == ["JOINED ann"]
        ben.send("MSG welcome")
        ann.wait_for("ben: welcome", "ann>")
        ann.type("leave")
        assert ann.wait_for_exit() == 0


def test_client_returns_to_the_first_server_when_the_second_shuts_down(start: Start) -> None:
    with killable_server() as first:
        with run_server_process() as second:
            hosts = f"127.0.0.1:{first.port},127.0.0.1:{second.port}"
            ann = start("--host", hosts, "--username", "ann")
            ann.wait_for("ann>")
            first.process.kill()
            ann.wait_until(lambda: f"* back in the room, now at 127.0.0.1:{second.port}" in ann.rows())
        with run_server_process("--port", first.port):
            ann.wait_until(lambda: f"* back in the room, now at 127.0.0.1:{first.port}" in ann.rows())
            ann.wait_until(lambda: ann.rows()[-1] == "ann>")


def test_messages_that_were_missed_are_shown_once_and_marked(
    fake_server: FakeServer, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    ann = start("--port", fake_server.port, "--username", "ann", "--history", "0", "--color", "never")
    old, missed, new = (f"PAST 2030-01-02T12:00:0{number}.000Z ben {number}" for number in range(3))
    with fake_server.accept() as connection:
        connection.send("HELLO simple_chat/1 welcome", "OK JOIN ann")
        connection.wait_for("HISTORY 1")
        connection.send(old, "OK HISTORY 1")
        connection.wait_for("WHO")
        connection.send("NAMES ann", "OK WHO 1")
        ann.wait_for("ann>")
    with fake_server.accept() as connection:
        connection.send("HELLO simple_chat/1 welcome", "OK JOIN ann", "MSG ben 2")
        connection.wait_for("HISTORY 100")
        connection.send(old, missed, new, "OK HISTORY 3", "NAMES ann", "OK WHO 1", "MSG ben 3")
        ann.wait_for(
            "* back in the room", "* missed meanwhile: 1 message", "ben: 1", "ben: 2", "ben: 3", "ann>"
        )
    assert sum("ben: " in row for row in ann.rows()) == 3
    assert b"2030-01-02 12:00 ben: 1" in ann.raw


def test_name_held_by_the_lost_connection_is_retried_and_reported_once(start: Start) -> None:
    taken = "ERR name-taken somebody here has that name"
    with FakeServer() as first, FakeServer() as second:
        hosts = f"127.0.0.1:{first.port},127.0.0.1:{second.port}"
        ann = start("--host", hosts, "--username", "ann", "--history", "0")
        with first.accept_join("ann"):
            ann.wait_for("ann>")
            ann.press("send later")
        second.refuse("JOIN ann", taken)
        first.refuse("JOIN ann", taken)
        second.refuse("JOIN ann", taken)
        with first.accept_join("ann") as connection:
            ann.wait_until(lambda: "* back in the room" in ann.rows())
            ann.wait_until(lambda: ann.rows()[-1] == "ann> send later")
            ann.press("\r")
            connection.wait_for("MSG later")
        assert "".join(ann.rows()).count("the name is not free yet") == 1


def test_client_reports_the_bye_and_reconnects(start: Start) -> None:
    with run_server_process() as ended:
        ann = start("--port", ended.port, "--username", "ann")
        ann.wait_for("ann>")
    ann.wait_until(lambda: "* the server said BYE shutdown; next try in " in "".join(ann.rows()))
    ann.wait_until(lambda: ann.rows()[-1] == "ann>")
    with run_server_process("--port", ended.port), connect(ended.port) as ben:
        ben.join("ben")
        ann.wait_until(lambda: "* back in the room" in ann.rows())
        ann.type("send and back")
        assert ben.wait_for("MSG ann and back") in ([], ["JOINED ann"])  # [] if she was there before ben
        ann.press("send b\t", "!")
        ann.wait_until(lambda: ann.rows()[-1] == "ann> send ben !")


def test_unacknowledged_message_is_reported_as_perhaps_not_sent(
    fake_server: FakeServer, start: Start
) -> None:
    ann = start("--port", fake_server.port, "--username", "ann", "--history", "0", "--no-reconnect")
    with fake_server.accept_join("ann") as connection:
        ann.wait_for("ann>")
        ann.type("send did it arrive?")
        connection.wait_for("MSG did it arrive?")
    assert ann.wait_for_exit() == 1
    assert "* perhaps not sent: did it arrive?" in ann.rows()


def test_input_while_disconnected_is_not_sent_later(fake_server: FakeServer, start: Start) -> None:
    ann = start("--port", fake_server.port, "--username", "ann", "--history", "0")
    with fake_server.accept_join("ann"):
        ann.wait_for("ann>")
    ann.wait_until(lambda: "* connection lost: " in "".join(ann.rows()))
    ann.type("send lost", "who")
    ann.wait_until(lambda: "* not sent: lost" in ann.rows())
    with fake_server.accept_join("ann") as connection:
        ann.wait_until(lambda: "* back in the room" in ann.rows())
        ann.type("send found")
        assert connection.wait_for("MSG found") == []


def test_enter_ends_the_pause_before_the_next_attempt(fake_server: FakeServer) -> None:
    client = f"import random\nrandom.uniform = lambda low, high: 3600.0\n{RUN_CLIENT}"
    options = ("--port", fake_server.port, "--username", "ann", "--history", "0")
    with Screen(sys.executable, "-c", client, *options) as ann:
        with fake_server.accept_join("ann"):
            ann.wait_for(connected(fake_server.port, "ann"), "ann>")
        for keys in ("\r", "send lost\r"):
            ann.wait_until(lambda: "; next try in 3600.0 s, Enter tries now" in "".join(ann.rows()[-3:]))
            ann.press(keys)
            with fake_server.accept_join("ann"):
                ann.wait_until(lambda: "* back in the room" in ann.rows()[-4:])
        ann.wait_until(lambda: "* not sent: lost" in ann.rows())


def test_killed_server_is_status_1_without_reconnect(start: Start) -> None:
    with killable_server() as server:
        ann = start("--port", server.port, "--username", "ann", "--no-reconnect")
        ann.wait_for("ann>")
        server.process.kill()
        assert ann.wait_for_exit() == 1
    assert len(ann.rows()) == 2
    assert ann.rows()[1].startswith("simple_chat: connection lost: ")
    assert ann.is_restored()


def test_server_shutdown_is_status_1_without_reconnect(start: Start) -> None:
    with run_server_process() as server:
        ann = start("--port", server.port, "--username", "ann", "--no-reconnect")
        ann.wait_for("ann>")
    assert ann.wait_for_exit() == 1
    assert ann.rows()[1:] == ["simple_chat: the server ended the connection"]
    assert ann.is_restored()


def test_connection_lost_while_reconnecting_is_retried(start: Start) -> None:
    with FakeServer() as fake:
        ann = start("--port", fake.port, "--username", "ann", "--history", "0")
        with fake.accept_join("ann"):
            ann.wait_for("ann>")
        with fake.accept() as connection:
            connection.send("HELLO simple_chat/1 welcome", "OK JOIN ann")
            connection.wait_for("WHO")
        with fake.accept_join("ann") as connection:
            ann.type("send hello")
            connection.wait_for("MSG hello")
