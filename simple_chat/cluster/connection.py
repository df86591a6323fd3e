"""A connection to NATS that reconnects on its own, and remembers the last error.

The NATS client reports most errors to a callback only: the reason why a server can't be used reaches nobody
who waits for an answer.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from simple_chat.cluster.config import ClusterConfig, parse_nats_urls
from simple_chat.errors import ConfigError, JournalError, describe_error
from simple_chat.tls import client_context

try:  # here for all modules: whoever uses them imports this one first, to handle `UNAVAILABLE`
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription
    from nats.aio.transport import TcpTransport
    from nats.errors import Error as NatsError
    from nats.js import JetStreamContext
    from nats.js.errors import APIError
except ImportError as error:
    raise ConfigError("a cluster needs nats-py: pip install 'simple_chat[cluster]'") from error

logger = logging.getLogger(__name__)

RETRY_INTERVAL = 0.2
"""Seconds from one attempt to the next."""

UNAVAILABLE = (NatsError, TimeoutError, OSError)
"""Raised while NATS can't be used; the request may have been carried out or not."""

_REQUEST_TIMEOUT = 1.0  # seconds
_CONNECT_TIMEOUT = 1.0  # seconds
_PING_INTERVAL = 2.0  # seconds
_PINGS_UNANSWERED = 2  # until the connection counts as dead

_Answer = TypeVar("_Answer")


class _Client(Client):
    """A client that sends nothing in plain text to a server whose URL begins with ``tls://``."""

    def _connect_command(self) -> bytes:
        server = self._current_server
        if server is not None and server.uri.scheme == "tls" and not self._server_info.get("tls_required"):
            raise NatsError("it does not use TLS, as tls:// in its URL demands")
        return super()._connect_command()


class NatsConnection:
    """A connection to one of a cluster's NATS servers.

    Args:
        config: where the servers are, and how to authenticate.

    Attributes:
        last_error: why NATS could not be used last.

    Raises:
        ConfigError: a URL, a certificate or a credentials file can't be used.
    """

    def __init__(self, config: ClusterConfig) -> None:
        self.last_error = "no answer"
        self._error_explains = False  # whether NATS or TLS gave the last error
        self._creds = config.creds
        try:
            self._urls, self._login = parse_nats_urls(config.servers)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        use_context = config.ca is not None or config.cert is not None
        self._tls = client_context(config.ca, config.cert, config.key) if use_context else None
        self._client = _Client()
        _check_credentials(config.creds)

    async def connect(self) -> None:
        """Connect, however long it takes.

        Raises:
            JournalError: an address or the credentials can't be used.
        """
        self._client = _Client()
        try:
            await self._client.connect(
                self._urls,
                name="simple_chat",
                error_cb=self._on_error,
                tls=self._tls,
                user=self._login.user,  # in a URL it would not be valid for servers that NATS names
                password=self._login.password,
                token=self._login.token,
                user_credentials=self._creds,
                connect_timeout=_CONNECT_TIMEOUT,  # type: ignore[arg-type] # any number will do
                reconnect_time_wait=RETRY_INTERVAL,  # type: ignore[arg-type]
                max_reconnect_attempts=-1,
                ping_interval=_PING_INTERVAL,  # type: ignore[arg-type]
                max_outstanding_pings=_PINGS_UNANSWERED,
                pending_size=0,  # the client must not queue: the replicator retries
            )
        except (ValueError, *UNAVAILABLE) as error:
            self.record_error(error)
            raise self.failure() from error

    async def _on_error(self, error: Exception) -> None:
        if not isinstance(error, UNAVAILABLE):  # raised by a subscription's callback: a bug of ours
            logger.error("handling an entry of the stream failed", exc_info=error)
        logger.debug("NATS: %s", describe_nats_error(error))
        if (
            not isinstance(error, ConnectionError) or not self._error_explains
        ):  # NATS hangs up after it explained
            self.record_error(error)
            self._error_explains = isinstance(error, ssl.SSLError) or not isinstance(error, OSError)

    def record_error(self, error: Exception) -> None:
        """Remember why NATS can't be used."""
        self.last_error = describe_nats_error(error)

    def failure(self) -> JournalError:
        """Return the error to raise when NATS can't be used for good."""
        return JournalError(f"can't use NATS at {','.join(self._urls)}: {self.last_error}")

    @property
    def jetstream(self) -> JetStreamContext:
        """The JetStream API. Not available while disconnected, as the client would queue the requests.

        Raises:
            ConnectionError: not connected.
        """
        if not self._client.is_connected:
            raise ConnectionError("not connected")
        return JetStreamContext(self._client, timeout=_REQUEST_TIMEOUT)

    @property
    def max_payload(self) -> int:
        """The most bytes that NATS takes in one message."""
        return self._client.max_payload

    async def subscribe(self, on_message: Callable[[Msg], Awaitable[None]]) -> Subscription:
        """Subscribe to a new inbox.

        Without limits on what is pending: at these the client drops messages silently.
        """
        inbox = self._client.new_inbox()
        return await self._client.subscribe(inbox, cb=on_message, pending_msgs_limit=0, pending_bytes_limit=0)

    async def reconnect(self) -> None:
        """Leave a server that is connected but silent, as when it is cut off from the others."""
        self._abort_transport()
        await self._client.force_reconnect()

    async def reopen(self) -> None:
        """Connect again if the client has given up, as after its credentials expired: they may be new now."""
        if self._client.is_closed:
            with contextlib.suppress(JournalError):
                await self.connect()

    async def close(self) -> None:
        """Close the connection, within a bounded time."""
        timer = asyncio.get_running_loop().call_later(_REQUEST_TIMEOUT, self._abort_transport)
        try:
            with contextlib.suppress(*UNAVAILABLE, RuntimeError):  # uvloop's, on a broken connection
                await self._client.close()
        finally:
            timer.cancel()

    def _abort_transport(self) -> None:
        """Abort the connection: over TLS the client would wait for a server that may be cut off."""
        transport = self._client._transport  # noqa: SLF001 - it has no other way
        if isinstance(transport, TcpTransport) and transport._io_writer is not None:  # noqa: SLF001
            transport._io_writer.transport.abort()  # noqa: SLF001


def describe_nats_error(error: Exception) -> str:
    """Describe an error, one of NATS's in its own words."""
    if isinstance(error, APIError):
        return error.description or f"error {error.err_code}"
    if isinstance(error, TimeoutError):
        return "no answer"
    return describe_error(error) or type(error).__name__


async def retry(ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """Ask NATS until there is an answer."""
    while True:
        try:
            return await ask()
        except UNAVAILABLE:
            await asyncio.sleep(RETRY_INTERVAL)


async def cancel(task: asyncio.Task[None]) -> None:
    """Cancel a task that uses NATS, and wait for its end.

    Before Python 3.12 `asyncio.wait_for`, which the client uses, loses a cancellation that comes with the
    result: https://github.com/python/cpython/issues/86296.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=RETRY_INTERVAL)


def _check_credentials(path: str | None) -> None:
    """Check that a file has credentials: the client would retry to read it for ever.

    Raises:
        JournalError: it can't be read, or has none.
    """
    if path is None:
        return
    try:
        text = Path(path).read_text(errors="replace")
    except OSError as error:
        raise JournalError(f"can't read the credentials in {path}: {describe_error(error)}") from error
    if not all(f"BEGIN {part}" in text for part in ("NATS USER JWT", "USER NKEY SEED")):
        raise JournalError(f"{path} has no credentials of a NATS user")
