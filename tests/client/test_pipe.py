"""The client in a pipe: commands from stdin, messages to stdout."""

import asyncio
import json
import re
import sys
from pathlib import Path
from signal import SIGINT

import pytest

from tests.client.pipe_client import (
    CLIENT,
    EXEC,
    JOIN_SEND_LEAVE,
    MEASURED_CLIENT,
    Outcome,
    client_command,
    joined_peer,
    read_line,
    run,
    run_process,
    wait_for_outcome,
    write,
)
from tests.harness.peer import Peer
from tests.harness.programs import ServerProcess, run_server_process
from tests.harness.tls_servers import serve_connections

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio"])  # the loop runs the test, not the client


NOT_CARRIED_OUT = "simple_chat: lines of the input that were not carried out:"

# Input


@pytest.mark.parametrize(
    "written",
    [
        "send hi\\nleave\\n",
        "send hi\\n",
        "send hi",
        "send hi\\nleave",
        "send hi\\r\\nleave\\r\\n",
        "\\n\\nsend hi\\nLeave\\nsend too late\\n",
        "  SEND hi\\n",
    ],
)
async def test_commands_from_a_pipe_are_executed(server: ServerProcess, ann: Peer, written: str) -> None:
    assert await run(*client_command(server, script=f"""printf '{written}' | "$@" """)) == Outcome(0)
    assert await ann.barrier() == JOIN_SEND_LEAVE


async def test_commands_from_a_file_are_executed(server: ServerProcess, ann: Peer, tmp_path: Path) -> None:
    commands = tmp_path / "commands"
    commands.write_text("send hi\nleave\n")
    assert await run(*client_command(server, script=f'exec "$@" <{commands}')) == Outcome(0)
    assert await ann.barrier() == JOIN_SEND_LEAVE


@pytest.mark.parametrize("stdin", ["</dev/null", "<&-", "0>/dev/null", "<&- >&-", "<&- >&- 2>&-"])
async def test_empty_input_joins_and_leaves(server: ServerProcess, ann: Peer, stdin: str) -> None:
    assert await run(*client_command(server, script=f'exec "$@" {stdin}')) == Outcome(0)
    assert await ann.barrier() == ["JOINED bot", "LEFT bot"]


async def test_text_is_sent_unchanged(server: ServerProcess, ann: Peer) -> None:
    texts = ["  two  blanks ", "\ttab", "send send", "leave", "MSG x", "é \N{FAMILY}", "'\"\\$`"]
    outcome = await run(*client_command(server), data="".join(f"send {text}\n" for text in texts).encode())
    assert outcome == Outcome(0)
    assert await ann.barrier() == ["JOINED bot", *(f"MSG bot {text}" for text in texts), "LEFT bot"]


@pytest.mark.parametrize("typed", ["hello", "hi there", "msg hi", "send", "send ", "leave now", "history x"])
async def test_invalid_input_is_reported_with_status_1_and_the_rest_is_sent(
    server: ServerProcess, ann: Peer, typed: str
) -> None:
    outcome = await run(*client_command(server), data=f"{typed}\nsend hi\n".encode())
    assert (outcome.status, outcome.stdout) == (1, "")
    assert re.fullmatch(rf"\* line 1: .*\n{NOT_CARRIED_OUT} 1\n", outcome.stderr)
    assert await ann.barrier() == JOIN_SEND_LEAVE


@pytest.mark.parametrize(
    ("unsendable", "why"),
    [
        (b"send " + 4093 * b"x", "too long: 4097 bytes"),
        (b"send " + 2**21 * b"x", "line-too-long"),
        (b"send \xff", "not-utf8"),
        (b"send \xed\xa0\x80", "not-utf8"),
        (b"send a\rb", "several lines"),
    ],
    ids=["text", "line", "bytes", "surrogate", "carriage return"],
)
async def test_unsendable_line_is_reported_with_status_1_and_the_rest_is_sent(
    server: ServerProcess, ann: Peer, unsendable: bytes, why: str
) -> None:
    outcome = await run(*client_command(server), data=unsendable + b"\nsend hi\n")
    assert (outcome.status, outcome.stdout) == (1, "")
    first, last = outcome.stderr.splitlines()
    assert first.startswith("* line 1: ")
    assert why in first
    assert last == f"{NOT_CARRIED_OUT} 1"
    assert await ann.barrier() == JOIN_SEND_LEAVE


