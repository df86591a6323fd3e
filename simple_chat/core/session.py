"""One conversation: what a connection's bytes do to the room, and what it is answered.

Pure: bytes come in by `Session.receive`, and go out by the write that it was given. It is told the time, and
whether a password is right.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice

from simple_chat.core.detect import BYTE_ORDER_MARK, HTTP_RESPONSE, Visitor, detect_protocol
from simple_chat.core.framing import LineBuffer
from simple_chat.core.limits import Limits
from simple_chat.core.protocol import (
    USAGE,
    Bye,
    Code,
    Command,
    Err,
    Hello,
    Help,
    History,
    Info,
    Join,
    Leave,
    Msg,
    Names,
    Ok,
    Pass,
    Ping,
    Pong,
    Quit,
    Who,
    encode,
    encode_past,
    parse_command,
)
from simple_chat.core.room import FLUSH_BYTES, Room, Write
from simple_chat.core.telnet import IAC, Telnet
from simple_chat.errors import CommandError

LINES_A_TURN = 128
"""Lines that one connection may have carried out before the others have their turn."""

ERRORS_MAX = 10
"""Lines of one connection that may be refused before it joins: more than a person needs to find out how."""

TRIES_MAX = 3
"""Passwords that one connection may try."""

_HELD_MAX = 64 * 1024  # bytes that may wait for their turn; more are left to the kernel
_NAMES_A_LINE = 16
_LINES_A_PIECE = 16

_WELCOME = encode(Hello("Welcome. JOIN <name> to enter, HELP to see what else there is."))


@dataclass(slots=True)
class _Entrance:
    """What is kept of a client until it has joined.

    Attributes:
        tries_left: passwords that it may try; 0 if it needs none any more.
        opening: the first bytes, until they tell who is there.
        errors: lines that were refused.
        secret: a password that is being checked.
    """

    tries_left: int
    opening: bytes | None = b""
    errors: int = 0
    secret: str | None = None


@dataclass(slots=True)
class _Farewell:
    """What is said last.

    Attributes:
        lines: with the BYE.
        code: why, if it is the client's fault.
        said: whether it was put behind everything else that is owed.
    """

    lines: bytes
    code: Code | None = None
    said: bool = False


class Session:
    """One conversation.

    Args:
        room: the room it is about.
        write: takes the bytes that go out.
        limits: what the connection may do.
        locked: whether a password is needed first.

    Attributes:
        member: the connection as the room sees it.
        deferred: whether a command waits for its place in the sequence, and what came behind it too.
        dry: whether everything that came in was carried out.
        slowed: whether more lines than are allowed came in, so that the next ones have to wait a while.
    """

    __slots__ = (
        "_empty_at",
        "_entrance",
        "_farewell",
        "_gone",
        "_limits",
        "_lines",
        "_room",
        "_telnet",
        "deferred",
        "dry",
        "member",
        "slowed",
    )

    def __init__(self, room: Room, write: Write, limits: Limits, *, locked: bool = False) -> None:
        self._room = room
        self._limits = limits
        self._empty_at = -math.inf  # when it is allowed no more lines; see Limits
        self._lines = LineBuffer(limits.max_line)
        self._telnet: Telnet | None = None  # until the client negotiates, which few do
        self._entrance: _Entrance | None = _Entrance(TRIES_MAX if locked else 0)  # until it has joined
        self._farewell: _Farewell | None = None  # once nothing more is taken
        self._gone = False
        self.member = room.connect(write)
        self.deferred = False
        self.dry = True
        self.slowed = False

    def greet(self) -> None:
        """Say HELLO."""
        self.member.write(_WELCOME)

    @property
    def over(self) -> bool:
        """Whether the last line was written, so that the connection should end."""
        return self._farewell is not None and self._farewell.said and self.member.answer is None

    @property
    def refused(self) -> Code | None:
        """Why the server ends the conversation, if it is the client's fault."""
        return None if self._farewell is None else self._farewell.code

    @property
    def newcomer(self) -> bool:
        """Whether it has never joined yet."""
        return self._entrance is not None

    @property
    def secret(self) -> str | None:
        """A password that is to be checked; nothing more is taken until `judge` tells whether it is right."""
        return None if self._entrance is None else self._entrance.secret

    @property
    def wants_input(self) -> bool:
        """Whether more may be read: not while it has plenty, or has to wait for anything.

        Of those who have not joined only as much is read as is carried out: there may be thousands of them.
        """
        return self.dry or not (self._waits or self.newcomer or self._lines.held >= _HELD_MAX)

    @property
    def _waits(self) -> bool:
        """Whether what came in waits for the client, the clock or the password's check."""
        return self.slowed or self.member.answer is not None or self.deferred or self.secret is not None

    def receive(self, data: bytes) -> None:
        """Take in what came from the client; `take` carries it out."""
        if self._farewell is not None:
            return
        if self._entrance is not None and self._entrance.opening is not None:
            start = self._open(self._entrance, self._entrance.opening + data)
            if start is None:
                return
            data = start
        if self._telnet is None and IAC in data:
            self._telnet = Telnet()
        if self._telnet is not None:
            data = self._telnet.feed(data)
        self._lines.feed(data)
        self.dry = False

    def receive_eof(self) -> None:
        """Take in that nothing more will come: a QUIT, once everything before it is carried out."""
        if self._farewell is not None:
            return
        if self._entrance is not None and self._entrance.opening:
            self._lines.feed(self._entrance.opening)
        self._lines.feed_eof()
        self.dry = False

    def _open(self, entrance: _Entrance, start: bytes) -> bytes | None:
        """Look who is there, and return what is to be read of the first bytes, if anything is."""
        visitor = detect_protocol(start)
        entrance.opening = start if visitor is None else None
        if visitor is Visitor.CHAT:
            return start.removeprefix(BYTE_ORDER_MARK)
        if visitor is not None:
            self.refuse(Code.NOT_CHAT)
        return None

    def take(self, now: float) -> None:
        """Carry out what came in, until the turn is over or something has to be waited for.

        Args:
            now: seconds, of a clock that never goes back.
        """
        member = self.member
        answers = bytearray()  # gathered, so that they are written at once
        if self._telnet is not None and not member.blocked:
            answers += self._telnet.take_refusals()
        write, member.write = member.write, answers.extend
        if self._limits.rate:
            allowed = min(LINES_A_TURN, self._limits.allowed(self._empty_at, now))
            if taken := self._take_lines(allowed, answers):
                self._empty_at = self._limits.after(taken, self._empty_at, now)
            self.slowed = taken == allowed < LINES_A_TURN and not self.dry
        else:
            self._take_lines(LINES_A_TURN, answers)
        member.write = write
        member.crlf = self._lines.crlf
        if answers:
            self._room.write(member, bytes(answers))

    def _take_lines(self, allowed: int, answers: bytearray) -> int:
        """Carry out as many lines as are allowed, and return how many there were."""
        member, room = self.member, self._room
        for taken in range(allowed):
            if self._farewell or member.answer or room.full or len(answers) >= FLUSH_BYTES:
                return taken
            if self.deferred or (self._entrance and self._entrance.secret):
                return taken
            if not self._take_line():
                self.dry = True
                return taken
            if self._lines.empty and not member.answer:
                self.dry = True
                return taken + 1
        return allowed

    def settle(self) -> bool:
        """Write the next piece of what the client is owed.

        Returns:
            Whether it wants another turn, without waiting for anything.
        """
        more = self._room.settle(self.member)
        if self._farewell is not None and self.member.answer is None:
            self._say(self._farewell)
        return more or not (self.dry or self._waits)

    def end(self, reason: str) -> None:
        """Leave the room and say BYE, behind everything that is owed; take nothing more."""
        self._end(_Farewell(encode(Bye(reason))))

    def refuse(self, code: Code) -> None:
        """End the conversation because of what the client does: say why, and BYE."""
        self._end(_Farewell(encode(Err(code, code.advice), Bye(code)), code))

    def tell(self, text: str) -> None:
        """Tell a client who is in the room something about it, at once: it has no place in the sequence."""
        if self.member.name is not None:
            line = encode(Info(text))
            self._room.write(self.member, line.replace(b"\n", b"\r\n") if self._lines.crlf else line)

    def judge(self, *, right: bool) -> None:
        """Go on after `secret` was checked."""
        entrance = self._entrance
        if entrance is None:
            return
        entrance.secret = None
        if self._farewell is not None:
            return
        entrance.tries_left = 0 if right else entrance.tries_left - 1
        if right:
            self._answer(encode(Ok("PASS")))
        elif entrance.tries_left:
            self._complain(Code.AUTH_FAILED)
        else:
            self.refuse(Code.AUTH_FAILED)

    def _end(self, farewell: _Farewell) -> None:
        if self._farewell is None:
            self._farewell = farewell
            self.dry = True
            if self.member.answer is None:
                self._say(farewell)

    def _say(self, farewell: _Farewell) -> None:
        if not farewell.said and not self.deferred:
            self._in_place(Leave(), partial(self._part, farewell))

    def _part(self, farewell: _Farewell) -> None:
        farewell.said = True
        if self.member.name is not None:
            self._room.leave(self.member)
        self._answer(farewell.lines)

    def lost(self) -> None:
        """The connection is gone: so is its member."""
        self._gone = True
        self._room.block(self.member)
        if self.member.name is not None and not self.deferred:
            self._in_place(Leave(), partial(self._room.leave, self.member))

    def forsake(self) -> None:
        """Expect nothing more of the room, which has let the member go."""
        self.deferred = False
        self.dry = True

    def _take_line(self) -> bool:
        """Carry out the next line; return whether there was one."""
        try:
            line = self._lines.next_line()
            if line:
                self._carry_out(parse_command(line))
            elif line is None and self._lines.at_end:
                self.end("quit")
        except CommandError as error:
            self._complain(Code(error.code))
            return True
        return line is not None

    def _complain(self, code: Code, *, in_place: bool = False) -> None:
        """Say why a line is refused, unless there were too many already, or it is none of a chat client."""
        if code is Code.NOT_CHAT:
            self._answer(HTTP_RESPONSE)
            self.refuse(code)
            return
        if self._entrance is not None and code is not Code.BUSY:
            self._entrance.errors += 1
            if self._entrance.errors > ERRORS_MAX:
                self.refuse(Code.TOO_MANY_ERRORS)
                return
        refusal = partial(self._answer, encode(Err(code, code.advice)), barrier=False)
        if code is Code.BUSY or in_place:
            refusal()
        else:
            self._in_place(None, refusal)

    def _carry_out(self, command: Command) -> None:
        if self._entrance is not None and self._entrance.tries_left:
            self._carry_out_locked(command, self._entrance)
            return
        if isinstance(command, Msg):
            self._room.say(self.member, command.text)
        else:
            self._in_place(command, partial(self._carry_out_here, command))

    def _in_place(self, command: Command | None, carry_out: Callable[[], None]) -> None:
        """Do something where it has its place in the sequence: now, unless the room defers it."""
        if command == Leave() and self.member.name is None:
            carry_out()
        elif self._room.defers(self.member, command, partial(self._go_on, carry_out)):
            self.deferred = True
        else:
            carry_out()

    def _go_on(self, carry_out: Callable[[], None]) -> None:
        """Do what was deferred, and then what had to wait for that."""
        self.deferred = False
        try:
            carry_out()
        except CommandError as error:
            self._complain(Code(error.code), in_place=True)
        if self._gone:
            self.lost()
        elif self._farewell is not None and self.member.answer is None:
            self._say(self._farewell)

    def _carry_out_here(self, command: Join | Leave | Quit | Ping | Who | History | Help | Pass) -> None:
        match command:
            case Join(name):
                self._room.join(self.member, name)
                self._entrance = None
                self._answer(encode(Ok("JOIN", name)))
            case Leave():
                self._room.leave(self.member)
                self._answer(encode(Ok("LEAVE")))
            case Quit():
                self.end("quit")
            case _:
                self._reply(command)

    def _carry_out_locked(self, command: Command, entrance: _Entrance) -> None:
        """Carry out a command of a client that has yet to show the password."""
        match command:
            case Pass(secret):
                entrance.secret = secret
            case Ping() | Help():
                self._reply(command)
            case Quit():
                self.end("quit")
            case _:
                raise CommandError(Code.AUTH_REQUIRED)

    def _reply(self, question: Ping | Who | History | Help | Pass) -> None:
        match question:
            case Ping(token):
                self._answer(encode(Pong(token)))
            case Who():
                self._answer_long(_who(self._room.names()))
            case History(count):
                self._room.name_of(self.member)
                self._answer_long(_history(self._room.history(count)))
            case Help():
                self._answer(encode(*map(Info, USAGE), Ok("HELP")))
            case _:  # PASS, where no password is needed any more
                self._answer(encode(Ok("PASS")))

    def _answer(self, lines: bytes, *, barrier: bool = True) -> None:
        self._answer_long(iter((lines,)), barrier=barrier)

    def _answer_long(self, pieces: Iterator[bytes], *, barrier: bool = False) -> None:
        self.member.crlf = self._lines.crlf
        self._room.answer(self.member, pieces, barrier=barrier)
        self._room.settle(self.member)


def _who(names: tuple[str, ...]) -> Iterator[bytes]:
    lines = (Names(names[at : at + _NAMES_A_LINE]) for at in range(0, len(names), _NAMES_A_LINE))
    while piece := encode(*islice(lines, _LINES_A_PIECE)):
        yield piece
    yield encode(Ok("WHO", str(len(names))))


def _history(messages: Iterator[tuple[float, bytes]]) -> Iterator[bytes]:
    count = 0
    for count, (time, line) in enumerate(messages, 1):  # noqa: B007 (it is the answer's count)
        yield encode_past(time, line)
    yield encode(Ok("HISTORY", str(count)))
