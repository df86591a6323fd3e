"""Three people in one room, at terminals with nc."""

import re

import pytest

from tests.harness.programs import ServerProcess, Terminal

Room = tuple[Terminal, Terminal, Terminal]


@pytest.fixture
def room(server: ServerProcess) -> Room:
    alice = server.join("alice")
    bob = server.join("bob")
    carol = server.join("carol")
    assert alice.barrier() == ["JOINED bob", "JOINED carol"]
    assert bob.barrier() == ["JOINED carol"]
    return alice, bob, carol


def test_everybody_sees_the_others_messages_in_one_order_and_never_their_own(room: Room) -> None:
    alice, bob, carol = room
    said = []
    for turn in range(3):
        for name, person in (("alice", alice), ("bob", bob), ("carol", carol)):
            person.type(f"MSG {turn} from {name}")
            said.append(f"MSG {name} {turn} from {name}")
            before = said[-3:-1] if turn else said[:-1]
            assert person.barrier() == [line for line in before if not line.startswith(f"MSG {name} ")]
    assert alice.barrier() == said[-2:]
    assert bob.barrier() == said[-1:]
    assert carol.barrier() == []


def test_who_names_everybody_as_typed_in_the_order_of_joining(server: ServerProcess, room: Room) -> None:
    alice, _, _ = room
    server.join("Dave.2_x-y")
    alice.barrier()
    alice.type("WHO")
    assert alice.barrier() == ["NAMES alice bob carol Dave.2_x-y", "OK WHO 4"]


def test_who_left_sees_nothing_more_and_is_seen_leaving_once(room: Room) -> None:
    alice, bob, carol = room
    bob.type("LEAVE")
    assert bob.barrier() == ["OK LEAVE"]
    alice.type("MSG without bob")
    assert alice.barrier() == carol.barrier()[:1] == ["LEFT bob"]
    assert bob.barrier() == []


def test_who_left_cannot_talk_until_joining_again_under_any_name(room: Room) -> None:
    alice, bob, carol = room
    bob.type("LEAVE", "MSG lost", "JOIN bobby", "MSG back")
    assert bob.barrier() == ["OK LEAVE", "ERR not-joined JOIN <name> first", "OK JOIN bobby"]
    alice.type("MSG hello")
    seen = ["LEFT bob", "JOINED bobby", "MSG bobby back"]
    assert alice.barrier() == seen
    assert carol.barrier() == [*seen, "MSG alice hello"]
    assert bob.barrier() == ["MSG alice hello"]


def test_name_is_taken_whatever_its_case_until_its_holder_leaves(server: ServerProcess, room: Room) -> None:
    alice, _, _ = room
    stranger = server.nc()
    stranger.type("JOIN ALICE")
    assert stranger.barrier() == ["ERR name-taken somebody here has that name, JOIN with another one"]
    alice.type("LEAVE")
    alice.barrier()
    stranger.type("JOIN ALICE")
    assert stranger.barrier() == ["OK JOIN ALICE"]


def test_who_is_in_the_room_cannot_join_twice(room: Room) -> None:
    alice, bob, _ = room
    alice.type("JOIN alicia")
    assert alice.barrier() == ["ERR already-joined you are in the room, LEAVE before you JOIN again"]
    assert bob.barrier() == []


def test_quit_is_said_goodbye_and_told_to_the_others(room: Room) -> None:
    alice, bob, carol = room
    bob.type("QUIT")
    assert bob.wait_for("BYE quit") == []
    assert alice.barrier() == carol.barrier() == ["LEFT bob"]


def test_newcomer_sees_nothing_from_before_unless_asking_for_the_history(
    server: ServerProcess, room: Room
) -> None:
    alice, _, _ = room
    alice.type("MSG one", "MSG two", "MSG three")
    alice.barrier()
    dave = server.join("dave")
    dave.type("HISTORY 2")
    *past, end = dave.barrier()
    time = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(rf"PAST {time} alice two\nPAST {time} alice three", "\n".join(past))
    assert end == "OK HISTORY 2"


def test_mistakes_are_answered_with_what_to_do(server: ServerProcess) -> None:
    bad_syntax = "ERR bad-syntax an argument is missing or out of place, HELP shows how it is written"
    bad_name = "ERR bad-name a name is 1 to 32 of A-Z a-z 0-9 . _ - and begins with a letter or a digit"
    unknown_command = (
        "ERR unknown-command no such command: MSG <text> says something, HELP lists all there is"
    )
    answers = {
        "hello everybody": unknown_command,
        "/quit": unknown_command,
        " MSG hi": unknown_command,
        "MSG": "ERR empty-message write something after MSG and a space",
        "JOIN": bad_syntax,
        "WHO is there": bad_syntax,
        "LEAVE": "ERR not-joined JOIN <name> first",
        "JOIN Jürgen": bad_name,
        "JOIN two words": bad_name,
    }
    stranger = server.nc()
    stranger.type(*answers)
    assert stranger.barrier() == [*answers.values()]


def test_commands_are_taken_in_any_case_and_empty_lines_ignored(server: ServerProcess, room: Room) -> None:
    alice, _, _ = room
    stranger = server.nc()
    stranger.type("", "join Dave", "", "Msg Hello World", "wHo")
    assert stranger.barrier() == ["OK JOIN Dave", "NAMES alice bob carol Dave", "OK WHO 4"]
    assert alice.barrier() == ["JOINED Dave", "MSG Dave Hello World"]


def test_help_shows_every_command(server: ServerProcess) -> None:
    stranger = server.nc()
    stranger.type("HELP")
    *info, end = stranger.barrier()
    assert [line.split()[:2] for line in info] == [
        ["INFO", verb] for verb in ("JOIN", "MSG", "LEAVE", "WHO", "HISTORY", "PING", "QUIT")
    ]
    assert end == "OK HELP"
