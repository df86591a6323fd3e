"""Being in a room as a program, at the real server and at servers that the test plays itself."""

import asyncio
import contextlib
import gc
import logging
import random
import socket
import struct
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import simple_chat
from simple_chat import (
    Chat,
    ChatEvent,
    CommandError,
    ConnectError,
    ConnectionLostError,
    Disconnected,
    Gap,
    InvalidMessageError,
    Joined,
    JoinRefusedError,
    Left,
    Message,
    Notice,
    Reconnected,
    Settings,
    serve,
)
from simple_chat.address import format_address
from simple_chat.client import chat as chat_module
from simple_chat.client import connection as connection_module
from simple_chat.client import connector as connector_module
from tests.harness.peer import Peer
from tests.harness.server import run_server_in_loop

DEADLINE = 30.0
"""Seconds that anything may take before the test is failed. Nothing waits this long when all is well."""

HELLO = b"HELLO simple_chat/1 hi\n"
LET_IN = HELLO + b"OK JOIN ann\n"

Address = tuple[str, int]


@contextlib.asynccontextmanager
async def joined(
    address: Address, name: str = "ann", *, password: str | None = None, reconnect: bool = False
) -> AsyncIterator[Chat]:
    """Be in a room, in a block with a deadline."""
    async with (
        asyncio.timeout(DEADLINE),
        simple_chat.connect(*address, username=name, password=password, reconnect=reconnect) as chat,
    ):
        yield chat


async def enter(address: Address, name: str = "ann", *, password: str | None = None) -> None:
    """Enter a room for no longer than it takes."""
    async with joined(address, name, password=password):
        pass


async def take(chat: Chat, number: int) -> list[ChatEvent]:
    """Wait for some events."""
    return [await anext(chat) for _ in range(number)]


async def so_far(chat: Chat) -> list[ChatEvent]:
    """All events since the last look."""
    await chat.ping()
    return await take(chat, len(chat._events))


async def rest(chat: Chat) -> list[ChatEvent]:
    """All events up to the end."""
    return [event async for event in chat]


class FakePeer(Peer):
    """The server's side of a connection, for which nobody has to wait: it says all it has to say at once.

    Args:
        says: bytes that it begins with.
        hangs_up: whether nothing follows them.
        polite: whether it says BYE to a QUIT.
    """

    def __init__(self, says: bytes, *, hangs_up: bool, polite: bool) -> None:
        super().__init__()
        self._says = says
        self._hangs_up = hangs_up
        self._polite = polite

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.write(self._says)
        if self._hangs_up:
            self.half_close()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._polite and self.received.endswith(b"QUIT\n"):
            self.send("OK LEAVE", "BYE quit")
            self.transport.close()


class FakeServer:
    """A server that the test plays.

    Args:
        says: what it says to the first who connects, to the second, and so on; the last is for all others.
        hangs_up: whether it closes its side of each connection right after that.
        polite: whether it says BYE to a QUIT.

    Attributes:
        address: where it listens.
        peers: its side of every connection so far.
    """

    address: Address

    def __init__(self, *says: bytes, hangs_up: bool, polite: bool) -> None:
        self._says = says
        self._hangs_up = hangs_up
        self._polite = polite
        self.peers: list[FakePeer] = []
        self._visit = asyncio.Event()

    @property
    def peer(self) -> FakePeer:
        """Its side of the last connection."""
        return self.peers[-1]

    def accept(self) -> FakePeer:
        says = self._says[min(len(self.peers), len(self._says) - 1)]
        self.peers.append(FakePeer(says, hangs_up=self._hangs_up, polite=self._polite))
        self._visit.set()
        return self.peer

    async def visited(self) -> FakePeer:
        """Wait until somebody has connected."""
        await self._visit.wait()
        return self.peer

    async def asked(self) -> FakePeer:
        """Wait until somebody has asked to be let in."""
        peer = await self.visited()
        assert await peer.line() == "JOIN ann"
        return peer


@contextlib.asynccontextmanager
async def fake_server(*says: bytes, hangs_up: bool = False, polite: bool = True) -> AsyncIterator[FakeServer]:
    """Run a server, in a block with a deadline. If not told otherwise it lets everybody in as ann."""
    fake = FakeServer(*(says or [LET_IN]), hangs_up=hangs_up, polite=polite)
    listener = await asyncio.get_running_loop().create_server(fake.accept, "127.0.0.1", 0)
    fake.address = listener.sockets[0].getsockname()
    try:
        async with asyncio.timeout(DEADLINE):
            yield fake
    finally:
        listener.close()
        for peer in fake.peers:
            await peer.close()
        await listener.wait_closed()


@pytest.fixture
def closed_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    return port


