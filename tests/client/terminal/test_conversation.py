"""Commands and messages at the prompt."""

import re
import sys
from collections.abc import Callable

import pytest

from tests.client.terminal.conftest import RUN_CLIENT, connected
from tests.harness.line_socket import FakeServer, LineSocket
from tests.harness.programs import ServerProcess
from tests.harness.screen import Screen, timed

Join = Callable[..., Screen]
Member = Callable[[str], LineSocket]


def test_two_terminals_see_the_messages_of_each_other_and_their_own_input_once(join: Join) -> None:
    ann = join("ann")
    ben = join("ben")
    ann.wait_for("* ben joined", "ann>")
    ann.type("send hello ben")
    ben.wait_for("ann: hello ben", "ben>")
    ben.type("send hello ann")
    ann.wait_for("ben: hello ann", "ann>")
    ann.type("send how are you?")
    ben.wait_for("ann: how are you?", "ben>")
    ben.type("leave")
    assert ben.wait_for_exit() == 0
    ann.wait_for("* ben left", "ann>")
    assert ben.rows()[1:] == ["ann: hello ben", "> send hello ann", "ann: how are you?", "> leave"]
    assert ann.rows()[1:] == [
        *["* ben joined", "> send hello ben", "ben: hello ann", "> send how are you?"],
        *["* ben left", "ann>"],
    ]


def test_message_has_the_time_of_day(join: Join, member: Member) -> None:
    ann = join("ann", "--color", "never")
    member("ben").send("MSG what time is it?")
    ann.wait_for("ben: what time is it?", "ann>")
    assert re.search(rb"\d\d:\d\d ben: what time is it\?\r", ann.raw)


def test_own_lines_have_the_time_of_day(join: Join) -> None:
    ann = join("ann", "--color", "never")
    ann.type("who", "hello")
    ann.wait_until(lambda: "no command 'hello'" in "".join(ann.rows()))
    for line in ("> who", "* 1 here: ann", "> hello", "* there is no command 'hello'"):
        assert re.search(rf"\d\d:\d\d {re.escape(line)}".encode(), ann.raw)


def test_first_line_of_a_day_comes_behind_the_date(server: ServerProcess, member: Member) -> None:
    every_second_on_another_day = """
from datetime import datetime, timedelta
from itertools import count
from simple_chat.client import terminal
hours = count(step=12)
terminal._now = lambda: datetime(2030, 1, 1) + timedelta(hours=next(hours))
"""
    client = f"{every_second_on_another_day}{RUN_CLIENT}"
    with Screen(sys.executable, "-c", client, "--port", server.port, "--username", "ann") as ann:
        ann.wait_for(connected(server.port, "ann"), "ann>")
        member("ben")
        ann.wait_for("* day changed to 2030-01-02", "* ben joined", "ann>")
        ann.type("who")
        ann.wait_for("* ben joined", "> who", "* day changed to 2030-01-03", "* 2 here: ann, ben", "ann>")


@pytest.mark.parametrize(("bell", "rings"), [("mention", 1), ("all", 2), ("never", 0)])
def test_bell_rings_at_the_chosen_messages_of_others(
    join: Join, member: Member, bell: str, rings: int
) -> None:
    ben = member("ben")
    ann = join("ann", "--bell", bell)
    for text in ("hello all", "hello Ann"):
        ben.send(f"MSG {text}")
        ann.wait_for(f"ben: {text}", "ann>")
    ann.type("send I am ann")
    ben.wait_for("MSG ann I am ann")
    ann.wait_for("> send I am ann", "ann>")
    assert ann.raw.count(b"\a") == rings


def test_bell_is_off_by_default(join: Join, member: Member) -> None:
    ann = join("ann")
    member("ben").send("MSG hello ann")
    ann.wait_for("ben: hello ann", "ann>")
    assert b"\a" not in ann.raw


