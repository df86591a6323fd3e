"""Resizing the window leaves one prompt, below all messages."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.harness.line_socket import LineSocket
from tests.harness.programs import ServerProcess
from tests.harness.screen import CLIENT, LEFT, Screen, timed, wrapped
from tests.harness.tmux import TmuxWindow

Join = Callable[..., Screen]
Member = Callable[[str], LineSocket]
Open = Callable[[int], TmuxWindow]

MESSAGES = [f"message {number}, which is long enough to need two rows or three" for number in range(30)]

WORDS = "the quick brown fox jumps over the lazy dog, "
TEXTS = {"empty": "", "short": "send hello", "row": f"send {88 * 'x'}", "long": f"send {6 * WORDS}end"}
TEXTS["wide"] = f"send {20 * '日本語'}"


@pytest.fixture
def window(server: ServerProcess, member: Member, tmp_path: Path) -> Iterator[Callable[[int], TmuxWindow]]:
    """Opens the client in a window of a given width, with more messages than it has rows."""
    windows: list[TmuxWindow] = []
    member("ben").send(*(f"MSG {message}" for message in MESSAGES), "LEAVE")

    def open_window(columns: int) -> TmuxWindow:
        options = ("--port", server.port, "--username", "ann", "--history", "30")
        windows.append(TmuxWindow(tmp_path, columns, *CLIENT, *options).__enter__())
        windows[-1].wait_for("ann>")
        return windows[-1]

    yield open_window
    for each in windows:
        each.__exit__()


def expected(before: list[str], text: str, columns: int) -> list[str]:
    """Return the rows of the window, with history, at another width.

    Args:
        before: the rows of the messages, when each had one.
        text: what was typed since.
        columns: the new width.
    """
    return [row for line in [*before, f"ann> {text}"] for row in wrapped(line, columns)]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_resized_window_has_one_prompt_below_all_messages(window: Open, text: str) -> None:
    ann = window(100)
    *before, _ = ann.shown()
    ann.press(text)
    for widths in ((100,), (60,), (40,), (99,), (60, 30), (70, 41, 50)):
        ann.resize(*widths)  # one after the other: the client learns of some only
        ann.wait_for(*expected(before, text, widths[-1]))


def test_cursor_in_the_middle_stays_in_its_place(window: Open) -> None:
    ann = window(100)
    *before, _ = ann.shown()
    ann.press(TEXTS["long"] + 40 * LEFT)
    for columns in (100, 60, 40):
        ann.resize(columns)
        ann.wait_for(*expected(before, TEXTS["long"], columns))
    ann.press("!")
    ann.wait_for(*expected(before, f"{TEXTS['long'][:-40]}!{TEXTS['long'][-40:]}", 40))


def test_message_that_arrives_while_the_window_is_resized_is_above_the_prompt(
    window: Open, member: Member
) -> None:
    ann = window(100)
    *before, _ = ann.shown()
    ann.press(TEXTS["long"])
    ann.wait_for(*expected(before, TEXTS["long"], 100))
    ann.resize(60, 40)
    member("cleo")
    ann.wait_until(lambda: any(row.endswith("* cleo joined") for row in ann.shown()))
    joined = ann.shown()[-len(wrapped(f"ann> {TEXTS['long']}", 40)) - 1]
    ann.wait_for(*expected([*before, joined], TEXTS["long"], 40))


@pytest.mark.parametrize(("rows", "columns"), [(24, 120), (24, 60), (24, 40), (40, 100)])
def test_no_message_is_erased_on_a_terminal_that_cuts_rows(
    join: Join, member: Member, rows: int, columns: int
) -> None:
    ben = member("ben")
    ann = join("ann")
    ben.send("MSG one", "MSG two")
    text = "some words that go on and on and on over and over again until the row is full, and on"
    ann.press(f"send {text}")
    ann.wait_for("ben: one", "ben: two", *wrapped(f"ann> send {text}"))
    ann.resize(rows, columns)
    ann.wait_for("ben: one", "ben: two", *wrapped(f"ann> send {text}", columns))
    ben.send("MSG nice window")
    ann.wait_for("ben: one", "ben: two", "ben: nice window", *wrapped(f"ann> send {text}", columns))
    ann.press(" it goes\r")
    ben.wait_for(f"MSG ann {text} it goes")
    ann.wait_for(*timed(f"> send {text} it goes", columns), "ann>")
