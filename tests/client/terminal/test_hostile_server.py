"""No text of a server reaches the terminal unsanitized."""

from collections.abc import Callable

from tests.client.terminal.conftest import connected
from tests.harness.line_socket import FakeServer
from tests.harness.screen import HARMFUL, INTERRUPT, Screen

Start = Callable[..., Screen]

HOSTILE = "\x1b[2J\x1b[H\x1b]0;title\x07\x1bP$q\x9d0;title\x9c\u202edrow\u2066\x7f\x00\u2028"
SHOWN = "␛[2J␛[H␛]0;title␇␛P$q\ufffd0;title\ufffd\ufffddrow\ufffd␡␀\ufffd"


def test_control_characters_of_all_events_are_sanitized(fake_server: FakeServer, start: Start) -> None:
    ann = start("--port", fake_server.port, "--username", "ann", "--color", "never")
    with fake_server.accept() as connection:
        connection.send(f"HELLO simple_chat/1 {HOSTILE}")
        connection.wait_for("JOIN ann")
        connection.send("OK JOIN ann")
        connection.wait_for("HISTORY 10")
        connection.send("OK HISTORY 0")  # of the one before, which the chat asks for itself
        connection.send(f"PAST 2030-01-01T00:00:00.000Z ben {HOSTILE}", f"OK HISTORY {HOSTILE}")
        connection.wait_for("WHO")
        connection.send("NAMES ann", f"OK WHO {HOSTILE}")
        ann.wait_for(f"ben: {SHOWN}", connected(fake_server.port, "ann"), "ann>")
        connection.send(f"MSG ben {HOSTILE}", f"INFO {HOSTILE}", f"ERR {HOSTILE} {HOSTILE}")
        connection.send(f"{HOSTILE} {HOSTILE}", "MSG ben the end")
        ann.wait_for(f"ben: {SHOWN}", f"* {SHOWN}", f"* {SHOWN}", "ben: the end", "ann>")
        connection.send(f"BYE {HOSTILE}")
        ann.wait_until(lambda: f"* the server said BYE {SHOWN}; next try in " in "".join(ann.rows()))
    ann.press(INTERRUPT)
    assert ann.wait_for_exit() == 0
    assert not HARMFUL.search(ann.raw.decode())


def test_control_characters_of_a_refusal_are_sanitized(fake_server: FakeServer, start: Start) -> None:
    ann = start("--port", fake_server.port, "--username", "ann")
    with fake_server.accept() as connection:
        connection.send("HELLO simple_chat/1 welcome")
        connection.wait_for("JOIN ann")
        connection.send(f"ERR kicked {HOSTILE}")
        assert ann.wait_for_exit() == 1
    assert ann.rows() == [f"simple_chat: kicked: {SHOWN}"]
    assert not HARMFUL.search(ann.raw.decode())


def test_malformed_lines_are_replaced_by_a_notice(fake_server: FakeServer, start: Start) -> None:
    ann = start("--port", fake_server.port, "--username", "ann", "--history", "0")
    with fake_server.accept_join("ann") as connection:
        ann.wait_for("ann>")
        for line, code in {
            b"MSG \x1b[2J hello": "bad-syntax",
            "MSG b\u202en hello".encode(): "bad-syntax",
            b"MSG " + b"x" * 33 + b" hello": "bad-syntax",
            b"MSG ben": "bad-syntax",
            b"MSG ben \xff\x9b2J": "not-utf8",
            b"JOINED \x1b[2J": "bad-syntax",
            b"LEFT ": "bad-syntax",
            b"NAMES ann \x1b[2J": "bad-syntax",
            b"PAST yesterday ben hello": "bad-syntax",
            b"GAP \x1b[2J": "bad-syntax",
            b"MSG ben " + b"x" * (4 * 1024 * 1024): "line-too-long",
        }.items():
            connection.write(line + b"\nMSG ben well\n")
            ann.wait_for(f"* a line of the server could not be read ({code})", "ben: well", "ann>")
    ann.press(INTERRUPT)
    assert ann.wait_for_exit() == 0
    assert not HARMFUL.search(ann.raw.decode())


def test_incomplete_last_line_is_not_displayed(fake_server: FakeServer, start: Start) -> None:
    ann = start("--port", fake_server.port, "--username", "ann", "--history", "0", "--no-reconnect")
    with fake_server.accept_join("ann") as connection:
        ann.wait_for("ann>")
        connection.write(b"MSG ben whole\nMSG ben half\x1b[2J")
    assert ann.wait_for_exit() == 1
    assert ann.rows()[1:] == ["ben: whole", "simple_chat: connection lost: the server closed it"]
    assert not HARMFUL.search(ann.raw.decode())
