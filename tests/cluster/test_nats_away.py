"""NATS is away for a while, or for good: what members are told, what waits, and what is there afterwards."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from math import ceil
from signal import SIGCONT, SIGSTOP
from subprocess import PIPE, Popen

import pytest

from simple_chat.core.room import BATCH_BYTES
from tests.harness import peer as peers_module
from tests.harness.cluster import AWAY, BACK, BUSY, gather, house, houses, join, options, room_lines
from tests.harness.nats import Engine
from tests.harness.peer import Peer, connect
from tests.harness.programs import DEADLINE, ServerProcess, run_server_process

PATIENCE = 60.0  # seconds; an election among NATS servers takes up to 10, and there may be two
LONG = "x" * 1000
IMPATIENT = """
import sys
from simple_chat.cluster import stream as log
log.START_TIMEOUT = 1.0
from simple_chat.server.__main__ import main
sys.exit(main())
"""

Strike = Callable[[Engine], None]


@pytest.fixture(autouse=True)
def patient_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers_module, "DEADLINE", PATIENCE)


def pause_two(engine: Engine) -> None:
    engine.pause(0)
    engine.pause(1)


def pause_all(engine: Engine) -> None:
    pause_two(engine)
    engine.pause(2)


def kill_all(engine: Engine) -> None:
    engine.kill_all()


@contextlib.contextmanager
def running_servers(engine: Engine, room: str, number: int = 3) -> Iterator[list[ServerProcess]]:
    """Run several servers of a room, as programs: the client library leaves sockets behind in its process."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(run_server_process(*options(engine, room))) for _ in range(number)]


async def gather_at(servers: Sequence[ServerProcess], *names: str) -> list[Peer]:
    """Let one peer in at each server, each of whom has read that the others joined."""
    peers = [await join(server, name) for server, name in zip(servers, names, strict=True)]
    for place, peer in enumerate(peers):
        assert await peer.barrier() == [f"JOINED {name}" for name in names[place + 1 :]]
    return peers


async def lose(engine: Engine, strike: Strike, *members: Peer) -> None:
    """Have NATS go away, of which all members are told next."""
    await asyncio.to_thread(strike, engine)
    for peer in members:
        assert await peer.line() == AWAY


async def find(engine: Engine, *members: Peer) -> list[list[str]]:
    """Have NATS come back, of which all members are told; return what else each has read by then."""
    await asyncio.to_thread(engine.start)
    return [await peer.until(BACK) for peer in members]


async def barriers(*members: Peer) -> list[list[str]]:
    """Wait until all have heard what any of them said."""
    first = [await peer.barrier() for peer in members]
    return [lines + await peer.barrier() for peer, lines in zip(members, first, strict=True)]


def by(lines: Sequence[str], name: str) -> list[str]:
    return [line for line in lines if line.startswith(f"MSG {name} ")]


def without(lines: Sequence[str], name: str) -> list[str]:
    return [line for line in lines if not line.startswith(f"MSG {name} ")]


# The leader dies


async def test_members_go_on_talking_when_the_leader_is_killed(engine: Engine, room_name: str) -> None:
    names = ("ann", "bob", "cleo")
    async with houses(engine, room_name) as homes:
        listeners = await gather(homes, "listener0", "listener1", "listener2")
        speakers = await gather(homes, *names)
        struck = asyncio.Event()

        async def speak(name: str, peer: Peer) -> list[str]:
            said: list[str] = []
            left = 30
            while left:
                await peer.ask(f"MSG {len(said)}")
                said.append(f"MSG {name} {len(said)}")
                left -= struck.is_set()
            return said

        speaking = [asyncio.create_task(speak(*each)) for each in zip(names, speakers, strict=True)]
        beginning = [*(await listeners[0].until("MSG ann 20")), "MSG ann 20"]
        leader = await asyncio.to_thread(engine.leader_of, room_name)
        await asyncio.to_thread(engine.kill, leader)
        struck.set()
        said = await asyncio.gather(*speaking)
        whole, *others = [room_lines(await peer.barrier()) for peer in listeners]
        whole = room_lines(beginning) + whole
        assert others == [whole, whole]
        assert [by(whole, name) for name in names] == said
        assert len(whole) == len(names) + sum(map(len, said))


# One of them hangs


@contextlib.contextmanager
def running_server_at(engine: Engine, room: str, index: int) -> Iterator[ServerProcess]:
    """Run a server that connects to one of NATS's servers; of the others it is told there."""
    with run_server_process("--cluster", engine.urls[index], "--cluster-room", room) as server:
        yield server


