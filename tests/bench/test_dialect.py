from simple_chat.bench.dialect import SIMPLE_CHAT, Dialect


def test_dialects_encode_the_same_name_and_text_in_their_own_lines() -> None:
    irc = Dialect("NICK {name}\r\nJOIN #r\r\n", "PRIVMSG #r :{text}\r\n")
    assert (SIMPLE_CHAT.encode_login("b1"), SIMPLE_CHAT.encode_message("hi")) == (b"JOIN b1\n", b"MSG hi\n")
    assert irc.encode_login("b1") == b"NICK b1\r\nJOIN #r\r\n"
    assert irc.encode_message("hi") == b"PRIVMSG #r :hi\r\n"
