"""Health and metrics over HTTP, answered by the server's own event loop.

Whoever supervises the server asks: is it alive (/healthz), does the room take lines (/readyz), what has it
done so far (/metrics). Nothing can be changed here, and nothing be read about anybody. A request is small and
soon there, or its connection is closed.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus

from simple_chat.address import format_address, parse_port
from simple_chat.errors import ListenError
from simple_chat.server import listeners

logger = logging.getLogger(__name__)

DEADLINE = 5.0
"""Seconds from a connection to its end."""

CONNECTIONS_MAX = 8
"""Connections at a time; for one more, the oldest is closed."""

_HEAD_MAX = 8 * 1024  # bytes of a request
_READS_MAX = 8  # of what a client sends after its request
_METHODS = ("GET", "HEAD")
_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Response:
    """An answer.

    Attributes:
        status: of HTTP.
        body: what the page says.
        content_type: of the body.
    """

    status: int
    body: bytes
    content_type: str = _TEXT

    def encode(self, *, with_body: bool = True) -> bytes:
        """Return its bytes on the wire, for HEAD without the body."""
        head = (
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            *([f"Allow: {', '.join(_METHODS)}"] if self.status == HTTPStatus.METHOD_NOT_ALLOWED else []),
            "Connection: close",
        )
        return "".join(f"{line}\r\n" for line in (*head, "")).encode() + (self.body if with_body else b"")


Page = Callable[[str], Response]
"""Answers a request; given its Accept header, which may be empty."""


def health_pages(readiness: Callable[[], str]) -> dict[str, Page]:
    """Return the pages that need no metrics, by path.

    Args:
        readiness: returns why the room takes no lines now, empty if it does.
    """

    def ready(_accept: str) -> Response:
        problem = readiness()
        return _text(HTTPStatus.SERVICE_UNAVAILABLE, problem) if problem else _text(HTTPStatus.OK, "ready")

    return {"/healthz": lambda _accept: _text(HTTPStatus.OK, "alive"), "/readyz": ready}


def answer(head: bytes, pages: Mapping[str, Page]) -> bytes:
    """Return what is written for a request.

    Args:
        head: the request up to the empty line; shorter if the client sent no more.
        pages: by path.
    """
    request, *fields = (line.rstrip("\r") for line in head.decode("latin-1").split("\n"))
    method, target, version = (*request.split(" "), "", "")[:3]
    if not version.startswith("HTTP/1.") or request.count(" ") != 2 or not _is_complete(head):
        return _text(HTTPStatus.BAD_REQUEST, "this is no request of HTTP/1.1").encode()
    page = pages.get(target.partition("?")[0])
    if page is None:
        response = _text(HTTPStatus.NOT_FOUND, f"there are {', '.join(pages)}")
    elif method not in _METHODS:
        response = _text(HTTPStatus.METHOD_NOT_ALLOWED, "there is nothing to do here but to GET")
    else:
        response = page(_accept(fields))
    return response.encode(with_body=method != "HEAD")


def _accept(fields: list[str]) -> str:
    """Return what is accepted, without what an answer must not repeat."""
    values = (field.split(":", 1)[1].strip() for field in fields if field.lower().startswith("accept:"))
    return ",".join(each for each in values if each.isascii() and each.isprintable())


def _text(status: int, text: str) -> Response:
    return Response(status, f"{text}\n".encode())


def _is_complete(head: bytes) -> bool:
    return b"\r\n\r\n" in head or b"\n\n" in head


class HealthListener:
    """Listens for requests.

    Args:
        pages: what there is, by path.
    """

    def __init__(self, pages: Mapping[str, Page]) -> None:
        self._pages = pages
        self._listeners: list[listeners.Listener] = []
        self._serving: dict[asyncio.Task[None], None] = {}  # oldest first

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Every host and port that it listens on."""
        return [each.sock.getsockname()[:2] for each in self._listeners]

    async def listen(self, address: str) -> None:
        """Listen on a TCP address.

        Args:
            address: as `simple_chat.address.parse_port` takes it.

        Raises:
            ListenError: it is none, is in use, or no address of this machine.
        """
        try:
            host, port = parse_port(address)
        except ValueError as error:
            raise ListenError(f"can't listen for metrics: {error}") from error
        self._listeners += await listeners.listen_tcp(
            self._on_accept, host, port, stall_timeout=0, reuse_port=False
        )
        for each in self.addresses:
            logger.info("metrics at http://%s/metrics", format_address(*each))

    def listen_on(self, sock: socket.socket) -> None:
        """Listen on a socket that somebody else has bound.

        Raises:
            ListenError: it does not listen.
        """
        self._listeners.append(listeners.listen_on(self._on_accept, sock, stall_timeout=0))
        logger.info("metrics at %s", listeners.endpoint_of(sock))

    async def close(self) -> None:
        """Stop listening, and close all connections."""
        while self._listeners:
            self._listeners.pop().close()
        for serving in self._serving:
            serving.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _on_accept(self, sock: socket.socket, _host: str) -> None:
        going_on = [each for each in self._serving if not each.cancelling()]
        if len(going_on) >= CONNECTIONS_MAX:
            going_on[0].cancel()
        serving = asyncio.create_task(self._serve(sock))
        self._serving[serving] = None
        serving.add_done_callback(partial(self._on_served, sock))

    def _on_served(self, sock: socket.socket, serving: asyncio.Task[None]) -> None:
        sock.close()
        del self._serving[serving]
        if not serving.cancelled() and (error := serving.exception()):
            logger.error("a request for metrics or health failed", exc_info=error)

    async def _serve(self, sock: socket.socket) -> None:
        """Answer one request, and wait for the client to close: else it may lose what it has not read."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):  # TimeoutError is one
            async with asyncio.timeout(DEADLINE):
                if head := await _read_head(loop, sock):
                    await loop.sock_sendall(sock, answer(head, self._pages))
                sock.shutdown(socket.SHUT_WR)
                for _ in range(_READS_MAX):
                    if not await loop.sock_recv(sock, _HEAD_MAX):
                        break


async def _read_head(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> bytes:
    """Return a request up to its empty line, or as much of it as is allowed or was sent."""
    head = b""
    while not _is_complete(head) and len(head) < _HEAD_MAX:
        data = await loop.sock_recv(sock, _HEAD_MAX - len(head))
        if not data:
            break
        head += data
    return head