async def test_server_goes_on_when_the_nats_server_that_it_is_connected_to_hangs(
    engine: Engine, room_name: str
) -> None:
    with running_server_at(engine, room_name, 0) as near, running_server_at(engine, room_name, 1) as far:
        ann, bob = await gather_at((near, far), "ann", "bob")
        await asyncio.to_thread(engine.pause, 0)
        await ann.ask("MSG 1")
        assert room_lines(await bob.barrier()) == ["MSG ann 1"]
        await bob.ask("MSG 2")
        assert room_lines(await ann.barrier()) == ["MSG bob 2"]


async def test_server_that_missed_something_cuts_all_connections(engine: Engine, room_name: str) -> None:
    with running_server_at(engine, room_name, 1) as far, running_server_at(engine, room_name, 0) as near:
        bob, ann = await gather_at((far, near), "bob", "ann")
        near.process.send_signal(SIGSTOP)
        await asyncio.to_thread(engine.kill, 0)
        await bob.ask("MSG 1")
        async with engine.client(1, 2) as client:
            await client.jetstream().purge_stream(room_name)
        await bob.ask("MSG 2")
        near.process.send_signal(SIGCONT)
        await ann.wait_closed()
        assert b"MSG bob 2" not in ann.received
        assert b"BYE" not in ann.received


async def test_server_that_was_away_does_not_read_on_in_another_log(engine: Engine, room_name: str) -> None:
    with running_server_at(engine, room_name, 1) as far, running_server_at(engine, room_name, 0) as near:
        bob, ann = await gather_at((far, near), "bob", "ann")
        near.process.send_signal(SIGSTOP)
        await asyncio.to_thread(engine.kill, 0)
        await bob.ask("MSG 1")
        await asyncio.to_thread(engine.delete, room_name)
        await bob.wait_closed()
        bob = await join_again((far.host, int(far.port)), "bob")
        for number in range(20):  # the new log is longer than the old one was
            await bob.ask(f"MSG {number}")
        near.process.send_signal(SIGCONT)
        await ann.wait_closed()
        assert b"BYE" not in ann.received


# There is no majority, or nobody at all


@pytest.mark.parametrize("strike", [pause_two, kill_all])
async def test_what_is_said_while_nats_is_away_is_there_once_and_in_order_afterwards(
    engine: Engine, room_name: str, strike: Strike
) -> None:
    with running_servers(engine, room_name) as servers:
        ann, bob, cleo = members = await gather_at(servers, "ann", "bob", "cleo")
        await ann.ask("MSG 0")
        for peer in (bob, cleo):
            assert await peer.barrier() == ["MSG ann 0"]
        await lose(engine, strike, *members)
        ann.send("MSG 1", "PING ann", "MSG 2")
        bob.send("MSG 1", "WHO", "MSG 2", "LEAVE", "JOIN Bobby", "MSG 3")
        await check_that_who_says_nothing_is_answered(cleo)
        await check_that_nobody_joins(servers)
        before = await find(engine, *members)
        heard = [lines + rest for lines, rest in zip(before, await barriers(*members), strict=True)]
        check_what_they_heard(*heard)
        dora = await join(servers[0], "dora")
        await dora.ask("MSG hello")
        for peer in members:
            assert await peer.barrier() == ["JOINED dora", "MSG dora hello"]


async def check_that_who_says_nothing_is_answered(peer: Peer) -> None:
    peer.send("WHO", "HELP", "HISTORY", "PING cleo")
    answers = await peer.until("OK HISTORY 1")
    assert answers[:2] == ["NAMES cleo ann bob", "OK WHO 3"]
    assert "OK HELP" in answers


async def check_that_nobody_joins(servers: Sequence[ServerProcess]) -> None:
    for server in servers:
        stranger = await connect((server.host, int(server.port)))
        await stranger.line()
        assert await stranger.ask("JOIN dora", "JOIN dora") == [BUSY, BUSY]
        assert (await stranger.ask("WHO"))[-1] == "OK WHO 3"
        await stranger.close()


def check_what_they_heard(ann: list[str], bob: list[str], cleo: list[str]) -> None:
    assert by(cleo, "ann") == ["MSG ann 1", "MSG ann 2"]
    of_bob = ["MSG bob 1", "MSG bob 2", "LEFT bob", "JOINED Bobby", "MSG Bobby 3"]
    assert [line for line in without(cleo, "ann") if line != "PONG cleo"] == of_bob
    assert cleo.count("PONG cleo") == 1
    assert [line for line in ann if line != "PONG ann"] == of_bob
    assert ann.count("PONG ann") == 1
    answers = ["NAMES bob ann cleo", "OK WHO 3", "OK LEAVE", "OK JOIN Bobby"]
    assert [line for line in bob if line in answers] == answers
    assert set(bob) <= {*answers, *by(cleo, "ann")}


