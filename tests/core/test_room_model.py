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
from simple_chat.core.codes import Code
from simple_chat.core.protocol import Err
from tests.harness.sessions import RoomHarness, SessionClient

NAMES = ["ann", "Ann", "ANN", "bob", "Bob", "cleo", "dan", "eve"]


@dataclass(frozen=True)
class Entry:
    """One line of the story, and who is to read it.

    Attributes:
        told: whether the room told it, so that a slow reader may lose it; else it is an answer.
        past: what may come before it at most, if it ends the answer to HISTORY.
    """

    line: str
    readers: frozenset[SessionClient]
    told: bool = False
    past: tuple[str, ...] | None = None


def is_subsequence(some: Iterable[str], everything: Iterable[str]) -> bool:
    rest = iter(everything)
    return all(one in rest for one in some)


class RoomMachine(RuleBasedStateMachine):
    """Guests do what they like; each must read exactly its part of the story."""

    clients: "Bundle[SessionClient]" = Bundle("clients")

    @initialize(
        target=clients,
        backlog=st.sampled_from([1, 2_000, 20_000, BACKLOG]),
        history=st.sampled_from([0, 3, 1_000]),
        presence_limit=st.sampled_from([0, 2, 1_000]),
        journal=st.booleans(),
    )
    def open(
        self, backlog: int, history: int, presence_limit: int, *, journal: bool
    ) -> MultipleResults[SessionClient]:
        self.harness = RoomHarness(
            backlog=backlog, history=history, presence_limit=presence_limit, journal=journal
        )
        self.history = history
        # A batch may go by while an answer waits for its place, behind more than a piece or, with a journal,
        # for the next one: too much for a very small backlog.
        self.journal = journal
        self.waited: set[SessionClient] = set()
        self.presence_limit = presence_limit
        self.nothing_is_lost = backlog == BACKLOG
        self.story: list[Entry] = []
        self.said: list[str] = []
        self.inside: dict[SessionClient, str] = {}
        self.connected: list[SessionClient] = []
        self.crlf: set[SessionClient] = set()
        self.slow: set[SessionClient] = set()  # who was blocked ever
        self.unwritten: dict[
            SessionClient, int
        ] = {}  # who is blocked or gone, and how much was written to them
        clients = [self.let_in(crlf=crlf) for crlf in (False, False, True)]
        for client, name in zip(clients, ("ann", "bob", "cleo"), strict=True):
            self.join(client, name)
        self.rest()
        return multiple(*clients)

    # What clients do

    @rule(target=clients, crlf=st.booleans(), name=st.sampled_from(NAMES))
    def enter(self, *, crlf: bool, name: str) -> SessionClient:
        client = self.let_in(crlf=crlf)
        self.join(client, name)
        return client

    @rule(client=clients, name=st.sampled_from(NAMES))
    def join(self, client: SessionClient, name: str) -> None:
        if not self.send(client, f"JOIN {name}"):
            return
        if client in self.inside:
            self.refuse(client, Code.ALREADY_JOINED)
        elif name.lower() in map(str.lower, self.inside.values()):
            self.refuse(client, Code.NAME_TAKEN)
        else:
            self.inside[client] = name
            self.tell_presence(client, f"JOINED {name}")
            self.answer(client, f"OK JOIN {name}")

    @rule(client=clients, count=st.integers(1, 3), size=st.sampled_from([0, 0, 0, 1_000, 4_000]))
    def say(self, client: SessionClient, count: int, size: int) -> None:
        for _ in range(count):
            text = f"{len(self.said)} {'x' * size}"
            if self.send(client, f"MSG {text}"):
                if client in self.inside:
                    self.said.append(f"{self.inside[client]} {text}")
                    self.tell(client, f"MSG {self.said[-1]}")
                else:
                    self.refuse(client, Code.NOT_JOINED)

    @rule(slow=clients, speaker=clients, turns=st.integers(1, 5), size=st.sampled_from([0, 1_000, 4_000]))
    def outrun(self, slow: SessionClient, speaker: SessionClient, turns: int, size: int) -> None:
        self.block(slow)
        for _ in range(turns):
            self.say(speaker, 5, size)
            self.turn()

    @rule(client=clients)
    def leave(self, client: SessionClient) -> None:
        if self.send(client, "LEAVE"):
            if client in self.inside:
                self.is_gone(client)
                self.answer(client, "OK LEAVE")
            else:
                self.refuse(client, Code.NOT_JOINED)

    @rule(client=clients, token=st.integers())
    def ping(self, client: SessionClient, token: int) -> None:
        if self.send(client, f"PING {token}"):
            self.answer(client, f"PONG {token}")

    @rule(client=clients)
    def who(self, client: SessionClient) -> None:
        if self.send(client, "WHO"):
            if self.inside:
                self.answer(client, f"NAMES {' '.join(self.inside.values())}")
            self.answer(client, f"OK WHO {len(self.inside)}")

    @rule(client=clients, limit=st.integers(0, 4) | st.just(10**6))
    def ask_history(self, client: SessionClient, limit: int) -> None:
        if self.send(client, f"HISTORY {limit}"):
            if client in self.inside:
                wanted = min(limit, self.history, len(self.said))
                past = tuple(self.said[len(self.said) - wanted :])
                self.story.append(Entry("OK HISTORY", frozenset([client]), past=past))
            else:
                self.refuse(client, Code.NOT_JOINED)

    @rule(client=consumes(clients))
    def quit(self, client: SessionClient) -> None:
        if self.send(client, "QUIT"):
            if client in self.inside:
                self.is_gone(client)
            self.answer(client, "BYE quit")

    @rule(client=consumes(clients))
    def lose(self, client: SessionClient) -> None:
        client.session.connection_lost()
        client.block()
        if client in self.inside:
            self.is_gone(client)
        self.connected.remove(client)
        self.unwritten[client] = len(client.written)
        self.has_read(client)

    @rule(client=clients)
    def block(self, client: SessionClient) -> None:
        client.block()
        self.slow.add(client)
        self.unwritten[client] = len(client.written)

    @rule(client=clients)
    def unblock(self, client: SessionClient) -> None:
        self.unwritten.pop(client, None)
        client.unblock()

    # What the harness does

    @rule()
    def turn(self) -> None:
        self.harness.turn()

    @rule()
    def keep(self) -> None:
        self.harness.keep()

    @rule()
    def rest(self) -> None:
        self.harness.rest()
        for client in self.connected:
            everything = self.has_read(client)
            assert everything or client in self.unwritten

    @invariant()
    def blocked_are_not_written_to(self) -> None:
        assert all(len(client.written) == size for client, size in self.unwritten.items())

    @invariant()
    def names_are_unique(self) -> None:
        names = self.harness.room.names()
        assert names == tuple(self.inside.values())
        assert len({name.lower() for name in names}) == len(names)

    def teardown(self) -> None:
        self.harness.room.closed = True
        for client in self.connected:
            self.unwritten.pop(client, None)
            client.unblock()
            client.end("shutdown")
            if not any(entry.line == "BYE quit" and client in entry.readers for entry in self.story):
                self.answer(client, "BYE shutdown")
        self.rest()
        assert all(client.session.finished for client in self.connected)
        self.blocked_are_not_written_to()

    # The story

    def let_in(self, *, crlf: bool) -> SessionClient:
        client = self.harness.connect()
        client.session._handshake = None  # whose errors are counted, which is no business of the room
        if crlf:
            client.feed(b"\r\n")
            self.harness.turn()
            self.crlf.add(client)
        self.connected.append(client)
        return client

    def send(self, client: SessionClient, line: str) -> bool:
        """Let a client send a line, if the harness would read from it now; it is carried out at once."""
        while self.harness.room.batch_full:
            self.harness.keep()
            self.harness.turn()
        if not client.session.wants_input:
            return False
        client.send(line)
        client.session.process_input(self.harness.time)
        if client.session.subscriber.response is not None:
            self.waited.add(client)
        return True

    def tell(self, author: SessionClient, line: str) -> None:
        self.story.append(Entry(line, frozenset(self.inside) - {author}, told=True))

    def tell_presence(self, author: SessionClient, line: str) -> None:
        if len(self.inside) <= self.presence_limit:
            self.tell(author, line)

    def is_gone(self, client: SessionClient) -> None:
        self.tell_presence(client, f"LEFT {self.inside[client]}")
        del self.inside[client]

    def answer(self, client: SessionClient, line: str) -> None:
        self.story.append(Entry(line, frozenset([client])))

    def refuse(self, client: SessionClient, code: Code) -> None:
        self.answer(client, str(Err(code, code.advice)))

    def has_read(self, client: SessionClient) -> bool:
        """Check what a client has read so far; whether it is all that it was to read."""
        to_read = iter([entry for entry in self.story if client in entry.readers])
        past: list[str] = []
        _hello, *lines = client.written.decode().splitlines()
        assert client.written.count(b"\r\n") == (len(lines) if client in self.crlf else 0)
        for line in lines:
            verb, _, rest = line.partition(" ")
            if verb == "GAP":
                assert client in self.slow or client in self.waited or self.journal
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
