"""However a member goes, and by whichever way it came: one LEFT, no part of a line, and nothing is left."""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import Popen, run

import pytest

from simple_chat import Settings
from simple_chat.server import connection as connection_module
from simple_chat.server import hub
from tests.harness.loops import LOOPS
from tests.harness.peer import DEADLINE, Peer, TlsPeer
from tests.harness.programs import find_program, run_server_process
from tests.harness.server import CA, TRANSPORTS, ServerHarness, client_tls_context, run_server_in_loop

Exit = Callable[[Peer], Awaitable[None]]

HALF = b"MSG half a li"

PROGRAM = """
import socket, ssl, sys
transport, where, ca = sys.argv[1:]
if transport == "unix":
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(where)
else:
    sock = socket.create_connection(("127.0.0.1", int(where)))
if transport == "tls":
    sock = ssl.create_default_context(cafile=ca).wrap_socket(sock, server_hostname="localhost")
lines = sock.makefile("rb")
lines.readline()
sock.sendall(b"JOIN ann\\n")
lines.readline()
sock.sendall(b"MSG whole\\nMSG half a li")
lines.read()
"""


async def half_close(peer: Peer) -> None:
    peer.half_close()
    assert await peer.rest() == ([] if isinstance(peer, TlsPeer) else ["BYE quit"])


async def half_close_in_mid_line(peer: Peer) -> None:
    peer.write(HALF)
    peer.half_close()
    lines = await peer.rest()
    if not isinstance(peer, TlsPeer):  # which ends as a whole
        assert [line.split()[:2] for line in lines] == [["ERR", "incomplete-line"], ["BYE", "quit"]]


async def close(peer: Peer) -> None:
    await peer.close()


async def close_in_mid_line(peer: Peer) -> None:
    peer.write(HALF)
    await peer.close()


async def cut(peer: Peer) -> None:
    assert isinstance(peer, TlsPeer)
    await peer.close_without_notify()


async def cut_in_mid_line(peer: Peer) -> None:
    peer.write(HALF)
    await cut(peer)


async def cut_in_mid_record(peer: Peer) -> None:
    assert isinstance(peer, TlsPeer)
    peer.tls.write(HALF + b"ne\n")
    peer.transport.write(peer._outgoing.read()[:-1])
    await peer.close_without_notify()


async def reset(peer: Peer) -> None:
    await peer.reset()


async def reset_in_mid_line(peer: Peer) -> None:
    peer.write(HALF)
    await peer.reset()


async def quit_(peer: Peer) -> None:
    peer.send("QUIT")
    assert await peer.rest() == ["BYE quit"]


async def quit_and_go(peer: Peer) -> None:
    peer.send("QUIT", "MSG behind the QUIT")
    await peer.close()


async def leave_and_close(peer: Peer) -> None:
    assert await peer.ask("LEAVE") == ["OK LEAVE"]
    await peer.close()


async def leave_and_reset(peer: Peer) -> None:
    peer.send("LEAVE")
    peer.write(HALF)
    await peer.reset()


PLAIN: list[Exit] = [
    half_close,
    half_close_in_mid_line,
    close,
    close_in_mid_line,
    reset,
    reset_in_mid_line,
    quit_,
    quit_and_go,
    leave_and_close,
    leave_and_reset,
]
ENDS: list[tuple[str, Exit]] = [
    *((transport, end) for transport in TRANSPORTS for end in PLAIN),
    *(("tls", end) for end in (cut, cut_in_mid_line, cut_in_mid_record)),
]
IN_ORDER: list[tuple[str, Exit]] = [
    (transport, end) for transport in TRANSPORTS for end in (half_close_in_mid_line, close_in_mid_line)
]


async def see_one_leave(harness: ServerHarness, watchers: list[Peer], other: Peer, *said: str) -> None:
    """Check what is to be seen of ann's going, and that the name is free at once."""
    for watcher in watchers:
        assert await watcher.until("LEFT ann") == [*said]
    await see_that_the_name_is_free(harness, watchers, other)


async def see_that_the_name_is_free(harness: ServerHarness, watchers: list[Peer], other: Peer) -> None:
    """Check that another can be ann, and that the one who was is seen no more."""
    assert await other.ask("JOIN Ann") == ["OK JOIN Ann"]
    for watcher in watchers:
        assert await watcher.barrier() == ["JOINED Ann"]
    assert (await other.ask("WHO"))[-1] == f"OK WHO {len(watchers) + 1}"
    await harness.wait_for_connections(len(watchers) + 1)


