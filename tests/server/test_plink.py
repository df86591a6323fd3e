"""People who have nothing but PuTTY: plink is the same without its window."""

import pytest

from tests.harness.programs import ServerProcess, Terminal, find_program


@pytest.fixture
def nick(server: ServerProcess) -> Terminal:
    return server.join("nick")


class Plink(Terminal):
    """Somebody with plink, which speaks of options first of all and ends lines in CRLF."""

    def __init__(self, server: ServerProcess) -> None:
        super().__init__(find_program("plink"), "-telnet", "-P", server.port, server.host)
        self._typed: set[str] = set()

    def type(self, *lines: str) -> None:
        self._typed.update(lines)
        super().type(*lines)

    def wait_for(self, line: str) -> list[str]:
        """Read up to a line, and return the lines before it, but for what was typed.

        As the server echoes nothing, plink has the terminal do that, as soon as it is told so.
        """
        return [each for each in super().wait_for(line) if each not in self._typed]


def test_plink_and_nc_users_talk(server: ServerProcess, nick: Terminal) -> None:
    with Plink(server) as pia:
        pia.child.expect("HELLO simple_chat/1 .*\r\n")
        pia.type("JOIN pia")
        assert pia.barrier() == ["OK JOIN pia"]
        assert nick.barrier() == ["JOINED pia"]
        for number in range(3):
            pia.type(f"MSG from plink {number}")
            assert pia.barrier() == []
            assert nick.barrier() == [f"MSG pia from plink {number}"]
            nick.type(f"MSG Grüße {number}")
            assert nick.barrier() == []
            assert pia.barrier() == [f"MSG nick Grüße {number}"]
        pia.type("WHO", "nonsense")
        *who, error = pia.barrier()
        assert who == ["NAMES nick pia", "OK WHO 2"]
        assert error.startswith("ERR unknown-command ")
        pia.type("QUIT")
        assert pia.wait_for("BYE quit") == []
    assert nick.barrier() == ["LEFT pia"]


def test_negotiation_is_neither_seen_nor_answered_by_an_error(server: ServerProcess, nick: Terminal) -> None:
    with Plink(server) as pia:
        pia.type("PING first")
        hello, *more = pia.wait_for("PONG first")
        assert hello.startswith("HELLO simple_chat/1 ")
        assert more == []
    assert nick.barrier() == []


def test_who_closes_plink_has_left(server: ServerProcess, nick: Terminal) -> None:
    with Plink(server) as pia:
        pia.type("JOIN pia")
        pia.wait_for("OK JOIN pia")
        pia.close()
        assert nick.wait_for("LEFT pia") == ["JOINED pia"]
