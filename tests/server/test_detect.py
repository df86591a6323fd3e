"""Those who knock at the wrong door: browsers, and clients that begin with TLS."""

import asyncio
import shutil
import socket
import ssl
from subprocess import run

import pytest

from simple_chat.core.codes import Code
from simple_chat.core.detect import BYTE_ORDER_MARK
from simple_chat.server import connection
from tests.harness.peer import Peer
from tests.harness.programs import DEADLINE, run_server_process
from tests.harness.server import TRANSPORTS, ServerHarness, disconnect_lines, run_server_in_loop

NOT_CHAT = disconnect_lines(Code.NOT_CHAT)
HTTP = [
    f"{line}\r"
    for line in ("HTTP/1.1 400 Bad Request", "Content-Type: text/plain", "Connection: close", "", *NOT_CHAT)
]

POST = (
    b"POST /chat HTTP/1.1\r\nHost: 127.0.0.1:8090\r\nContent-Type: text/plain\r\nContent-Length: 27\r\n\r\n"
    b"JOIN mallory\nMSG buy this\n\n"
)
METHODS = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "CONNECT",
    "OPTIONS",
    "TRACE",
    "PATCH",
    "FOO",
    "JOIN",
    "patch",
]
HEADERS = [  # as many as a browser sends
    "Host: chat.example:8090",
    "Connection: keep-alive",
    "Content-Length: 27",
    "User-Agent: Mozilla/5.0",
    "Content-Type: text/plain;charset=UTF-8",
    "Accept: */*",
    "Origin: http://chat.example:8090",
    "Referer: http://chat.example:8090/",
    "Accept-Encoding: gzip, deflate",
]


