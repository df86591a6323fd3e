"""The log in NATS JetStream: one stream, which gives all servers one order.

The consumer is made by hand. The client library has an ordered one, which repairs itself; but whether nothing
is missing is for us to know, and the answer of flow control can take a quarter of a second there.
"""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Self

from simple_chat.cluster.config import ClusterConfig
from simple_chat.cluster.entry import Entry, decode_entry
from simple_chat.cluster.replicated import Message
from simple_chat.errors import ConfigError, JournalError, describe_error

if TYPE_CHECKING:
    from datetime import datetime

try:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription
    from nats.aio.transport import TcpTransport
    from nats.errors import Error as NatsError
    from nats.js import JetStreamContext, api
    from nats.js.errors import APIError, NotFoundError
except ImportError as error:
    raise ConfigError("a cluster needs nats-py: pip install 'simple_chat[cluster]'") from error

logger = logging.getLogger(__name__)

MAX_BYTES = 1024**3
"""Bytes of the log that are kept."""

MAX_AGE = 7 * 24 * 3600.0
"""Seconds that an entry is kept."""

START_TIMEOUT = 20.0
"""Seconds until a start is given up; an election among NATS servers takes up to 10."""

_TIMEOUT = 1.0  # seconds for one answer
_RETRY = 0.2  # seconds from one try to the next
_HEARTBEAT = 1.0  # seconds, of a consumer that has nothing to bring
_SILENCE = 3.0  # seconds without one until another consumer is made
_DUPLICATES = 120.0  # seconds that NATS remembers what was stored, so that it is not stored again
_NOT_CLUSTERED = 10074  # NATS's code for replicas where there is one server

AWAY = (NatsError, TimeoutError, OSError)
"""What is raised while the log is away."""


