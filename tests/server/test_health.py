"""Health over HTTP: what is asked and answered, and clients who do not behave."""

import asyncio
import logging
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_chat import ListenError, Server, Settings, serve
from simple_chat.core.room import Room
from simple_chat.server import health
from simple_chat.server.health import CONNECTIONS_MAX, Response, answer
from tests.harness.http import exchange, get, parse_answer
from tests.harness.peer import DEADLINE, connect
from tests.harness.server import eventually, run_server_in_loop

PAGES = {"/page": lambda accept: Response(200, f"as {accept}".encode(), "text/x")}
HEAD = b"\r\nHost: chat\r\n\r\n"


# What is answered


def test_page_is_answered_with_its_type_and_length() -> None:
    found = parse_answer(answer(b"GET /page HTTP/1.1" + HEAD, PAGES))
    assert (found.status, found.body) == (200, "as ")
    assert found.fields["content-type"] == "text/x"
    assert found.fields["content-length"] == "3"
    assert found.fields["connection"] == "close"


def test_answer_to_head_has_no_body() -> None:
    of_get, of_head = (answer(method + b" /page HTTP/1.1" + HEAD, PAGES) for method in (b"GET", b"HEAD"))
    assert of_get == of_head + b"as "


def test_page_learns_what_is_accepted() -> None:
    head = b"\r\nHost: chat\r\naccept: a/b;q=1\r\nX-Accept: no\r\nAccept:c\r\n\r\n"
    assert answer(b"GET /page HTTP/1.1" + head, PAGES).endswith(b"\r\n\r\nas a/b;q=1,c")


@pytest.mark.parametrize("path", [b"/page?name[]=x", b"/page?"])
def test_query_is_ignored(path: bytes) -> None:
    assert parse_answer(answer(b"GET " + path + b" HTTP/1.0" + HEAD, PAGES)).status == 200


@pytest.mark.parametrize("path", [b"/", b"/page/", b"/Page", b"page", b"*", b"//page", b"/../page"])
def test_other_path_is_not_found(path: bytes) -> None:
    assert parse_answer(answer(b"GET " + path + b" HTTP/1.1" + HEAD, PAGES)).status == 404


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"get"])
def test_other_method_is_not_allowed(method: bytes) -> None:
    found = parse_answer(answer(method + b" /page HTTP/1.1" + HEAD, PAGES))
    assert (found.status, found.fields["allow"]) == (405, "GET, HEAD")
    assert not [name for name in found.fields if name.startswith("access-control-")]


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /page\r\n\r\n",
        b"GET /page HTTP/2.0" + HEAD,
        b"GET  /page HTTP/1.1" + HEAD,
        b"GET /page HTTP/1.1 x" + HEAD,
        b"GET /page HTTP/1.1\r\nHost: not complete\r\n",
        b"\r\n\r\n",
        b"\xff\xfe\x85\r\n\r\n",
        b"JOIN ann\n\n",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
    ],
)
def test_what_is_no_request_is_a_bad_one(request_: bytes) -> None:
    assert parse_answer(answer(request_, PAGES)).status == 400


@given(st.binary(max_size=200), st.sampled_from([b"", b"GET /page HTTP/1.1\r\nAccept:", b"HEAD /"]))
def test_whatever_comes_has_an_answer(data: bytes, begin: bytes) -> None:
    found = parse_answer(answer(begin + data + HEAD, PAGES))
    assert found.status in {200, 400, 404, 405}


# While the server runs


async def test_running_server_is_alive_and_ready() -> None:
    async with run_server_in_loop(metrics=0) as harness:
        address = harness.server.metrics_address
        alive, ready = await get(address, "/healthz"), await get(address, "/readyz")
        assert (alive.status, alive.body) == (200, "alive\n")
        assert (ready.status, ready.body) == (200, "ready\n")


async def test_full_server_is_ready() -> None:
    async with run_server_in_loop(Settings(max_clients=1), metrics=0) as harness:
        await harness.join("ann")
        assert (await get(harness.server.metrics_address, "/readyz")).status == 200


async def test_server_is_not_ready_while_it_starts_and_while_it_drains() -> None:
    server = Server(Settings(rate=0), Room())
    await server.listen_metrics("0")
    starting = await get(server.metrics_address, "/readyz")
    assert (starting.status, starting.body) == (503, "starting\n")
    await server.open()
    await server.listen("127.0.0.1", 0)
    server.start()
    ann = await connect(server.address)
    assert (await get(server.metrics_address, "/readyz")).status == 200
    address = server.metrics_address
    ann.pause()  # and does not see that it is the end
    closing = asyncio.create_task(server.close())
    await eventually(lambda: server.room.closed)
    draining, alive = await get(address, "/readyz"), await get(address, "/healthz")
    assert (draining.status, draining.body) == (503, "draining\n")
    assert alive.status == 200
    ann.resume()
    assert (await ann.rest())[-1] == "BYE shutdown"
    await closing
    with pytest.raises(OSError, match=r"refused|reset|failed"):
        await get(address, "/healthz")


