"""People who have nothing but Debian's telnet, which sends CRLF and speaks of more than text."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.programs import ServerProcess, Terminal, find_program

PROMPT = "telnet> "


@pytest.fixture
def nick(server: ServerProcess) -> Terminal:
    return server.join("nick")


@pytest.fixture
def tina(server: ServerProcess, nick: Terminal) -> Iterator[Terminal]:
    with Terminal(find_program("telnet"), server.host, server.port) as tina:
        tina.child.expect("HELLO simple_chat/1 .*\r\n")
        tina.type("JOIN tina")
        tina.wait_for("OK JOIN tina")
        assert nick.barrier() == ["JOINED tina"]
        yield tina


def command(telnet: Terminal, line: str) -> None:
    """Tell telnet itself something, by its escape character."""
    telnet.child.sendcontrol("]")
    telnet.child.expect_exact(PROMPT)
    telnet.type(line)


def assert_they_can_talk(tina: Terminal, nick: Terminal) -> None:
    tina.type("MSG from telnet")
    shown = tina.barrier()
    assert not [line for line in shown if line.startswith("ERR")]
    assert nick.barrier() == ["MSG tina from telnet"]
    nick.type("MSG from nc")
    nick.barrier()
    assert "MSG nick from nc" in tina.barrier()


def test_telnet_and_nc_users_talk(tina: Terminal, nick: Terminal) -> None:
    assert_they_can_talk(tina, nick)


def test_telnet_is_answered_with_crlf_as_soon_as_it_sent_one(
    server: ServerProcess, nick: Terminal, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    with Terminal(find_program("telnet"), "-n", str(trace)) as telnet:
        telnet.child.expect_exact(PROMPT)
        telnet.type("toggle netdata", f"open {server.host} {server.port}")
        telnet.child.expect_exact("HELLO")
        telnet.type("JOIN tina", "QUIT")
        telnet.wait_for("BYE quit")
        telnet.child.expect_exact("Connection closed by foreign host.")
    received = [line.split()[-1] for line in trace.read_text().splitlines() if line.startswith("<")]
    hello, *answers = bytes.fromhex("".join(received)).splitlines(keepends=True)
    assert hello.endswith(b" is.\n")
    assert answers == [b"OK JOIN tina\r\n", b"BYE quit\r\n"]
    assert nick.barrier() == ["JOINED tina", "LEFT tina"]


def test_who_quits_telnet_has_left(tina: Terminal, nick: Terminal) -> None:
    command(tina, "quit")
    tina.child.expect_exact("Connection closed.")
    assert nick.wait_for("LEFT tina") == []


@pytest.mark.parametrize("key", ["c", "\\", "z"], ids=["interrupt", "quit", "suspend"])
def test_control_keys_may_be_pressed_again_and_again(tina: Terminal, nick: Terminal, key: str) -> None:
    for _ in range(3):
        tina.child.sendcontrol(key)
        tina.type("")
        assert_they_can_talk(tina, nick)


@pytest.mark.parametrize(
    "commands",
    [
        ["ao", "ayt", "brk", "ec", "el", "ga", "ip", "nop"],  # RFC 854
        ["eof", "susp", "abort"],  # RFC 1184
        ["synch"],  # urgent data
        ["do echo", "dont echo", "will naws", "wont naws"],
    ],
    ids=["functions", "linemode", "synch", "options"],
)
def test_telnet_commands_are_never_taken_for_text(
    tina: Terminal, nick: Terminal, commands: list[str]
) -> None:
    for line in 2 * commands:
        command(tina, f"send {line}")
        assert_they_can_talk(tina, nick)
