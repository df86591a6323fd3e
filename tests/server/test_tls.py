"""TLS: the same room, and what can go wrong before it is entered and when it is left."""

import asyncio
import ssl
import warnings
from collections.abc import Awaitable, Callable

import pytest
import trustme

from simple_chat import Settings
from simple_chat.server import acceptor
from tests.harness.peer import DEADLINE, Peer, TlsPeer, connect
from tests.harness.server import CA, ServerHarness, client_tls_context, run_server_in_loop, server_tls_context

STRANGER = trustme.CA()
"""An authority that nobody here trusts."""

FILLER = "x" * 4000
TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def only(version: ssl.TLSVersion, shows: trustme.CA | None = None) -> ssl.SSLContext:
    """How a peer talks TLS that knows one version of it."""
    context = client_tls_context(shows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    return context


def serial_number(peer: Peer) -> object:
    """Which certificate a peer was shown."""
    assert isinstance(peer, TlsPeer)
    certificate = peer.tls.getpeercert()
    assert certificate is not None
    return certificate["serialNumber"]


async def cannot_enter(harness: ServerHarness, tls: ssl.SSLContext) -> None:
    """Check that a peer is shown nothing of the room."""
    try:
        peer = await connect(harness.address, tls=tls)
    except ConnectionError:
        return
    await peer.wait_closed()  # with TLS 1.3 it is done before the server has seen its certificate
    assert peer.received == b""


# Who may talk


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3], ids=["1.2", "1.3"])
async def test_versions_that_are_new_enough_are_one_room(version: ssl.TLSVersion) -> None:
    async with run_server_in_loop(transport="tls") as harness:
        ann, bob = await harness.join("ann"), await harness.connect(tls=only(version))
        assert isinstance(bob, TlsPeer)
        assert bob.tls.version() == {TLS_1_2: "TLSv1.2", TLS_1_3: "TLSv1.3"}[version]
        assert await bob.ask("JOIN bob", "MSG hi") == ["OK JOIN bob"]
        assert await ann.ask("MSG hi bob") == ["JOINED bob", "MSG bob hi"]
        bob.send("QUIT")
        assert await bob.rest() == ["MSG ann hi bob", "BYE quit"]
        assert bob.got_close_notify


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1], ids=["1.0", "1.1"])
async def test_an_old_version_is_refused(version: ssl.TLSVersion) -> None:
    tls, old = server_tls_context(), only(version)
    for context in (tls, old):
        context.set_ciphers("ALL:@SECLEVEL=0")  # so that it is the version that is refused
    async with run_server_in_loop(transport="tls", tls=tls) as harness:
        await cannot_enter(harness, old)
        await harness.wait_for_connections(0)
        await harness.join("ann")


@pytest.mark.parametrize("version", [TLS_1_2, TLS_1_3], ids=["1.2", "1.3"])
async def test_required_certificate_is_enforced(version: ssl.TLSVersion) -> None:
    async with run_server_in_loop(transport="tls", tls=server_tls_context(client_ca=CA)) as harness:
        for shows in (None, STRANGER):
            await cannot_enter(harness, only(version, shows))
        await harness.wait_for_connections(0)
        ann = await harness.connect(tls=only(version, CA))
        assert await ann.ask("JOIN ann", "WHO") == ["OK JOIN ann", "NAMES ann", "OK WHO 1"]


async def test_new_certificate_applies_to_new_connections() -> None:
    async with run_server_in_loop(transport="tls") as harness:
        ann = await harness.join("ann")
        harness.server.tls = server_tls_context()
        bob = await harness.join("bob")
        assert serial_number(ann) != serial_number(bob)
        assert await ann.ask("MSG still here") == ["JOINED bob"]
        assert await bob.ask("MSG so am I") == ["MSG ann still here"]
        assert await ann.barrier() == ["MSG bob so am I"]


async def test_unix_sockets_stay_plain() -> None:
    async with run_server_in_loop(transport="unix", tls=server_tls_context()) as harness:
        ann = await harness.join("ann")
        bob = await connect(harness.server.address, tls=client_tls_context())
        assert (await bob.ask("JOIN bob", "MSG hi"))[1:] == ["OK JOIN bob"]
        assert await ann.barrier() == ["JOINED bob", "MSG bob hi"]
        await bob.close()


