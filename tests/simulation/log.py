"""The simulated log of a cluster: a stream in a simulated NATS, its push consumers and their subscriptions.

`tests/simulation/test_log.py` runs the same tests on it and on a real NATS server.
"""

import asyncio
import random
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import api
from nats.js.errors import NoStreamResponseError, NotFoundError

from simple_chat.core.sequence import MESSAGE
from tests.simulation.log_consumer import PushConsumer, Subscription
from tests.simulation.loop import SimulatedLoop
from tests.simulation.machine import OUTSIDE, Machine

_DUPLICATE_WINDOW = 120.0  # seconds
_REQUEST_TIMEOUT = 1.0  # seconds

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Stored:
    """A message of the stream.

    Attributes:
        position: its sequence number.
        subject: of it.
        data: of it.
        time: when it was stored, in nanoseconds since the epoch.
    """

    position: int
    subject: str
    data: bytes
    time: int


class SimulatedLog:
    """NATS with the stream that all servers of a room share.

    Args:
        loop: the event loop.
        seed: decides latencies and lost answers.
        epoch: the wall clock's time at the loop's time 0.

    Attributes:
        away: whether nobody can reach it.
        cut_off: the machines that can't reach it.
        delays: seconds by which machines hear of entries later than others.
        losing_answers: the part of the publishes that are stored and time out nevertheless.
        last: position of the last message.
        leap: seconds that its clock is ahead of the world's.
        said: messages of people that were ever stored; those that were stored twice count twice.
    """

    def __init__(self, loop: SimulatedLoop, seed: str, epoch: float) -> None:
        self.away = False
        self.cut_off: set[Machine | None] = set()
        self.delays: dict[Machine | None, float] = {}
        self.losing_answers = 0.0
        self.last = 0
        self.leap = 0.0
        self.said = 0
        self.loop = loop
        self._epoch = epoch
        self._choice = random.Random(f"{seed} log")
        self._config: api.StreamConfig | None = None
        self._created = datetime.fromtimestamp(epoch, UTC)
        self._messages: list[_Stored] = []
        self._idents: dict[str, tuple[float, int]] = {}
        self._consumers: list[PushConsumer] = []

    # What goes wrong

    def delete(self, position: int) -> None:
        """Delete one message: there is a hole."""
        self._messages = [each for each in self._messages if each.position != position]

    def purge(self, keep: int = 0) -> None:
        """Delete all messages, or the oldest ones, as a limit of the stream does."""
        del self._messages[: len(self._messages) - keep]

    def remove(self) -> None:
        """Delete the stream; whoever asks for it makes it anew."""
        self._config = None
        self._messages.clear()
        self._idents.clear()
        self.last = 0
        self.deafen(*(consumer.machine for consumer in self._consumers))

    def deafen(self, *machines: Machine | None) -> None:
        """Delete the consumers of machines, which hear nothing more until they make new ones."""
        self._consumers = [each for each in self._consumers if each.machine not in machines]

    def rewind(self, machine: Machine | None, count: int) -> None:
        """Deliver the last messages to a machine again."""
        for consumer in self._consumers:
            if consumer.machine is machine:
                consumer.deliver_from(self.last + 1 - count)

    def is_heard_by(self, machine: Machine | None) -> bool:
        """Return whether everything was sent to a machine."""
        return any(each.machine is machine and each.has_sent_all for each in self._consumers)

    def forget_idents(self) -> None:
        """Take whatever is published for new, as when the duplicate window is over."""
        self._idents.clear()

    def repeat_last_of(self, node: str) -> None:
        """Store the last entry of a server once more: it publishes it again after the duplicate window."""
        own = [each for each in self._messages if each.data.startswith(f"{node} ".encode())]
        for message in own[-1:]:
            self._add(message.subject, message.data)

    # What a machine asks for

    async def ask(self, machine: Machine | None, question: Callable[[], _T]) -> _T:
        """Ask NATS, and wait for its answer.

        Raises:
            OSError: there is no connection.
            NatsError: there is no answer, or NATS refuses.
        """
        if not self.is_reachable_by(machine) and self._choice.random() < 0.5:
            raise ConnectionError("not connected")
        answer: asyncio.Future[_T] = self.loop.create_future()
        self.loop.call_later(self.latency(), self._serve, machine, question, answer, context=OUTSIDE)
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT):
                return await answer
        except TimeoutError:
            raise NatsTimeoutError from None

    def _serve(self, machine: Machine | None, question: Callable[[], _T], answer: asyncio.Future[_T]) -> None:
        if not self.is_reachable_by(machine):
            return
        try:
            result = question()
        except _LostAnswer:
            return
        except Exception as error:  # noqa: BLE001 - it goes to whoever asked
            self._answer(answer, answer.set_exception, error)
        else:
            self._answer(answer, answer.set_result, result)

    def _answer(self, answer: asyncio.Future[_T], set_it: Callable[[Any], None], result: object) -> None:
        def arrive() -> None:
            if not answer.done():
                set_it(result)

        self.loop.call_later(self.latency(), arrive, context=OUTSIDE)

    def is_reachable_by(self, machine: Machine | None) -> bool:
        """Return whether a machine's calls arrive."""
        return not self.away and machine not in self.cut_off

    def latency(self) -> float:
        """Return the seconds that a way takes."""
        return self._choice.uniform(0.0005, 0.003)

    # What NATS does

    def info(self) -> api.StreamInfo:
        """Return the state of the stream.

        Raises:
            NotFoundError: there is none.
        """
        first = self._messages[0].position if self._messages else self.last + bool(self.last)
        size = sum(len(each.data) for each in self._messages)
        state = api.StreamState(len(self._messages), size, first, self.last, len(self._consumers))
        return api.StreamInfo(self._existing(), state, created=self._created)

    def create(self, config: api.StreamConfig) -> api.StreamInfo:
        """Create the stream unless it exists."""
        if self._config is None:
            self._config = config
            self._created = datetime.fromtimestamp(self._now() / 1e9, UTC)
        return self.info()

    def store(self, subject: str, data: bytes, ident: str | None = None) -> int:
        """Append a message unless it was appended a short time ago; return its position.

        Raises:
            NoStreamResponseError: there is no stream.
        """
        if self._config is None:
            raise NoStreamResponseError
        known = self._idents.get(ident or "")
        if known is not None and self.loop.now - known[0] < _DUPLICATE_WINDOW:
            position = known[1]
        else:
            position = self._add(subject, data)
            if ident is not None:
                self._idents[ident] = self.loop.now, position
        if self._choice.random() < self.losing_answers:
            raise _LostAnswer
        return position

    def last_of(self, subject: str) -> bytes:
        """Return the last message of a subject.

        Raises:
            NotFoundError: there is none.
        """
        self._existing()
        for message in reversed(self._messages):
            if message.subject == subject:
                return message.data
        raise NotFoundError

    def consume(self, subscription: Subscription, config: api.ConsumerConfig) -> None:
        """Create a push consumer.

        Raises:
            NotFoundError: there is no stream.
        """
        self._existing()
        consumer = PushConsumer(self, subscription, config)
        self._consumers.append(consumer)
        consumer.deliver_from(config.opt_start_seq or 1)
        consumer.beat()

    def has(self, consumer: PushConsumer) -> bool:
        """Return whether a push consumer still exists; drop it if nobody listens."""
        if consumer.abandoned and consumer in self._consumers:
            self._consumers.remove(consumer)
        return consumer in self._consumers

    def messages_from(self, position: int) -> list[_Stored]:
        """Return the messages from a position on."""
        return self._messages[bisect_left(self._messages, position, key=lambda each: each.position) :]

    def _existing(self) -> api.StreamConfig:
        if self._config is None:
            raise NotFoundError(code=404, err_code=10059, description="stream not found")
        return self._config

    def _now(self) -> int:
        return round((self._epoch + self.leap + self.loop.now) * 1e6) * 1000

    def _add(self, subject: str, data: bytes) -> int:
        self.last += 1
        self.said += data.count(b"\n" + MESSAGE)
        self._messages.append(_Stored(self.last, subject, data, self._now()))
        for consumer in [*self._consumers]:
            if self.has(consumer):
                consumer.deliver_from(self.last)
        return self.last


class _LostAnswer(Exception):  # noqa: N818 - no error: it is done, and nobody learns of it
    """The answer does not arrive."""
