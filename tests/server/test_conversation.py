"""What each command is answered, and what the others see of it."""

import re

import pytest

from simple_chat import Settings
from tests.harness.server import run_server_in_loop


async def test_the_first_line_is_hello() -> None:
    async with run_server_in_loop() as harness:
        peer = await harness.connect()
        assert peer.received.startswith(b"HELLO simple_chat/1 ")
        assert await peer.barrier() == []


async def test_join_is_answered_and_told_to_the_others() -> None:
    async with run_server_in_loop() as harness:
        ann, bob = await harness.join("ann"), await harness.connect()
        assert await bob.ask("JOIN Bob") == ["OK JOIN Bob"]
        assert await ann.barrier() == ["JOINED Bob"]


async def test_a_message_reaches_all_but_its_sender() -> None:
    async with run_server_in_loop() as harness:
        ann, bob, eve = await harness.join_all("ann", "bob", "eve")
        assert await ann.ask("MSG  two  spaces ") == []
        for other in (bob, eve):
            assert await other.barrier() == ["MSG ann  two  spaces "]


async def test_connection_that_has_not_joined_gets_nothing_of_the_room() -> None:
    async with run_server_in_loop() as harness:
        outside = await harness.connect()
        ann, bob = await harness.join_all("ann", "bob")
        await ann.ask("MSG secret", "LEAVE")
        assert await bob.barrier() == ["MSG ann secret", "LEFT ann"]
        assert await outside.barrier() == []


async def test_leave_ends_the_membership_and_not_the_connection() -> None:
    async with run_server_in_loop() as harness:
        ann, bob = await harness.join_all("ann", "bob")
        assert await ann.ask("LEAVE") == ["OK LEAVE"]
        assert await bob.ask("MSG gone?") == ["LEFT ann"]
        assert await ann.ask("MSG here?", "JOIN anna") == [
            "ERR not-joined JOIN <name> first",
            "OK JOIN anna",
        ]
        assert await bob.ask("MSG back!") == ["JOINED anna"]
        assert await ann.barrier() == ["MSG bob back!"]


async def test_who_answers_names_then_their_count() -> None:
    async with run_server_in_loop() as harness:
        outside = await harness.connect()
        assert await outside.ask("WHO") == ["OK WHO 0"]
        ann, *_ = await harness.join_all("ann", "Bob", "eve")
        for asking in (ann, outside):
            assert await asking.ask("WHO") == ["NAMES ann Bob eve", "OK WHO 3"]


async def test_who_tells_each_of_many_names_once() -> None:
    names = [f"user{number}" for number in range(50)]
    async with run_server_in_loop(Settings(presence_limit=0)) as harness:
        for name in names:
            await harness.join(name)
        outside = await harness.connect()
        *lines, last = await outside.ask("WHO")
        assert all(line.startswith("NAMES ") for line in lines)
        assert [name for line in lines for name in line.split()[1:]] == names
        assert last == "OK WHO 50"


async def test_history_tells_messages_oldest_first() -> None:
    async with run_server_in_loop() as harness:
        ann, bob = await harness.join_all("ann", "bob")
        assert await ann.ask("HISTORY") == ["OK HISTORY 0"]
        await ann.ask("MSG one")
        await bob.ask("MSG two")
        await ann.ask("MSG three", "LEAVE", "JOIN ann")
        *past, last = [line for line in await ann.ask("HISTORY") if not line.startswith(("MSG", "JOINED"))]
        assert last == "OK HISTORY 3"
        assert [line.split(" ", 2)[2] for line in past] == ["ann one", "bob two", "ann three"]
        for line in past:
            assert re.fullmatch(r"PAST \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [a-z]+ [a-z]+", line)
        assert (await ann.ask("HISTORY 2")) == [*past[1:], "OK HISTORY 2"]
        assert (await ann.ask("HISTORY 0")) == ["OK HISTORY 0"]
        assert (await ann.ask("HISTORY 9999999999999999999999")) == [*past, "OK HISTORY 3"]


async def test_ping_gives_its_token_back() -> None:
    async with run_server_in_loop() as harness:
        peer = await harness.connect()
        peer.send("PING", "PING a token")
        assert await peer.lines(2) == ["PONG", "PONG a token"]