async def test_bytes_that_come_one_by_one_are_the_same() -> None:
    async with run_server_in_loop(transport="tls") as harness:
        bob, ann = await harness.join_all("bob", "ann")
        assert isinstance(ann, TlsPeer)
        ann.tls.write(b"MSG one record\nMSG in parts\n")
        for byte in ann._outgoing.read():
            ann.transport.write(bytes([byte]))
            assert await bob.barrier() in ([], ["MSG ann one record", "MSG ann in parts"])
        for byte in b"MSG a record a byte\n":
            ann.write(bytes([byte]))
        await ann.barrier()
        assert (await bob.barrier())[-1] == "MSG ann a record a byte"


# Before it begins


def client_hello() -> bytes:
    """The first bytes of TLS."""
    sent = ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        client_tls_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost").do_handshake()
    return sent.read()


@pytest.mark.parametrize(
    "data",
    [
        b"JOIN ann\nMSG hi\n",
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(100_000),
        b"\x16\x03\x01" + bytes(99),
        b"\xff\xfb\x01",
    ],
    ids=["chat", "HTTP", "zeros", "nearly TLS", "telnet"],
)
async def test_plain_text_on_a_tls_port_is_closed(data: bytes) -> None:
    async with run_server_in_loop(transport="tls") as harness:
        ann = await harness.join("ann")
        plain = await connect(harness.address)
        plain.write(data)
        plain.half_close()
        await plain.wait_closed()
        assert b"HELLO" not in plain.received
        await harness.wait_for_connections(1)
        assert await ann.barrier() == []


async def close(peer: Peer) -> None:
    await peer.close()


async def half_close(peer: Peer) -> None:
    peer.half_close()
    await peer.wait_closed()


async def reset(peer: Peer) -> None:
    await peer.reset()


@pytest.mark.parametrize("end", [close, half_close, reset])
@pytest.mark.parametrize("length", [0, 1, 100, None])
async def test_end_within_the_handshake_leaves_no_state(
    length: int | None, end: Callable[[Peer], Awaitable[None]]
) -> None:
    async with run_server_in_loop(Settings(max_clients=1), transport="tls") as harness:
        tasks = asyncio.all_tasks()
        half = await connect(harness.address)
        half.write(client_hello()[:length])
        await end(half)
        await harness.wait_for_connections(0)
        await harness.join("ann")
        assert asyncio.all_tasks() == tasks


@pytest.mark.parametrize("length", [0, 1, 100, None])
async def test_handshake_timeout_closes_and_releases_the_slot(
    length: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with run_server_in_loop(Settings(max_clients=2), transport="tls") as harness:
        ann = await harness.join("ann")
        with monkeypatch.context() as patch:
            patch.setattr(acceptor, "HANDSHAKE_TIMEOUT", 0.05)
            half = await connect(harness.address)
            half.write(client_hello()[:length])
            await half.wait_closed()
        await harness.wait_for_connections(1)
        await harness.join("bob")
        assert await ann.barrier() == ["JOINED bob"]


async def test_handshakes_count_for_the_connection_limit() -> None:
    async with run_server_in_loop(Settings(max_clients=2), transport="tls") as harness:
        ann, half = await harness.join("ann"), await connect(harness.address)
        third = await harness.connect()
        error, bye = await third.rest()
        assert error.startswith("ERR too-many-connections ")
        assert bye == "BYE too-many-connections"
        assert await ann.barrier() == []
        await half.close()
        await harness.wait_for_connections(1)
        await harness.join("bob")


async def test_close_cancels_handshakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptor, "HANDSHAKE_TIMEOUT", 1000.0)
    async with run_server_in_loop(transport="tls") as harness:
        ann = await harness.join("ann")
        halves = [await connect(harness.address) for _ in range(3)]
        halves[1].write(client_hello()[:100])
        halves[2].write(client_hello())
        await ann.barrier()
        async with asyncio.timeout(DEADLINE):
            await harness.server.close()
        for half in halves:
            await half.wait_closed()
        assert await ann.rest() == ["BYE shutdown"]
        await harness.wait_for_connections(0)


# Who reads slowly