@pytest.fixture
def jitter(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """The bounds that delays are drawn from; what is drawn is 0."""
    drawn: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return 0.0

    monkeypatch.setattr(random, "uniform", uniform)
    return drawn


@pytest.fixture
def long_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every delay be longer than any test."""
    monkeypatch.setattr(random, "uniform", lambda _low, _high: 3600.0)


@pytest.fixture
def short_bye_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a chat wait next to no time for a BYE."""
    monkeypatch.setattr(chat_module, "_BYE_TIMEOUT", 0.05)


# Entering


async def test_block_is_entered_when_the_server_has_let_us_in() -> None:
    async with run_server_in_loop() as home:
        peer = await home.join("ben")
        async with joined(home.server.address) as chat:
            assert chat.username == "ann"
            assert "ann" in home.server.room.names()
            assert await peer.barrier() == ["JOINED ann"]


async def test_taken_name_is_refused_and_its_holder_is_not_disturbed() -> None:
    async with run_server_in_loop() as home, joined(home.server.address, "ann") as chat:
        with pytest.raises(JoinRefusedError, match=r"^name-taken: somebody here has that name") as refused:
            await enter(home.server.address, "ANN")
        assert refused.value.code == "name-taken"
        assert await so_far(chat) == []


@pytest.mark.parametrize(
    "name",
    ["two words", "-dash", "é", 33 * "x", "two\nlines", "\udc80"],
    ids=["words", "dash", "accent", "long", "lines", "surrogate"],
)
async def test_bad_name_is_refused(name: str) -> None:
    async with run_server_in_loop() as home:
        with pytest.raises(JoinRefusedError) as refused:
            await enter(home.server.address, name)
        assert refused.value.code == "bad-name"


@pytest.mark.parametrize("host", ["127.0.0.1", "a..b", ""], ids=["address", "bad name", "empty"])
async def test_without_a_server_there_is_a_connect_error_that_says_where(host: str, closed_port: int) -> None:
    with pytest.raises(ConnectError, match=f"^can't connect to {host}:{closed_port}: ."):
        await enter((host, closed_port))


async def test_ipv6_address_is_shown_in_brackets(closed_port: int) -> None:
    with pytest.raises(ConnectError, match=rf"^can't connect to \[::1\]:{closed_port}: "):
        await enter(("::1", closed_port))


async def test_port_that_cannot_be_gives_a_connect_error() -> None:
    with pytest.raises(ConnectError, match=r"127\.0\.0\.1:65536"):
        await enter(("127.0.0.1", 65536))


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (b"", "closed"),
        (b"220 mail.example ESMTP\r\n", "closed"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "closed"),
        (b"INFO hello\n", "no simple_chat server"),
        (b"HELLO other/2 hello\n", "no simple_chat server"),
        (b"\xff\xfb\x01\n", "no simple_chat server"),
        (b"ERR too-many-connections come back later\nBYE too-many-connections\n", "come back later"),
        (HELLO, "can't join"),
        (HELLO + b"BYE shutdown\n", "can't join"),
    ],
    ids=["silence", "smtp", "http", "other", "version", "bytes", "full", "hangs-up", "shuts-down"],
)
async def test_whatever_is_no_server_for_us_gives_a_connect_error(says: bytes, reason: str) -> None:
    async with fake_server(says, hangs_up=True) as fake:
        with pytest.raises(ConnectError, match=reason) as failed:
            await enter(fake.address)
        assert f"127.0.0.1:{fake.address[1]}" in str(failed.value)
        await fake.peer.rest()  # we have closed our side too


@pytest.mark.parametrize("says", [b"", b"SSH-2.0-OpenSSH_9.9\r\n"], ids=["silent", "ssh"])
async def test_server_that_never_greets_gives_a_connect_error(
    says: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "_HELLO_TIMEOUT", 0.05)
    async with fake_server(says) as fake:
        with pytest.raises(ConnectError, match="no answer"):
            await enter(fake.address)
        await fake.peer.rest()


async def test_server_that_never_answers_join_gives_a_connect_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connector_module, "_JOIN_TIMEOUT", 0.05)
    async with fake_server(HELLO) as fake:
        with pytest.raises(ConnectError, match="no answer"):
            await enter(fake.address)
        await fake.peer.rest()


@pytest.mark.parametrize("says", [b"", HELLO], ids=["before HELLO", "before OK JOIN"])
async def test_entering_can_be_cancelled_and_leaves_no_connection(says: bytes) -> None:
    async with fake_server(says) as fake:
        entering = asyncio.create_task(enter(fake.address))
        peer = await (fake.asked() if says else fake.visited())
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        assert await peer.rest() == []


async def test_unix_socket_is_taken_instead_of_host_and_port(tmp_path: Path) -> None:
    path = str(tmp_path / "chat")
    async with (
        run_server_in_loop(unix=path) as home,
        asyncio.timeout(DEADLINE),
        simple_chat.connect("203.0.113.1", 1, unix=path, username="ann") as ann,
        joined(home.server.address, "ben") as ben,
    ):
        await ben.send("hello")
        assert await take(ann, 2) == [Joined("ben"), Message("ben", "hello")]


async def test_missing_unix_socket_gives_a_connect_error_that_says_where(tmp_path: Path) -> None:
    path = str(tmp_path / "chat")
    with pytest.raises(ConnectError, match=f"^can't connect to unix:{path}: No such file or directory$"):
        async with simple_chat.connect(unix=path, username="ann"):
            pass


@pytest.mark.parametrize("code", ["too-many-connections", "busy", "auth-required", "whatever"])
async def test_refusal_is_told_in_the_servers_words(code: str) -> None:
    async with fake_server(HELLO + f"ERR {code} come back later\nBYE {code}\n".encode()) as fake:
        with pytest.raises(JoinRefusedError, match=f"^{code}: come back later$") as refused:
            await enter(fake.address)
        assert (refused.value.code, refused.value.advice) == (code, "come back later")
        assert await fake.peer.rest() == ["JOIN ann"]


async def test_refusal_is_told_though_the_connection_is_reset_before_anything_can_be_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        entering = asyncio.create_task(enter(listener.getsockname()))
        async with asyncio.timeout(DEADLINE):
            connection, _ = await asyncio.get_running_loop().sock_accept(listener)
            connection.send(HELLO + b"ERR too-many-connections come back later\nBYE too-many-connections\n")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
            with pytest.raises(JoinRefusedError, match="come back later"):
                await entering


# The password


async def test_password_is_shown_before_joining() -> None:
    async with fake_server(HELLO, polite=True) as fake:
        entering = asyncio.create_task(enter(fake.address, password="s3 crét "))
        peer = await fake.visited()
        assert await peer.line() == "PASS s3 crét "
        peer.send("OK PASS")
        assert await peer.line() == "JOIN ann"
        peer.send("OK JOIN ann")
        await entering


