"""Where the server listens, and what it says if it can't."""
# ruff: noqa: ASYNC240 - looking at a file blocks nobody else in a test

import asyncio
import contextlib
import errno
import re
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from simple_chat import ListenError, Settings, serve
from tests.harness.peer import DEADLINE, connect
from tests.harness.server import run_server_in_loop


@pytest.fixture
def path() -> Iterator[Path]:
    with TemporaryDirectory(prefix="chat") as directory:  # a Unix socket's path can't be long
        yield Path(directory) / "socket"


async def test_port_0_is_any_free_port_and_told() -> None:
    async with run_server_in_loop() as one, run_server_in_loop() as two:
        assert one.server.address[0] == two.server.address[0] == "127.0.0.1"
        assert one.server.address[1] != two.server.address[1]
        assert one.server.addresses == [one.server.address]
        assert await (await one.join("ann")).ask("WHO") == ["NAMES ann", "OK WHO 1"]
        assert await (await two.connect()).ask("WHO") == ["OK WHO 0"]


async def test_a_taken_port_is_refused() -> None:
    async with run_server_in_loop() as harness:
        host, port = harness.server.address
        with pytest.raises(ListenError, match=rf"can't listen on {host}:{port}: "):
            async with serve(host, port):
                pytest.fail("two servers on one port")
        await harness.join("ann")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere one server gets all connections")
async def test_a_shared_port_lets_connections_in_to_each_server() -> None:
    shared = Settings(reuse_port=True)
    async with (
        asyncio.timeout(DEADLINE),
        serve("127.0.0.1", 0, settings=shared) as one,
        serve(*one.address, settings=shared) as two,
        contextlib.AsyncExitStack() as peers,
    ):
        names: list[str] = []
        while not (one.room.names() and two.room.names()):  # which of them it will be is up to the kernel
            peer = await connect(one.address)
            peers.push_async_callback(peer.close)
            names.append(f"ann{len(names)}")
            assert (await peer.ask(f"JOIN {names[-1]}"))[-1] == f"OK JOIN {names[-1]}"
        assert sorted([*one.room.names(), *two.room.names()]) == sorted(names)


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="this system can't share a port")
@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True)])
async def test_a_port_is_not_shared_unless_both_servers_are_told_so(first: bool, second: bool) -> None:  # noqa: FBT001 (a parameter)
    async with serve("127.0.0.1", 0, settings=Settings(reuse_port=first)) as server:
        host, port = server.address
        with pytest.raises(ListenError, match=rf"can't listen on {host}:{port}: Address already in use"):
            async with serve(host, port, settings=Settings(reuse_port=second)):
                pytest.fail("two servers on one port")


async def test_missing_reuse_port_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "SO_REUSEPORT", raising=False)
    with pytest.raises(ListenError, match=r"can't listen on 127\.0\.0\.1:0: this system has no SO_REUSEPORT"):
        async with serve("127.0.0.1", 0, settings=Settings(reuse_port=True)):
            pytest.fail("nobody can share a port")


@pytest.mark.parametrize(
    ("host", "port"),
    [
        *((host, 0) for host in ("192.0.2.1", "no such host", "no-such-host.invalid", "300.300.300.300")),
        *((host, 0) for host in ("a..b", 64 * "a", "-")),
        ("127.0.0.1", 70_000),
        ("127.0.0.1", -1),
    ],
)
async def test_foreign_or_invalid_address_is_refused(host: str, port: int) -> None:
    with pytest.raises(ListenError, match=rf"^can't listen on {re.escape(host)}:{port}: .+$"):
        async with serve(host, port):
            pytest.fail("nobody can listen there")


async def test_unix_and_tcp_are_one_room(path: Path) -> None:
    async with run_server_in_loop(unix=str(path)) as harness:
        ann, bob = await harness.join("ann"), await connect(str(path))
        assert (await bob.ask("JOIN bob"))[1:] == ["OK JOIN bob"]
        assert await ann.ask("MSG hi") == ["JOINED bob"]
        bob.send("MSG hi back", "QUIT")
        assert await bob.rest() == ["MSG ann hi", "BYE quit"]
        assert await ann.until("LEFT bob") == ["MSG bob hi back"]


async def test_a_unix_socket_is_for_its_owner_and_group_and_goes_with_the_server(path: Path) -> None:
    async with run_server_in_loop(unix=str(path)):
        mode = path.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o660
    assert not path.exists()


async def test_a_socket_that_a_dead_server_left_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with run_server_in_loop(unix=str(path)):
        peer = await connect(str(path))
        assert len(await peer.barrier()) == 1
        await peer.close()


async def test_a_socket_that_a_live_server_has_is_refused_and_stays(path: Path) -> None:
    async with run_server_in_loop(unix=str(path)):
        with pytest.raises(ListenError, match=f"can't listen on unix:{path}: "):
            async with serve("127.0.0.1", 0, unix=str(path)):
                pytest.fail("two servers on one path")
        peer = await connect(str(path))
        assert len(await peer.barrier()) == 1
        await peer.close()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a full queue looks like nobody there")
async def test_a_socket_of_a_live_server_that_can_accept_no_more_is_refused_and_stays(path: Path) -> None:
    with contextlib.ExitStack() as sockets:
        busy = sockets.enter_context(socket.socket(socket.AF_UNIX))
        busy.bind(str(path))
        busy.listen(0)
        for _ in range(2):  # the second has no place in the queue any more
            waiting = sockets.enter_context(socket.socket(socket.AF_UNIX))
            waiting.settimeout(0)
            last = waiting.connect_ex(str(path))
        assert last == errno.EAGAIN
        with pytest.raises(ListenError, match=f"can't listen on unix:{path}: "):
            async with serve("127.0.0.1", 0, unix=str(path)):
                pytest.fail("two servers on one path")
        busy.accept()[0].close()
        sockets.enter_context(socket.socket(socket.AF_UNIX)).connect(str(path))


async def test_a_file_in_the_way_is_refused_and_stays(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(ListenError, match=f"can't listen on unix:{path}: "):
        async with serve("127.0.0.1", 0, unix=str(path)):
            pytest.fail("nobody can listen there")
    assert path.read_text() == "precious"


@pytest.mark.parametrize("bad", ["/no/such/directory/socket", "/tmp/" + "x" * 200, "nul\0byte"])
async def test_an_impossible_path_is_refused_and_the_port_free_again(bad: str) -> None:
    here = "127.0.0.66"  # an address of its own, where nobody else takes the port meanwhile
    with socket.socket() as probe:
        probe.bind((here, 0))
        port = probe.getsockname()[1]
    with pytest.raises(ListenError, match="can't listen on unix:"):
        async with serve(here, port, unix=bad):
            pytest.fail("nobody can listen there")
    async with serve(here, port) as server:
        assert server.address == (here, port)