@pytest.mark.parametrize(("transport", "end"), ENDS)
async def test_one_left_is_sent_and_no_state_remains(transport: str, end: Exit) -> None:
    async with run_server_in_loop(transport=transport) as harness:
        tasks = asyncio.all_tasks()
        (bob, cleo, ann), other = await harness.join_all("bob", "cleo", "ann"), await harness.connect()
        await end(ann)
        await see_one_leave(harness, [bob, cleo], other)
        past = await bob.ask("HISTORY")
        assert past == ["OK HISTORY 0"]
        assert asyncio.all_tasks() == tasks


@pytest.mark.parametrize(("transport", "end"), [each for each in ENDS if each[1] is not leave_and_close])
async def test_end_before_join_is_not_sent_to_others_and_leaves_no_state(transport: str, end: Exit) -> None:
    async with run_server_in_loop(transport=transport) as harness:
        tasks = asyncio.all_tasks()
        (bob,), stranger = await harness.join_all("bob"), await harness.connect()
        await end(stranger)
        await harness.wait_for_connections(1)
        assert await bob.ask("HISTORY") == ["OK HISTORY 0"]
        assert asyncio.all_tasks() == tasks


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_killed_client_leaves_without_its_torn_line(transport: str, tmp_path: Path) -> None:
    ca = str(tmp_path / "ca.pem")
    CA.cert_pem.write_to_path(ca)
    async with run_server_in_loop(transport=transport) as harness:
        (bob, cleo), other = await harness.join_all("bob", "cleo"), await harness.connect()
        where = harness.address if isinstance(harness.address, str) else str(harness.address[1])
        with Popen([sys.executable, "-c", PROGRAM, transport, where, ca]) as program:  # noqa: ASYNC220 - that is fast
            try:
                assert await bob.lines(2) == ["JOINED ann", "MSG ann whole"]
            finally:
                program.kill()
        assert program.returncode == -signal.SIGKILL
        assert await cleo.lines(2) == ["JOINED ann", "MSG ann whole"]
        await see_one_leave(harness, [bob, cleo], other)


@pytest.mark.parametrize(("transport", "end"), IN_ORDER)
async def test_everything_sent_before_an_orderly_end_is_delivered(transport: str, end: Exit) -> None:
    said = [f"{number} of a great many lines" for number in range(2000)]
    async with run_server_in_loop(transport=transport) as harness:
        (bob, cleo, ann), other = await harness.join_all("bob", "cleo", "ann"), await harness.connect()
        ann.send(*(f"MSG {line}" for line in said))
        await end(ann)
        await see_one_leave(harness, [bob, cleo], other, *(f"MSG ann {line}" for line in said))


@pytest.mark.parametrize("end", [cut_in_mid_line, cut_in_mid_record])
async def test_prefix_is_delivered_when_tls_is_truncated(end: Exit) -> None:
    async with run_server_in_loop(transport="tls") as harness:
        (bob, ann), other = await harness.join_all("bob", "ann"), await harness.connect()
        ann.send(*(f"MSG {number} of a great many lines" for number in range(2000)))
        await end(ann)
        heard = await bob.until("LEFT ann")
        assert heard == [f"MSG ann {number} of a great many lines" for number in range(len(heard))]
        await see_that_the_name_is_free(harness, [bob], other)


# Clients that send, and close without reading: their unread HELLO makes the close a reset

CLIENTS = 40


def send_and_close(address: tuple[str, int] | str, lines: list[str]) -> None:
    """Send lines at once, and close the connection."""
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as sock:
        sock.settimeout(DEADLINE)
        sock.connect(address)
        sock.sendall("".join(f"{line}\n" for line in lines).encode())


def send_and_close_over_tls(address: tuple[str, int] | str, lines: list[str]) -> None:
    """Do the same over TLS."""
    sock = socket.create_connection(address, DEADLINE)  # type: ignore[arg-type]
    with client_tls_context().wrap_socket(sock, server_hostname="localhost") as tls:
        tls.sendall("".join(f"{line}\n" for line in lines).encode())


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("loop", LOOPS)
def test_lines_received_before_a_reset_are_executed(loop: str, transport: str) -> None:
    send = send_and_close_over_tls if transport == "tls" else send_and_close

    async def count() -> None:
        async with run_server_in_loop(transport=transport) as harness:
            ann = await harness.join("ann")
            for number in range(CLIENTS):
                lines = [f"JOIN n{number}", "MSG one", "MSG two"]
                await asyncio.to_thread(send, harness.address, lines)
                name = f"n{number}"
                assert await ann.lines(4) == [
                    f"JOINED {name}",
                    f"MSG {name} one",
                    f"MSG {name} two",
                    f"LEFT {name}",
                ]

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(count())


SHELL = """
for number in $(seq 40); do printf 'JOIN n%d\\nMSG hi\\n' $number >/dev/tcp/$0/$1; done
"""