async def test_server_without_a_password_does_not_mind_one() -> None:
    async with run_server_in_loop() as home, joined(home.server.address, password="s3cret") as ann:
        assert await ann.who() == ["ann"]


@pytest.mark.parametrize("code", ["auth-failed", "unknown-command"])
async def test_wrong_password_is_refused_and_nothing_else_is_sent(code: str) -> None:
    async with fake_server(HELLO + f"ERR {code} no\n".encode()) as fake:
        with pytest.raises(JoinRefusedError, match=f"^{code}: no$") as refused:
            await enter(fake.address, password="wr0ng")
        assert refused.value.code == code
        assert await fake.peer.rest() == ["PASS wr0ng"]


@pytest.mark.parametrize(
    ("password", "complaint"),
    [
        ("", "empty"),
        ("s3cret\nJOIN eve", "several lines"),
        ("s3cret\r", "several lines"),
        ("s3cret\udc80", "not valid Unicode"),
        (4092 * "s", "too long: 4097 bytes on the wire, 4096 at most"),
    ],
    ids=["empty", "lines", "carriage return", "surrogate", "long"],
)
async def test_password_that_cannot_be_sent_is_not_sent_and_not_told(password: str, complaint: str) -> None:
    async with fake_server() as fake:
        with pytest.raises(InvalidMessageError, match=complaint) as failed:
            await enter(fake.address, password=password)
        assert "password" in str(failed.value)
        assert password == "" or password not in str(failed.value)
        assert "s3cret" not in "".join(traceback.format_exception(failed.value))
        assert fake.peers == []


async def test_longest_password_is_sent() -> None:
    longest = 4091 * "s"
    async with fake_server(HELLO + b"OK PASS\nOK JOIN ann\n") as fake, joined(fake.address, password=longest):
        assert await fake.peer.line() == f"PASS {longest}"