class Log:
    """A room's log. `Log.open` connects to it.

    Args:
        where: where it is.

    Attributes:
        position: of the last entry that was read.
        size: bytes that were read.
    """

    def __init__(self, where: ClusterConfig) -> None:
        self._where = where
        self._tls = _tls(where.ca)
        self._client = Client()
        self._created: datetime | None = None  # when the stream was
        self._trouble = "no answer"
        self._says_why = False  # whether that is in NATS's own words
        self._take: Callable[[Entry], None] = _ignore
        self._lose: Callable[[], None] = _nothing
        self._heard = 0.0  # of the consumer, by the event loop's clock
        self._broken = asyncio.Event()  # another consumer is needed
        self._hole = False  # entries are missing
        self._progress = asyncio.Event()  # something was read
        self._following: asyncio.Task[None] | None = None
        self.position = 0
        self.size = 0

    @classmethod
    async def open(cls, where: ClusterConfig) -> Self:
        """Connect, and make the stream if there is none.

        Raises:
            JournalError: it can't be reached or made, or is not what it should be.
        """
        log = cls(where)
        _check_credentials(where.creds)
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await log._connect()
                await log.make()
        except BaseException as error:
            await log.close()
            if isinstance(error, TimeoutError):
                raise JournalError(f"can't use NATS at {','.join(where.servers)}: {log._trouble}") from error
            raise
        return log

    async def _connect(self) -> None:
        self._client = Client()
        try:
            await self._client.connect(
                list(self._where.servers),
                name="simple_chat",
                error_cb=self._note,
                tls=self._tls,
                user_credentials=self._where.creds,
                connect_timeout=1,
                reconnect_time_wait=_RETRY,  # type: ignore[arg-type] # any number will do
                max_reconnect_attempts=-1,
                ping_interval=2,
                max_outstanding_pings=2,
                pending_size=0,  # nothing waits in the client: it is sent again from here
            )
        except (OSError, ValueError, NatsError) as error:
            raise JournalError(f"can't use NATS at {','.join(self._where.servers)}: {say(error)}") from error

    async def _note(self, error: Exception) -> None:
        """Remember what is wrong: the client goes on trying, and tells nobody else."""
        if not isinstance(error, AWAY):  # it is ours
            logger.error("what follows from the log failed", exc_info=error)
        logger.debug("NATS: %s", say(error))
        if not isinstance(error, ConnectionError) or not self._says_why:  # it hangs up after it said why
            self._trouble = say(error)
            self._says_why = not isinstance(error, OSError)

    @property
    def _stream(self) -> JetStreamContext:
        """What NATS is asked for; nothing while it is not connected, for that would pile up in the client.

        Raises:
            ConnectionError: it is not.
        """
        if not self._client.is_connected:
            raise ConnectionError("not connected")
        return JetStreamContext(self._client, timeout=_TIMEOUT)

    async def make(self) -> None:
        """Make the stream, or check the one that is there, however long it takes.

        Raises:
            JournalError: it is not what it should be.
        """
        while True:
            try:
                info = await self._info()
            except AWAY as error:
                if isinstance(error, APIError) and error.err_code == _NOT_CLUSTERED:
                    raise JournalError(
                        "one NATS server alone keeps one replica: --cluster-replicas 1"
                    ) from error
                self._trouble = say(error)
                await asyncio.sleep(_RETRY)
            else:
                self._check(info.config)
                return

    async def _info(self) -> api.StreamInfo:
        """Learn of the stream, which is the one to read from now on, and is made if there is none."""
        try:
            info = await self._stream.stream_info(self._where.room)
        except NotFoundError:
            info = await self._stream.add_stream(self._config())
        self._created = info.created
        return info

    def _config(self) -> api.StreamConfig:
        return api.StreamConfig(
            name=self._where.room,
            subjects=[f"{self._where.room}.>"],
            storage=api.StorageType.FILE,
            num_replicas=self._where.replicas,
            max_bytes=MAX_BYTES,
            max_age=MAX_AGE,
            duplicate_window=_DUPLICATES,
        )

    def _check(self, found: api.StreamConfig) -> None:
        wanted = self._config()
        for what in ("subjects", "storage", "num_replicas", "discard", "max_msgs_per_subject"):
            if (have := getattr(found, what)) != (need := getattr(wanted, what)):
                need = getattr(need, "value", need)
                raise JournalError(f"the stream {found.name} has {what} {have}, and should have {need}")

    @property
    def max_size(self) -> int:
        """Bytes that an entry may have."""
        return self._client.max_payload

    # Writing

    async def append(self, message: Message) -> int:
        """Put a message into the log; the same again does no harm.

        Returns:
            Its position.

        Raises:
            NatsError, TimeoutError, OSError: it may be there or not.
        """
        ident = {api.Header.MSG_ID.value: message.ident}
        ack = await self._stream.publish(f"{self._where.room}.log", message.data, headers=ident)
        return ack.seq

    async def keep_table(self, table: bytes) -> None:
        """Put a table into the log.

        Raises:
            NatsError, TimeoutError, OSError: it may be there or not.
        """
        await self._stream.publish(f"{self._where.room}.table", table)

    # Reading

    async def last_table(self) -> bytes | None:
        """Get the newest table, if there is one.

        Raises:
            NatsError, TimeoutError, OSError: the log is away.
        """
        try:
            message = await self._stream.get_last_msg(self._where.room, f"{self._where.room}.table")
        except NotFoundError:
            return None
        return message.data

    async def bounds(self) -> tuple[int, int]:
        """Tell the positions of the first and the last entry that is kept.

        Raises:
            NatsError, TimeoutError, OSError: the log is away.
        """
        state = (await self._info()).state
        return state.first_seq, state.last_seq

    async def follow(self, start: int, take: Callable[[Entry], None], lose: Callable[[], None]) -> None:
        """Read on from a position, now and in the future.

        Args:
            start: the position.
            take: is given each entry.
            lose: is called when entries are missing, and no more are given.
        """
        await self._stop_following()
        self.position = start - 1
        self._hole = False
        self._take, self._lose = take, lose
        self._following = asyncio.create_task(self._keep_following())

    async def wait_for(self, position: int) -> bool:
        """Wait until everything up to a position is read, and return whether it could be."""
        while self.position < position and not self._hole:
            self._progress.clear()
            await self._progress.wait()
        return not self._hole

    def renew(self) -> None:
        """Make another consumer: what should have come did not."""
        self._broken.set()

    async def _keep_following(self) -> None:
        while not self._hole:
            try:
                subscription = await self._subscribe()
            except NotFoundError:  # there is no stream any more, or another one
                self._miss()
                return
            except AWAY as error:
                self._trouble = say(error)
                await asyncio.sleep(_RETRY)
                await self._come_back()
                continue
            try:
                await self._wait_until_broken()
            finally:
                with contextlib.suppress(*AWAY):
                    await subscription.unsubscribe()

    async def _come_back(self) -> None:
        """Connect again if the client gave up, as when credentials ran out: they may be new by now."""
        if self._client.is_closed:
            with contextlib.suppress(JournalError):
                await self._connect()

    def _miss(self) -> None:
        """Know that entries are missing, and read no more."""
        self._hole = True
        self._broken.set()
        self._progress.set()
        self._lose()

    async def _subscribe(self) -> Subscription:
        stream = self._stream
        if (await stream.stream_info(self._where.room)).created != self._created:
            raise NotFoundError
        self._broken.clear()
        inbox = self._client.new_inbox()
        # The limits of the client library would lose messages without a word.
        subscription = await self._client.subscribe(
            inbox, cb=self._read, pending_msgs_limit=0, pending_bytes_limit=0
        )
        try:
            await stream.add_consumer(
                self._where.room,
                deliver_subject=inbox,
                deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=self.position + 1,
                ack_policy=api.AckPolicy.NONE,
                idle_heartbeat=_HEARTBEAT,
                inactive_threshold=10 * _SILENCE,
                mem_storage=True,
                num_replicas=1,
            )
        except BaseException:
            with contextlib.suppress(*AWAY):
                await subscription.unsubscribe()
            raise
        self._heard = asyncio.get_running_loop().time()
        return subscription

    async def _wait_until_broken(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._broken.is_set():
            if loop.time() - self._heard > _SILENCE:
                self._hang_up()
                await self._client.force_reconnect()  # it may be connected to a server that is cut off
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_HEARTBEAT):
                    await self._broken.wait()

    async def _read(self, message: Msg) -> None:
        self._heard = asyncio.get_running_loop().time()
        if not message.reply or self._hole:  # a heartbeat, or of no use any more
            return
        sequence = message.metadata.sequence
        if sequence.stream == self.position + 1:
            self.position = sequence.stream
            self.size += len(message.data)
            self._take(self._entry(message))
            self._progress.set()
        elif sequence.stream > self.position:
            if sequence.consumer == 1:  # this is the first that there is
                self._miss()
            else:
                self._broken.set()

    def _entry(self, message: Msg) -> Entry:
        position = message.metadata.sequence.stream
        time = round(message.metadata.timestamp.timestamp() * 1e6)
        if message.subject == f"{self._where.room}.log":
            try:
                return decode_entry(position, time, message.data)
            except ValueError:
                logger.warning("entry %d of the log is not from a chat server", position)
        return Entry(position, time)

    async def _stop_following(self) -> None:
        if self._following is not None:
            await stop(self._following)

    async def close(self) -> None:
        """Let go of it."""
        await self._stop_following()
        late = asyncio.get_running_loop().call_later(_TIMEOUT, self._hang_up)
        try:
            with contextlib.suppress(*AWAY, RuntimeError):  # which uvloop raises where the connection broke
                await self._client.close()
        finally:
            late.cancel()

    def _hang_up(self) -> None:
        """Cut the connection: over TLS the client would wait for NATS to agree, which may be cut off."""
        transport = self._client._transport  # noqa: SLF001 - it has no other way
        if isinstance(transport, TcpTransport) and transport._io_writer is not None:  # noqa: SLF001
            transport._io_writer.transport.abort()  # noqa: SLF001


