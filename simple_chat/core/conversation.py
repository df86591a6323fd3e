"""The plain protocol's conversation: what each command does, and what it is answered."""

from collections.abc import Iterator
from functools import partial
from itertools import islice

from simple_chat.core.codes import Code
from simple_chat.core.commands import (
    USAGE,
    Command,
    Help,
    History,
    Join,
    Leave,
    Msg,
    Pass,
    Ping,
    Quit,
    Who,
    parse_command,
)
from simple_chat.core.framing import MAX_LINE
from simple_chat.core.handshake import Event, Handshake, State
from simple_chat.core.protocol import (
    Bye,
    Err,
    Hello,
    Info,
    Names,
    Ok,
    Pong,
    ServerLimits,
    encode,
    encode_past,
)
from simple_chat.core.session import Session
from simple_chat.errors import CommandError

ERRORS_MAX = 10
"""Lines of one connection that may be refused before it joins: more than a person needs to find out how."""

_NAMES_PER_LINE = 16
_LINES_PER_PIECE = 16

_WELCOME = encode(Hello("Welcome. JOIN <name> to enter, HELP to see what else there is."))


class Conversation(Session):
    """A session in the plain protocol. Its arguments and attributes are those of `Session`."""

    __slots__ = ()

    def greet(self) -> None:
        """Send HELLO, and the limits if they are not those of the protocol."""
        max_line = self._limits.max_line
        limits = b"" if max_line == MAX_LINE else encode(ServerLimits(max_line))
        self._room.delivery.write(self.subscriber, self._codec.encode(_WELCOME + limits))

    def notify(self, text: str) -> None:
        """Send INFO to a member at once: it has no place in the sequence."""
        if self.subscriber.member is not None:
            self._room.delivery.write(self.subscriber, self._codec.encode(encode(Info(text))))

    # Commands

    def execute(self, line: str) -> None:
        """Execute a command.

        Raises:
            CommandError: it is refused.
        """
        command = parse_command(line)
        if self._handshake is not None and self.state is State.AUTHENTICATING:
            self._execute_unauthenticated(command, self._handshake)
        elif isinstance(command, Msg):
            self._sequencer.submit(self.subscriber, command)
        elif not (isinstance(command, Join) and self._disconnect_banned(command.name)):
            self.submit(command, partial(self._reply, command))

    def _execute_unauthenticated(self, command: Command, handshake: Handshake) -> None:
        """Execute a command of a client that has yet to send the password."""
        match command:
            case Pass(secret):
                self.enter(Event.PASSWORD_SENT)
                handshake.secret = secret
            case Ping() | Help() | Quit():
                self._reply(command)
            case _:
                raise CommandError(Code.AUTH_REQUIRED)

    def _reply(self, command: Command) -> None:
        """Answer a command that was applied."""
        match command:
            case Join(name):
                self._handshake = None
                self.enter(Event.JOINED)
                self._answer(encode(Ok("JOIN", name)))
                self._disconnect_banned(name)  # since the command was submitted
            case Leave():
                self._answer(encode(Ok("LEAVE")))
            case Quit():
                self.close("quit")
            case Ping(token):
                self._answer(encode(Pong(token)))
            case Who():
                self.respond(_who(self._room.names()), barrier=False)
            case History(count):
                self._room.member_of(self.subscriber)
                self.respond(_history(self._room.history(count)), barrier=False)
            case Help():
                self._answer(encode(*map(Info, USAGE), Ok("HELP")))
            case _:  # PASS, where no password is needed any more
                self._answer(encode(Ok("PASS")))

    def _answer(self, lines: bytes) -> None:
        self.respond((lines,))

    # The password

    @property
    def secret(self) -> str | None:
        """A password to be checked; `on_password_checked` has to follow."""
        return self._handshake.secret if self._handshake and self.state is State.VERIFYING else None

    def on_password_checked(self, *, accepted: bool) -> None:
        """Go on after `secret` was checked, unless the connection was closed meanwhile."""
        handshake = self._handshake
        if handshake is None:
            return
        handshake.secret = None
        if self.state is not State.VERIFYING:
            return
        handshake.tries_left -= 1
        self.enter(Event.PASSWORD_ACCEPTED if accepted else Event.PASSWORD_REJECTED)
        if accepted:
            self._answer(encode(Ok("PASS")))
        elif handshake.tries_left:
            self.refuse(Code.AUTH_FAILED)
        else:
            self.disconnect(Code.AUTH_FAILED)

    # Refusals, and the end

    def refuse(self, code: Code, *, in_place: bool = False) -> None:
        """Answer a line with ERR; disconnect a client that does not speak the protocol.

        Args:
            code: why the line is refused.
            in_place: whether the sequence is at the line's place already.
        """
        if code is Code.NOT_CHAT:
            self.disconnect(code)
        elif not self._count_error(code):
            self.disconnect(Code.TOO_MANY_ERRORS)
        else:
            self._room.counters.refusals[code] += 1
            send = partial(self.respond, (encode(Err(code, code.advice)),), barrier=False)
            if code is Code.BUSY or in_place:
                send()
            else:
                self.submit(None, send)

    def _count_error(self, code: Code) -> bool:
        """Count a line that is refused before the first JOIN, and return whether the limit is kept."""
        if self._handshake is None or code is Code.BUSY:
            return True
        self._handshake.errors += 1
        return self._handshake.errors <= ERRORS_MAX

    def close(self, reason: str) -> None:
        """Leave the room and send BYE, after everything that is owed; execute nothing more."""
        self.start_close(encode(Bye(reason)))

    def disconnect(self, code: Code, text: str = "") -> None:
        """Close the connection because of what the client does, or an operator wants: send ERR and BYE.

        Args:
            code: why.
            text: for people; by default the code's advice.
        """
        self._room.counters.refusals[code] += not self.state.ending
        self.start_close(encode(Err(code, text or code.advice), Bye(code)), code, text)

    def _disconnect_banned(self, name: str) -> bool:
        """Close the connection if the name that it wants, or got, is banned; return whether it is."""
        ban = self._room.bans.of_name(name)
        if ban is not None:
            self.disconnect(Code.BANNED, ban.text)
        return ban is not None


def _who(names: tuple[str, ...]) -> Iterator[bytes]:
    lines = (Names(names[at : at + _NAMES_PER_LINE]) for at in range(0, len(names), _NAMES_PER_LINE))
    while piece := encode(*islice(lines, _LINES_PER_PIECE)):
        yield piece
    yield encode(Ok("WHO", str(len(names))))


def _history(messages: Iterator[tuple[float, bytes]]) -> Iterator[bytes]:
    count = 0
    for count, (time, line) in enumerate(messages, 1):  # noqa: B007 (it is the answer's count)
        yield encode_past(time, line)
    yield encode(Ok("HISTORY", str(count)))
