"""A server's connection to the simulated NATS, on which the shipped `LogStream` and its consumer run."""

import asyncio
from collections.abc import Awaitable, Callable

from nats.aio.msg import Msg
from nats.js import api

from simple_chat.cluster.config import ClusterConfig
from simple_chat.cluster.connection import NatsConnection
from tests.simulation.log import SimulatedLog
from tests.simulation.log_consumer import Subscription
from tests.simulation.machine import MACHINE, Machine

_MAX_PAYLOAD = 1024 * 1024  # bytes


class SimulatedConnection(NatsConnection):
    """One server's connection to the simulated NATS.

    Args:
        log: the simulated NATS.
        config: as of the real one.
    """

    def __init__(self, log: SimulatedLog, config: ClusterConfig) -> None:
        super().__init__(config)
        self._log = log
        self._machine = MACHINE.get()
        self._subscriptions: list[Subscription] = []

    async def connect(self) -> None:
        """Do nothing: each call finds out by itself whether NATS can be reached."""

    @property
    def jetstream(self) -> "SimulatedJetStream":  # type: ignore[override]
        """The calls that the shipped code makes."""
        return SimulatedJetStream(self._log, self._machine, self._subscriptions)

    @property
    def max_payload(self) -> int:
        """The most bytes that NATS takes in one message."""
        return _MAX_PAYLOAD

    async def subscribe(  # type: ignore[override]
        self, on_message: Callable[[Msg], Awaitable[None]]
    ) -> Subscription:
        """Subscribe to a new inbox."""
        inbox = f"_INBOX.{len(self._subscriptions)}"
        subscription = Subscription(self._machine, inbox, on_message, self._on_error)
        self._subscriptions.append(subscription)
        return subscription

    async def reconnect(self) -> None:
        """Do nothing: subscriptions outlive that."""

    async def reopen(self) -> None:
        """Do nothing: it never gives up."""

    async def close(self) -> None:
        """End all subscriptions."""
        for subscription in self._subscriptions:
            await subscription.unsubscribe()
        await asyncio.sleep(0)  # until their tasks have ended


class SimulatedJetStream:
    """What the shipped code calls of `nats.js.JetStreamContext`."""

    def __init__(self, log: SimulatedLog, machine: Machine | None, subscriptions: list[Subscription]) -> None:
        self._log = log
        self._machine = machine
        self._subscriptions = subscriptions

    async def stream_info(self, _: str) -> api.StreamInfo:
        """Return the state of the stream."""
        return await self._log.ask(self._machine, self._log.info)

    async def add_stream(self, config: api.StreamConfig) -> api.StreamInfo:
        """Create the stream."""
        return await self._log.ask(self._machine, lambda: self._log.create(config))

    async def publish(self, subject: str, data: bytes, headers: dict[str, str] | None = None) -> api.PubAck:
        """Append a message."""
        ident = (headers or {}).get(api.Header.MSG_ID.value)
        position = await self._log.ask(self._machine, lambda: self._log.store(subject, data, ident))
        return api.PubAck("room", position)

    async def get_last_msg(self, _: str, subject: str) -> api.RawStreamMsg:
        """Return the last message of a subject."""
        data = await self._log.ask(self._machine, lambda: self._log.last_of(subject))
        return api.RawStreamMsg(data=data)

    async def add_consumer(self, _: str, config: api.ConsumerConfig) -> None:
        """Create a push consumer."""
        (subscription,) = [each for each in self._subscriptions if each.subject == config.deliver_subject]
        await self._log.ask(self._machine, lambda: self._log.consume(subscription, config))
