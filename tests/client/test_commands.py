import pytest

from simple_chat.client.commands import HELP, WORDS, Hint, Typed, complete, read_pasted, read_typed
from simple_chat.core.protocol import Help, History, Leave, Msg, Who

NO_HELLO = Hint("there is no command 'hello'; to say something: send <MSG>, for all commands: help")


@pytest.mark.parametrize(
    ("line", "typed"),
    [
        ("send hello", Msg("hello")),
        ("send  two  spaces ", Msg(" two  spaces ")),
        ("SEND Hello", Msg("Hello")),
        ("  send hello", Msg("hello")),
        ("send leave", Msg("leave")),
        (
            "send\u00a0x y",
            Hint("there is no command 'send\\xa0x'; to say something: send <MSG>, for all commands: help"),
        ),
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
def test_command_is_read(line: str, typed: Typed) -> None:
    assert read_typed(line) == typed


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("send", "say what to send: send <MSG>"),
        ("send \t ", "say what to send: send <MSG>"),
        ("history x", "say how many: history [n]"),
        ("history -1", "say how many: history [n]"),
        ("history 1 2", "say how many: history [n]"),
        ("history ²", "say how many: history [n]"),
        ("history ٣", "say how many: history [n]"),
        ("history 1000000000", "say how many: history [n]"),
        ("leave now", "leave stands alone"),
        ("WHO is it", "who stands alone"),
        ("help me", "help stands alone"),
        ("Hello all", NO_HELLO.text),
        ("", "there is no command ''; to say something: send <MSG>, for all commands: help"),
    ],
)
def test_mistake_is_answered_with_how_it_would_be_right(line: str, hint: str) -> None:
    assert read_typed(line) == Hint(hint)


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("", []),
        (" \n\n ", []),
        ("send a", [Msg("a")]),
        ("hello", [NO_HELLO]),
        ("send a\nwho\n\nsend b\n", [Msg("a"), Who(), Msg("b")]),
        ("send a\nb\nc", [Msg("a"), Msg("b"), Msg("c")]),
        ("send a\nwho\n  b ", [Msg("a"), Msg("who"), Msg("  b ")]),
        ("send a\n\nb", [Msg("a"), Msg("b")]),
        ("who\nhello", [Who(), NO_HELLO]),
        ("send\na", [Hint("say what to send: send <MSG>"), read_typed("a")]),
    ],
)
def test_several_lines_are_commands_or_one_text(text: str, typed: list[Typed]) -> None:
    assert read_pasted(text) == typed


@pytest.mark.parametrize(
    ("before", "addition", "words"),
    [
        ("", "", [*WORDS]),
        ("s", "end ", ["send"]),
        ("S", "end ", ["send"]),
        ("  wh", "o ", ["who"]),
        ("send", " ", ["send"]),
        ("h", "", ["help", "history"]),
        ("x", "", []),
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


def test_nobody_else_is_no_completion() -> None:
    assert complete("send ", []) == ("", [])


def test_help_and_completion_know_the_same_commands() -> None:
    assert sorted(line.split()[0] for line in HELP) == [*WORDS]