async def test_help_answers_info_lines_then_ok() -> None:
    async with run_server_in_loop() as harness:
        *info, last = await (await harness.connect()).ask("HELP")
        assert last == "OK HELP"
        assert all(line.startswith("INFO ") for line in info)
        for verb in ("JOIN", "MSG", "LEAVE", "WHO", "HISTORY", "PING", "QUIT"):
            assert any(line.split()[1] == verb for line in info), verb


async def test_pass_is_welcome_where_no_password_is_asked_for() -> None:
    async with run_server_in_loop() as harness:
        assert await (await harness.connect()).ask("PASS sesame") == ["OK PASS"]


async def test_quit_is_answered_bye_then_closed() -> None:
    async with run_server_in_loop() as harness:
        ann, bob = await harness.join_all("ann", "bob")
        ann.send("MSG last words", "QUIT", "MSG too late")
        assert await ann.rest() == ["BYE quit"]
        assert await bob.until("LEFT ann") == ["MSG ann last words"]
        assert await bob.barrier() == []


async def test_verbs_may_have_any_case() -> None:
    async with run_server_in_loop() as harness:
        ann = await harness.connect()
        assert await ann.ask("jOiN ann", "msg hi", "Who", "leave") == [
            "OK JOIN ann",
            "NAMES ann",
            "OK WHO 1",
            "OK LEAVE",
        ]


async def test_a_name_is_taken_whatever_its_case() -> None:
    async with run_server_in_loop() as harness:
        await harness.join("Ann")
        other = await harness.connect()
        for name in ("Ann", "ann", "ANN"):
            (answer,) = await other.ask(f"JOIN {name}")
            assert answer.startswith("ERR name-taken ")
        assert await other.ask("JOIN anna") == ["OK JOIN anna"]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("SHOUT hi", "unknown-command"),
        ("JOIN", "bad-syntax"),
        ("LEAVE now", "bad-syntax"),
        ("HISTORY some", "bad-syntax"),
        ("PASS", "bad-syntax"),
        ("JOIN -ann", "bad-name"),
        ("JOIN an n", "bad-name"),
        (f"JOIN {'a' * 33}", "bad-name"),
        ("JOIN TAKEN", "name-taken"),
        ("MSG hi", "not-joined"),
        ("LEAVE", "not-joined"),
        ("HISTORY", "not-joined"),
        ("MSG", "empty-message"),
        ("MSG ", "empty-message"),
        ("x" * 4097, "line-too-long"),
    ],
)
async def test_a_refused_line_gets_one_err_and_the_connection_goes_on(line: str, code: str) -> None:
    async with run_server_in_loop() as harness:
        taken, peer = await harness.join("taken"), await harness.connect()
        (answer,) = await peer.ask(line)
        assert re.fullmatch(rf"ERR {code} .+", answer)
        assert await peer.ask("JOIN peer") == ["OK JOIN peer"]
        assert await taken.barrier() == ["JOINED peer"]


async def test_second_join_is_refused_and_keeps_the_name() -> None:
    async with run_server_in_loop() as harness:
        ann, bob = await harness.join_all("ann", "bob")
        (answer,) = await ann.ask("JOIN anna")
        assert answer.startswith("ERR already-joined ")
        await ann.ask("MSG still me")
        assert await bob.barrier() == ["MSG ann still me"]


async def test_a_text_cannot_harm_a_terminal() -> None:
    async with run_server_in_loop() as harness:
        ann, bob = await harness.join_all("ann", "bob")
        await ann.ask("MSG \x1b[2J\u202egnp.exe", "MSG \N{WOMAN}\u200d\N{PERSONAL COMPUTER} caf\u00e9")
        assert await bob.barrier() == [
            "MSG ann \u241b[2J\ufffdgnp.exe",
            "MSG ann \N{WOMAN}\u200d\N{PERSONAL COMPUTER} caf\u00e9",
        ]


async def test_presence_is_told_up_to_its_limit_only() -> None:
    async with run_server_in_loop(Settings(presence_limit=2)) as harness:
        ann, _ = await harness.join_all("ann", "bob")
        eve = await harness.join("eve")
        assert await ann.barrier() == []
        await eve.ask("MSG hi")
        assert await ann.ask("WHO") == ["MSG eve hi", "NAMES ann bob eve", "OK WHO 3"]
        assert await eve.ask("LEAVE") == ["OK LEAVE"]
        assert await ann.ask("WHO") == ["NAMES ann bob", "OK WHO 2"]