async def test_password_is_in_no_log_and_no_repr(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    asyncio.get_running_loop().slow_callback_duration = DEADLINE  # how long things take is no matter here
    refusal = HELLO + b"OK PASS\nERR name-taken somebody has it\n"
    async with fake_server(refusal) as fake:
        chat = simple_chat.connect(*fake.address, username="ann", password="s3cret")
        with pytest.raises(JoinRefusedError) as refused:
            await chat.__aenter__()
        assert "s3cret" not in "".join(map(repr, [chat, refused.value, *asyncio.all_tasks()])) + caplog.text


@pytest.mark.usefixtures("jitter")
async def test_password_is_shown_again_after_a_drop() -> None:
    let_in = HELLO + b"OK PASS\nOK JOIN ann\n"
    async with fake_server(let_in) as fake, joined(fake.address, password="s3cret", reconnect=True) as ann:
        for _ in range(2):
            assert await fake.peer.lines(2) == ["PASS s3cret", "JOIN ann"]
            await fake.peer.close()
            assert isinstance(await anext(ann), Disconnected)
            assert await anext(ann) == Reconnected()
        assert await fake.peer.lines(2) == ["PASS s3cret", "JOIN ann"]


# Talking


async def test_two_chats_get_each_others_events_in_order_and_never_their_own() -> None:
    async with run_server_in_loop() as home, joined(home.server.address) as ann:
        async with joined(home.server.address, "ben") as ben:
            for number in range(100):
                await ann.send(f"{number} from ann")
                await ben.send(f"{number} from ben")
            assert await take(ben, 100) == [Message("ann", f"{number} from ann") for number in range(100)]
        messages = [Message("ben", f"{number} from ben") for number in range(100)]
        assert await so_far(ann) == [Joined("ben"), *messages, Left("ben")]


async def test_everybody_gets_the_same_order_of_what_others_say_at_once() -> None:
    async with (
        run_server_in_loop() as home,
        joined(home.server.address, "judge") as judge,
        joined(home.server.address, "ann") as ann,
        joined(home.server.address, "ben") as ben,
    ):

        async def talk(chat: Chat) -> None:
            for number in range(200):
                await chat.send(str(number))

        await asyncio.gather(talk(ann), talk(ben))
        await asyncio.gather(ann.ping(), ben.ping())
        heard = await so_far(judge)
        for chat in (ann, ben):
            mine = [event for event in heard if getattr(event, "name", None) != chat.username]
            assert [event for event in await so_far(chat) if isinstance(event, Message)] == [
                event for event in mine if isinstance(event, Message)
            ]


async def test_ping_returns_when_everything_sent_before_was_taken() -> None:
    async with run_server_in_loop() as home, joined(home.server.address) as ann:
        ben = await home.join("ben")
        for number in range(1000):
            await ann.send(str(number))
        await ann.ping()
        assert home.server.room.sequence.end == 1002
        assert await ben.barrier() == [f"MSG ann {number}" for number in range(1000)]


async def test_who_names_everybody_as_typed_in_the_order_of_joining() -> None:
    names = [f"Guest-{number}" for number in range(40)]  # more than fit in one line of the answer
    async with run_server_in_loop() as home, contextlib.AsyncExitStack() as chats:
        for name in names:
            await chats.enter_async_context(joined(home.server.address, name))
        async with joined(home.server.address) as ann:
            assert await ann.who() == [*names, "ann"]


async def test_history_is_the_last_messages_oldest_first_with_their_time() -> None:
    async with run_server_in_loop() as home, joined(home.server.address) as ann:
        before = datetime.now(UTC) - timedelta(milliseconds=1)  # times are told to the millisecond
        for number in range(5):
            await ann.send(f"number {number}")
        everything = await ann.history()
        assert [(past.name, past.text) for past in everything] == [
            ("ann", f"number {number}") for number in range(5)
        ]
        assert all(before <= past.time <= datetime.now(UTC) for past in everything)
        assert await ann.history(2) == everything[-2:]
        assert await ann.history(99) == everything
        assert await ann.history(0) == []


async def test_question_that_is_refused_raises_and_the_next_gets_its_own_answer() -> None:
    async with run_server_in_loop() as home, joined(home.server.address) as ann:
        refused = asyncio.create_task(ann.history(-1))
        who = asyncio.create_task(ann.who())
        await asyncio.wait({refused, who})
        assert isinstance(refused.exception(), CommandError)
        assert who.result() == ["ann"]


async def test_question_that_is_refused_raises_though_nobody_asks_after_it() -> None:
    async with run_server_in_loop() as home, joined(home.server.address) as ann:
        refused = asyncio.create_task(ann.history(-1))
        await asyncio.wait({refused}, timeout=5)
        assert refused.done()
        assert isinstance(refused.exception(), CommandError)


async def test_refusal_of_another_line_leaves_the_question_behind_it_alone() -> None:
    async with fake_server() as fake, joined(fake.address) as ann:
        await fake.asked()
        asking = asyncio.create_task(ann.history())
        await fake.peer.until("HISTORY")
        fake.peer.send("ERR line-too-long shorter", "PAST 2024-05-06T07:08:09.123Z ben hi", "OK HISTORY 1")
        assert [past.text for past in await asking] == ["hi"]
        assert await anext(ann) == Notice("shorter")


async def test_questions_of_many_tasks_get_their_own_answers() -> None:
    said = [str(number) for number in range(20)]
    async with run_server_in_loop() as home, joined(home.server.address) as ann:
        for text in said:
            await ann.send(text)

        async def ask(number: int) -> None:
            assert [past.text for past in await ann.history(number)] == said[20 - number :]
            assert await ann.who() == ["ann"]
            await ann.ping()

        await asyncio.gather(*map(ask, range(20)))


async def test_cancelled_question_does_not_disturb_later_ones() -> None:
    async with fake_server() as fake, joined(fake.address) as ann:
        await fake.asked()
        cancelled = asyncio.create_task(ann.who())
        await fake.peer.until("WHO")
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        later = asyncio.create_task(ann.who())
        assert await fake.peer.line() == "WHO"
        fake.peer.send("NAMES ann ben", "OK WHO 2", "NAMES ann", "OK WHO 1")
        assert await later == ["ann"]


async def test_what_the_server_refuses_or_tells_is_a_notice() -> None:
    async with run_server_in_loop(Settings(max_line=64)) as home, joined(home.server.address) as ann:
        await ann.send(64 * "x")
        assert await so_far(ann) == [Notice("the line was dropped, send shorter ones")]


# What can be sent


@pytest.mark.parametrize(
    "text",
    [" ", "x", "\t", "MSG hi", 4092 * "x", 2046 * "é", 1023 * "\N{PARTY POPPER}", "two\u2028lines"],
    ids=["blank", "letter", "tab", "command", "longest", "longest é", "longest emoji", "separator"],
)
async def test_text_arrives(text: str) -> None:
    async with run_server_in_loop() as home, joined(home.server.address) as ann:
        ben = await home.join("ben")
        await ann.send(text)
        await ann.ping()
        assert await ben.barrier() == [f"MSG ann {text}".replace("\u2028", "\ufffd")]


@pytest.mark.parametrize(
    "text",
    ["", "\n", "a\n", "a\nb", "\r", "a\r", "a\rb", 4093 * "x", 2046 * "é" + "x", "\ud800", "a\udcffb"],
    ids=ascii,
)
async def test_text_that_cannot_be_one_line_is_refused_and_the_room_hears_nothing(text: str) -> None:
    async with run_server_in_loop() as home, joined(home.server.address) as ann:
        ben = await home.join("ben")
        with pytest.raises(InvalidMessageError):
            await ann.send(text)
        await ann.ping()
        assert await ben.barrier() == []


# What comes from servers that nobody knows


@pytest.mark.parametrize(
    ("line", "events"),
    [
        (b"NEWS from a newer server", []),
        (b"", []),
        (b"msg ben in small letters", []),
        (b"HELLO simple_chat/1 again", []),
        (b"OK WHO 3", []),
        (b"PONG nobody-asked", []),
        (b"NAMES ben", []),
        (b"PAST 2024-05-06T07:08:09.123Z ben hi", []),
        (b"GAP 3", [Gap(3)]),
        (b"INFO \x1b[2J", [Notice("\u241b[2J")]),
        (b"ERR code \xc2\x9b31m", [Notice("\ufffd31m")]),
        (b"ERR code", [Notice("")]),
        (b"MSG ben \x1b]0;title\x07", [Message("ben", "\u241b]0;title\u2407")]),
        (b"MSG ben \xe2\x80\xaeevil\r", [Message("ben", "\ufffdevil")]),
        (b"MSG ben a\rb", [Message("ben", "a\u240db")]),
    ],
    ids=ascii,
)
async def test_line_becomes_harmless_events(line: bytes, events: list[ChatEvent]) -> None:
    assert await events_of(line) == events


@pytest.mark.parametrize(
    "line",
    [
        b"MSG",
        b"MSG ben",
        b"MSG ben ",
        b"MSG  hi",
        b"MSG \x1b[2J hi",
        b"JOINED",
        b"JOINED two words",
        b"LEFT \xc3\xa9",
        b"GAP",
        b"GAP -1",
        b"GAP 1" + 30 * b"0",
        b"GAP \xd9\xa3",
        b"NAMES",
        b"NAMES ann  ben",
        b"OK",
        b"ERR",
        b"HELLO",
        b"HELLO other/2",
        b"PAST",
        b"PAST yesterday ben hi",
        b"PAST 0001-01-01T00:00:00+14:00 ben hi",
        b"PAST 0001-01-01 ben hi",
        b"PAST 9999-12-31T23:59:59-14:00 ben hi",
        b"PAST 2024-05-06T07:08:09Z ben",
        b"\xff\xfe\xfd",
        b"MSG ben \xed\xa0\x80",
        b"MSG ben " + 5 * 2**20 * b"x",
    ],
    ids=lambda line: ascii(line[:40]),
)
async def test_malformed_line_becomes_one_notice_and_the_chat_goes_on(line: bytes) -> None:
    (event,) = await events_of(line)
    assert isinstance(event, Notice)
    assert event.text.startswith("a line of the server could not be read (")
    assert event.text.isprintable()


async def events_of(line: bytes) -> list[ChatEvent]:
    """What a line of the server becomes; the chat must not suffer from it."""
    async with fake_server() as fake, joined(fake.address) as ann:
        await fake.asked()
        fake.peer.write(line + b"\n")
        fake.peer.send("MSG ben the end")
        events: list[ChatEvent] = []
        while (event := await anext(ann)) != Message("ben", "the end"):
            events.append(event)
        who = asyncio.create_task(ann.who())
        await fake.peer.until("WHO")
        fake.peer.send("NAMES ann", "OK WHO 1")
        assert await who == ["ann"]
    return events


# How the iteration ends


async def test_iteration_ends_when_the_server_says_bye() -> None:
    async with run_server_in_loop() as home, joined(home.server.address) as ann:
        ben = await home.join("ben")
        await ben.ask("MSG one", "MSG two")
        await home.server.close()
        assert await rest(ann) == [Joined("ben"), Message("ben", "one"), Message("ben", "two")]
        assert await rest(ann) == []
        with pytest.raises(ConnectionLostError):
            await ann.send("too late")


@pytest.mark.parametrize("end", [Peer.close, Peer.reset], ids=["closed", "reset"])
async def test_iteration_raises_after_the_last_event_if_the_server_goes_without_bye(
    end: Callable[[Peer], Awaitable[None]],
) -> None:
    async with fake_server() as fake, joined(fake.address) as ann:
        await fake.asked()
        fake.peer.send("MSG ben one")
        assert await anext(ann) == Message("ben", "one")
        fake.peer.send("JOINED cleo")
        assert await anext(ann) == Joined("cleo")
        await end(fake.peer)
        for _ in range(2):
            with pytest.raises(ConnectionLostError, match=r"^connection lost: "):
                await anext(ann)


async def test_all_that_came_before_a_reset_is_told_though_it_was_not_read_in_time() -> None:
    messages = [Message("ben", str(number)) for number in range(3000)]
    async with fake_server() as fake, joined(fake.address) as ann:
        await fake.asked()
        fake.peer.send(*map(str, messages[:2000]))
        while len(ann._events) < 1000:  # more are not read before somebody takes these
            await turn()
        late = "".join(f"{message}\n" for message in messages[2000:]).encode()
        fake.peer.write(late)
        while len(ann._connected()._reader._buffer) < len(late):  # type: ignore[attr-defined]
            await turn()
        await fake.peer.reset()
        assert await take(ann, 3000) == messages
        with pytest.raises(ConnectionLostError):
            await anext(ann)


async def test_line_that_the_end_cuts_short_is_no_event() -> None:
    async with fake_server() as fake, joined(fake.address) as ann:
        await fake.asked()
        fake.peer.write(b"MSG ben one\nMSG ben tw")
        await fake.peer.close()
        assert await anext(ann) == Message("ben", "one")
        with pytest.raises(ConnectionLostError):
            await anext(ann)


async def test_questions_that_are_pending_when_the_connection_breaks_raise() -> None:
    async with fake_server() as fake, joined(fake.address) as ann:
        await fake.asked()
        questions = [asyncio.create_task(ask) for ask in (ann.who(), ann.history(), ann.ping())]
        await fake.peer.until("PING 1")
        await fake.peer.close()
        for question in questions:
            with pytest.raises(ConnectionLostError):
                await question
        for late in (ann.who(), ann.history(), ann.ping()):
            with pytest.raises(ConnectionLostError, match="not connected"):
                await late


async def test_question_that_cannot_be_sent_raises_and_logs_nothing() -> None:
    async with fake_server() as fake, joined(fake.address) as ann:
        await fake.asked()
        talking = await talk_until_stuck(ann, fake.peer)
        asking = asyncio.create_task(ann.who())
        await turn()
        await fake.peer.reset()
        for task in (asking, talking):
            with pytest.raises(ConnectionLostError):
                await task
        del asking
        gc.collect()  # an exception that nobody took would be logged now


async def test_sending_to_a_server_that_is_gone_raises_while_nobody_reads() -> None:
    async with fake_server() as fake, joined(fake.address) as ann:
        await fake.asked()
        fake.peer.send(*(f"MSG ben {number}" for number in range(2000)))
        await anext(ann)
        await fake.peer.reset()
        with pytest.raises(ConnectionLostError):
            await talk_on(ann)


async def talk_on(chat: Chat) -> None:
    """Send until it fails."""
    while True:
        await chat.send(4000 * "x")
        await turn()


async def talk_until_stuck(chat: Chat, peer: Peer) -> asyncio.Task[None]:
    """Send on and on to a server that does not read."""
    peer.pause()
    talking = asyncio.create_task(talk_on(chat))
    transport = chat._connected()._writer.transport
    while transport.get_write_buffer_size() <= transport.get_write_buffer_limits()[1]:
        await turn()
    return talking


async def turn() -> None:
    """Wait for nothing, but let all who can go on do so once."""
    await asyncio.sleep(0)


# Leaving


async def test_leaving_the_block_leaves_the_room_once() -> None:
    async with run_server_in_loop() as home:
        ben = await home.join("ben")
        async with joined(home.server.address) as ann:
            await ann.send("hello")
        assert await ben.barrier() == ["JOINED ann", "MSG ann hello", "LEFT ann"]


async def test_leaving_says_leave_and_quit_and_waits_for_bye() -> None:
    async with fake_server(polite=False) as fake:
        visit = asyncio.create_task(enter(fake.address))
        assert await (await fake.asked()).lines(2) == ["LEAVE", "QUIT"]
        assert not visit.done()
        fake.peer.send("OK LEAVE")
        assert not visit.done()
        fake.peer.send("BYE quit")
        await visit


@pytest.mark.usefixtures("short_bye_timeout")
async def test_leaving_ends_without_a_bye_after_a_while() -> None:
    async with fake_server(polite=False) as fake:
        await enter(fake.address)
        assert await fake.peer.rest() == ["JOIN ann", "LEAVE", "QUIT"]


@pytest.mark.usefixtures("short_bye_timeout")
async def test_leaving_ends_after_a_while_though_the_server_reads_nothing() -> None:
    async with fake_server(polite=False) as fake, joined(fake.address) as ann:
        await fake.asked()
        talking = await talk_until_stuck(ann, fake.peer)
        talking.cancel()
        await asyncio.wait({talking})
    with pytest.raises(ConnectionLostError):
        await ann.send("too late")


async def test_exception_in_the_block_leaves_in_order_and_goes_on() -> None:
    async with run_server_in_loop() as home:
        ben = await home.join("ben")
        with pytest.raises(ZeroDivisionError):
            async with joined(home.server.address):
                raise ZeroDivisionError
        assert await ben.barrier() == ["JOINED ann", "LEFT ann"]


async def test_cancellation_in_the_block_leaves_in_order_and_goes_on() -> None:
    async with fake_server() as fake:
        visit = asyncio.create_task(stay(fake.address))
        await fake.asked()
        visit.cancel()
        with pytest.raises(asyncio.CancelledError):
            await visit
        assert await fake.peer.rest() == ["LEAVE", "QUIT"]


async def test_second_cancellation_does_not_wait_for_bye() -> None:
    async with fake_server(polite=False) as fake:
        visit = asyncio.create_task(enter(fake.address))
        await (await fake.asked()).until("QUIT")
        visit.cancel()
        with pytest.raises(asyncio.CancelledError):
            await visit
        assert await fake.peer.rest() == []


async def stay(address: Address) -> None:
    """Be in a room, for ever."""
    async with joined(address):
        await asyncio.Event().wait()


async def test_leaving_after_the_server_has_gone_is_no_error() -> None:
    async with fake_server() as fake, joined(fake.address) as ann:
        await fake.asked()
        await fake.peer.reset()
        with pytest.raises(ConnectionLostError):
            await anext(ann)


async def test_leaving_ends_an_iteration_in_another_task() -> None:
    async with run_server_in_loop() as home, asyncio.timeout(DEADLINE):
        async with joined(home.server.address) as ann:
            listening = asyncio.create_task(rest(ann))
            await ann.ping()
        assert await listening == []


async def test_question_that_is_asked_while_leaving_gets_no_wrong_answer() -> None:
    async with fake_server(polite=False) as fake:
        leave = asyncio.Event()
        chats: list[Chat] = []

        async def visit() -> None:
            async with joined(fake.address) as chat:
                chats.append(chat)
                await leave.wait()

        visiting = asyncio.create_task(visit())
        await fake.asked()
        leave.set()
        await fake.peer.until("QUIT")
        late = asyncio.create_task(chats[0].who())
        await turn()
        fake.peer.send("OK LEAVE", "BYE quit")
        await visiting
        with pytest.raises(ConnectionLostError):
            await late


@pytest.mark.usefixtures("short_bye_timeout")
async def test_question_that_nobody_answers_raises_when_the_block_ends() -> None:
    async with fake_server(polite=False) as fake:
        async with joined(fake.address) as ann:
            await fake.asked()
            asking = asyncio.create_task(ann.who())
            await fake.peer.until("WHO")
        await asyncio.wait({asking}, timeout=1)  # what is due comes before any time is up
        assert isinstance(asking.exception(), ConnectionLostError)


# Coming back


async def test_chat_comes_back_to_a_server_that_was_started_again(jitter: list[tuple[float, float]]) -> None:
    async with contextlib.AsyncExitStack() as block:
        async with serve("127.0.0.1", 0) as server:
            host, port = server.address
            ann = await block.enter_async_context(joined((host, port), reconnect=True))
        assert await anext(ann) == Disconnected("the server said BYE shutdown", 0)
        async with serve(host, port) as server, joined((host, port), "ben") as ben:
            while (event := await anext(ann)) != Reconnected():
                assert event == Disconnected(f"can't connect to {host}:{port}: Connection refused", 0)
            await ann.send("I am back")
            assert await ann.who() == ["ben", "ann"]
            assert await so_far(ben) == [Joined("ann"), Message("ann", "I am back")]
            await block.aclose()
            assert await so_far(ben) == [Left("ann")]
    assert jitter[0] == (0, 1)


async def test_events_go_on_after_coming_back(jitter: list[tuple[float, float]]) -> None:
    async with fake_server() as fake, joined(fake.address, reconnect=True) as ann:
        first = await fake.asked()
        first.send("MSG ben one")
        await first.close()
        lost = Disconnected("connection lost: the server closed it", 0)
        assert await take(ann, 3) == [Message("ben", "one"), lost, Reconnected()]
        second = await fake.asked()
        second.send("MSG ben two")
        assert await anext(ann) == Message("ben", "two")
        await second.reset()
        assert isinstance(await anext(ann), Disconnected)
        assert await anext(ann) == Reconnected()
        third = await fake.asked()
    assert [await peer.rest() for peer in (first, second, third)] == [[], [], ["LEAVE", "QUIT"]]
    assert jitter == [(0, 1), (0, 1)]


async def test_delays_have_full_jitter_up_to_twice_as_long_each_time_and_a_minute_at_most(
    jitter: list[tuple[float, float]],
) -> None:
    full = b"ERR too-many-connections come back later\n"
    async with fake_server(LET_IN, full) as fake, joined(fake.address, reconnect=True) as ann:
        await fake.asked()
        await fake.peer.close()
        _, *failures = await take(ann, 9)
        why = f"can't connect to 127.0.0.1:{fake.address[1]}: come back later"
        assert failures == 8 * [Disconnected(why, 0)]
        assert jitter[:9] == [(0, most) for most in (1, 2, 4, 8, 16, 32, 60, 60, 60)]


async def test_disconnected_says_when_the_next_try_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda _low, high: high / 1024)
    async with (
        fake_server(LET_IN, b"ERR busy\n", LET_IN) as fake,
        joined(fake.address, reconnect=True) as ann,
    ):
        await fake.peer.close()
        first, second, back = await take(ann, 3)
        assert isinstance(first, Disconnected)
        assert isinstance(second, Disconnected)
        assert (first.retry_in, second.retry_in, back) == (1 / 1024, 2 / 1024, Reconnected())


