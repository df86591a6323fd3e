"""Connecting to a name with several addresses, some of which do not answer."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from simple_chat import ConnectError
from simple_chat.client import happy_eyeballs
from simple_chat.client.happy_eyeballs import open_socket
from tests.client.scripted_server import DEADLINE, Address, join_and_leave, next_turn, scripted_server
from tests.harness.server import run_server_in_loop

NAME = "chat.example"

Candidate = tuple[int, int, int, str, Any]


def candidate(host: str, port: int) -> Candidate:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port)


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> list[Address]:
    """The addresses of every name."""
    found: list[Address] = []

    async def resolve(_host: str, _port: int) -> list[Candidate]:
        return [candidate(*each) for each in found]

    monkeypatch.setattr(happy_eyeballs, "_resolve", resolve)
    return found


@pytest.fixture
def silent() -> Iterator[Address]:
    """An address that drops every SYN: its queue of connections is full."""
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(2):
            waiting = sockets.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()


@contextlib.asynccontextmanager
async def connected_to(address: Address) -> AsyncIterator[None]:
    """Connect, and check where to."""
    async with asyncio.timeout(DEADLINE):
        with await open_socket(NAME, 1) as sock:
            assert sock.getpeername() == address
            yield


async def test_next_address_is_tried_while_the_first_is_silent(
    addresses: list[Address], silent: Address
) -> None:
    async with run_server_in_loop() as home:
        addresses += [silent, home.server.address]
        await join_and_leave((NAME, 1))


async def test_next_address_is_tried_at_once_where_the_first_refuses(
    addresses: list[Address], closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(happy_eyeballs, "_ATTEMPT_DELAY", 10 * DEADLINE)
    async with scripted_server() as server:
        addresses += [("127.0.0.1", closed_port), server.address]
        async with connected_to(server.address):
            pass


async def test_silent_address_goes_on_while_the_next_ones_fail(
    addresses: list[Address], closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(happy_eyeballs, "_ATTEMPT_DELAY", 0.0)
    resume = asyncio.Event()
    connect = happy_eyeballs._connect

    async def connect_later(where: Candidate) -> socket.socket:
        if where[-1] == server.address:
            await resume.wait()
        try:
            return await connect(where)
        finally:
            resume.set()

    monkeypatch.setattr(happy_eyeballs, "_connect", connect_later)
    async with scripted_server() as server:
        addresses += [server.address, ("127.0.0.1", closed_port)]
        async with connected_to(server.address):
            pass


async def test_failure_has_the_reason_of_each_address_or_the_one_of_all(
    addresses: list[Address], closed_port: int
) -> None:
    addresses += 2 * [("127.0.0.1", closed_port)]
    with pytest.raises(ConnectError, match=f"^can't connect to {NAME}:1: Connection refused$"):
        await join_and_leave((NAME, 1))
    addresses[1] = ("255.255.255.255", closed_port)
    with pytest.raises(ConnectError, match=r": 127\.0\.0\.1: Connection refused; 255\.255\.255\.255: [A-Z]"):
        await join_and_leave((NAME, 1))


async def test_cancelled_attempts_are_closed(addresses: list[Address], silent: Address) -> None:
    addresses += [silent]
    connecting = asyncio.create_task(open_socket(NAME, 1))
    await next_turn()
    await next_turn()
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting  # an open socket would be a ResourceWarning, which is an error


async def test_second_success_is_closed(addresses: list[Address], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(happy_eyeballs, "_ATTEMPT_DELAY", 0.0)
    meet = asyncio.Barrier(2)
    connect = happy_eyeballs._connect

    async def connect_together(where: Candidate) -> socket.socket:
        sock = await connect(where)
        await meet.wait()
        return sock

    monkeypatch.setattr(happy_eyeballs, "_connect", connect_together)
    async with scripted_server() as server, asyncio.timeout(DEADLINE):
        addresses += 2 * [server.address]
        (await open_socket(NAME, 1)).close()
        for peer in server.peers:
            await peer.wait_closed()


def test_families_take_turns() -> None:
    one, two, three = (candidate(f"192.0.2.{number}", 1) for number in (1, 2, 3))
    six = candidate("2001:db8::1", 1)
    assert happy_eyeballs._interleave([one, two, three, six]) == [one, six, two, three]
    assert happy_eyeballs._interleave([six, one, two]) == [six, one, two]