def test_refused_history_is_a_hint_and_the_next_command_is_executed(
    fake_server: FakeServer, start: Join
) -> None:
    ann = start("--port", fake_server.port, "--username", "ann", "--history", "0")
    with fake_server.accept_join("ann") as connection:
        ann.wait_for(connected(fake_server.port, "ann"), "ann>")
        ann.paste("history 7", "send hello")
        ann.press("\r")
        connection.wait_for("HISTORY 7")
        connection.send("ERR bad-syntax no")
        connection.wait_for("MSG hello")
        ann.wait_for("> send hello", "* the server refused 'HISTORY 7': bad-syntax", "ann>")


def test_slash_before_a_command_and_other_spaces_behind_it_are_forgiven(join: Join, member: Member) -> None:
    ben = member("ben")
    ann = join("ann")
    ann.type("send\u3000こんにちは", "/who", "/send hi")
    assert ben.wait_for("MSG ann hi") == ["JOINED ann", "MSG ann こんにちは"]
    ann.type("/leave")
    assert ann.wait_for_exit() == 0


def test_who_lists_all_members(join: Join, member: Member) -> None:
    member("Ben")
    ann = join("ann")
    ann.type("who")
    ann.wait_for("> who", "* 2 here: Ben, ann", "ann>")


def test_who_is_answered_without_a_pong(fake_server: FakeServer, start: Join) -> None:
    ann = start("--port", fake_server.port, "--username", "ann", "--history", "0")
    with fake_server.accept_join("ann") as connection:
        ann.wait_for("ann>")
        for name in ("ben", "cleo"):
            ann.type("who")
            connection.wait_for("WHO")
            connection.send(f"NAMES ann {name}", "OK WHO 2")
            ann.wait_for("> who", f"* 2 here: ann, {name}", "ann>")


def test_help_lists_the_commands(join: Join) -> None:
    ann = join("ann")
    ann.type("help")
    ann.wait_for(
        "> help",
        "send <MSG>   send a message to everybody else",
        "who          list the members",
        "history [n]  show the last messages",
        "leave        leave the room and exit",
        "help         show this list",
        "ann>",
    )


def test_invalid_input_gets_a_hint_and_is_not_sent(join: Join, member: Member) -> None:
    ben = member("ben")
    ann = join("ann")
    displayed = []
    for line, hint in {
        "hello": "* there is no command 'hello'; to send a message: send <MSG>, for all commands: help",
        "send": "* the message is missing: send <MSG>",
        "send   ": "* the message is missing: send <MSG>",
        "history all": "* 'all' is not a number of messages: history [n]",
        "/sned hello": "* there is no command '/sned'; to send a message: send <MSG>, for all commands: help",
        "leave me alone": "* leave takes no argument: 'me alone'",
    }.items():
        ann.type(line)
        displayed += [f"> {line}".rstrip(), *timed(hint)]
        ann.wait_for(*displayed, "ann>")
    ann.type("send all is well")
    assert ben.wait_for("MSG ann all is well") == ["JOINED ann"]


def test_empty_line_is_ignored(join: Join, member: Member) -> None:
    ben = member("ben")
    ann = join("ann")
    ann.type("", "   ", "send x")
    assert ben.wait_for("MSG ann x") == ["JOINED ann"]
    ann.wait_for("> send x", "ann>")
    assert ann.rows()[1:] == ["> send x", "ann>"]


def test_too_long_line_gets_a_hint_and_is_not_sent(join: Join, member: Member) -> None:
    ben = member("ben")
    ann = join("ann")
    ann.paste(f"send {'x' * 4093}")
    ann.press("\r")
    ann.wait_for("* the text is too long: 4097 bytes on the wire, 4096 at most", "ann>")
    ann.type("send short")
    assert ben.wait_for("MSG ann short") == ["JOINED ann"]


def test_unicode_text_is_sent_and_displayed(join: Join, member: Member) -> None:
    ben = member("ben")
    ann = join("ann")
    ann.type("send Grüße, 日本語 und 👍")
    ben.wait_for("MSG ann Grüße, 日本語 und 👍")
    ben.send("MSG naïve Ελληνικά")
    ann.wait_for("ben: naïve Ελληνικά", "ann>")
