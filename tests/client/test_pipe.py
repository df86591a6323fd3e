"""The client where stdin or stdout is no terminal: commands from a pipe or a file, messages to one."""

import asyncio
import contextlib
import json
import os
import re
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGKILL, SIGTERM, Signals
from typing import cast

import pytest

from tests.harness.peer import Peer, connect
from tests.harness.programs import ServerProcess, run_server_process
from tests.harness.tls_servers import serving

DEADLINE = 60.0
"""Seconds that a program may take before the test is failed. None takes this long when all is well."""

CLIENT = (sys.executable, "-m", "simple_chat.client")

USUAL = ["JOINED bot", "MSG bot hi", "LEFT bot"]

# The client, which then writes how many KiB of memory it had at most. To ask the system afterwards would
# count what the process was before it became the client.
_MEASURE = """
import re, sys
from pathlib import Path
from simple_chat.client.__main__ import main

status = main()
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
sys.exit(status)
"""
MEASURED_CLIENT = (sys.executable, "-c", _MEASURE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended, and all that it wrote and was not read before."""

    status: int
    stdout: str = ""
    stderr: str = ""


@contextlib.asynccontextmanager
async def running(*command: str, **variables: str) -> AsyncIterator[Process]:
    """Run a program, in a block with a deadline."""
    left_out = ("SIMPLE_CHAT_", "PYTHONUNBUFFERED")  # whose output is never held back
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    async with asyncio.timeout(DEADLINE):
        process = await asyncio.create_subprocess_exec(
            *command, env=inherited | variables, stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()


def client(
    server: ServerProcess, *options: str, script: str = 'exec "$@"', program: tuple[str, ...] = CLIENT
) -> tuple[str, ...]:
    """The command of a client that joins as bot.

    Args:
        server: where it joins.
        options: what else it is told.
        script: what the shell is told, for which the client is ``"$@"``.
        program: what the client is.
    """
    return "/bin/sh", "-c", script, "sh", *program, "--port", server.port, "--username", "bot", *options


async def outcome(process: Process) -> Outcome:
    """Wait for the end of a program."""
    stdout, stderr = (
        cast("asyncio.StreamReader", process.stdout),
        cast("asyncio.StreamReader", process.stderr),
    )
    out, err, status = await asyncio.gather(stdout.read(), stderr.read(), process.wait())
    assert b"Traceback" not in err, err.decode()
    return Outcome(status, out.decode(), err.decode())


def type_in(process: Process, data: bytes) -> None:
    """Write to a program."""
    assert process.stdin is not None
    process.stdin.write(data)


async def line(stream: asyncio.StreamReader | None) -> str:
    """Wait for the next line that a program writes."""
    assert stream is not None
    return (await stream.readline()).decode()


async def run(*command: str, data: bytes = b"", **variables: str) -> Outcome:
    """Run a program to its end."""
    async with running(*command, **variables) as process:
        type_in(process, data)
        assert process.stdin is not None
        process.stdin.close()
        return await outcome(process)


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    """A server for all tests here but those that end it."""
    with run_server_process() as server:
        yield server


@pytest.fixture
async def ann(server: ServerProcess) -> AsyncIterator[Peer]:
    """Somebody who is in the room already."""
    async with in_room(server, "ann") as peer:
        yield peer


@contextlib.asynccontextmanager
async def in_room(server: ServerProcess, name: str) -> AsyncIterator[Peer]:
    """Let somebody in, who talks to the server without the client."""
    peer = await connect((server.host, int(server.port)))
    await peer.line()
    assert await peer.ask(f"JOIN {name}") == [f"OK JOIN {name}"]
    yield peer
    peer.send("QUIT")
    await peer.rest()


@pytest.fixture
def away() -> Iterator[str]:
    """A port that nobody listens on, and nobody can meanwhile."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield str(sock.getsockname()[1])


# What comes in


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
async def test_commands_from_a_pipe_are_carried_out(server: ServerProcess, ann: Peer, written: str) -> None:
    assert await run(*client(server, script=f"""printf '{written}' | "$@" """)) == Outcome(0)
    assert await ann.barrier() == USUAL


async def test_commands_from_a_file_are_carried_out(server: ServerProcess, ann: Peer, tmp_path: Path) -> None:
    commands = tmp_path / "commands"
    commands.write_text("send hi\nleave\n")
    assert await run(*client(server, script=f'exec "$@" <{commands}')) == Outcome(0)
    assert await ann.barrier() == USUAL


@pytest.mark.parametrize("stdin", ["</dev/null", "<&-", "0>/dev/null", "<&- >&-", "<&- >&- 2>&-"])
async def test_without_input_it_only_comes_and_goes(server: ServerProcess, ann: Peer, stdin: str) -> None:
    assert await run(*client(server, script=f'exec "$@" {stdin}')) == Outcome(0)
    assert await ann.barrier() == ["JOINED bot", "LEFT bot"]


async def test_text_is_sent_as_it_stands(server: ServerProcess, ann: Peer) -> None:
    texts = ["  two  blanks ", "\ttab", "send send", "leave", "MSG x", "é \N{FAMILY}", "'\"\\$`"]
    ended = await run(*client(server), data="".join(f"send {text}\n" for text in texts).encode())
    assert ended == Outcome(0)
    assert await ann.barrier() == ["JOINED bot", *(f"MSG bot {text}" for text in texts), "LEFT bot"]


@pytest.mark.parametrize("typed", ["hello", "hi there", "msg hi", "send", "send ", "leave now", "history x"])
async def test_what_is_no_command_gives_a_hint_and_is_not_sent(
    server: ServerProcess, ann: Peer, typed: str
) -> None:
    ended = await run(*client(server), data=f"{typed}\nsend hi\n".encode())
    assert ended.stdout == ""
    assert re.fullmatch(r"\* .*\n", ended.stderr)
    assert await ann.barrier() == USUAL


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
async def test_what_cannot_be_sent_is_told_and_makes_the_status_1_but_the_rest_is_sent(
    server: ServerProcess, ann: Peer, unsendable: bytes, why: str
) -> None:
    ended = await run(*client(server), data=unsendable + b"\nsend hi\n")
    assert (ended.status, ended.stdout) == (1, "")
    first, last = ended.stderr.splitlines()
    assert first.startswith("* ")
    assert why in first
    assert last == "simple_chat: lines that could not be sent: 1"
    assert await ann.barrier() == USUAL


async def test_longest_text_is_sent(server: ServerProcess, ann: Peer) -> None:
    assert await run(*client(server), data=b"send " + 4092 * b"x") == Outcome(0)
    assert await ann.barrier() == ["JOINED bot", f"MSG bot {4092 * 'x'}", "LEFT bot"]


@pytest.mark.usefixtures("ann")
async def test_questions_are_answered(server: ServerProcess) -> None:
    ended = await run(*client(server), data=b"send one\nsend two\nsend three\nwho\nhistory 2\nhelp\n")
    assert ended.status == 0
    assert [without_time(line) for line in ended.stdout.splitlines()] == ["bot: two", "bot: three"]
    who, *help_ = ended.stderr.splitlines()
    assert who == "* 2 here: ann, bot"
    assert [text.split()[0] for text in help_] == ["send", "who", "history", "leave", "help"]


async def test_history_option_shows_the_last_messages_first(server: ServerProcess, ann: Peer) -> None:
    await ann.ask("MSG one", "MSG two", "MSG three")
    ended = await run(*client(server, "--history", "2"))
    assert [without_time(line) for line in ended.stdout.splitlines()] == ["ann: two", "ann: three"]


def without_time(text: str) -> str:
    """Take away the time that a message of the past begins with."""
    time, _, rest = text.partition(" ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", time)
    return rest


# What goes out


async def test_messages_are_plain_lines_on_stdout_and_all_else_is_on_stderr(
    server: ServerProcess, ann: Peer
) -> None:
    async with running(*client(server)) as bot:
        assert await ann.line() == "JOINED bot"
        async with in_room(server, "cleo") as cleo:
            await cleo.ask("MSG hello", "MSG \x1b[2J \N{PARTY POPPER}", "LEAVE")
        type_in(bot, b"leave\n")
        ended = await outcome(bot)
    assert ended == Outcome(
        0,
        stdout="cleo: hello\ncleo: \u241b[2J \N{PARTY POPPER}\n",
        stderr="* cleo joined\n* cleo left\n",
    )


async def test_message_is_written_at_once(server: ServerProcess, ann: Peer) -> None:
    async with running(*client(server)) as bot:
        assert await ann.line() == "JOINED bot"
        for number in range(3):
            ann.send(f"MSG {number}")
            assert await line(bot.stdout) == f"ann: {number}\n"


async def test_json_option_writes_one_object_an_event(server: ServerProcess, ann: Peer) -> None:
    async with running(*client(server, "--json")) as bot:
        assert await ann.line() == "JOINED bot"
        async with in_room(server, "cleo") as cleo:
            await cleo.ask('MSG "é"', "LEAVE")
        type_in(bot, b"who\nhistory 1\nhelp\nnonsense\nleave\n")
        ended = await outcome(bot)
    objects = [json.loads(text) for text in ended.stdout.splitlines()]
    times = [each.pop("time") for each in objects if each["event"] != "names"]
    assert objects == [
        {"event": "joined", "name": "cleo"},
        {"event": "message", "name": "cleo", "text": '"é"'},
        {"event": "left", "name": "cleo"},
        {"event": "names", "names": ["ann", "bot"]},
        {"event": "past", "name": "cleo", "text": '"é"'},
    ]
    assert [without_time(f"{time} ") for time in times] == 4 * [""]
    assert "é" in ended.stdout
    assert len(ended.stderr.splitlines()) == 6  # help and a hint


async def test_without_stdout_it_goes_on(server: ServerProcess, ann: Peer) -> None:
    async with running(*client(server, script='exec "$@" >&-')) as bot:
        assert await ann.line() == "JOINED bot"
        await ann.ask("MSG to nobody")
        type_in(bot, b"send hi\nleave\n")
        assert await outcome(bot) == Outcome(0)
    assert await ann.barrier() == USUAL[1:]


async def test_who_reads_no_more_ends_it_without_a_word(server: ServerProcess, ann: Peer) -> None:
    script = '{ "$@"; echo "status $?" >&2; } | head -1'
    async with running(*client(server, script=script)) as bot:
        assert await ann.line() == "JOINED bot"
        while await ann.ask("MSG hi") != ["LEFT bot"]:
            pass
        assert await outcome(bot) == Outcome(0, "ann: hi\n", "status 141\n")


async def test_full_disk_ends_it_in_one_line(server: ServerProcess, ann: Peer) -> None:
    async with running(*client(server, script='exec "$@" >/dev/full')) as bot:
        assert await ann.line() == "JOINED bot"
        assert await ann.ask("MSG hi") in ([], ["LEFT bot"])
        ended = await outcome(bot)
    assert ended.status == 1
    assert re.fullmatch("simple_chat: .*No space left on device.*\n", ended.stderr)


async def test_message_that_the_output_has_no_letters_for_does_not_end_it(
    server: ServerProcess, ann: Peer
) -> None:
    command = (*CLIENT, "--port", server.port, "--username", "bot")
    async with running(*command, PYTHONIOENCODING="latin-1") as bot:
        assert await ann.line() == "JOINED bot"
        await ann.ask("MSG \N{PARTY POPPER}", "MSG hi")
        assert "ann: " in await line(bot.stdout)
        assert await line(bot.stdout) == "ann: hi\n"


# What keeps it from starting


async def test_without_a_name_the_status_is_2(server: ServerProcess, ann: Peer) -> None:
    ended = await run(*CLIENT, "--port", server.port)
    assert_refused(ended, 2, "SIMPLE_CHAT_USERNAME")
    assert await ann.barrier() == []


@pytest.mark.parametrize(
    "options",
    [
        "--username=",
        "--username two\u00a0words",
        "--username -bot",
        "--port x",
        "--host 127.0.0.1:x",
        "--history -1",
        "--color red",
        "--password-file=",
        "surplus",
    ],
)
async def test_bad_option_is_refused_in_one_line(server: ServerProcess, options: str) -> None:
    assert_refused(await run(*client(server, *options.split(" "))), 2, "--help shows all options")


@pytest.mark.parametrize("script", ['exec "$@"', 'exec "$@" <&-', 'exec "$@" <&- >&-'])
async def test_where_no_server_is_the_status_is_1_and_one_line_says_where(
    server: ServerProcess, away: str, script: str
) -> None:
    ended = await run(*client(server, "--port", away, script=script))
    assert_refused(ended, 1, f"can't connect to 127.0.0.1:{away}: Connection refused")


async def test_of_several_servers_it_takes_the_first_that_is_there(
    server: ServerProcess, ann: Peer, away: str
) -> None:
    hosts = ("--host", f"127.0.0.1:{away}", "--host", server.host)
    assert await run(*client(server, *hosts), data=b"send hi\n") == Outcome(0)
    assert await ann.barrier() == USUAL
    variable = f"127.0.0.1:{away},{server.host}:{server.port}"
    command = (*CLIENT, "--port", away, "--username", "bot")
    assert await run(*command, data=b"send hi\n", SIMPLE_CHAT_SERVER_HOST=variable) == Outcome(0)
    assert await ann.barrier() == USUAL


async def test_where_none_of_several_servers_is_the_status_is_1_and_one_line_says_where_each_was_sought(
    server: ServerProcess, away: str
) -> None:
    ended = await run(*client(server, "--port", away, "--host", "127.0.0.1", "--host", "127.0.0.2"))
    first, second = (
        f"can't connect to {host}:{away}: Connection refused" for host in ("127.0.0.1", "127.0.0.2")
    )
    assert_refused(ended, 1, f"simple_chat: {first}; {second}")


async def test_where_no_unix_socket_is_the_status_is_1_and_one_line_says_where() -> None:
    ended = await run(*CLIENT, "--unix", "/no/such/chat", "--username", "bot")
    assert_refused(ended, 1, "can't connect to unix:/no/such/chat: No such file or directory")


@pytest.mark.usefixtures("ann")
async def test_taken_name_is_refused_with_status_1(server: ServerProcess) -> None:
    ended = await run(*client(server, "--username", "Ann"), data=b"send hi\n")
    assert_refused(ended, 1, "simple_chat: name-taken: somebody here has that name")


@pytest.mark.usefixtures("ann")
async def test_without_stderr_a_refusal_is_not_told_on_stdout(server: ServerProcess) -> None:
    ended = await run(*client(server, "--username", "ann", script='exec "$@" 2>&-'))
    assert ended == Outcome(1)


def assert_refused(ended: Outcome, status: int, reason: str) -> None:
    assert (ended.status, ended.stdout) == (status, "")
    assert re.fullmatch(f".*{re.escape(reason)}.*\n", ended.stderr)  # a dot is no line end: exactly one line


# The password


@contextlib.asynccontextmanager
async def guarded_server() -> AsyncIterator[tuple[str, list[str]]]:
    """A server whose password is ``s3cret``; gives its port, and what it is told."""
    told: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HELLO simple_chat/1 welcome\n")
        known = False
        async for data in reader:
            told.append(said := data.decode().removesuffix("\n"))
            verb, _, argument = said.partition(" ")
            known = known or said == "PASS s3cret"
            refused = "ERR auth-failed no" if verb == "PASS" else "ERR auth-required PASS <secret> first"
            done = "BYE quit" if verb == "QUIT" else f"PONG {argument}" if verb == "PING" else f"OK {verb}"
            writer.write(f"{done if known else refused}\n".encode() if verb != "MSG" else b"")
            if verb == "QUIT":
                return

    async with serving(answer) as (_, port):
        yield str(port), told


@pytest.mark.parametrize("line_end", ["", "\n", "\r\n", "\nanother line\n\xff"])
async def test_password_is_the_first_line_of_a_file(line_end: str, tmp_path: Path) -> None:
    (tmp_path / "password").write_bytes(f"s3cret{line_end}".encode("latin-1"))
    async with guarded_server() as (port, told):
        options = ("--username", "bot", "--password-file", str(tmp_path / "password"))
        ended = await run(*CLIENT, "--port", port, *options, data=b"send hi\n", SIMPLE_CHAT_PASSWORD="wr0ng")
    assert ended == Outcome(0)
    assert told == ["PASS s3cret", "JOIN bot", "MSG hi", "PING 1", "LEAVE", "QUIT"]


async def test_password_is_taken_from_a_variable() -> None:
    async with guarded_server() as (port, told):
        command = (*CLIENT, "--port", port, "--username", "bot")
        assert await run(*command, SIMPLE_CHAT_PASSWORD="s3cret") == Outcome(0)
    assert told[:2] == ["PASS s3cret", "JOIN bot"]


async def test_wrong_password_is_refused_with_status_1_and_not_told() -> None:
    async with guarded_server() as (port, told):
        ended = await run(*CLIENT, "--port", port, "--username", "bot", SIMPLE_CHAT_PASSWORD="wr0ng")
    assert_refused(ended, 1, "simple_chat: auth-failed: no")
    assert "wr0ng" not in ended.stderr
    assert told == ["PASS wr0ng"]


@pytest.mark.parametrize("variables", [{}, {"SIMPLE_CHAT_PASSWORD": ""}], ids=["unset", "empty"])
async def test_without_the_password_it_says_where_to_put_it(variables: dict[str, str]) -> None:
    async with guarded_server() as (port, told):
        ended = await run(*CLIENT, "--port", port, "--username", "bot", data=b"", **variables)
    where = "SIMPLE_CHAT_PASSWORD or --password-file PATH"
    assert_refused(ended, 1, f"simple_chat: auth-required: the server requires a password: {where}")
    assert told == ["JOIN bot"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "can't read {}: No such file or directory"),
        (b"", "can't use {}: its first line, the password, is empty"),
        (b"\ns3cret\n", "can't use {}: its first line, the password, is empty"),
        (b"s3cret\xff\n", "can't use {}: its first line is not UTF-8"),
        (b"s3cret\ragain\n", "a password of several lines can't be sent"),
        (10_000 * b"s3cret", "the password is too long"),
    ],
    ids=["missing", "empty", "empty line", "bytes", "carriage return", "long"],
)
async def test_password_file_that_cannot_be_used_is_told_in_one_line(
    away: str, content: bytes | None, why: str, tmp_path: Path
) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content)
    options = ("--username", "bot", "--password-file", str(path), "--port", away)
    ended = await run(*CLIENT, *options, SIMPLE_CHAT_PASSWORD="s3cret")
    assert_refused(ended, 1, f"simple_chat: {why.format(path)}")
    assert "s3cret" not in ended.stderr


