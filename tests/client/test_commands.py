"""User commands and their completion."""

import pytest

from simple_chat.client.commands import (
    HELP,
    KEYWORDS,
    InvalidInput,
    UserCommand,
    complete,
    parse_input,
    parse_lines,
)
from simple_chat.core.commands import Help, History, Leave, Msg, Who

UNKNOWN = InvalidInput("there is no command 'Hello'; to send a message: send <MSG>, for all commands: help")


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("send hello", Msg("hello")),
        ("send  two  spaces ", Msg(" two  spaces ")),
        ("SEND Hello", Msg("Hello")),
        ("  send hello", Msg("hello")),
        ("send leave", Msg("leave")),
        ("send\u00a0x y", Msg("x y")),
        ("send\u3000こんにちは", Msg("こんにちは")),
        ("send\tx", Msg("x")),
        ("\u3000send\u3000\u3000x", Msg("\u3000x")),
        ("/send x", Msg("x")),
        ("send /leave", Msg("/leave")),
        ("/leave", Leave()),
        (" /Who\u3000", Who()),
        ("/help", Help()),
        ("/history 3", History(3)),
        ("history\u00a03", History(3)),
        ("leave", Leave()),
        ("Leave ", Leave()),
        ("who", Who()),
        ("help", Help()),
        ("history", History()),
        ("history  ", History()),
        ("history 0", History(0)),
        ("history 007", History(7)),
        ("history 999999999", History(999_999_999)),
    ],
)
def test_command_is_parsed(line: str, command: UserCommand) -> None:
    assert parse_input(line) == command


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("send", "the message is missing: send <MSG>"),
        ("send \t ", "the message is missing: send <MSG>"),
        ("send\u3000", "the message is missing: send <MSG>"),
        ("/", "there is no command '/'; to send a message: send <MSG>, for all commands: help"),
        ("//who", "there is no command '//who'; to send a message: send <MSG>, for all commands: help"),
        ("history x", "'x' is not a number of messages: history [n]"),
        ("history -1", "'-1' is not a number of messages: history [n]"),
        ("history 1 2", "'1 2' is not a number of messages: history [n]"),
        ("history ²", "'²' is not a number of messages: history [n]"),
        ("history ٣", "'٣' is not a number of messages: history [n]"),
        ("history 1000000000", "'1000000000' is not a number of messages: history [n]"),
        ("leave now", "leave takes no argument: 'now'"),
        ("WHO is it", "who takes no argument: 'is it'"),
        ("help me", "help takes no argument: 'me'"),
        ("Hello all", UNKNOWN.hint),
        ("", "there is no command ''; to send a message: send <MSG>, for all commands: help"),
    ],
)
def test_invalid_input_has_a_hint(line: str, hint: str) -> None:
    assert parse_input(line) == InvalidInput(hint)


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("", []),
        (" \n\n ", []),
        ("send a", [Msg("a")]),
        ("Hello", [UNKNOWN]),
        ("send a\nwho\n\nsend b\n", [Msg("a"), Who(), Msg("b")]),
        ("send a\nb\nc", [Msg("a"), Msg("b"), Msg("c")]),
        ("send a\nwho\n  b ", [Msg("a"), Msg("who"), Msg("  b ")]),
        ("send a\n\nb", [Msg("a"), Msg("b")]),
        ("who\nHello", [Who(), UNKNOWN]),
        ("send\na", [InvalidInput("the message is missing: send <MSG>"), parse_input("a")]),
    ],
)
def test_lines_are_commands_or_the_text_of_one_send(text: str, command: list[UserCommand]) -> None:
    assert parse_lines(text) == command


@pytest.mark.parametrize(
    ("before", "addition", "words"),
    [
        ("", "", [*KEYWORDS]),
        ("s", "end ", ["send"]),
        ("S", "end ", ["send"]),
        ("  wh", "o ", ["who"]),
        ("send", " ", ["send"]),
        ("h", "", ["help", "history"]),
        ("x", "", []),
        ("/", "", [*KEYWORDS]),
        ("/le", "ave ", ["leave"]),
        ("/send c", "leo ", ["cleo"]),
        ("send\u3000c", "leo ", ["cleo"]),
        ("send /", "", []),
        ("send ", "", ["Ben", "benny", "cleo"]),
        ("send b", "en", ["Ben", "benny"]),
        ("send BEN", "", ["Ben", "benny"]),
        ("send benn", "y ", ["benny"]),
        ("send hello C", "leo ", ["cleo"]),
        ("SEND c", "leo ", ["cleo"]),
        ("send @c", "", []),
        ("who c", "", []),
        ("history ", "", []),
        ("hello c", "", []),
    ],
)
def test_word_before_the_cursor_is_completed(before: str, addition: str, words: list[str]) -> None:
    assert complete(before, {"cleo", "benny", "Ben"}) == (addition, words)


def test_name_without_other_members_has_no_completion() -> None:
    assert complete("send ", []) == ("", [])


def test_help_lists_every_keyword() -> None:
    assert sorted(line.split()[0] for line in HELP) == [*KEYWORDS]