async def test_more_than_a_batch_is_refused_and_nothing_of_what_was_taken_is_lost(
    engine: Engine, room_name: str
) -> None:
    lines = [f"MSG {number:02} {LONG}" for number in range(60)]
    said = [f"MSG ann {line.removeprefix('MSG ')}" for line in lines]
    room = ceil(BATCH_BYTES / len(f"{said[0]}\n"))
    with running_servers(engine, room_name, 2) as servers:
        ann, bob = await gather_at(servers, "ann", "bob")
        await lose(engine, pause_all, ann, bob)
        ann.send(*lines, "HELP")
        answers = await ann.until("OK HELP")
        assert answers[: len(said) - room] == [BUSY] * (len(said) - room)
        assert all(line.startswith("INFO ") for line in answers[len(said) - room :])
        ann_before, bob_before = await find(engine, ann, bob)
        assert ann_before == []
        ann_after, bob_after = await barriers(ann, bob)
        assert ann_after == []
        assert bob_before + bob_after == said[:room]
        await ann.ask(lines[-1])
        assert await bob.barrier() == [said[-1]]


# A server that ends meanwhile


@pytest.mark.parametrize("strike", [pause_all, kill_all])
async def test_server_that_is_told_to_end_meanwhile_ends_in_order(
    engine: Engine, room_name: str, strike: Strike
) -> None:
    with run_server_process(*options(engine, room_name), "--drain", "1") as ending:
        ann = await join(ending, "ann")
        await lose(engine, strike, ann)
        ann.send("MSG late")
        ending.process.terminate()
        await ann.wait_closed()
        assert b"BYE" not in ann.received  # as what it said may be lost
        assert await asyncio.to_thread(ending.process.wait, DEADLINE) == 0


@contextlib.contextmanager
def starting_server(*arguments: str) -> Iterator[Popen[str]]:
    """Run a server that is not expected to get as far as to listen, and has less patience than others."""
    with Popen([sys.executable, "-c", IMPATIENT, *arguments], stderr=PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def check_that_it_ends(process: Popen[str]) -> None:
    """Check that a server ends when it is told to, with or without a word of what it was waiting for."""
    process.terminate()
    _, told = process.communicate(timeout=DEADLINE)
    assert process.returncode in {0, 1}
    assert "Traceback" not in told


def test_server_that_is_told_to_end_before_nats_answers_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(DEADLINE)
        host, port = silent.getsockname()
        url = f"nats://{host}:{port}"
        with starting_server("--port", "0", "--cluster", url) as starting, silent.accept()[0]:
            check_that_it_ends(starting)


async def test_server_that_is_told_to_end_before_it_knows_who_is_there_ends(
    engine: Engine, room_name: str
) -> None:
    async with house(engine, room_name):
        pass
    async with engine.client() as client:
        await client.jetstream().purge_stream(room_name)
    with starting_server("--port", "0", *options(engine, room_name)) as starting:
        assert starting.stderr is not None
        async with asyncio.timeout(PATIENCE):
            assert "waiting for another server" in await asyncio.to_thread(starting.stderr.readline)
        await asyncio.to_thread(check_that_it_ends, starting)


# The stream is deleted


async def test_deleted_stream_cuts_all_connections_and_the_room_begins_anew(
    engine: Engine, room_name: str
) -> None:
    async with houses(engine, room_name, 2) as homes:
        ann, bob = await gather(homes, "ann", "bob")
        await ann.ask("MSG 1")
        await asyncio.to_thread(engine.delete, room_name)
        for peer in (ann, bob):
            await peer.wait_closed()
            assert b"BYE" not in peer.received
        ann, bob = [
            await join_again(home.server.address, name)
            for home, name in zip(homes, ("ann", "bob"), strict=True)
        ]
        await ann.barrier()
        await ann.ask("MSG 2")
        assert await bob.barrier() == ["MSG ann 2"]


async def join_again(address: tuple[str, int], name: str) -> Peer:
    """Let a peer in as soon as its server is ready for that."""
    peer = await connect(address)
    await peer.line()
    async with asyncio.timeout(PATIENCE):
        peer.send(f"JOIN {name}")
        while (answer := await peer.line()) == BUSY:
            peer.send(f"JOIN {name}")
    assert answer == f"OK JOIN {name}"
    return peer