async def test_refused_line_is_reported_with_status_1() -> None:
    data = b"send hello\nsend fine\nwho\nsend again\n"
    outcome = await run_with_refusals("ERR busy not now", data)
    assert (outcome.status, outcome.stdout) == (1, "")
    *told, last = outcome.stderr.splitlines()
    assert sorted(told) == ["* 1 here: bot", "* 1 of 'hello', 'fine' was refused: busy: not now"]
    assert last == f"{NOT_CARRIED_OUT} 1"


async def test_refused_line_is_an_object_in_json() -> None:
    outcome = await run_with_refusals("ERR busy not now", b"send hello\nleave\n", "--json")
    (refused,) = map(json.loads, outcome.stdout.splitlines())
    refused.pop("time")
    assert refused == {
        "event": "refused",
        "code": "busy",
        "advice": "not now",
        "count": 1,
        "messages": ["hello"],
    }
    assert (outcome.status, outcome.stderr) == (1, f"{NOT_CARRIED_OUT} 1\n")


async def run_with_refusals(refusal: str, data: bytes, *options: str) -> Outcome:
    """Run a client at a server that refuses to send hello."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HELLO simple_chat/1 welcome\nOK JOIN bot\n")
        async for line in reader:
            command = line.decode().removesuffix("\n")
            answer = {
                "MSG hello": refusal,
                "WHO": "NAMES bot\nOK WHO 1",
                "QUIT": "BYE quit",
            }.get(command, command.replace("PING", "PONG") if command.startswith("PING ") else "")
            writer.write(f"{answer}\n".encode())

    async with serve_connections(handle) as (_, port):
        return await run(*CLIENT, "--port", str(port), "--username", "bot", *options, data=data)


@pytest.mark.parametrize("option", [(), ("--json",)], ids=["plain", "json"])
async def test_line_that_is_too_long_for_the_server_is_reported_with_status_1(
    option: tuple[str, ...],
) -> None:
    with run_server_process("--max-line", "64") as server:
        outcome = await run(*client_command(server, *option), data=b"send hi\nsend " + 100 * b"x")
    told = outcome.stdout if option else outcome.stderr
    assert "the text is too long: 104 bytes on the wire, 64 at most" in told
    assert outcome.status == 1


async def test_byte_order_mark_is_no_part_of_the_input(server: ServerProcess, ann: Peer) -> None:
    assert await run(*client_command(server), data=b"\xef\xbb\xbfsend hi\n") == Outcome(0)
    assert await ann.barrier() == JOIN_SEND_LEAVE


async def test_first_text_may_look_like_http(server: ServerProcess, ann: Peer) -> None:
    assert await run(*client_command(server), data=b"send / HTTP/1.1\n") == Outcome(0)
    assert await ann.barrier() == ["JOINED bot", "MSG bot / HTTP/1.1", "LEFT bot"]


async def test_input_that_cannot_be_read_is_reported_with_status_1(server: ServerProcess, ann: Peer) -> None:
    replace_stdin = "import os, runpy; os.dup2(os.open('/', os.O_RDONLY), 0)"
    code = f"{replace_stdin}; runpy.run_module('simple_chat.client', run_name='__main__')"
    outcome = await run(*client_command(server, program=(sys.executable, "-c", code)))
    told = f"* line 1: it could not be read: Is a directory\n{NOT_CARRIED_OUT} 1\n"
    assert outcome == Outcome(1, "", told)
    assert await ann.barrier() == ["JOINED bot", "LEFT bot"]


async def test_input_that_does_not_block_is_waited_for(server: ServerProcess, ann: Peer) -> None:
    unblock = "import os, sys; os.set_blocking(0, False); os.execv(sys.argv[1], sys.argv[1:])"
    script = f"exec {sys.executable} -c '{unblock}' {sys.executable} -m simple_chat.client \"$@\""
    command = ("/bin/sh", "-c", script, "sh", "--port", server.port, "--username", "bot")
    async with run_process(*command) as bot:
        write(bot, b"send hi\n")
        assert await ann.lines(2) == JOIN_SEND_LEAVE[:2]
        await ann.ask("MSG more?")
        assert await read_line(bot.stdout) == "ann: more?\n"
        write(bot, b"send more\nleave\n")
        assert await wait_for_outcome(bot) == Outcome(0)
    assert await ann.barrier() == ["MSG bot more", "LEFT bot"]


async def test_follow_stays_after_the_end_of_the_input_until_a_signal(
    server: ServerProcess, ann: Peer
) -> None:
    command = client_command(server, script='exec "$@" --follow <<END\nsend hi\nEND')
    async with run_process(*command) as bot:
        assert await ann.lines(2) == JOIN_SEND_LEAVE[:2]
        await ann.ask("MSG still here?")
        assert await read_line(bot.stdout) == "ann: still here?\n"
        bot.send_signal(SIGINT)
        assert await ann.line() == "LEFT bot"
        assert await wait_for_outcome(bot) == Outcome(128 + SIGINT)


@pytest.mark.parametrize(("data", "status"), [(b"", 0), (b"nonsense\n", 1)])
async def test_follow_ends_with_the_server(data: bytes, status: int) -> None:
    with run_server_process() as server:
        command = client_command(server, "--follow")
        async with joined_peer(server, "ann") as ann, run_process(*command) as bot:
            write(bot, data + b"send hi")  # without its line end it is sent at the end of the input
            assert bot.stdin is not None
            bot.stdin.close()
            assert await ann.lines(2) == JOIN_SEND_LEAVE[:2]
            await ann.ask("MSG bye")
            assert await read_line(bot.stdout) == "ann: bye\n"
            await ann.barrier()  # the server has read the client's PING, too
            await asyncio.to_thread(server.stop)
            assert (await wait_for_outcome(bot)).status == status
            await ann.rest()


async def test_follow_ends_with_leave(server: ServerProcess, ann: Peer) -> None:
    assert await run(*client_command(server, "--follow"), data=b"send hi\nleave\n") == Outcome(0)
    assert await ann.barrier() == JOIN_SEND_LEAVE


async def test_longest_text_is_sent(server: ServerProcess, ann: Peer) -> None:
    assert await run(*client_command(server), data=b"send " + 4092 * b"x") == Outcome(0)
    assert await ann.barrier() == ["JOINED bot", f"MSG bot {4092 * 'x'}", "LEFT bot"]


@pytest.mark.usefixtures("ann")
async def test_requests_are_answered(server: ServerProcess) -> None:
    outcome = await run(
        *client_command(server), data=b"send one\nsend two\nsend three\nwho\nhistory 2\nhelp\n"
    )
    assert outcome.status == 0
    assert [without_time(line) for line in outcome.stdout.splitlines()] == ["bot: two", "bot: three"]
    who, *help_ = outcome.stderr.splitlines()
    assert who == "* 2 here: ann, bot"
    assert [text.split()[0] for text in help_] == ["send", "who", "history", "leave", "help"]


async def test_history_option_prints_the_last_messages_first(server: ServerProcess, ann: Peer) -> None:
    await ann.ask("MSG one", "MSG two", "MSG three")
    outcome = await run(*client_command(server, "--history", "2"))
    assert [without_time(line) for line in outcome.stdout.splitlines()] == ["ann: two", "ann: three"]


def without_time(text: str) -> str:
    """Take closed_port the time that a message of the past begins with."""
    time, _, rest = text.partition(" ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time)
    return rest


# Output


async def test_messages_go_to_stdout_and_all_other_events_to_stderr(server: ServerProcess, ann: Peer) -> None:
    async with run_process(*client_command(server)) as bot:
        assert await ann.line() == "JOINED bot"
        async with joined_peer(server, "cleo") as cleo:
            await cleo.ask("MSG hello", "MSG \x1b[2J \N{PARTY POPPER}", "LEAVE")
        write(bot, b"leave\n")
        outcome = await wait_for_outcome(bot)
    assert outcome == Outcome(
        0,
        stdout="cleo: hello\ncleo: \u241b[2J \N{PARTY POPPER}\n",
        stderr="* cleo joined\n* cleo left\n",
    )


async def test_each_message_is_flushed(server: ServerProcess, ann: Peer) -> None:
    async with run_process(*client_command(server)) as bot:
        assert await ann.line() == "JOINED bot"
        for number in range(3):
            ann.send(f"MSG {number}")
            assert await read_line(bot.stdout) == f"ann: {number}\n"


async def test_json_option_prints_one_object_for_each_event(server: ServerProcess, ann: Peer) -> None:
    async with run_process(*client_command(server, "--json")) as bot:
        assert await ann.line() == "JOINED bot"
        async with joined_peer(server, "cleo") as cleo:
            await cleo.ask('MSG "é"', "LEAVE")
        write(bot, b"who\nhistory 1\nhelp\nnonsense\nleave\n")
        outcome = await wait_for_outcome(bot)
    objects = [json.loads(text) for text in outcome.stdout.splitlines()]
    times = [each.pop("time") for each in objects if each["event"] != "names"]
    assert objects.pop(-1) == {
        "event": "error",
        "line": 4,
        "text": "there is no command 'nonsense'; to send a message: send <MSG>, for all commands: help",
    }
    assert objects == [
        {"event": "joined", "name": "cleo"},
        {"event": "message", "name": "cleo", "text": '"é"'},
        {"event": "left", "name": "cleo"},
        {"event": "names", "names": ["ann", "bot"]},
        {"event": "past", "name": "cleo", "text": '"é"'},
    ]
    assert [without_time(f"{time} ") for time in times] == 5 * [""]
    assert "é" in outcome.stdout
    *help_, last = outcome.stderr.splitlines()
    assert (len(help_), last) == (5, f"{NOT_CARRIED_OUT} 1")


@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "latin-1"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
async def test_json_is_utf8_whatever_the_locale(
    server: ServerProcess, ann: Peer, variables: dict[str, str]
) -> None:
    command = client_command(server, "--json", script=EXEC)
    async with run_process(*command, **{"PYTHONCOERCECLOCALE": "0", **variables}) as bot:
        assert await ann.line() == "JOINED bot"
        await ann.ask("MSG é \N{PARTY POPPER}")
        assert json.loads(await read_line(bot.stdout))["text"] == "é \N{PARTY POPPER}"


async def test_closed_stdout_does_not_end_the_client(server: ServerProcess, ann: Peer) -> None:
    async with run_process(*client_command(server, script='exec "$@" >&-')) as bot:
        assert await ann.line() == "JOINED bot"
        await ann.ask("MSG to nobody")
        write(bot, b"send hi\nleave\n")
        assert await wait_for_outcome(bot) == Outcome(0)
    assert await ann.barrier() == JOIN_SEND_LEAVE[1:]


async def test_broken_pipe_ends_the_client_with_status_141_and_no_message(
    server: ServerProcess, ann: Peer
) -> None:
    script = '{ "$@"; echo "status $?" >&2; } | head -1'
    async with run_process(*client_command(server, script=script)) as bot:
        assert await ann.line() == "JOINED bot"
        while await ann.ask("MSG hi") != ["LEFT bot"]:
            pass
        assert await wait_for_outcome(bot) == Outcome(0, "ann: hi\n", "status 141\n")


async def test_full_disk_ends_it_in_one_read_line(server: ServerProcess, ann: Peer) -> None:
    async with run_process(*client_command(server, script='exec "$@" >/dev/full')) as bot:
        assert await ann.line() == "JOINED bot"
        assert await ann.ask("MSG hi") in ([], ["LEFT bot"])
        outcome = await wait_for_outcome(bot)
    assert outcome.status == 1
    assert re.fullmatch("simple_chat: .*No space left on device.*\n", outcome.stderr)


async def test_message_that_stdout_cannot_encode_does_not_end_the_client(
    server: ServerProcess, ann: Peer
) -> None:
    command = client_command(server, script=EXEC)
    async with run_process(*command, PYTHONIOENCODING="latin-1") as bot:
        assert await ann.line() == "JOINED bot"
        await ann.ask("MSG \N{PARTY POPPER}", "MSG hi")
        assert "ann: " in await read_line(bot.stdout)
        assert await read_line(bot.stdout) == "ann: hi\n"


# Volume


async def test_eight_megabytes_of_lines_arrive_in_order_in_constant_memory(
    server: ServerProcess, ann: Peer, tmp_path: Path
) -> None:
    few = await peak_memory_of_sending(1_000, server, ann, tmp_path)
    many = await peak_memory_of_sending(20_000, server, ann, tmp_path)
    assert many < few + 3 * 2**20


async def peak_memory_of_sending(number: int, server: ServerProcess, ann: Peer, folder: Path) -> int:
    """Send lines from a file, check that all arrive, and return the peak memory of the client in bytes."""
    texts = [f"{each} {400 * 'x'}" for each in range(number)]
    commands = folder / f"{number}"
    commands.write_text("".join(f"send {text}\n" for text in texts))
    script = f'exec "$@" <{commands}'
    async with run_process(*client_command(server, script=script, program=MEASURED_CLIENT)) as bot:
        assert await ann.line() == "JOINED bot"
        for text in texts:
            assert await ann.line() == f"MSG bot {text}"
        assert await ann.line() == "LEFT bot"
        outcome = await wait_for_outcome(bot)
    assert (outcome.status, outcome.stderr) == (0, "")
    return int(outcome.stdout) * 1024


async def test_twenty_thousand_messages_are_printed_in_order(server: ServerProcess, ann: Peer) -> None:
    async with run_process(*client_command(server)) as bot:
        assert await ann.line() == "JOINED bot"
        texts = [str(number) for number in range(20_000)]
        ann.send(*(f"MSG {text}" for text in texts))
        for text in texts:
            assert await read_line(bot.stdout) == f"ann: {text}\n"
        write(bot, b"leave\n")
        assert await wait_for_outcome(bot) == Outcome(0)