def tls_hello() -> bytes:
    """What a client sends first that talks TLS."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(
        incoming, outgoing, server_hostname="chat.example"
    )
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


async def send_byte_by_byte(peer: Peer, data: bytes, clock: Peer) -> None:
    """Send a packet a byte, each when the server has read the one before."""
    for at in range(len(data)):
        peer.write(data[at : at + 1])
        await clock.barrier()


async def check_room(harness: ServerHarness) -> None:
    """Check that nobody came in, and nothing was said."""
    observer = await harness.join("observer")
    assert await observer.ask("HISTORY", "WHO") == ["OK HISTORY 0", "NAMES observer", "OK WHO 1"]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("method", METHODS)
async def test_http_is_answered_as_such_and_the_connection_ends(method: str, transport: str) -> None:
    async with run_server_in_loop(transport=transport) as harness:
        peer = await harness.connect()
        peer.write(f"{method} / HTTP/1.1\r\nHost: chat.example\r\n\r\n".encode())
        assert await peer.rest() == HTTP


@pytest.mark.parametrize("method", ["FOO", "JOIN", "pass", "M-SEARCH"])
@pytest.mark.parametrize(
    "target", ["/", f"/{'a' * 4095}", f"/{'a' * 200_000}"], ids=["short", "long", "huge"]
)
async def test_web_page_can_not_make_a_browser_chat(method: str, target: str) -> None:
    request = [f"{method} {target} HTTP/1.1", *HEADERS, "", "JOIN mallory", "MSG buy this", ""]
    async with run_server_in_loop() as harness:
        for ends in ("\r\n", "\n"):
            peer = await harness.connect()
            peer.write(ends.join(request).encode())
            lines = [line.rstrip("\r") for line in await peer.rest()]
            assert lines[-len(HTTP) :] == [line.rstrip("\r") for line in HTTP]
            assert all(line.startswith("ERR line-too-long ") for line in lines[: -len(HTTP)])
        await check_room(harness)


async def test_http_2_is_answered_as_http() -> None:
    async with run_server_in_loop() as harness:
        peer = await harness.connect()
        peer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert await peer.rest() == HTTP


async def test_cross_site_post_sends_nothing_to_the_room() -> None:
    async with run_server_in_loop() as harness:
        whole, cut, clock = [await harness.connect() for _ in range(3)]
        whole.write(POST)
        await send_byte_by_byte(cut, POST[:4], clock)
        cut.write(POST[4:])
        assert await whole.rest() == await cut.rest() == HTTP
        await check_room(harness)


async def test_a_request_in_two_packets_is_recognized_wherever_it_is_cut() -> None:
    async with run_server_in_loop() as harness:
        clock = await harness.connect()
        for cut in range(1, 23):
            peer = await harness.connect()
            peer.write(POST[:cut])
            await clock.barrier()
            peer.write(POST[cut:])
            assert await peer.rest() == HTTP
        await check_room(harness)


def send_and_then_read(address: tuple[str, int], data: bytes) -> list[str]:
    """Send everything before reading anything, as simple clients do."""
    with socket.create_connection(address, DEADLINE) as sock:
        sock.sendall(data)
        received = b"".join(iter(lambda: sock.recv(65_536), b""))
    return received.decode().split("\n")[:-1]


async def test_a_long_body_does_not_keep_the_answer_from_arriving(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LINGER", 600.0)
    async with run_server_in_loop() as harness:
        body = b"MSG spam\n" * 1_000_000  # more than the kernel takes
        _, *lines = await asyncio.to_thread(send_and_then_read, harness.server.address, POST + body)
        assert lines == HTTP
        await check_room(harness)


async def test_a_tls_hello_is_refused_in_words() -> None:
    async with run_server_in_loop() as harness:
        whole, cut, clock = [await harness.connect() for _ in range(3)]
        whole.write(tls_hello() + b"\nJOIN mallory\n")
        await send_byte_by_byte(cut, tls_hello()[:1], clock)
        cut.write(tls_hello()[1:] + b"\nJOIN mallory\n")
        assert await whole.rest() == await cut.rest() == NOT_CHAT
        await check_room(harness)


async def test_half_a_request_before_the_end_of_input_is_half_a_line() -> None:
    async with run_server_in_loop() as harness:
        peer = await harness.connect()
        peer.write(b"GET")
        peer.half_close()
        error, bye = await peer.rest()
        assert error.startswith("ERR incomplete-line ")
        assert bye == "BYE quit"


@pytest.mark.parametrize("line", ["GETTING", "PINGx", "GET /", "POSTER", "TRACE", "PUT", "\x16"])
async def test_words_that_merely_begin_like_a_request_are_refused_as_words_are(line: str) -> None:
    async with run_server_in_loop() as harness:
        peer, cut, clock = [await harness.connect() for _ in range(3)]
        (error,) = await peer.ask(line)
        assert error.startswith("ERR unknown-command ")
        await send_byte_by_byte(cut, f"{line}\n".encode(), clock)
        assert await cut.barrier() == [error]
        assert await cut.ask("JOIN ann") == ["OK JOIN ann"]


@pytest.mark.parametrize("line", ["HELP", "PING", "PASS x"])
async def test_commands_that_begin_like_a_request_are_carried_out(line: str) -> None:
    async with run_server_in_loop() as harness:
        peer, cut, clock = [await harness.connect() for _ in range(3)]
        answer = await peer.ask(line)
        await send_byte_by_byte(cut, f"{line}\n".encode(), clock)
        assert await cut.barrier() == answer
        assert not any(each.startswith("ERR") for each in answer)


async def test_a_byte_order_mark_is_dropped_at_the_start_and_text_elsewhere() -> None:
    async with run_server_in_loop() as harness:
        clock, ann, bob = [await harness.connect() for _ in range(3)]
        ann.write(BYTE_ORDER_MARK + b"JOIN ann\n")
        assert await ann.line() == "OK JOIN ann"
        await send_byte_by_byte(bob, BYTE_ORDER_MARK + b"JOIN bob\n", clock)
        assert await bob.line() == "OK JOIN bob"
        assert await bob.ask("MSG \ufeffhi") == []
        (error,) = await bob.ask("\ufeffMSG hi")
        assert error.startswith("ERR unknown-command ")
        assert await ann.barrier() == ["JOINED bob", "MSG bob \ufeffhi"]


def test_curl_sees_that_this_is_no_web_server() -> None:
    if (curl := shutil.which("curl")) is None:
        pytest.skip("curl is not installed")
    with run_server_process() as server:
        url = f"http://{server.host}:{server.port}/"
        body = ["--data-binary", "JOIN mallory\nMSG spam\n"]
        for more in ([], body):
            command = [curl, "--http0.9", "--noproxy", "*", "--silent", "--show-error", *more, url]
            ended = run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
            _, *lines = ended.stdout.splitlines()
            assert (ended.returncode, ended.stderr) == (0, "")
            assert lines == [line.rstrip("\r") for line in HTTP]
        alice = server.join("alice")
        alice.type("HISTORY", "WHO")
        assert alice.barrier() == ["OK HISTORY 0", "NAMES alice", "OK WHO 1"]