async def test_password_file_that_may_not_be_read_is_told_in_one_line(away: str, tmp_path: Path) -> None:
    options = ("--username", "bot", "--password-file", str(tmp_path), "--port", away)
    assert_refused(await run(*CLIENT, *options), 1, f"can't read {tmp_path}: Is a directory")


# Where it connects


async def test_server_and_name_are_taken_from_variables(server: ServerProcess, ann: Peer) -> None:
    variables = {"SIMPLE_CHAT_SERVER_HOST": "localhost", "SIMPLE_CHAT_SERVER_PORT": server.port}
    ended = await run(*CLIENT, data=b"send hi\n", **variables, SIMPLE_CHAT_USERNAME="bot")
    assert ended == Outcome(0)
    assert await ann.barrier() == USUAL


async def test_options_go_before_variables(server: ServerProcess, ann: Peer) -> None:
    variables = {
        "SIMPLE_CHAT_SERVER_HOST": "203.0.113.1",
        "SIMPLE_CHAT_SERVER_PORT": "1",
        "SIMPLE_CHAT_USERNAME": "x",
    }
    ended = await run(*client(server, "--host", "127.0.0.1"), data=b"send hi\n", **variables)
    assert ended == Outcome(0)
    assert await ann.barrier() == USUAL


async def test_empty_variables_count_as_unset(server: ServerProcess, ann: Peer) -> None:
    assert await run(*client(server), data=b"send hi\n", SIMPLE_CHAT_SERVER_HOST="") == Outcome(0)
    ended = await run(*CLIENT, "--port", server.port, SIMPLE_CHAT_USERNAME="")
    assert_refused(ended, 2, "the username is missing")
    assert await ann.barrier() == USUAL