async def say_until_behind(harness: ServerHarness, talker: Peer, name: str, lines: int) -> list[str]:
    """Let a member who doesn't read fall behind by some lines, and return all that it is owed."""
    said = 0
    while not harness.subscriber(name).blocked or lines > 0:
        if harness.subscriber(name).blocked:
            lines -= 50
        await talker.ask(*(f"MSG {number} {FILLER}" for number in range(said, said + 50)))
        said += 50
    return [f"MSG talker {number} {FILLER}" for number in range(said)]


async def gather_slow(harness: ServerHarness) -> tuple[Peer, TlsPeer]:
    """Let in one who talks, and one who doesn't read."""
    talker = await harness.join("talker")
    slow = await harness.join("slow", receive_buffer=4096)
    assert await talker.barrier() == ["JOINED slow"]
    slow.pause()
    assert isinstance(slow, TlsPeer)
    return talker, slow


async def test_a_slow_reader_who_quits_gets_all_it_is_owed() -> None:
    async with run_server_in_loop(transport="tls") as harness:
        talker, slow = await gather_slow(harness)
        owed = await say_until_behind(harness, talker, "slow", 1000)  # 4 MB
        slow.send("QUIT")
        assert await talker.line() == "LEFT slow"
        slow.resume()
        assert await slow.rest() == [*owed, "BYE quit"]
        assert slow.got_close_notify


async def test_a_slow_reader_gets_all_it_is_owed_at_the_servers_end() -> None:
    async with run_server_in_loop(transport="tls") as harness:
        talker, slow = await gather_slow(harness)
        owed = await say_until_behind(harness, talker, "slow", 1000)
        closing = asyncio.create_task(harness.server.close())
        assert await talker.rest() == ["BYE shutdown"]
        assert not closing.done()
        slow.resume()
        assert await slow.rest() == [*owed, "BYE shutdown"]
        assert slow.got_close_notify
        await closing


@pytest.mark.parametrize("end", ["quit", "shutdown"])
async def test_a_slow_reader_who_goes_on_talking_gets_all_it_is_owed(end: str) -> None:
    async with run_server_in_loop(transport="tls") as harness:
        talker, slow = await gather_slow(harness)
        owed = await say_until_behind(harness, talker, "slow", 1000)
        if end == "quit":
            slow.send("QUIT")
            assert await talker.line() == "LEFT slow"
        else:
            closing = asyncio.create_task(harness.server.close())
            assert await talker.rest() == ["BYE shutdown"]
        slow.resume()
        async with asyncio.timeout(DEADLINE):
            while not slow.closed:
                if not slow.got_close_notify and slow.transport.get_write_buffer_size() < 10_000:
                    slow.send(*["MSG am I heard?"] * 100)
                await asyncio.sleep(0)
        assert await slow.rest() == [*owed, f"BYE {end}"]
        if end == "shutdown":
            await closing


async def test_many_slow_readers_get_all_they_are_owed_at_the_servers_end() -> None:
    async with run_server_in_loop(transport="tls") as harness:
        talker = await harness.join("talker")
        slow = [await harness.join(f"slow{number}", receive_buffer=4096) for number in range(10)]
        for peer in slow:
            await peer.barrier()
            peer.pause()
        owed = await say_until_behind(harness, talker, "slow9", 500)
        closing = asyncio.create_task(harness.server.close())
        for peer in slow:
            peer.resume()
        for peer in slow:
            assert await peer.rest() == [*owed, "BYE shutdown"]
        await closing


async def test_buffer_of_a_stalled_reader_is_bounded_and_aborted_after_the_drain() -> None:
    written = 0
    async with run_server_in_loop(Settings(backlog=64 * 1024, drain=0.1), transport="tls") as harness:
        talker, slow = await gather_slow(harness)
        member = harness.subscriber("slow")
        write = member.write

        def count_and_write(data: bytes) -> None:
            nonlocal written
            written += len(data)
            write(data)

        member.write = count_and_write
        await say_until_behind(harness, talker, "slow", 2500)  # 10 MB
        assert 0 < written < 500_000
        async with asyncio.timeout(DEADLINE):
            await harness.server.close()
        assert (await talker.rest())[-1] == "BYE shutdown"
        slow.resume()
        await slow.wait_closed()
        assert not slow.got_close_notify
        assert b"BYE" not in slow.received
