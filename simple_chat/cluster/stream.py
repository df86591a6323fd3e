"""The stream in NATS JetStream that gives all servers of a room one order of entries."""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from nats.js import api
from nats.js.errors import APIError, NotFoundError

from simple_chat.cluster.config import ClusterConfig
from simple_chat.cluster.connection import RETRY_INTERVAL, UNAVAILABLE, NatsConnection, cancel
from simple_chat.cluster.consumer import Consumer
from simple_chat.cluster.entry import Entry, decode_entry
from simple_chat.errors import JournalError

if TYPE_CHECKING:
    from datetime import datetime

    from nats.aio.msg import Msg

logger = logging.getLogger(__name__)

MAX_BYTES = 1024**3
"""Size of the stream in bytes, beyond which its oldest entries are deleted."""

MAX_AGE = 7 * 24 * 3600.0
"""Seconds after which an entry is deleted."""

START_TIMEOUT = 20.0
"""Seconds until a start is given up; an election among NATS servers takes up to 10."""

_DUPLICATE_WINDOW = 120.0  # seconds that NATS remembers message ids, and drops what it has stored already
_NOT_CLUSTERED = 10074  # NATS's error code for several replicas on a server without a cluster


class LogStream:
    """A room's stream; `open` connects to it.

    Args:
        config: where it is.

    Raises:
        JournalError: a certificate or credentials file can't be used.
    """

    def __init__(self, config: ClusterConfig) -> None:
        self._config = config
        self._connection = NatsConnection(config)
        self._created: datetime | None = None  # identifies the stream among those of this name
        self._entries_subject = f"{config.room}.log"
        self._snapshot_subject = f"{config.room}.table"
        self._consumer = Consumer(self._connection, config.room)

    @classmethod
    async def open(cls, config: ClusterConfig) -> Self:
        """Connect, and create the stream if it does not exist.

        Raises:
            JournalError: it can't be reached or created, or has another configuration.
        """
        stream = cls(config)
        try:
            await stream._start()
        except BaseException:
            await stream.close()
            raise
        return stream

    async def _start(self) -> None:
        """Connect, and find or create the stream, within `START_TIMEOUT`."""
        starting = asyncio.create_task(self._connect())
        try:
            await asyncio.wait([starting], timeout=START_TIMEOUT)
        finally:
            await cancel(starting)  # asyncio.timeout cancels once, which may get lost
        if starting.cancelled():
            raise self._connection.failure()
        starting.result()

    async def _connect(self) -> None:
        await self._connection.connect()
        await self.ensure()

    async def close(self) -> None:
        """Stop reading, and disconnect."""
        await self.stop()
        await self._connection.close()

    # Configuration

    async def ensure(self) -> None:
        """Create the stream, or check the configuration of the one that exists, however long it takes.

        Raises:
            JournalError: it has another configuration, or NATS can't keep that many replicas.
        """
        while True:
            try:
                info = await self._info()
            except UNAVAILABLE as error:
                if isinstance(error, APIError) and error.err_code == _NOT_CLUSTERED:
                    raise JournalError(
                        "one NATS server alone keeps one replica: --cluster-replicas 1"
                    ) from error
                self._connection.record_error(error)
                await asyncio.sleep(RETRY_INTERVAL)
            else:
                self._check(info.config)
                return

    async def _info(self) -> api.StreamInfo:
        """Return what NATS knows of the stream, and read this one from now on; create it if need be."""
        jetstream = self._connection.jetstream
        try:
            info = await jetstream.stream_info(self._config.room)
        except NotFoundError:
            info = await jetstream.add_stream(self._stream_config())
        self._created = info.created
        return info

    def _stream_config(self) -> api.StreamConfig:
        return api.StreamConfig(
            name=self._config.room,
            subjects=[f"{self._config.room}.>"],
            storage=api.StorageType.FILE,
            num_replicas=self._config.replicas,
            max_bytes=MAX_BYTES,
            max_age=MAX_AGE,
            duplicate_window=_DUPLICATE_WINDOW,
        )

    def _check(self, found: api.StreamConfig) -> None:
        expected = self._stream_config()
        for field in ("subjects", "storage", "num_replicas", "discard", "max_msgs_per_subject"):
            if (have := getattr(found, field)) != (need := getattr(expected, field)):
                need = getattr(need, "value", need)
                raise JournalError(f"the stream {found.name} has {field} {have}, and should have {need}")

    # Writing

    @property
    def max_size(self) -> int:
        """The most bytes that an entry may have."""
        return self._connection.max_payload

    async def publish(self, ident: str, data: bytes) -> int:
        """Append an entry; one that was appended before, by its ident, is not appended again.

        Args:
            ident: of the entry, unique among all servers.
            data: the encoded entry.

        Returns:
            Its position.

        Raises:
            NatsError, TimeoutError, OSError: it may be stored or not.
        """
        headers = {api.Header.MSG_ID.value: ident}
        ack = await self._connection.jetstream.publish(self._entries_subject, data, headers=headers)
        return ack.seq

    async def publish_snapshot(self, snapshot: bytes) -> None:
        """Append a snapshot.

        Raises:
            NatsError, TimeoutError, OSError: it may be stored or not.
        """
        await self._connection.jetstream.publish(self._snapshot_subject, snapshot)

    # Reading

    async def last_snapshot(self) -> bytes | None:
        """Return the newest snapshot; None if the stream has none.

        Raises:
            NatsError, TimeoutError, OSError: NATS is unavailable.
        """
        try:
            message = await self._connection.jetstream.get_last_msg(self._config.room, self._snapshot_subject)
        except NotFoundError:
            return None
        return message.data

    async def bounds(self) -> tuple[int, int]:
        """Return the positions of the first and the last entry that the stream has.

        Raises:
            NatsError, TimeoutError, OSError: NATS is unavailable.
        """
        state = (await self._info()).state
        return state.first_seq, state.last_seq

    async def consume(
        self, start: int, on_entry: Callable[[Entry], None], on_gap: Callable[[], None]
    ) -> None:
        """Deliver the entries from a position on, and those to come, until there is a gap.

        Args:
            start: position of the first entry.
            on_entry: called with each entry, snapshots included, which have no node.
            on_gap: called when entries are missing; nothing is delivered after that.
        """
        await self._consumer.start(
            start, self._created, lambda message: on_entry(self._decode(message)), on_gap
        )

    async def stop(self) -> None:
        """Deliver nothing more until `consume` is called again."""
        await self._consumer.stop()

    async def wait_for(self, position: int) -> bool:
        """Wait until everything up to a position was delivered; return False if there is a gap before."""
        return await self._consumer.wait_for(position)

    def resubscribe(self) -> None:
        """Read on by a new consumer: an entry that was expected did not come."""
        self._consumer.resubscribe()

    @property
    def position(self) -> int:
        """Position of the last entry delivered."""
        return self._consumer.position

    @property
    def bytes_read(self) -> int:
        """Size of all entries delivered, in bytes."""
        return self._consumer.bytes_read

    def _decode(self, message: "Msg") -> Entry:
        position = message.metadata.sequence.stream
        time = round(message.metadata.timestamp.timestamp() * 1e6)
        if message.subject == self._entries_subject:
            try:
                return decode_entry(position, time, message.data)
            except ValueError:
                logger.warning("entry %d of the stream is not from a chat server", position)
        return Entry(position, time)
