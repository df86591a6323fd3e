"""One connection's session: it executes lines in turns, waits for commits, answers and ends in order.

Bytes come in by `Session.receive`, and go out by the write that the session was given. Its state is one of
`simple_chat.core.handshake.State`; flags say what else it may be waiting for. What the lines of a protocol
mean is the business of a subclass: `simple_chat.core.conversation` has the plain protocol's.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import partial

from simple_chat.core.codec import Codec, PlainCodec
from simple_chat.core.codes import Code
from simple_chat.core.commands import Command, Leave
from simple_chat.core.delivery import FLUSH_BYTES, Write
from simple_chat.core.handshake import TRANSITIONS, Closing, Event, Handshake, State
from simple_chat.core.limits import Limits
from simple_chat.core.room import Room, Sequencer
from simple_chat.errors import CommandError

LINES_PER_TURN = 128
"""Lines of one connection that are executed before the others get their turn."""

TRIES_MAX = 3
"""Passwords that one connection may try."""

_HELD_MAX = 64 * 1024  # bytes that may wait for their turn; more are left to the kernel


class Session(ABC):
    """One connection's session.

    Args:
        room: the room.
        sequencer: decides when commands are applied: the room itself, or a replicated one.
        write: writes bytes to the client.
        limits: how long lines may be, and how many are executed a second.
        auth_required: whether a password is needed first.
        codec: how bytes become lines and lines become bytes; by default, that of the plain protocol.

    Attributes:
        subscriber: the connection as the room sees it.
        state: of the connection.
        awaiting_commit: whether a command waits to be committed; later lines wait for it.
        input_drained: whether everything that came in was executed.
        throttled: whether more lines than allowed came in, so that the next ones have to wait a while.
        executed: number of lines.
    """

    __slots__ = (
        "_closing",
        "_codec",
        "_exhausted_at",
        "_handshake",
        "_limits",
        "_room",
        "_sequencer",
        "awaiting_commit",
        "executed",
        "input_drained",
        "state",
        "subscriber",
        "throttled",
    )

    def __init__(
        self,
        room: Room,
        sequencer: Sequencer,
        write: Write,
        limits: Limits,
        *,
        auth_required: bool,
        codec: Codec | None = None,
    ) -> None:
        self._room = room
        self._sequencer = sequencer
        self._limits = limits
        self._exhausted_at = -math.inf  # see Limits
        self._codec: Codec = codec or PlainCodec(limits.max_line)
        self._handshake: Handshake | None = Handshake(TRIES_MAX)  # until it has joined
        self._closing: Closing | None = None  # from State.CLOSING on
        self.state = State.AUTHENTICATING if auth_required else State.HANDSHAKE
        self.subscriber = room.connect(write, self._codec.rendering)
        self.awaiting_commit = False
        self.input_drained = True
        self.throttled = False
        self.executed = 0

    # What a protocol has to say

    @abstractmethod
    def execute(self, line: str) -> None:
        """Execute a line that is not empty.

        Raises:
            CommandError: it is refused; `refuse` follows.
        """

    @abstractmethod
    def refuse(self, code: Code, *, in_place: bool = False) -> None:
        """Answer a line that is refused.

        Args:
            code: why.
            in_place: whether the sequence is at the line's place already.
        """

    @abstractmethod
    def close(self, reason: str) -> None:
        """Leave the room and say goodbye, after everything that is owed; execute nothing more."""

    # What others ask

    @property
    def finished(self) -> bool:
        """Whether the last line was written, so that the connection should be closed."""
        return self.state is State.CLOSED and self.subscriber.response is None

    @property
    def disconnect_code(self) -> Code | None:
        """Why the server closes the connection, if it is because of what the client does."""
        return None if self._closing is None else self._closing.code

    @property
    def disconnect_text(self) -> str:
        """The same in words, if the code does not say all."""
        return "" if self._closing is None else self._closing.text

    @property
    def pre_join(self) -> bool:
        """Whether it has never joined yet."""
        return self._handshake is not None

    @property
    def wants_input(self) -> bool:
        """Whether more should be read: not while plenty is held, or anything has to be waited for.

        Of clients that have not joined only as much is read as is executed: there may be thousands of them.
        """
        return self.input_drained or not (self._must_wait or self.pre_join or self._codec.held >= _HELD_MAX)

    @property
    def _must_wait(self) -> bool:
        """Whether what came in waits for the client, the clock, the password's check or a commit."""
        return (
            self.throttled
            or self.subscriber.response is not None
            or self.awaiting_commit
            or self.state is State.VERIFYING
        )

    # What comes in

    def receive(self, data: bytes) -> None:
        """Add what came from the client; `process_input` executes it."""
        self._room.counters.received_bytes += len(data)
        if self.state.ending:
            return
        try:
            self._codec.feed(data)
        except CommandError as error:
            self.refuse(Code(error.code))
        else:
            self.input_drained = False

    def receive_eof(self) -> None:
        """Note that nothing more will come: a QUIT, once everything before it is executed."""
        if not self.state.ending:
            self._codec.feed_eof()
            self.input_drained = False

    def process_input(self, now: float) -> None:
        """Execute what came in, until the turn is over or something has to be waited for.

        Args:
            now: seconds, of a clock that never goes back.
        """
        subscriber, codec, limits = self.subscriber, self._codec, self._limits
        output = bytearray()  # answers are gathered, and written at once
        write, subscriber.write = subscriber.write, output.extend
        if codec.has_replies and self.state.accepts_input and not subscriber.blocked:
            self._room.delivery.write(subscriber, codec.take_replies())
        if limits.rate:
            allowed = min(LINES_PER_TURN, limits.allowed(self._exhausted_at, now))
            if executed := self._process_lines(allowed, output):
                self._exhausted_at = limits.after(executed, self._exhausted_at, now)
            self.throttled = executed == allowed and allowed < LINES_PER_TURN and not self.input_drained
        else:
            executed = self._process_lines(LINES_PER_TURN, output)
            self.throttled = False  # it may have been, if there was a rate before
        self.executed += executed
        self._room.counters.lines += executed
        subscriber.write = write
        if codec.rendering is not subscriber.rendering:
            self._room.delivery.use_rendering(subscriber, codec.rendering)
        if output:
            self._room.delivery.write_counted(subscriber, bytes(output))

    def _process_lines(self, allowed: int, output: bytearray) -> int:
        """Execute as many lines as are allowed, and return how many there were."""
        subscriber, sequencer = self.subscriber, self._sequencer
        for executed in range(allowed):
            if subscriber.response or self.awaiting_commit or not self.state.accepts_input:
                return executed
            if sequencer.batch_full or len(output) >= FLUSH_BYTES:
                return executed
            if not self._process_line():
                self.input_drained = True
                return executed
            if self._codec.empty and not subscriber.response:
                self.input_drained = True
                return executed + 1
        return allowed

    def _process_line(self) -> bool:
        """Execute the next line, and return whether there was one."""
        try:
            line = self._codec.next_line()
            if line:
                self.execute(line)
            elif self._codec.at_end:
                self.close("quit")
        except CommandError as error:
            self.refuse(Code(error.code))
            return True
        return line is not None

    # The way through the sequence

    def submit(self, command: Command | None, reply: Callable[[], None]) -> None:
        """Have a command applied in its place in the sequence, and reply to it there.

        Args:
            command: None for a line that was refused.
            reply: called once the command was applied.

        Raises:
            CommandError: it can't be applied.
        """
        if not self._sequencer.submit(self.subscriber, command, partial(self._on_commit, reply)):
            self.awaiting_commit = True

    def _on_commit(self, reply: Callable[[], None], error: CommandError | None) -> None:
        """Reply to a command that was applied, or could not be; then do what had to wait for it."""
        self.awaiting_commit = False
        try:
            if error is not None:
                raise error
            reply()
        except CommandError as refused:
            self.refuse(Code(refused.code), in_place=True)
        if self.state is State.LOST:
            self._leave_room()
        else:
            self._place_goodbye()

    # What goes out

    def flush(self) -> bool:
        """Write the next piece of what the client is owed.

        Returns:
            Whether it wants another turn, without waiting for anything.
        """
        more = self._room.delivery.catch_up(self.subscriber)
        if self._closing is not None and self._place_goodbye():
            return True  # this turn has committed already
        return more or not (self.input_drained or self._must_wait)

    def respond(self, lines: Iterable[bytes], *, barrier: bool = True) -> None:
        """Answer the client in this place of the sequence.

        Args:
            lines: pieces of whole lines, each with its LF; fetched one by one when they can be written.
            barrier: whether the answer means that the client's own lines before it were released.
        """
        delivery, rendering = self._room.delivery, self._codec.rendering
        if rendering is not self.subscriber.rendering:
            delivery.use_rendering(self.subscriber, rendering)
        delivery.respond(self.subscriber, map(self._codec.encode, lines), barrier=barrier)
        delivery.catch_up(self.subscriber)

    # The end

    def start_close(self, lines: bytes, code: Code | None = None, text: str = "") -> None:
        """Leave the room and write last lines, after everything that is owed; execute nothing more.

        Args:
            lines: each with its LF.
            code: why, if the server wants it because of what the client does, or an operator does.
            text: the same in words, if the code does not say all.
        """
        if self.state.ending:
            return
        if replies := self._codec.take_replies():
            self._room.delivery.write(self.subscriber, replies)
        self._closing = Closing(lines, code, text)
        self.enter(Event.CLOSE)
        self.input_drained = True
        self._place_goodbye()

    def _place_goodbye(self) -> bool:
        """Leave the room and write the last lines, unless an answer or a commit has to come before.

        Returns whether there is something to be committed for that.
        """
        closing = self._closing
        if closing is None or self.state is not State.CLOSING:
            return False
        if self.awaiting_commit or self.subscriber.response is not None:
            return False
        if self.subscriber.member is None:
            self._send_goodbye(closing)
            return False
        self.submit(Leave(), partial(self._send_goodbye, closing))
        return True

    def _send_goodbye(self, closing: Closing) -> None:
        if self.state is State.CLOSING:
            self.enter(Event.BYE_PLACED)
            self.respond((closing.lines,))

    def connection_lost(self) -> None:
        """Note that the connection is gone: its member leaves the room."""
        if self.state is State.LOST:
            return
        self.enter(Event.CONNECTION_LOST)
        self.input_drained = True
        self._room.delivery.block(self.subscriber)
        if not self.awaiting_commit:
            self._leave_room()

    def _leave_room(self) -> None:
        if self.subscriber.member is not None:
            self._sequencer.submit(self.subscriber, Leave())

    def abandon(self) -> None:
        """Expect nothing more of the room, which has removed the member."""
        self.awaiting_commit = False
        self.input_drained = True

    def enter(self, event: Event) -> None:
        """Change the state.

        Raises:
            KeyError: the event can't happen in this state.
        """
        self.state = TRANSITIONS[self.state][event]