@pytest.mark.parametrize("port", ["x", "65536", "-1"])
async def test_bad_port_in_the_variable_is_refused_in_one_line(port: str) -> None:
    ended = await run(*CLIENT, "--username", "bot", SIMPLE_CHAT_SERVER_PORT=port)
    assert_refused(ended, 2, f"'{port}' is not a whole number from 0 to 65535")


async def test_unix_socket_is_taken_instead_of_host_and_port(tmp_path: Path) -> None:
    path = str(tmp_path / "chat")
    with run_server_process("--unix", path) as server:
        server.log.expect_exact(f"listening on unix:{path}\n")
        async with in_room(server, "ann") as ann:
            ended = await run(*CLIENT, "--port", "1", "--unix", path, "--username", "bot", data=b"send hi\n")
            assert ended == Outcome(0)
            assert await ann.barrier() == USUAL


async def test_help_names_the_variables_and_loads_no_prompt() -> None:
    ended = await run(sys.executable, "-X", "importtime", *CLIENT[1:], "--help")
    assert ended.status == 0
    words = ("SERVER_HOST", "SERVER_PORT", "USERNAME", "PASSWORD")
    variables = {f"SIMPLE_CHAT_{each}" for each in words}
    assert variables <= set(re.findall(r"\w+", ended.stdout))
    assert "argparse" in ended.stderr
    assert "prompt_toolkit" not in ended.stderr
    assert "asyncio" not in ended.stderr
    assert "ssl" not in ended.stderr


