"""Where the server listens, and what it says if it can't."""
# ruff: noqa: ASYNC240 - looking at a file blocks nobody else in a test

import asyncio
import contextlib
import errno
import os
import re
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from simple_chat import ConfigError, ListenError, Settings, serve
from tests.harness.peer import DEADLINE, connect
from tests.harness.server import run_server_in_loop, server_tls_context


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


# Several addresses


@pytest.fixture
def resolve_to(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets every host name resolve to the given addresses."""

    def resolve_to(*hosts: str) -> None:
        async def getaddrinfo(_: str, port: int, **_more: object) -> list[tuple[Any, ...]]:
            return [
                (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (host, port, 0, 0))
                if ":" in host
                else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))
                for host in hosts
            ]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)

    return resolve_to


async def assert_answered(*addresses: tuple[str, int]) -> None:
    """Check that one can connect to each address, also where the loop resolves names as `resolve_to` says."""

    def first_bytes(address: tuple[str, int]) -> bytes:
        with socket.create_connection(address, DEADLINE) as sock:
            return sock.recv(6)

    for address in addresses:
        assert await asyncio.to_thread(first_bytes, address) == b"HELLO "


@pytest.mark.parametrize("hosts", ["127.0.0.1,::1", ["127.0.0.1", "[::1]:0"]])
async def test_several_hosts_are_all_listened_on(hosts: str | list[str]) -> None:
    async with serve(hosts, 0) as server:
        assert [host for host, _ in server.addresses] == ["127.0.0.1", "::1"]
        await assert_answered(*server.addresses)


async def test_all_ipv4_and_all_ipv6_addresses_are_listened_on_at_one_port(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::", 0))
        port = probe.getsockname()[1]
    async with serve("0.0.0.0,::", port) as server:
        assert server.addresses == [("0.0.0.0", port), ("::", port)]
        await assert_answered(("127.0.0.1", port), ("::1", port))
    caplog.clear()  # anybody can reach it


async def test_host_that_is_named_twice_is_listened_on_once(resolve_to: Callable[..., None]) -> None:
    async with serve("127.0.0.66", 0) as server:
        port = server.address[1]
    resolve_to("127.0.0.66", "127.0.0.66")
    async with serve(["127.0.0.66", "a.name"], port) as server:
        assert server.addresses == [("127.0.0.66", port)]


async def test_all_addresses_of_a_name_get_one_free_port(resolve_to: Callable[..., None]) -> None:
    resolve_to("127.0.0.1", "::1", "127.0.0.66")
    async with serve("a.name", 0) as server:
        ports = {port for _, port in server.addresses}
        assert (len(server.addresses), len(ports)) == (3, 1)
        await assert_answered(*server.addresses)


@pytest.mark.parametrize("taken", [1, 9])
async def test_free_port_that_is_in_use_at_another_address_of_the_name_is_given_up(
    resolve_to: Callable[..., None], monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    failures = refuse_to_bind(monkeypatch, "127.0.0.66", errno.EADDRINUSE, times=taken)
    resolve_to("127.0.0.1", "127.0.0.66")
    async with serve("a.name", 0) as server:
        assert failures == []
        assert len(server.addresses) == 2
        assert len({port for _, port in server.addresses}) == 1
        await assert_answered(*server.addresses)


async def test_search_for_a_port_that_is_free_everywhere_ends(
    resolve_to: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_to_bind(monkeypatch, "127.0.0.66", errno.EADDRINUSE, times=1000)
    resolve_to("127.0.0.1", "127.0.0.66")
    with pytest.raises(ListenError, match=r"^can't listen on a\.name:0: Address already in use$"):
        async with serve("a.name", 0):
            pytest.fail("nobody can listen there")


@pytest.mark.parametrize("missing", [errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT])
@pytest.mark.parametrize("hosts", [("::1", "127.0.0.1"), ("127.0.0.1", "::1")])
async def test_address_of_a_name_that_this_machine_lacks_is_left_out(
    resolve_to: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    hosts: tuple[str, str],
    missing: int,
) -> None:
    refuse_to_bind(monkeypatch, "::1", missing, times=1000)
    resolve_to(*hosts)
    caplog.set_level("INFO", "simple_chat")
    async with serve("localhost", 0) as server:
        assert [host for host, _ in server.addresses] == ["127.0.0.1"]
        await assert_answered(*server.addresses)
    assert f"not listening on [::1]:0: {os.strerror(missing)}" in caplog.messages


async def test_name_without_an_address_of_this_machine_is_refused(resolve_to: Callable[..., None]) -> None:
    resolve_to("192.0.2.1", "2001:db8::1")
    with pytest.raises(ListenError, match=r"^can't listen on a\.name:0: Cannot assign requested address$"):
        async with serve("a.name", 0):
            pytest.fail("nobody can listen there")


async def test_address_of_a_name_that_is_in_use_is_refused_and_the_others_are_free_again(
    resolve_to: Callable[..., None],
) -> None:
    async with serve("127.0.0.67", 0) as other:
        port = other.address[1]
        resolve_to("127.0.0.66", "127.0.0.67")
        with pytest.raises(ListenError, match=rf"^can't listen on a\.name:{port}: Address already in use$"):
            async with serve("a.name", port):
                pytest.fail("somebody else gets a part of the connections")
        with socket.create_server(("127.0.0.66", port)):
            pass


def refuse_to_bind(monkeypatch: pytest.MonkeyPatch, host: str, number: int, *, times: int) -> list[int]:
    """Let binding to an address fail some times; return the failures that are left."""
    failures = times * [number]
    bind = socket.socket.bind

    def fail(self: socket.socket, address: tuple[Any, ...]) -> None:
        if address[0] == host and failures:
            raise OSError(failures.pop(), "no")
        bind(self, address)

    monkeypatch.setattr(socket.socket, "bind", fail)
    return failures


@pytest.mark.parametrize("hosts", ["a:b", "", "127.0.0.1,", [], ["127.0.0.1", "host:1:2"]])
async def test_what_is_no_address_is_refused(hosts: str | list[str]) -> None:
    with pytest.raises(ListenError, match=r"^can't listen: .+(HOST:PORT|list of hosts is empty)"):
        async with serve(hosts, 0):
            pytest.fail("nobody can listen there")


# One port, several servers


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


# Unix sockets


async def test_unix_socket_alone_opens_no_tcp_port(path: Path) -> None:
    async with serve(unix=str(path)) as server:
        assert server.addresses == []
        with pytest.raises(ListenError, match="Unix socket only"):
            server.address  # noqa: B018 - it raises
        peer = await connect(str(path))
        assert len(await peer.barrier()) == 1
        await peer.close()


@pytest.mark.parametrize("where", [{"host": "127.0.0.1:0"}, {"port": 0}, {"host": "127.0.0.1", "port": 0}])
async def test_unix_socket_beside_a_host_or_port_does(path: Path, where: dict[str, Any]) -> None:
    async with serve(**where, unix=str(path)) as server:
        (address,) = server.addresses
        assert address[0] == "127.0.0.1"


@pytest.mark.parametrize("options", [{"tls": server_tls_context()}, {"settings": Settings(reuse_port=True)}])
async def test_what_is_for_tcp_is_refused_with_a_unix_socket_alone(
    path: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match="add --host or --port"):
        async with serve(unix=str(path), **options):
            pytest.fail("nobody can use TLS there")
    assert not path.exists()


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
