"""People and scripts that have nothing but Debian's netcat-openbsd."""

from pathlib import Path
from signal import SIGKILL, SIGSTOP

import pytest

from tests.harness.programs import ServerProcess, Terminal, run_server_process

HELLO = b"HELLO simple_chat/1 Welcome. JOIN <name> to enter, HELP to see what else there is.\n"


@pytest.fixture
def alice(server: ServerProcess) -> Terminal:
    return server.join("alice")


@pytest.fixture
def bob(server: ServerProcess, alice: Terminal) -> Terminal:
    bob = server.join("bob")
    assert alice.barrier() == ["JOINED bob"]
    return bob


def test_script_delivers_its_message_and_ends_cleanly(
    server: ServerProcess, alice: Terminal, bob: Terminal
) -> None:
    assert server.pipe(b"JOIN bot\nMSG hi\n") == HELLO + b"OK JOIN bot\nBYE quit\n"
    assert alice.barrier() == bob.barrier() == ["JOINED bot", "MSG bot hi", "LEFT bot"]


def test_line_without_its_end_is_refused_and_not_delivered(server: ServerProcess, alice: Terminal) -> None:
    told = server.pipe(b"JOIN bot\nMSG whole\nMSG half")
    assert told == (
        HELLO + b"OK JOIN bot\n"
        b"ERR incomplete-line the last line had no line end and was not carried out\n"
        b"BYE quit\n"
    )
    assert alice.barrier() == ["JOINED bot", "MSG bot whole", "LEFT bot"]


def test_nothing_sent_is_a_clean_end(server: ServerProcess) -> None:
    assert server.pipe(b"") == HELLO + b"BYE quit\n"


def test_lines_after_quit_are_not_carried_out(server: ServerProcess, alice: Terminal) -> None:
    assert server.pipe(b"JOIN bot\nQUIT\nMSG late\n") == HELLO + b"OK JOIN bot\nBYE quit\n"
    assert alice.barrier() == ["JOINED bot", "LEFT bot"]


def test_crlf_is_answered_with_crlf_and_is_no_part_of_the_message(
    server: ServerProcess, alice: Terminal
) -> None:
    assert server.pipe(b"JOIN bot\nMSG hi\n", "-C") == HELLO + b"OK JOIN bot\r\nBYE quit\r\n"
    assert alice.barrier() == ["JOINED bot", "MSG bot hi", "LEFT bot"]


def test_umlauts_and_emoji_arrive_as_typed_and_escapes_made_visible(
    server: ServerProcess, alice: Terminal
) -> None:
    server.pipe("JOIN bot\nMSG Grüße 👩‍👩‍👧 ❤️\nMSG \x1b[2Jgone\n".encode())
    assert alice.barrier() == ["JOINED bot", "MSG bot Grüße 👩‍👩‍👧 ❤️", "MSG bot ␛[2Jgone", "LEFT bot"]


def test_line_that_is_too_long_or_no_utf8_is_dropped_and_the_next_one_taken(
    server: ServerProcess, alice: Terminal
) -> None:
    told = server.pipe(b"JOIN bot\nMSG " + 4096 * b"x" + b" QUIT\nMSG M\xfcnchen\nMSG still here\n")
    assert [line.split()[:2] for line in told.splitlines()[2:]] == [
        [b"ERR", b"line-too-long"],
        [b"ERR", b"not-utf8"],
        [b"BYE", b"quit"],
    ]
    assert alice.barrier() == ["JOINED bot", "MSG bot still here", "LEFT bot"]


def test_pasted_pages_arrive_whole_and_in_order(
    server: ServerProcess, alice: Terminal, bob: Terminal
) -> None:
    page = [f"{number} and all the rest of the line" for number in range(5000)]
    told = server.pipe("".join(["JOIN bot\n", *(f"MSG {line}\n" for line in page)]).encode())
    assert told == HELLO + b"OK JOIN bot\nBYE quit\n"
    seen = ["JOINED bot", *(f"MSG bot {line}" for line in page), "LEFT bot"]
    assert alice.barrier() == seen
    assert bob.barrier() == seen


def test_long_answer_arrives_whole_before_the_goodbye(server: ServerProcess) -> None:
    said = [b"%d %b" % (number, 4000 * b"x") for number in range(1000)]
    server.pipe(b"JOIN bot\n" + b"".join(b"MSG %b\n" % text for text in said))
    _, joined, *past, count, bye = server.pipe(b"JOIN asks\nHISTORY\n").splitlines()
    assert [line.split(b" ", 3)[3] for line in past] == said
    assert (joined, count, bye) == (b"OK JOIN asks", b"OK HISTORY 1000", b"BYE quit")


def test_killed_nc_has_left_once_and_its_name_is_free(
    server: ServerProcess, alice: Terminal, bob: Terminal
) -> None:
    bob.child.kill(SIGKILL)
    assert alice.wait_for("LEFT bob") == []
    server.join("bob")
    assert alice.barrier() == ["JOINED bob"]


def test_nc_killed_with_lines_unread_has_left_too(
    server: ServerProcess, alice: Terminal, bob: Terminal
) -> None:
    bob.child.kill(SIGSTOP)
    alice.type("MSG never read")
    assert alice.barrier() == []
    bob.child.kill(SIGKILL)  # unread bytes make the kernel send a reset
    assert alice.wait_for("LEFT bob") == []
    server.join("bob")
    assert alice.barrier() == ["JOINED bob"]


def test_unix_socket_leads_into_the_same_room_and_is_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "chat"
    with run_server_process("--unix", str(path)) as server:
        server.log.expect_exact(f"listening on unix:{path}\n")
        alice = server.join("alice")
        bob = server.join("bob", "-U", str(path))
        bob.type("MSG from next door")
        bob.barrier()
        assert alice.barrier() == ["JOINED bob", "MSG bob from next door"]
        assert path.stat().st_mode & 0o777 == 0o660
    assert not path.exists()