async def test_server_without_metrics_has_no_address_for_them() -> None:
    async with run_server_in_loop() as harness:
        with pytest.raises(ListenError, match="no address for metrics"):
            _ = harness.server.metrics_address


@pytest.mark.parametrize("address", ["", "x", "host", "::1", "127.0.0.1:", "1.5", "-1", "99999"])
async def test_no_address_is_a_listen_error(address: str) -> None:
    with pytest.raises(ListenError, match=r"can't listen for metrics: .*PORT"):
        async with serve("127.0.0.1", 0, metrics=address):
            pass


async def test_address_in_use_is_a_listen_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ListenError, match=f"can't listen on 127.0.0.1:{port}: "):
            async with serve("127.0.0.1", 0, metrics=port):
                pass


async def test_log_says_where_the_metrics_are(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with run_server_in_loop(metrics=0) as harness:
        host, port = harness.server.metrics_address
        assert f"metrics at http://{host}:{port}/metrics" in caplog.messages


# Clients who do not behave


async def test_silent_client_is_disconnected_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "DEADLINE", 0.1)
    async with run_server_in_loop(metrics=0) as harness:
        assert await exchange(harness.server.metrics_address, b"GET /healthz HTTP/1.1\r\n") == b""


async def test_client_that_never_closes_is_disconnected_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "DEADLINE", 0.1)
    async with run_server_in_loop(metrics=0) as harness:
        peer = await connect(harness.server.metrics_address)
        peer.write(b"GET /healthz HTTP/1.1\r\n\r\n")
        await peer.wait_closed()
        assert parse_answer(bytes(peer.received)).status == 200


async def test_silent_clients_do_not_keep_others_out() -> None:
    async with run_server_in_loop(metrics=0) as harness:
        address = harness.server.metrics_address
        silent = [await connect(address) for _ in range(CONNECTIONS_MAX + 2)]
        assert (await get(address, "/healthz")).status == 200
        for peer in silent[:3]:  # the oldest had to go
            await peer.wait_closed()
        for peer in silent:
            await peer.close()


async def test_request_by_letters_is_answered() -> None:
    async with run_server_in_loop(metrics=0) as harness:
        peer = await connect(harness.server.metrics_address)
        for letter in b"GET /healthz HTTP/1.1\n\n":
            peer.write(bytes([letter]))
            await asyncio.sleep(0)
        await peer.until("Connection: close\r")
        assert await peer.lines(2) == ["\r", "alive"]
        await peer.close()


@pytest.mark.parametrize("size", [8 * 1024, 20_000])
async def test_endless_head_is_a_bad_request(size: int) -> None:
    async with run_server_in_loop(metrics=0) as harness:
        data = b"GET /healthz HTTP/1.1\r\nX: " + b"x" * size
        assert parse_answer(await exchange(harness.server.metrics_address, data)).status == 400


async def test_body_that_nobody_wants_does_not_erase_the_answer() -> None:
    async with run_server_in_loop(metrics=0) as harness:
        data = b"POST /readyz HTTP/1.1\r\nContent-Length: 20000\r\n\r\n" + b"x" * 20_000
        assert parse_answer(await exchange(harness.server.metrics_address, data)).status == 405


async def test_client_that_sends_nothing_or_resets_is_no_error() -> None:
    async with run_server_in_loop(metrics=0) as harness:
        address = harness.server.metrics_address
        ended = await connect(address)
        ended.half_close()
        await ended.wait_closed()
        assert ended.received == b""
        for _ in range(3):
            reset = socket.create_connection(address, DEADLINE)
            reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            reset.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            reset.close()
        assert (await get(address, "/healthz")).status == 200


async def test_request_is_cut_at_the_end_of_the_server() -> None:
    async with run_server_in_loop(metrics=0) as harness:
        peer = await connect(harness.server.metrics_address)
        peer.write(b"GET /healthz")
        await asyncio.sleep(0)
    await peer.wait_closed()


async def test_page_that_fails_is_logged_and_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    async with run_server_in_loop(metrics=0) as harness:
        listener, address = harness.server._health, harness.server.metrics_address
        assert listener is not None
        listener._pages = {**listener._pages, "/fails": lambda _accept: Response(0, b"")}
        assert await exchange(address, b"GET /fails HTTP/1.1\r\n\r\n") == b""
        assert "a request for metrics or health failed" in caplog.text
        assert (await get(address, "/healthz")).status == 200
        caplog.clear()