def _tls(ca: str | None) -> ssl.SSLContext | None:
    """How to talk TLS, if not by default.

    Raises:
        JournalError: the file can't be read.
    """
    try:
        return None if ca is None else ssl.create_default_context(cafile=ca)
    except OSError as error:
        raise JournalError(f"can't read the certificates in {ca}: {describe_error(error)}") from error


def _check_credentials(path: str | None) -> None:
    """Check that a file is there, and has credentials: the client library would look again and again.

    Raises:
        JournalError: it is not.
    """
    if path is None:
        return
    try:
        text = Path(path).read_text(errors="replace")
    except OSError as error:
        raise JournalError(f"can't read the credentials in {path}: {describe_error(error)}") from error
    if not all(f"BEGIN {part}" in text for part in ("NATS USER JWT", "USER NKEY SEED")):
        raise JournalError(f"{path} has no credentials of a NATS user")


def _ignore(entry: Entry) -> None:
    """Have no use for an entry yet."""


def _nothing() -> None:
    """Have nothing to lose yet."""


async def stop(task: asyncio.Task[None]) -> None:
    """Cancel a task that uses NATS, and wait for its end.

    Before Python 3.12, `asyncio.wait_for`, with which the client library waits, forgets that it is cancelled
    when what it waits for is there at the same moment: https://github.com/python/cpython/issues/86296.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_RETRY)


def say(error: BaseException) -> str:
    """Say what is wrong with the log, in the words that people know from NATS."""
    if isinstance(error, APIError):
        return error.description or f"error {error.err_code}"
    if isinstance(error, TimeoutError):
        return "no answer"
    return (describe_error(error) if isinstance(error, Exception) else "") or type(error).__name__
