"""A consumer that delivers every message of a stream once and in order, or reports a gap.

Made by hand from a push consumer. The client library has an ordered one, which repairs itself; but the caller
has to know whether a message is missing, and its flow control can delay one by a quarter of a second.
"""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import api
from nats.js.errors import NotFoundError

from simple_chat.cluster.connection import RETRY_INTERVAL, UNAVAILABLE, NatsConnection, cancel

HEARTBEAT_INTERVAL = 1.0
"""Seconds between heartbeats of a push consumer that has nothing to deliver; NATS takes 0.1 or more."""

SILENCE_TIMEOUT = 3.0
"""Seconds without message and heartbeat until the connection is replaced."""


class Consumer:
    """Reads one stream from a position on, over as many push consumers as it takes.

    Args:
        connection: to NATS.
        stream: name of the stream.

    Attributes:
        position: sequence number of the last message delivered.
        bytes_read: size of all messages delivered, in bytes.
    """

    _on_message: Callable[[Msg], None]
    _on_gap: Callable[[], None]

    def __init__(self, connection: NatsConnection, stream: str) -> None:
        self.position = 0
        self.bytes_read = 0
        self._connection = connection
        self._stream = stream
        self._created: datetime | None = None
        self._last_received = 0.0  # by the event loop's clock
        self._broken = asyncio.Event()  # a new push consumer is needed
        self._gap = False
        self._stopped = False
        self._progress = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(
        self,
        position: int,
        created: datetime | None,
        on_message: Callable[[Msg], None],
        on_gap: Callable[[], None],
    ) -> None:
        """Begin to deliver, or begin anew.

        Args:
            position: sequence number of the first message.
            created: when the stream was created; another one of the same name is a gap.
            on_message: called with each message.
            on_gap: called when messages are missing; nothing is delivered after that.
        """
        await self.stop()
        self._on_message, self._on_gap = on_message, on_gap
        self.position = position - 1
        self._created = created
        self._gap = self._stopped = False
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Deliver nothing more, at once."""
        self._stopped = True
        if self._task is not None:
            await cancel(self._task)

    async def wait_for(self, position: int) -> bool:
        """Wait until everything up to a position was delivered; return False if there is a gap before."""
        while self.position < position and not self._gap:
            self._progress.clear()
            await self._progress.wait()
        return not self._gap

    def resubscribe(self) -> None:
        """Make a new push consumer: a message that was expected did not come."""
        self._broken.set()

    async def _run(self) -> None:
        while not self._gap:
            try:
                subscription = await self._subscribe()
            except NotFoundError:  # the stream is gone, or is another one
                self._report_gap()
                return
            except UNAVAILABLE as error:
                self._connection.record_error(error)
                await asyncio.sleep(RETRY_INTERVAL)
                await self._connection.reopen()
                continue
            try:
                await self._wait_until_broken()
            finally:
                with contextlib.suppress(*UNAVAILABLE):
                    await subscription.unsubscribe()

    async def _subscribe(self) -> Subscription:
        jetstream = self._connection.jetstream
        if (await jetstream.stream_info(self._stream)).created != self._created:
            raise NotFoundError
        self._broken.clear()
        subscription = await self._connection.subscribe(self._receive)
        try:
            await jetstream.add_consumer(self._stream, self._config(subscription.subject))
        except BaseException:
            with contextlib.suppress(*UNAVAILABLE):
                await subscription.unsubscribe()
            raise
        self._last_received = asyncio.get_running_loop().time()
        return subscription

    def _config(self, inbox: str) -> api.ConsumerConfig:
        return api.ConsumerConfig(
            deliver_subject=inbox,
            deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=self.position + 1,
            ack_policy=api.AckPolicy.NONE,
            idle_heartbeat=HEARTBEAT_INTERVAL,
            inactive_threshold=10 * SILENCE_TIMEOUT,
            mem_storage=True,
            num_replicas=1,
        )

    async def _wait_until_broken(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._broken.is_set():
            if loop.time() - self._last_received > SILENCE_TIMEOUT:
                await self._connection.reconnect()
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_INTERVAL):
                    await self._broken.wait()

    async def _receive(self, message: Msg) -> None:
        self._last_received = asyncio.get_running_loop().time()
        if self._gap or self._stopped:  # too late
            return
        if not message.reply:
            self._check_heartbeat(message.headers or {})
            return
        sequence = message.metadata.sequence
        if sequence.stream == self.position + 1:
            self.position = sequence.stream
            self.bytes_read += len(message.data)
            self._on_message(message)
            self._progress.set()
        elif sequence.stream > self.position:
            self._on_missing(sent=sequence.consumer - 1)

    def _check_heartbeat(self, headers: dict[str, str]) -> None:
        """Notice that messages are missing, even if no other one follows them."""
        if int(headers.get("Nats-Last-Stream", 0)) > self.position:
            self._on_missing(sent=int(headers["Nats-Last-Consumer"]))

    def _on_missing(self, sent: int) -> None:
        """Handle that the next message was skipped.

        Args:
            sent: messages that this push consumer has sent before. If there were any, the one that is missing
                may only have been lost on the way.
        """
        if sent:
            self._broken.set()
        else:  # it was deleted
            self._report_gap()

    def _report_gap(self) -> None:
        self._gap = True
        self._broken.set()
        self._progress.set()
        self._on_gap()
