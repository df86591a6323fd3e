"""Output never corrupts the input line."""

from collections.abc import Callable

from tests.harness.line_socket import LineSocket
from tests.harness.screen import LEFT, Screen, timed, wrapped

Join = Callable[..., Screen]
Member = Callable[[str], LineSocket]


def test_messages_are_displayed_above_the_input_line(join: Join, member: Member) -> None:
    ben = member("ben")
    ann = join("ann")
    displayed = []
    for length in (1, 69, 70, 71, 150, 220):  # the prompt and "send " leave room for 70 in the first row
        text = ("abcdefghijklmnopqrstuvwxyz" * 9)[:length]
        ann.press(f"send {text}")
        ann.wait_for(*wrapped(f"ann> send {text}"))
        ben.send(f"MSG {length} one", f"MSG {length} two")
        ann.wait_for(f"ben: {length} one", f"ben: {length} two", *wrapped(f"ann> send {text}"))
        ann.press("!\r")
        ben.wait_for(f"MSG ann {text}!")
        displayed += [f"ben: {length} one", f"ben: {length} two", *timed(f"> send {text}!")]
        ann.wait_for(*displayed, "ann>")
    assert ann.rows()[1:] == [*displayed, "ann>"]


def test_cursor_stays_in_its_place(join: Join, member: Member) -> None:
    ben = member("ben")
    ann = join("ann")
    ann.press("send herethere", *[LEFT] * 5)
    ann.wait_for("ann> send herethere")
    ben.send("MSG hello")
    ann.wait_for("ben: hello", "ann> send herethere")
    ann.press(", ")
    ann.wait_for("ben: hello", "ann> send here, there")
    ann.press("\r")
    ben.wait_for("MSG ann here, there")


def test_message_and_prompt_are_drawn_as_one_synchronized_update(join: Join, member: Member) -> None:
    ben = member("ben")
    ann = join("ann", "--color", "never")
    ben.send("MSG hello")
    ann.wait_until(lambda: b"\x1b[?2026l" in ann.raw)
    piece = ann.raw[ann.raw.index(b"\x1b[?2026h") : ann.raw.index(b"\x1b[?2026l")]
    assert 0 < piece.index(b"ben: hello\r") < piece.index(b"ann>")


def test_no_line_is_corrupted_by_a_thousand_messages_a_second(join: Join, member: Member) -> None:
    ben, cleo = member("ben"), member("cleo")
    ann = join("ann", "--color", "never")
    text = "".join(f"{number} keys, " for number in range(12))
    keys = f"send {text}"
    sent = [f"this is message {number} of very many" for number in range(10 * len(keys))]
    for at, key in enumerate(keys):
        ben.send(*(f"MSG {each}" for each in sent[10 * at : 10 * at + 10]))
        ann.press(key)
        ann.wait_for_output()
    ann.wait_until(lambda: f"ben: {sent[-1]}\r".encode() in ann.raw)
    ann.press("\r")
    cleo.wait_for(f"MSG ann {text}")
    ann.wait_for("ann>")
    assert ann.rows()[2:] == [*(f"ben: {each}" for each in sent), *timed(f"> send {text}"), "ann>"]
    assert all(ann.raw.count(f" ben: {each}\r".encode()) == 1 for each in sent)