@pytest.mark.usefixtures("jitter")
async def test_name_that_is_taken_after_a_drop_is_tried_again() -> None:
    taken = HELLO + b"ERR name-taken somebody has it\n"
    async with fake_server(LET_IN, taken, taken, LET_IN) as fake, joined(fake.address, reconnect=True) as ann:
        await fake.asked()
        await fake.peer.close()
        _, *events = await take(ann, 4)
        assert events == [*2 * [Disconnected("the name is not free yet", 0)], Reconnected()]


@pytest.mark.parametrize("code", ["too-many-connections", "busy"])
async def test_server_that_is_full_after_a_drop_is_tried_again_however_long_it_takes(
    code: str, jitter: list[tuple[float, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector_module, "_NAME_TAKEN_TIMEOUT", -1.0)
    full = HELLO + f"ERR {code} come back later\nBYE {code}\n".encode()
    async with (
        fake_server(LET_IN, *7 * [full], LET_IN) as fake,
        joined(fake.address, reconnect=True) as ann,
    ):
        await fake.asked()
        await fake.peer.close()
        _, *events = await take(ann, 9)
        assert events == [*7 * [Disconnected(f"{code}: come back later", 0)], Reconnected()]
    assert jitter == [(0, most) for most in (1, 2, 4, 8, 16, 32, 60, 60)]


@pytest.mark.usefixtures("jitter")
@pytest.mark.parametrize(
    ("code", "patience"), [("name-taken", -1.0), ("auth-required", 120.0), ("auth-failed", 120.0)]
)
async def test_refusal_after_a_drop_ends_the_iteration(
    code: str, patience: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector_module, "_NAME_TAKEN_TIMEOUT", patience)
    refusal = HELLO + f"ERR {code} not you\n".encode()
    async with fake_server(LET_IN, refusal) as fake, joined(fake.address, reconnect=True) as ann:
        await fake.asked()
        await fake.peer.close()
        assert isinstance(await anext(ann), Disconnected)
        with pytest.raises(JoinRefusedError, match=f"^{code}: not you$") as refused:
            await anext(ann)
        assert refused.value.code == code
        with pytest.raises(ConnectionLostError):
            await ann.ping()


@pytest.mark.usefixtures("long_delays")
async def test_while_disconnected_nothing_can_be_sent_or_asked_and_leaving_takes_no_time() -> None:
    async with fake_server() as fake, joined(fake.address, reconnect=True) as ann:
        await fake.asked()
        asking = asyncio.create_task(ann.who())
        await fake.peer.until("WHO")
        await fake.peer.close()
        assert await anext(ann) == Disconnected("connection lost: the server closed it", 3600)
        for late in (asking, ann.send("hello"), ann.who(), ann.history(), ann.ping()):
            with pytest.raises(ConnectionLostError):
                await late
    assert await rest(ann) == []
    assert len(fake.peers) == 1


# Several servers


@contextlib.asynccontextmanager
async def joined_at_any(*addresses: Address, reconnect: bool = True) -> AsyncIterator[Chat]:
    """Be in the room of several servers, in a block with a deadline."""
    hosts = [format_address(*each) for each in addresses]
    async with (
        asyncio.timeout(DEADLINE),
        simple_chat.connect(hosts, 1, username="ann", reconnect=reconnect) as chat,
    ):
        yield chat


async def test_servers_are_tried_in_their_order_until_one_answers(closed_port: int) -> None:
    async with (
        fake_server(b"220 mail.example ESMTP\r\n", hangs_up=True) as other,
        fake_server() as second,
        fake_server() as third,
    ):
        nobody = ("127.0.0.1", closed_port)
        async with joined_at_any(nobody, other.address, second.address, third.address) as ann:
            assert ann.server == format_address(*second.address)
            await second.asked()
        assert (len(other.peers), third.peers) == (1, [])


async def test_where_no_server_answers_it_is_told_of_each(closed_port: int) -> None:
    where = f"127.0.0.1:{closed_port}"
    with pytest.raises(ConnectError) as failed:
        async with simple_chat.connect(["127.0.0.1", "::1"], closed_port, username="ann"):
            pytest.fail("nobody is there")
    first, second = str(failed.value).split("; ")
    assert first == f"can't connect to {where}: Connection refused"
    assert second.startswith(f"can't connect to [::1]:{closed_port}: ")


async def test_server_that_refuses_has_answered() -> None:
    refusal = HELLO + b"ERR name-taken somebody has it\n"
    async with fake_server(refusal) as first, fake_server() as second:
        with pytest.raises(JoinRefusedError, match=r"^name-taken: "):
            async with joined_at_any(first.address, second.address):
                pytest.fail("the name is taken")
        assert second.peers == []


async def test_host_may_name_its_port_but_is_no_list_of_none() -> None:
    async with (
        run_server_in_loop() as home,
        asyncio.timeout(DEADLINE),
        simple_chat.connect(format_address(*home.server.address), 1, username="ann") as ann,
    ):
        assert await ann.who() == ["ann"]
    with pytest.raises(ValueError, match="'here:there' is neither HOST nor HOST:PORT"):
        simple_chat.connect("here:there", username="ann")
    with pytest.raises(ValueError, match="the list of hosts is empty"):
        simple_chat.connect([], username="ann")


async def test_chat_goes_on_at_the_next_server_at_once(jitter: list[tuple[float, float]]) -> None:
    async with (
        fake_server() as first,
        fake_server() as second,
        joined_at_any(first.address, second.address) as ann,
    ):
        await (await first.asked()).close()
        where = format_address(*second.address)
        assert await take(ann, 2) == [
            Disconnected("connection lost: the server closed it", 0),
            Reconnected(where),
        ]
        assert ann.server == where
        (await second.asked()).send("MSG ben hello")
        assert await anext(ann) == Message("ben", "hello")
        assert jitter == []


async def test_there_is_a_delay_whenever_all_servers_were_tried_in_a_row(
    jitter: list[tuple[float, float]],
) -> None:
    full = b"ERR too-many-connections come back later\n"
    async with (
        fake_server(LET_IN, full, full, LET_IN) as first,
        fake_server(full) as second,
        joined_at_any(first.address, second.address) as ann,
    ):
        await (await first.asked()).close()
        _, *failures, back = await take(ann, 4)  # each failure is told once
        assert failures == [
            Disconnected(f"can't connect to {format_address(*each)}: come back later", 0)
            for each in (second.address, first.address)
        ]
        assert back == Reconnected()  # where it was before
        assert (len(first.peers), len(second.peers)) == (4, 3)
    assert jitter == [(0, 1), (0, 2), (0, 4)]


@pytest.mark.parametrize(
    ("code", "reason"), [("name-taken", "the name is not free yet"), ("busy", "busy: not now")]
)
async def test_what_several_servers_refuse_for_a_while_is_told_once(
    code: str, reason: str, jitter: list[tuple[float, float]]
) -> None:
    refusal = HELLO + f"ERR {code} not now\n".encode()
    async with (
        fake_server(LET_IN, *5 * [refusal], LET_IN) as first,
        fake_server(refusal) as second,
        joined_at_any(first.address, second.address) as ann,
    ):
        await (await first.asked()).close()
        _, *events = await take(ann, 3)
        assert events == [Disconnected(reason, 0), Reconnected()]
        assert (len(first.peers), len(second.peers)) == (7, 6)
    assert jitter == [(0, most) for most in (1, 2, 4, 8, 16, 32)]


@pytest.mark.usefixtures("jitter")
async def test_name_that_stays_taken_at_several_servers_ends_the_iteration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connector_module, "_NAME_TAKEN_TIMEOUT", -1.0)
    refusal = HELLO + b"ERR name-taken not now\n"
    async with (
        fake_server() as first,
        fake_server(refusal) as second,
        joined_at_any(first.address, second.address) as ann,
    ):
        await (await first.asked()).close()
        assert isinstance(await anext(ann), Disconnected)
        with pytest.raises(JoinRefusedError, match=r"^name-taken: not now$"):
            await anext(ann)


def test_a_name_is_waited_for_as_long_as_a_cluster_may_keep_it() -> None:
    assert connector_module._is_retryable("name-taken", 45.0)
    assert connector_module._is_retryable("busy", 45.0)


async def test_without_reconnect_the_next_server_is_not_tried() -> None:
    async with (
        fake_server() as first,
        fake_server() as second,
        joined_at_any(first.address, second.address, reconnect=False) as ann,
    ):
        await (await first.asked()).close()
        with pytest.raises(ConnectionLostError):
            await anext(ann)
        assert second.peers == []


# Memory


async def test_reading_stops_a_thousand_events_ahead_of_whoever_takes_them() -> None:
    async with fake_server() as fake, joined(fake.address) as ann:
        await fake.asked()
        fake.peer.send(*(f"MSG ben {number}" for number in range(5000)))
        for number in range(5000):
            assert await anext(ann) == Message("ben", str(number))
            assert len(ann._events) <= 1000


async def test_question_is_answered_while_nobody_takes_the_events_before_it() -> None:
    async with run_server_in_loop() as home, joined(home.server.address) as ann:
        ben = await home.join("ben")
        await ben.ask(*(f"MSG {number}" for number in range(5000)))
        assert await ann.who() == ["ann", "ben"]
        messages = [Message("ben", str(number)) for number in range(5000)]
        assert await so_far(ann) == [Joined("ben"), *messages]


async def test_block_is_left_in_order_with_events_that_nobody_took() -> None:
    async with run_server_in_loop() as home:
        ben = await home.join("ben")
        async with joined(home.server.address) as ann:
            await ben.ask(*(f"MSG {number}" for number in range(5000)))
            await anext(ann)
        assert await ben.barrier() == ["LEFT ann"]
