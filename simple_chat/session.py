"""One conversation: what a connection's bytes do to the room, and what it is answered.

Pure: bytes come in by `Session.receive`, and go out by the write that it was given.
"""

from collections.abc import Iterator
from itertools import islice

from simple_chat.errors import LineRefusedError
from simple_chat.protocol import (
    MAX_LINE,
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
    LineBuffer,
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
from simple_chat.room import Room, Write
from simple_chat.telnet import Telnet

LINES_A_TURN = 128
"""Lines that one connection may have carried out before the others have their turn."""

_NAMES_A_LINE = 16
_LINES_A_PIECE = 64

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

    __slots__ = ("_farewell", "_farewell_said", "_lines", "_room", "_telnet", "_write", "dry", "member")

    def __init__(self, room: Room, write: Write, *, max_line: int = MAX_LINE) -> None:
        self._room = room
        self._write = write
        self._lines = LineBuffer(max_line)
        self._telnet = Telnet()
        self._farewell: Bye | None = None
        self._farewell_said = False
        self.member = room.connect(write)
        self.dry = True
        self._answer(_WELCOME)

    @property
    def over(self) -> bool:
        """Whether the last line was written, so that the connection should end."""
        return self._farewell_said and self.member.answer is None

    @property
    def wants_input(self) -> bool:
        """Whether more may be read: else what it has already would only be piled upon."""
        return self.dry and (self.member.answer is None or self._farewell is not None)

    def receive(self, data: bytes) -> None:
        """Take in what came from the client; `take` carries it out."""
        if self._farewell is not None:
            return
        text, refusals = self._telnet.feed(data)
        self._lines.feed(text)
        self.dry = False
        if refusals:
            self._write(refusals)

    def receive_eof(self) -> None:
        """Take in that nothing more will come: a QUIT, once everything before it is carried out."""
        if self._farewell is not None:
            return
        self._lines.feed_eof()
        self.dry = False

    def take(self) -> None:
        """Carry out what came in, until the turn is over or an answer has to wait for its place."""
        for _ in range(LINES_A_TURN):
            if self._farewell is not None or self.member.answer is not None or self._room.full:
                break
            if not self._take_line():
                self.dry = True
                break
        self.member.crlf = self._lines.crlf

    def settle(self) -> bool:
        """Write the next piece of what the client is owed.

        Returns:
            Whether it wants another turn, without waiting for the client.
        """
        more = self._room.settle(self.member)
        if self._farewell is not None and not self._farewell_said and self.member.answer is None:
            self._farewell_said = True
            self._answer(self._farewell)
        return more or not (self.dry or self.member.answer is not None)

    def end(self, reason: str) -> None:
        """Say BYE, behind everything that the client is owed; nothing more is taken from it."""
        if self._farewell is None:
            self._farewell = Bye(reason)
            self.dry = True

    def lost(self) -> None:
        """The connection is gone: so is its member."""
        if self.member.name is not None:
            self._room.leave(self.member)

    def _take_line(self) -> bool:
        try:
            line = self._lines.next_line()
            if line is not None:
                self._carry_out(parse_command(line))
            elif self._lines.at_end:
                self._quit()
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
                self._quit()
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
            case Pass():
                self._answer(Ok("PASS"))

    def _quit(self) -> None:
        if self.member.name is not None:
            self._room.leave(self.member)
        self.end("quit")

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