@pytest.mark.parametrize("loop", LOOPS)
def test_lines_that_a_shell_sends_and_does_not_wait_for_are_executed(loop: str) -> None:
    with run_server_process("--loop", loop) as server:
        ann = server.join("ann")
        run([find_program("bash"), "-c", SHELL, server.host, server.port], check=True, timeout=DEADLINE)
        expected = [[f"JOINED n{n}", f"MSG n{n} hi", f"LEFT n{n}"] for n in range(1, CLIENTS + 1)]
        received = ann.wait_for(f"LEFT n{CLIENTS}")
        assert sorted([*received, f"LEFT n{CLIENTS}"]) == sorted(line for lines in expected for line in lines)


def flood(address: tuple[str, int] | str) -> None:
    """Join, and send without ever reading until the server ends the connection."""
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as sock:
        sock.settimeout(DEADLINE)
        sock.connect(address)
        sock.sendall(b"JOIN ann\n")
        with contextlib.suppress(ConnectionError):
            while True:
                sock.sendall((b"PING %b\n" % (b"x" * 1000)) * 1000)


@pytest.mark.parametrize("transport", ["tcp", "unix"])
@pytest.mark.parametrize("loop", LOOPS)
def test_client_that_sends_on_while_it_is_dropped_delays_nobody(
    loop: str, transport: str, tmp_path: Path
) -> None:
    path = str(tmp_path / "socket")
    where = ["--host", "127.0.0.1", "--unix", path, "--stall-timeout", "0.5"]
    with run_server_process("--loop", loop, *where) as server, ThreadPoolExecutor() as flooding:
        bob = server.join("bob")
        sent = flooding.submit(flood, path if transport == "unix" else (server.host, int(server.port)))
        assert bob.wait_for("LEFT ann") == ["JOINED ann"]
        assert bob.barrier() == []
        sent.result(DEADLINE)


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait for what is done once in a while."""
    monkeypatch.setattr(hub, "_SWEEP_INTERVAL", 0.01)
    monkeypatch.setattr(hub, "LINGER", 0.01)
    monkeypatch.setattr(connection_module, "_THROTTLE", 0.02)


def send_with_what_follows(peer: Peer, lines: list[str]) -> None:
    """Send lines; over TLS in the same packet as what is sent next."""
    if isinstance(peer, TlsPeer):
        peer.tls.write("".join(f"{line}\n" for line in lines).encode())
    else:
        peer.send(*lines)


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize(("transport", "end"), IN_ORDER)
async def test_throttled_lines_are_delivered_after_an_orderly_end(transport: str, end: Exit) -> None:
    lines = [f"MSG {number}" for number in range(300)]
    async with run_server_in_loop(
        Settings(rate=250, burst=1, drain=0.01), limited=True, transport=transport
    ) as harness:
        (bob, cleo, ann), other = await harness.join_all("bob", "cleo", "ann"), await harness.connect()
        send_with_what_follows(ann, lines)
        await end(ann)
        heard = [line.replace("MSG", "MSG ann") for line in lines]
        await see_one_leave(harness, [bob, cleo], other, *heard)


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_reset_of_a_paused_connection_is_detected(transport: str) -> None:
    async with run_server_in_loop(Settings(rate=20, burst=1), limited=True, transport=transport) as harness:
        (bob, ann), other = await harness.join_all("bob", "ann"), await harness.connect()
        ann.pause()
        ann.send(*(f"MSG {number}" for number in range(10_000)))
        assert await bob.line() == "MSG ann 0"
        bob.send("MSG hi")  # on a Unix socket it is a reset only if something is not read
        heard = ["MSG ann 0", *await bob.barrier()]
        await ann.reset()
        heard += await bob.until("LEFT ann")
        assert heard == [f"MSG ann {number}" for number in range(len(heard))]
        assert len(heard) < 5_000
        await see_that_the_name_is_free(harness, [bob], other)


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize("slowed", [False, True])
async def test_tls_close_that_the_event_loop_never_reports_is_detected(
    slowed: bool,  # noqa: FBT001 (a parameter)
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with run_server_in_loop(
        Settings(rate=20, burst=1, drain=0.01), limited=True, transport="tls"
    ) as harness:
        (bob, ann), other = await harness.join_all("bob", "ann"), await harness.connect()
        with monkeypatch.context() as patch:
            patch.setattr(connection_module.Connection, "connection_lost", lambda *_: None)
            if slowed:
                ann.send(*["MSG hi"] * 1_000)
                assert await bob.line() == "MSG ann hi"
            await ann.reset()
            assert set(await bob.until("LEFT ann")) <= {"MSG ann hi"}
            await see_that_the_name_is_free(harness, [bob], other)
