"""One connection's lines: what it sent and received, answers matched to commands, split by membership.

Pure. `tests.harness.checker` checks them against those of all others.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from sys import intern
from typing import NoReturn

_ROOM = ("MSG ", "JOINED ", "LEFT ", "GAP ")
_PARTS = ("NAMES ", "PAST ", "INFO ")  # of multi-line responses, which end in an OK


class Violation(AssertionError):  # noqa: N818 - raised as a test failure
    """A guarantee of the protocol is violated; the message says where and why."""


class End(Enum):
    """How a connection ended."""

    CLEAN = auto()  # by QUIT, half-close or the server: the last line must be a BYE
    VANISHED = auto()  # the connection was lost: its last line may be incomplete


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One connection.

    Attributes:
        label: its name in a `Violation`.
        sent: the complete lines it sent, in order; a half-close counts as QUIT.
        received: all bytes it received.
        end: how it ended.
        server: which one it belonged to, where that ends while other servers go on: all members that it has
            then leave at once, and need not be told of each other. Empty if none does so.
    """

    label: str
    sent: Sequence[str]
    received: bytes
    end: End
    server: str = ""


@dataclass(slots=True)
class Window:
    """Lines between two responses; the relative order of sent and received lines is still unknown."""

    sent: list[str] = field(default_factory=list)  # own messages, as other members receive them
    received: list[str] = field(default_factory=list)  # broadcasts and GAPs


@dataclass(slots=True)
class Membership:
    """A membership, from a JOIN to its end, split at each response.

    Attributes:
        name: the member's name.
        windows: one up to each response, and one up to the end.
        ending: the response that ended it: OK LEAVE or a BYE. Empty if the connection was lost.
    """

    name: str
    windows: list[Window] = field(default_factory=lambda: [Window()])
    ending: str = ""


class Transcript:
    """One connection's lines: responses matched to their commands, broadcasts grouped by membership.

    Args:
        recording: what was sent and received.

    Attributes:
        memberships: all of them, in order.
        server: as in the recording.
    """

    def __init__(self, recording: Recording) -> None:
        self.memberships: list[Membership] = []
        self.server = recording.server
        self._label = recording.label
        self._current: Membership | None = None  # the open membership, if any
        self._uncertain: list[Membership] = []  # memberships whose JOIN was not answered
        self._commands = iter(recording.sent)
        self._sort(self._lines(recording))
        self._process_unanswered()

    def fail(self, reason: str) -> NoReturn:
        """Raise a `Violation`."""
        raise Violation(f"{self._label}: {reason}")

    def sent_messages(self) -> Iterator[str]:
        """Return all messages it sent, as other members receive them, in order."""
        for membership in (*self.memberships, *self._uncertain):
            for window in membership.windows:
                yield from window.sent

    def names(self) -> Iterator[str]:
        """Return the names it joined with, or may have."""
        return (membership.name for membership in (*self.memberships, *self._uncertain))

    def _lines(self, recording: Recording) -> list[str]:
        *whole, torn = recording.received.split(b"\n")
        lines = [line.decode() for line in whole]
        if lines and not lines[0].startswith("HELLO "):
            self.fail(f"the first line is no HELLO: {lines[0]!r}")
        for line in lines[:-1]:
            if line.startswith("BYE "):
                self.fail(f"there is more behind {line!r}")
        if recording.end is End.CLEAN and torn:
            self.fail(f"the last line is torn: {torn!r}")
        if recording.end is End.CLEAN and not (lines and lines[-1].startswith("BYE ")):
            self.fail("the end was clean, but there is no BYE")
        return lines[1:]

    def _sort(self, lines: list[str]) -> None:
        for line in lines:
            if line.startswith(_ROOM):
                if self._current is None:
                    self.fail(f"{line!r} came while it was not in the room")
                self._current.windows[-1].received.append(intern(line))  # shared by all connections
            elif line.startswith("BYE ") and line != "BYE quit":  # unsolicited
                if self._current is not None:
                    self._current.ending = line
            elif not line.startswith(_PARTS):
                self._match_response(line)

    def _match_response(self, response: str) -> None:
        for command in self._commands:
            verb, _, argument = command.partition(" ")
            if verb == "MSG" and self._current is not None:
                self._record_sent(self._current, argument)
            elif _is_response(response, verb, argument):
                self._process_response(response, argument)
                return
            else:
                self.fail(f"{command!r} was answered {response!r}")
        self.fail(f"nothing was asked that is answered {response!r}")

    def _process_response(self, response: str, argument: str) -> None:
        if response.startswith("OK JOIN "):
            self._current = Membership(argument)
            self.memberships.append(self._current)
        elif self._current is not None and response in {"OK LEAVE", "BYE quit"}:
            self._current.ending = response
            self._current = None
        elif self._current is not None:
            self._current.windows.append(Window())

    def _process_unanswered(self) -> None:
        """Process the unanswered commands at the end: a prefix of them may have been executed."""
        for command in self._commands:
            verb, _, argument = command.partition(" ")
            if verb == "MSG" and self._current is not None:
                self._record_sent(self._current, argument)
            elif verb == "LEAVE":
                self._current = None
            elif verb == "JOIN" and self._current is None:
                self._current = Membership(argument)
                self._uncertain.append(self._current)

    @staticmethod
    def _record_sent(membership: Membership, text: str) -> None:
        membership.windows[-1].sent.append(f"MSG {membership.name} {text}")


def _is_response(response: str, verb: str, argument: str) -> bool:
    if response.startswith("ERR "):
        return verb not in {"PING", "QUIT", "WHO", "HELP"}
    match verb:
        case "JOIN":
            return response == f"OK JOIN {argument}"
        case "PING":
            return response == f"PONG {argument}"
        case "QUIT":
            return response == "BYE quit"
        case _:
            return response.split()[:2] == ["OK", verb]
