from simple_chat.bench import message

TEXT = message.compose(0x12345, 10, 255, 40)


def test_parsed_text_has_its_send_time_and_sender() -> None:
    assert TEXT == "@00000000000123450000000a000000ffxxxxxxx"
    assert message.parse(f"MSG name {TEXT}".encode()) == message.ParsedMessage(TEXT.encode(), 0x12345, 10)


def test_shortest_text_has_the_size_min() -> None:
    assert len(message.compose(2**64 - 1, 2**32 - 1, 2**32 - 1, 0)) == message.SIZE_MIN


def test_text_in_an_irc_line_is_parsed() -> None:
    parsed = message.parse(f":b1!~b1@127.0.0.1 PRIVMSG #r :{TEXT}\r".encode())
    assert parsed == message.ParsedMessage(TEXT.encode(), 0x12345, 10)


def test_text_before_the_end_of_a_line_is_not_parsed() -> None:
    assert message.parse(f"MSG name {TEXT} and more".encode()) is None
