"""The room and its sessions, driven at random, against a plain list of all that was said."""

from collections.abc import Iterable
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from simple_chat.core.backlog import BACKLOG
from simple_chat.core.protocol import Code, Err
from tests.harness.sessions import Guest, House

NAMES = ["ann", "Ann", "ANN", "bob", "Bob", "cleo", "dan", "eve"]


@dataclass(frozen=True)
class Entry:
    """One line of the story, and who is to read it.

    Attributes:
        told: whether the room told it, so that a slow reader may lose it; else it is an answer.
        past: what may come before it at most, if it ends the answer to HISTORY.
    """

    line: str
    readers: frozenset[Guest]
    told: bool = False
    past: tuple[str, ...] | None = None


def is_subsequence(some: Iterable[str], everything: Iterable[str]) -> bool:
    rest = iter(everything)
    return all(one in rest for one in some)


class RoomMachine(RuleBasedStateMachine):
    """Guests do what they like; each must read exactly its part of the story."""

    guests: "Bundle[Guest]" = Bundle("guests")

    @initialize(
        target=guests,
        backlog=st.sampled_from([1, 2_000, 20_000, BACKLOG]),
        history=st.sampled_from([0, 3, 1_000]),
        presence_limit=st.sampled_from([0, 2, 1_000]),
        journal=st.booleans(),
    )
    def open(
        self, backlog: int, history: int, presence_limit: int, *, journal: bool
    ) -> MultipleResults[Guest]:
        self.house = House(backlog=backlog, history=history, presence_limit=presence_limit, journal=journal)
        self.history = history
        # A batch may go by while an answer waits for its place, behind more than a piece or, with a journal,
        # for the next one: too much for a very small backlog.
        self.journal = journal
        self.waited: set[Guest] = set()
        self.presence_limit = presence_limit
        self.nothing_is_lost = backlog == BACKLOG
        self.story: list[Entry] = []
        self.said: list[str] = []
        self.inside: dict[Guest, str] = {}
        self.connected: list[Guest] = []
        self.crlf: set[Guest] = set()
        self.slow: set[Guest] = set()  # who was blocked ever
        self.unwritten: dict[Guest, int] = {}  # who is blocked or gone, and how much was written to them
        guests = [self.let_in(crlf=crlf) for crlf in (False, False, True)]
        for guest, name in zip(guests, ("ann", "bob", "cleo"), strict=True):
            self.join(guest, name)
        self.rest()
        return multiple(*guests)

    # What guests do

    @rule(target=guests, crlf=st.booleans(), name=st.sampled_from(NAMES))
    def enter(self, *, crlf: bool, name: str) -> Guest:
        guest = self.let_in(crlf=crlf)
        self.join(guest, name)
        return guest

    @rule(guest=guests, name=st.sampled_from(NAMES))
    def join(self, guest: Guest, name: str) -> None:
        if not self.send(guest, f"JOIN {name}"):
            return
        if guest in self.inside:
            self.refuse(guest, Code.ALREADY_JOINED)
        elif name.lower() in map(str.lower, self.inside.values()):
            self.refuse(guest, Code.NAME_TAKEN)
        else:
            self.inside[guest] = name
            self.tell_presence(guest, f"JOINED {name}")
            self.answer(guest, f"OK JOIN {name}")

    @rule(guest=guests, count=st.integers(1, 3), size=st.sampled_from([0, 0, 0, 1_000, 4_000]))
    def say(self, guest: Guest, count: int, size: int) -> None:
        for _ in range(count):
            text = f"{len(self.said)} {'x' * size}"
            if self.send(guest, f"MSG {text}"):
                if guest in self.inside:
                    self.said.append(f"{self.inside[guest]} {text}")
                    self.tell(guest, f"MSG {self.said[-1]}")
                else:
                    self.refuse(guest, Code.NOT_JOINED)

    @rule(slow=guests, speaker=guests, turns=st.integers(1, 5), size=st.sampled_from([0, 1_000, 4_000]))
    def outrun(self, slow: Guest, speaker: Guest, turns: int, size: int) -> None:
        self.block(slow)
        for _ in range(turns):
            self.say(speaker, 5, size)
            self.turn()

    @rule(guest=guests)
    def leave(self, guest: Guest) -> None:
        if self.send(guest, "LEAVE"):
            if guest in self.inside:
                self.is_gone(guest)
                self.answer(guest, "OK LEAVE")
            else:
                self.refuse(guest, Code.NOT_JOINED)

    @rule(guest=guests, token=st.integers())
    def ping(self, guest: Guest, token: int) -> None:
        if self.send(guest, f"PING {token}"):
            self.answer(guest, f"PONG {token}")

    @rule(guest=guests)
    def who(self, guest: Guest) -> None:
        if self.send(guest, "WHO"):
            if self.inside:
                self.answer(guest, f"NAMES {' '.join(self.inside.values())}")
            self.answer(guest, f"OK WHO {len(self.inside)}")

    @rule(guest=guests, limit=st.integers(0, 4) | st.just(10**6))
    def ask_history(self, guest: Guest, limit: int) -> None:
        if self.send(guest, f"HISTORY {limit}"):
            if guest in self.inside:
                wanted = min(limit, self.history, len(self.said))
                past = tuple(self.said[len(self.said) - wanted :])
                self.story.append(Entry("OK HISTORY", frozenset([guest]), past=past))
            else:
                self.refuse(guest, Code.NOT_JOINED)

    @rule(guest=consumes(guests))
    def quit(self, guest: Guest) -> None:
        if self.send(guest, "QUIT"):
            if guest in self.inside:
                self.is_gone(guest)
            self.answer(guest, "BYE quit")

    @rule(guest=consumes(guests))
    def lose(self, guest: Guest) -> None:
        guest.session.lost()
        guest.block()
        if guest in self.inside:
            self.is_gone(guest)
        self.connected.remove(guest)
        self.unwritten[guest] = len(guest.written)
        self.has_read(guest)

    @rule(guest=guests)
    def block(self, guest: Guest) -> None:
        guest.block()
        self.slow.add(guest)
        self.unwritten[guest] = len(guest.written)

    @rule(guest=guests)
    def unblock(self, guest: Guest) -> None:
        self.unwritten.pop(guest, None)
        guest.unblock()

    # What the house does

    @rule()
    def turn(self) -> None:
        self.house.turn()

    @rule()
    def keep(self) -> None:
        self.house.keep()

    @rule()
    def rest(self) -> None:
        self.house.rest()
        for guest in self.connected:
            everything = self.has_read(guest)
            assert everything or guest in self.unwritten

    @invariant()
    def blocked_are_not_written_to(self) -> None:
        assert all(len(guest.written) == size for guest, size in self.unwritten.items())

    @invariant()
    def names_are_unique(self) -> None:
        names = self.house.room.names()
        assert names == tuple(self.inside.values())
        assert len({name.lower() for name in names}) == len(names)

    def teardown(self) -> None:
        self.house.room.closed = True
        for guest in self.connected:
            self.unwritten.pop(guest, None)
            guest.unblock()
            guest.end("shutdown")
            if not any(entry.line == "BYE quit" and guest in entry.readers for entry in self.story):
                self.answer(guest, "BYE shutdown")
        self.rest()
        assert all(guest.session.over for guest in self.connected)
        self.blocked_are_not_written_to()

    # The story

    def let_in(self, *, crlf: bool) -> Guest:
        guest = self.house.connect()
        guest.session._entrance = None  # whose errors are counted, which is no business of the room
        if crlf:
            guest.feed(b"\r\n")
            self.house.turn()
            self.crlf.add(guest)
        self.connected.append(guest)
        return guest

    def send(self, guest: Guest, line: str) -> bool:
        """Let a guest send a line, if the house would read from it now; it is carried out at once."""
        while self.house.room.full:
            self.house.keep()
            self.house.turn()
        if not guest.session.wants_input:
            return False
        guest.send(line)
        guest.session.take(self.house.time)
        if guest.session.member.answer is not None:
            self.waited.add(guest)
        return True

    def tell(self, author: Guest, line: str) -> None:
        self.story.append(Entry(line, frozenset(self.inside) - {author}, told=True))

    def tell_presence(self, author: Guest, line: str) -> None:
        if len(self.inside) <= self.presence_limit:
            self.tell(author, line)

    def is_gone(self, guest: Guest) -> None:
        self.tell_presence(guest, f"LEFT {self.inside[guest]}")
        del self.inside[guest]

    def answer(self, guest: Guest, line: str) -> None:
        self.story.append(Entry(line, frozenset([guest])))

    def refuse(self, guest: Guest, code: Code) -> None:
        self.answer(guest, str(Err(code, code.advice)))

    def has_read(self, guest: Guest) -> bool:
        """Check what a guest has read so far; whether it is all that it was to read."""
        to_read = iter([entry for entry in self.story if guest in entry.readers])
        past: list[str] = []
        _hello, *lines = guest.written.decode().splitlines()
        assert guest.written.count(b"\r\n") == (len(lines) if guest in self.crlf else 0)
        for line in lines:
            verb, _, rest = line.partition(" ")
            if verb == "GAP":
                assert guest in self.slow or guest in self.waited or self.journal
                assert not self.nothing_is_lost
                assert int(rest) > 0
                assert all(next(to_read).told for _ in range(int(rest)))
            elif verb == "PAST":
                past.append(rest.partition(" ")[2])
            elif (entry := next(to_read)).past is None:
                assert line == entry.line
            else:
                assert line == f"OK HISTORY {len(past)}"
                assert is_subsequence(past, entry.past)
                assert past == list(entry.past) or not self.nothing_is_lost
                past.clear()
        return next(to_read, None) is None


RoomMachine.TestCase.settings = settings(max_examples=250, stateful_step_count=60, deadline=None)


class TestRoomAgainstModel(RoomMachine.TestCase):  # type: ignore[misc, valid-type]
    pass