# How it ends


@pytest.mark.parametrize(("signal", "status"), [(SIGTERM, 143), (SIGINT, 130), (SIGHUP, 129)])
async def test_signal_ends_it_in_order_and_with_its_status(
    server: ServerProcess, ann: Peer, signal: Signals, status: int
) -> None:
    async with running(*client(server)) as bot:
        assert await ann.line() == "JOINED bot"
        bot.send_signal(signal)
        assert await ann.line() == "LEFT bot"
        assert await outcome(bot) == Outcome(status)


async def test_server_that_ends_ends_it_though_its_input_stays_open() -> None:
    with run_server_process() as server:
        async with in_room(server, "ann") as ann, running(*client(server)) as bot:
            assert await ann.line() == "JOINED bot"
            await ann.ask("MSG last words")
            await asyncio.to_thread(server.stop)
            ended = await outcome(bot)
            assert await ann.line() == "BYE shutdown"
    assert ended == Outcome(1, "ann: last words\n", "simple_chat: the server ended the connection\n")


async def test_server_that_is_killed_ends_it_and_it_says_so() -> None:
    async with running(sys.executable, "-m", "simple_chat.server", "--port", "0") as server:
        found = re.search(r":(\d+)\n", await line(server.stderr))
        assert found
        async with running(*CLIENT, "--port", found[1], "--username", "bot") as bot:
            type_in(bot, b"who\n")
            assert await line(bot.stderr) == "* 1 here: bot\n"
            server.send_signal(SIGKILL)
            ended = await outcome(bot)
    assert_refused(ended, 1, "simple_chat: connection lost: ")


