"""Push consumers of the simulated log, and the subscriptions that they send to."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from nats.aio.msg import Msg
from nats.js import api

from tests.simulation.machine import OUTSIDE, Machine

if TYPE_CHECKING:
    from tests.simulation.log import SimulatedLog


class PushConsumer:
    """Sends messages and heartbeats to one subscription; what is sent while that can't be reached is lost."""

    def __init__(self, log: "SimulatedLog", subscription: "Subscription", config: api.ConsumerConfig) -> None:
        self.machine = subscription.machine
        self._log = log
        self._subscription = subscription
        self._sent = 0
        self._last_position = (config.opt_start_seq or 1) - 1
        self._heartbeat = config.idle_heartbeat or 0.0
        self._last_arrival = 0.0
        self._lost = False

    @property
    def abandoned(self) -> bool:
        """Whether nobody listens."""
        return self._subscription.closed or (self.machine is not None and not self.machine.on)

    @property
    def has_sent_all(self) -> bool:
        """Whether the machine got, or will get, everything."""
        return not self._lost and not self.abandoned

    def deliver_from(self, position: int) -> None:
        """Send the messages from a position on."""
        for message in self._log.messages_from(position):
            self._sent += 1
            self._last_position = message.position
            place = f"1.{message.position}.{self._sent}.{message.time}.0"
            reply = f"$JS.ACK.room.consumer.{place}"
            self._send(Msg(None, message.subject, reply, message.data))  # type: ignore[arg-type] # has no client

    def beat(self) -> None:
        """Send a heartbeat, and the next ones."""
        if not self._log.has(self):
            return
        status = {
            "Status": "100",
            "Description": "Idle Heartbeat",
            "Nats-Last-Consumer": str(self._sent),
            # All that there is was sent; what was deleted before counts, too.
            "Nats-Last-Stream": str(max(self._last_position, self._log.last)),
        }
        self._send(Msg(None, self._subscription.subject, headers=status))  # type: ignore[arg-type]
        self._log.loop.call_later(self._heartbeat, self.beat, context=OUTSIDE)

    def _send(self, message: Msg) -> None:
        if not self._log.is_reachable_by(self.machine):
            self._lost = self._lost or bool(message.reply)
            return
        delay = self._log.latency() + self._log.delays.get(self.machine, 0.0)
        self._last_arrival = max(self._last_arrival, self._log.loop.now + delay)
        receive = self._subscription.receive
        self._log.loop.call_at(self._last_arrival, receive, message, context=OUTSIDE)


class Subscription:
    """Gives messages to a callback, one after another."""

    def __init__(
        self,
        machine: Machine | None,
        subject: str,
        on_message: Callable[[Msg], Awaitable[None]],
        on_error: Callable[[Exception], Awaitable[None]],
    ) -> None:
        self.machine = machine
        self.subject = subject
        self.closed = False
        self._on_message, self._on_error = on_message, on_error
        self._pending = asyncio.Queue[Msg]()
        self._task = asyncio.create_task(self._run())

    def receive(self, message: Msg) -> None:
        """Take a message that arrives."""
        if not self.closed:
            self._pending.put_nowait(message)

    async def unsubscribe(self) -> None:
        """Take no more."""
        self.closed = True
        self._task.cancel()

    async def _run(self) -> None:
        while True:
            message = await self._pending.get()
            try:
                await self._on_message(message)
            except Exception as error:  # noqa: BLE001 - as the client library does
                await self._on_error(error)
