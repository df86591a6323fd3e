"""One conversation: what a connection's bytes do to the room, and what it is answered.

Pure: bytes come in by `Session.receive`, and go out by the write that it was given.
"""

from collections.abc import Iterator
from itertools import islice

from simple_chat.errors import LineRefusedError
from simple_chat.framing import MAX_LINE, LineBuffer
from simple_chat.protocol import (
    USAGE,
    Bye,
    Code,
    Command,
    Err,
    Event,
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
from simple_chat.room import PIECE, Room, Write
from simple_chat.telnet import IAC, Telnet

LINES_A_TURN = 128
"""Lines that one connection may have carried out before the others have their turn."""

_HELD_MAX = 64 * 1024  # bytes that may wait for their turn; more are left to the kernel
_NAMES_A_LINE = 16
_LINES_A_PIECE = 16

_WELCOME = Hello("Welcome. JOIN <name> to enter, HELP to see what else there is.")


class Session:
    """One conversation.

    Args:
        room: the room it is about.
        write: takes the bytes that go out.
        max_line: bytes that a line may have before its line end.

    Attributes:
        member: the connection as the room sees it.
        dry: whether everything that came in was carried out.
    """

    __slots__ = ("_farewell", "_farewell_said", "_lines", "_room", "_telnet", "dry", "member")

    def __init__(self, room: Room, write: Write, *, max_line: int = MAX_LINE) -> None:
        self._room = room
        self._lines = LineBuffer(max_line)
        self._telnet: Telnet | None = None  # until the client negotiates, which few do
        self._farewell: Bye | None = None
        self._farewell_said = False
        self.member = room.connect(write)
        self.dry = True
        write(encode(_WELCOME))

    @property
    def over(self) -> bool:
        """Whether the last line was written, so that the connection should end."""
        return self._farewell_said and self.member.answer is None

    @property
    def wants_input(self) -> bool:
        """Whether more may be read: not while it has plenty, or an answer that it can't get rid of."""
        return self.dry or (self.member.answer is None and self._lines.held < _HELD_MAX)

    def receive(self, data: bytes) -> None:
        """Take in what came from the client; `take` carries it out."""
        if self._farewell is not None:
            return
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
        self._lines.feed_eof()
        self.dry = False

    def take(self) -> None:
        """Carry out what came in, until the turn is over or an answer has to wait for its place."""
        member = self.member
        answers = bytearray()  # gathered, so that they are written at once
        if self._telnet is not None and not member.blocked:
            answers += self._telnet.take_refusals()
        write, member.write = member.write, answers.extend
        for _ in range(LINES_A_TURN):
            if self._farewell or member.answer or self._room.full or len(answers) >= PIECE:
                break
            if not self._take_line() or (self._lines.empty and not member.answer):
                self.dry = True
                break
        member.write = write
        member.crlf = self._lines.crlf
        if answers:
            self._room.write(member, bytes(answers))

    def settle(self) -> bool:
        """Write the next piece of what the client is owed.

        Returns:
            Whether it wants another turn, without waiting for the client.
        """
        more = self._room.settle(self.member)
        if self._farewell is not None and not self._farewell_said and self.member.answer is None:
            self._say_farewell(self._farewell)
        return more or not (self.dry or self.member.answer is not None)

    def end(self, reason: str) -> None:
        """Leave the room and say BYE, behind everything that is owed; take nothing more."""
        if self._farewell is None:
            self._farewell = Bye(reason)
            self.dry = True
            if self.member.answer is None:
                self._say_farewell(self._farewell)

    def _say_farewell(self, farewell: Bye) -> None:
        self._farewell_said = True
        if self.member.name is not None:
            self._room.leave(self.member)
        self._answer(farewell)

    def lost(self) -> None:
        """The connection is gone: so is its member."""
        if self.member.name is not None:
            self._room.leave(self.member)

    def _take_line(self) -> bool:
        try:
            line = self._lines.next_line()
            if line:
                self._carry_out(parse_command(line))
            elif line is None and self._lines.at_end:
                self.end("quit")
        except LineRefusedError as error:
            self._answer(Err(error.code, Code(error.code).advice))
            return True
        return line is not None

    def _carry_out(self, command: Command) -> None:
        match command:
            case Msg(text):
                self._room.say(self.member, text)
            case Join(name):
                self._room.join(self.member, name)
                self._answer(Ok("JOIN", name))
            case Leave():
                self._room.leave(self.member)
                self._answer(Ok("LEAVE"))
            case Quit():
                self.end("quit")
            case _:
                self._reply(command)

    def _reply(self, question: Ping | Who | History | Help | Pass) -> None:
        match question:
            case Ping(token):
                self._answer(Pong(token))
            case Who():
                self._answer_long(_who(self._room.names()))
            case History(count):
                self._room.name_of(self.member)
                self._answer_long(_history(self._room.history(count)))
            case Help():
                self._answer(*map(Info, USAGE), Ok("HELP"))
            case _:  # PASS, where there is no password
                self._answer(Ok("PASS"))

    def _answer(self, *events: Event) -> None:
        self._answer_long(iter((encode(*events),)))

    def _answer_long(self, pieces: Iterator[bytes]) -> None:
        self.member.crlf = self._lines.crlf
        self._room.answer(self.member, pieces)
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
