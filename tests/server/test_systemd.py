"""What systemd is told, and sockets that it hands over."""

import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from signal import SIGCONT, SIGHUP, SIGSTOP
from tempfile import TemporaryDirectory

import pytest

from simple_chat import serve
from simple_chat.server import ctl
from tests.harness import http
from tests.harness.operator_peer import operator
from tests.harness.peer import connect
from tests.harness.programs import DEADLINE
from tests.harness.supervisor import Supervisor

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="systemd is on Linux")

WATCHDOG = "100000"  # us
WAITING = 500  # connections that no server accepts yet


@pytest.fixture
def directory() -> Iterator[Path]:
    with TemporaryDirectory(prefix="chat") as directory:  # a Unix socket's path can't be long
        yield Path(directory)


@pytest.fixture
def supervisor(directory: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(directory)
    with supervisor.sock:
        yield supervisor


@pytest.fixture
def chat() -> Iterator[socket.socket]:
    """A listening socket for chat."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as sock:
        yield sock


def unix_listener(path: Path, mode: int = 0o600) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    path.chmod(mode)
    sock.listen()
    return sock


def greeting(sock: socket.socket) -> bytes:
    sock.settimeout(DEADLINE)
    return sock.recv(6)


# Notifications


@pytest.mark.parametrize("abstract", [False, True])
def test_ready_is_told_when_it_listens_and_stopping_when_it_is_stopped(
    directory: Path, *, abstract: bool
) -> None:
    supervisor = Supervisor(directory, abstract=abstract)
    with supervisor.sock, supervisor.run("--port", "0", "--max-clients", "7") as server:
        assert supervisor.receive() == ["READY=1"]
        with socket.create_connection((server.host, int(server.port)), DEADLINE) as sock:
            assert greeting(sock) == b"HELLO "
        assert supervisor.receive() == ["STATUS=0 members, 0 of 7 connections"]
        server.stop()
        assert supervisor.wait_for("STOPPING=1")[-1] == "STOPPING=1"


def test_reload_is_told_with_its_beginning_and_its_end(supervisor: Supervisor, directory: Path) -> None:
    with supervisor.run("--port", "0", "--admin", str(directory / "admin")) as server:
        supervisor.wait_for("READY=1")
        before = time.monotonic_ns() // 1000
        server.process.send_signal(SIGHUP)
        began = supervisor.wait_for("MONOTONIC_USEC=")
        assert began[-2] == "RELOADING=1"
        assert before <= int(began[-1].partition("=")[2]) <= time.monotonic_ns() // 1000
        assert supervisor.wait_for("READY=1")[-1:] == ["READY=1"]
        assert ctl.main(["--admin", str(directory / "admin"), "reload"]) == 0
        assert supervisor.wait_for("RELOADING=1")
        assert supervisor.wait_for("READY=1")


def test_reload_that_fails_is_over_too(supervisor: Supervisor, directory: Path) -> None:
    config = directory / "config"
    config.write_text("rate = 5")
    with supervisor.run("--port", "0", "--config", str(config)) as server:
        supervisor.wait_for("READY=1")
        config.write_text("rate = x")
        server.process.send_signal(SIGHUP)
        supervisor.wait_for("RELOADING=1")
        assert supervisor.wait_for("READY=1")
        server.log.expect_exact("nothing reloaded")


def test_status_is_how_many_there_are_or_why_nobody_can_talk(supervisor: Supervisor) -> None:
    with supervisor.run("--port", "0", WATCHDOG_USEC=WATCHDOG) as server:
        ann = server.nc()
        ann.type("JOIN ann")
        ann.wait_for("OK JOIN ann")
        supervisor.wait_for("STATUS=1 members, 1 of ")
        server.process.terminate()  # nc ends only when something is typed
        lines = supervisor.wait_for("STATUS=draining")
        assert "STOPPING=1" in lines


def test_watchdog_is_told_for_as_long_as_the_event_loop_runs(supervisor: Supervisor) -> None:
    with supervisor.run("--port", "0", WATCHDOG_USEC=WATCHDOG) as server:
        for _ in range(3):
            supervisor.wait_for("WATCHDOG=1")
        server.process.send_signal(SIGSTOP)
        supervisor.sock.settimeout(10 * int(WATCHDOG) / 1e6)
        with pytest.raises(TimeoutError):
            supervisor.wait_for("nothing that there is")
        server.process.send_signal(SIGCONT)
        supervisor.sock.settimeout(DEADLINE)
        supervisor.wait_for("WATCHDOG=1")


@pytest.mark.parametrize(("pid", "watchdog"), [("", ""), ("", "0"), ("1", WATCHDOG)])
def test_watchdog_that_is_off_or_of_another_process_is_not_told(
    supervisor: Supervisor, pid: str, watchdog: str
) -> None:
    supervisor.pid = pid
    with supervisor.run("--port", "0", WATCHDOG_USEC=watchdog) as server:
        server.stop()
        assert "WATCHDOG=1" not in supervisor.wait_for("STOPPING=1")


def test_supervisor_that_is_gone_is_in_the_log(supervisor: Supervisor) -> None:
    with supervisor.run("--port", "0", WATCHDOG_USEC=WATCHDOG) as server:
        supervisor.wait_for("WATCHDOG=1")
        supervisor.sock.close()
        server.log.expect_exact("WARNING can't notify systemd: Connection refused")


# Sockets


def test_socket_for_chat_is_all_that_is_listened_on(supervisor: Supervisor, chat: socket.socket) -> None:
    with supervisor.run(sockets=[("chat", chat)]) as server:
        assert (server.host, int(server.port)) == chat.getsockname()
        assert server.join("ann").barrier() == []
        assert len(re.findall("listening on", server.stop())) == 1


@pytest.mark.parametrize("name", ["unknown", "simple_chat.socket"])
def test_sockets_without_a_name_are_for_chat(
    supervisor: Supervisor, chat: socket.socket, directory: Path, name: str
) -> None:
    with (
        unix_listener(directory / "chat") as unix,
        supervisor.run(sockets=[(name, chat), (name, unix)]) as server,
    ):
        server.log.expect_exact(f"listening on unix:{directory}/chat\n")
        server.join("ann")
        server.join("ben", "-U", str(directory / "chat"))
    assert (directory / "chat").is_socket()  # whose it is, unlinks it


def test_options_open_more_beside_a_socket(supervisor: Supervisor, chat: socket.socket) -> None:
    with supervisor.run("--host", "127.0.0.2", "--port", "0", sockets=[("chat", chat)]) as server:
        server.log.expect(r"listening on 127\.0\.0\.2:(\d+)\n")
        found = server.log.match
        assert isinstance(found, re.Match)
        server.join("ann")
        server.join("ben", "127.0.0.2", found[1])


async def test_admin_and_metrics_have_sockets_too(
    supervisor: Supervisor, chat: socket.socket, directory: Path
) -> None:
    with (
        unix_listener(directory / "admin") as admin,
        socket.create_server(("127.0.0.1", 0)) as metrics,
        supervisor.run(sockets=[("metrics", metrics), ("admin", admin), ("chat", chat)]),
    ):
        assert (await http.get(metrics.getsockname(), "/readyz")).status == 200
        async with operator(str(directory / "admin")) as peer:
            assert "OK STATUS" in await peer.order("STATUS")
    assert (directory / "admin").is_socket()


@pytest.mark.parametrize("mode", [0o666, 0o602])
def test_admin_socket_that_everybody_can_use_is_refused(
    supervisor: Supervisor, chat: socket.socket, directory: Path, mode: int
) -> None:
    with unix_listener(directory / "admin", mode) as admin:
        sockets = [("chat", chat), ("admin", admin)]
        assert_fails(
            supervisor, sockets, f"unix:{directory}/admin is handed over for admin, and open to every"
        )
    assert_fails(
        supervisor, [("chat", chat), ("admin", chat)], "has to be a Unix socket with SocketMode=0600"
    )


def test_unknown_name_is_refused_and_the_names_there_are_are_told(
    supervisor: Supervisor, chat: socket.socket
) -> None:
    for names in (["irc"], ["chat", "irc"], ["chat", "simple_chat.socket"]):
        reason = f"handed over as '{names[-1]}': FileDescriptorName= has to be one of chat, admin, metrics\n"
        assert_fails(supervisor, [(name, chat) for name in names], reason)


def test_socket_that_does_not_listen_is_refused(supervisor: Supervisor) -> None:
    for kind in ((socket.AF_INET, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_DGRAM)):
        with socket.socket(*kind) as sock:
            assert_fails(supervisor, [("chat", sock)], "does not listen on TCP or a Unix socket")


def assert_fails(supervisor: Supervisor, sockets: list[tuple[str, socket.socket]], reason: str) -> None:
    with supervisor.start(sockets=sockets) as process:
        _, log = process.communicate(timeout=DEADLINE)
    assert process.returncode == 1
    assert reason in log.decode()


def test_sockets_of_another_process_are_not_taken(supervisor: Supervisor, chat: socket.socket) -> None:
    supervisor.pid = "1"
    with supervisor.run("--port", "0", sockets=[("chat", chat)]) as server:
        assert int(server.port) != chat.getsockname()[1]


# From one server to the next


def test_connections_that_are_made_while_no_server_runs_are_served_by_the_next(
    supervisor: Supervisor, chat: socket.socket
) -> None:
    with supervisor.run(sockets=[("chat", chat)]) as server:
        server.join("ann")
    with ExitStack() as stack:
        waiting = [
            stack.enter_context(socket.create_connection(chat.getsockname(), DEADLINE))
            for _ in range(WAITING)
        ]
        with supervisor.run(sockets=[("chat", chat)]):
            assert [greeting(sock) for sock in waiting] == [b"HELLO "] * WAITING


async def test_connections_have_the_same_options_whenever_they_were_made(chat: socket.socket) -> None:
    async with serve("127.0.0.1", 0) as server:
        ann = await connect(server.address)
        await ann.line()
        (plain,) = (options_of(each.sock) for each in server.hub.connections)
    before = await connect(chat.getsockname())
    async with serve(sockets={"chat": [chat.dup()]}) as server:
        await before.line()
        after = await connect(chat.getsockname())
        await after.line()
        assert [options_of(each.sock) for each in server.hub.connections] == [plain, plain]


def options_of(sock: socket.socket) -> list[int]:
    """Return the options that a server sets for its connections."""
    names = ("NODELAY", "NOTSENT_LOWAT", "KEEPIDLE", "KEEPINTVL", "KEEPCNT", "USER_TIMEOUT")
    numbers = [getattr(socket, f"TCP_{name}") for name in names if hasattr(socket, f"TCP_{name}")]
    options = (socket.SO_KEEPALIVE, socket.SO_OOBINLINE, socket.SO_RCVBUF)
    return [
        *(sock.getsockopt(socket.IPPROTO_TCP, each) for each in numbers),
        *(sock.getsockopt(socket.SOL_SOCKET, each) for each in options),
    ]
