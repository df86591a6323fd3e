from simple_chat.bench import message
from simple_chat.bench.dialect import SIMPLE_CHAT, Dialect

TEXT = message.compose(0x12345, 10, 255, 40)


def test_text_tells_when_and_by_whom_and_as_which_it_was_sent() -> None:
    assert TEXT == "@00000000000123450000000a000000ffxxxxxxx"
    assert message.find(f"MSG name {TEXT}".encode()) == message.Found(TEXT.encode(), 0x12345, 10)


def test_text_is_never_shorter_than_what_it_tells() -> None:
    assert len(message.compose(2**64 - 1, 2**32 - 1, 2**32 - 1, 0)) == message.SHORTEST


def test_text_is_found_in_a_line_of_irc() -> None:
    found = message.find(f":b1!~b1@127.0.0.1 PRIVMSG #r :{TEXT}\r".encode())
    assert found == message.Found(TEXT.encode(), 0x12345, 10)


def test_text_is_found_only_at_the_end() -> None:
    assert message.find(f"MSG name {TEXT} and more".encode()) is None


def test_dialects_say_the_same_each_in_its_way() -> None:
    irc = Dialect("NICK {name}\r\nJOIN #r\r\n", "PRIVMSG #r :{text}\r\n")
    assert (SIMPLE_CHAT.log_in("b1"), SIMPLE_CHAT.line("hi")) == (b"JOIN b1\n", b"MSG hi\n")
    assert (irc.log_in("b1"), irc.line("hi")) == (b"NICK b1\r\nJOIN #r\r\n", b"PRIVMSG #r :hi\r\n")
