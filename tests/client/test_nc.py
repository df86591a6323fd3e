"""Users with nc as their client: a conversation, and errors that say what to do."""

from tests.harness.programs import ServerProcess


def test_members_see_the_messages_of_the_others_in_one_order_and_never_their_own(
    server: ServerProcess,
) -> None:
    members = {name: server.join(name) for name in ("alice", "bob", "carol")}
    assert members["alice"].barrier() == ["JOINED bob", "JOINED carol"]
    assert members["bob"].barrier() == ["JOINED carol"]
    sent: list[str] = []
    for turn in range(3):
        for name, terminal in members.items():
            terminal.type(f"MSG {turn} from {name}")
            sent.append(f"MSG {name} {turn} from {name}")
            before = sent[-3:-1] if turn else sent[:-1]
            assert terminal.barrier() == [line for line in before if not line.startswith(f"MSG {name} ")]
    assert [terminal.barrier() for terminal in members.values()] == [sent[-2:], sent[-1:], []]


def test_errors_say_what_to_do(server: ServerProcess) -> None:
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
        "JOIN DAVE": "ERR name-taken somebody here has that name, JOIN with another one",
    }
    dave, terminal = server.join("dave"), server.nc()
    terminal.type(*answers)
    assert terminal.barrier() == [*answers.values()]
    dave.type("JOIN david")
    assert dave.barrier() == ["ERR already-joined you are in the room, LEAVE before you JOIN again"]