# Much of it


async def test_hundred_thousand_lines_arrive_in_order_and_take_no_more_memory_than_a_thousand(
    server: ServerProcess, ann: Peer, tmp_path: Path
) -> None:
    few = await peak_of_sending(1_000, server, ann, tmp_path)
    many = await peak_of_sending(100_000, server, ann, tmp_path)
    assert many < few + 3 * 2**20


async def peak_of_sending(number: int, server: ServerProcess, ann: Peer, folder: Path) -> int:
    """Send lines from a file, check that all arrive, and return the most bytes the client ever had."""
    said = [f"{each} and all the rest of the line" for each in range(number)]
    commands = folder / f"{number}"
    commands.write_text("".join(f"send {text}\n" for text in said))
    script = f'exec "$@" <{commands}'
    async with running(*client(server, script=script, program=MEASURED_CLIENT)) as bot:
        assert await ann.line() == "JOINED bot"
        for text in said:
            assert await ann.line() == f"MSG bot {text}"
        assert await ann.line() == "LEFT bot"
        ended = await outcome(bot)
    assert (ended.status, ended.stderr) == (0, "")
    return int(ended.stdout) * 1024


async def test_all_that_is_said_to_another_pipe_is_written_by_it(server: ServerProcess, ann: Peer) -> None:
    async with running(*client(server)) as bot:
        assert await ann.line() == "JOINED bot"
        said = [str(number) for number in range(20_000)]
        ann.send(*(f"MSG {text}" for text in said))
        for text in said:
            assert await line(bot.stdout) == f"ann: {text}\n"
        type_in(bot, b"leave\n")
        assert await outcome(bot) == Outcome(0)
