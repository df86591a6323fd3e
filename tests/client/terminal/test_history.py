"""The history of the room."""

from collections.abc import Callable, Iterator

import pytest

from tests.harness.line_socket import LineSocket
from tests.harness.programs import ServerProcess, run_server_process
from tests.harness.screen import Screen

Start = Callable[..., Screen]
Join = Callable[..., Screen]
Member = Callable[[str], LineSocket]


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    """A server process without history."""
    with run_server_process() as server:
        yield server


def test_last_ten_messages_are_shown_on_joining(server: ServerProcess, member: Member, start: Start) -> None:
    member("ben").send(*(f"MSG {number}" for number in range(12)), "LEAVE")
    ann = start("--port", server.port, "--username", "ann")
    ann.wait_for("ann>")
    assert ann.rows()[:10] == [f"ben: {number}" for number in range(2, 12)]
    assert ann.rows()[11:] == ["ann>"]


def test_history_option_sets_the_number_of_messages_on_joining(join: Join, member: Member) -> None:
    member("ben").send(*(f"MSG {number}" for number in range(12)), "LEAVE")
    for name, count in {"no": 0, "one": 1, "three": 3, "all": 12, "more": 20}.items():
        screen = join(name, "--history", str(count))
        shown = [f"ben: {number}" for number in range(12) if number >= 12 - count]
        assert screen.rows()[: len(shown)] == shown
        assert screen.rows()[len(shown)].startswith("* connected to ")


def test_history_command_shows_the_requested_messages(join: Join, member: Member) -> None:
    member("ben").send("MSG one", "MSG two", "MSG three")
    ann = join("ann")
    ann.type("history 2")
    ann.wait_for("> history 2", "ben: two", "ben: three", "ann>")
    ann.type("history")
    ann.wait_for("> history", "ben: one", "ben: two", "ben: three", "ann>")
