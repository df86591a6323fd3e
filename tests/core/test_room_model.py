"""Random operations on the room and its sessions, checked against a plain list of expected lines."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

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
class ExpectedLine:
    """An expected line and its readers.

    Attributes:
        broadcast: whether it is a broadcast, which a slow reader may lose; else it is a response.
        history: the longest list of messages that may precede it, if it ends a HISTORY response.
    """

    line: str
    readers: frozenset[SessionClient]
    broadcast: bool = False
    history: tuple[str, ...] | None = None


def is_subsequence(some: Iterable[str], everything: Iterable[str]) -> bool:
    rest = iter(everything)
    return all(one in rest for one in some)


class RoomMachine(RuleBasedStateMachine):
    """Random clients; each must read exactly the lines expected for it."""

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
        # A response may wait for more than one write or, with a journal, for the next batch. A batch may pass
        # meanwhile, which is too much for a very small backlog.
        self.journal = journal
        self.awaited_response: set[SessionClient] = set()
        self.presence_limit = presence_limit
        self.lossless = backlog == BACKLOG
        self.expected: list[ExpectedLine] = []
        self.messages: list[str] = []
        self.members: dict[SessionClient, str] = {}
        self.connected: list[SessionClient] = []
        self.ever_connected: list[SessionClient] = []
        self.crlf: set[SessionClient] = set()
        self.was_blocked: set[SessionClient] = set()  # clients that have been blocked
        self.frozen_sizes: dict[SessionClient, int] = {}  # bytes written to blocked and disconnected clients
        clients = [self.connect_client(crlf=crlf) for crlf in (False, False, True)]
        for client, name in zip(clients, ("ann", "bob", "cleo"), strict=True):
            self.join(client, name)
        self.rest()
        return multiple(*clients)

    # Client operations

    @rule(target=clients, crlf=st.booleans(), name=st.sampled_from(NAMES))
    def enter(self, *, crlf: bool, name: str) -> SessionClient:
        client = self.connect_client(crlf=crlf)
        self.join(client, name)
        return client

    @rule(client=clients, name=st.sampled_from(NAMES))
    def join(self, client: SessionClient, name: str) -> None:
        if not self.send(client, f"JOIN {name}"):
            return
        if client in self.members:
            self.expect_error(client, Code.ALREADY_JOINED)
        elif name.lower() in map(str.lower, self.members.values()):
            self.expect_error(client, Code.NAME_TAKEN)
        else:
            self.members[client] = name
            self.expect_presence(client, f"JOINED {name}")
            self.expect_response(client, f"OK JOIN {name}")

    @rule(client=clients, count=st.integers(1, 3), size=st.sampled_from([0, 0, 0, 1_000, 4_000]))
    def post(self, client: SessionClient, count: int, size: int) -> None:
        for _ in range(count):
            text = f"{len(self.messages)} {'x' * size}"
            if self.send(client, f"MSG {text}"):
                if client in self.members:
                    self.messages.append(f"{self.members[client]} {text}")
                    self.expect_broadcast(client, f"MSG {self.messages[-1]}")
                else:
                    self.expect_error(client, Code.NOT_JOINED)

    @rule(slow=clients, author=clients, turns=st.integers(1, 5), size=st.sampled_from([0, 1_000, 4_000]))
    def fall_behind(self, slow: SessionClient, author: SessionClient, turns: int, size: int) -> None:
        self.block(slow)
        for _ in range(turns):
            self.post(author, 5, size)
            self.turn()

    @rule(client=clients)
    def leave(self, client: SessionClient) -> None:
        if self.send(client, "LEAVE"):
            if client in self.members:
                self.expect_leave(client)
                self.expect_response(client, "OK LEAVE")
            else:
                self.expect_error(client, Code.NOT_JOINED)

    @rule(client=clients, token=st.integers())
    def ping(self, client: SessionClient, token: int) -> None:
        if self.send(client, f"PING {token}"):
            self.expect_response(client, f"PONG {token}")

    @rule(client=clients)
    def who(self, client: SessionClient) -> None:
        if self.send(client, "WHO"):
            if self.members:
                self.expect_response(client, f"NAMES {' '.join(self.members.values())}")
            self.expect_response(client, f"OK WHO {len(self.members)}")

    @rule(client=clients, limit=st.integers(0, 4) | st.just(10**6))
    def ask_history(self, client: SessionClient, limit: int) -> None:
        if self.send(client, f"HISTORY {limit}"):
            if client in self.members:
                wanted = min(limit, self.history, len(self.messages))
                history = tuple(self.messages[len(self.messages) - wanted :])
                self.expected.append(ExpectedLine("OK HISTORY", frozenset([client]), history=history))
            else:
                self.expect_error(client, Code.NOT_JOINED)

    @rule(client=consumes(clients))
    def quit(self, client: SessionClient) -> None:
        if self.send(client, "QUIT"):
            if client in self.members:
                self.expect_leave(client)
            self.expect_response(client, "BYE quit")

    @rule(client=consumes(clients))
    def drop_connection(self, client: SessionClient) -> None:
        client.session.connection_lost()
        client.block()
        if client in self.members:
            self.expect_leave(client)
        self.connected.remove(client)
        self.frozen_sizes[client] = len(client.written)
        self.check_output(client)

    @rule(client=clients)
    def block(self, client: SessionClient) -> None:
        client.block()
        self.was_blocked.add(client)
        self.frozen_sizes[client] = len(client.written)

    @rule(client=clients)
    def unblock(self, client: SessionClient) -> None:
        self.frozen_sizes.pop(client, None)
        client.unblock()

    # Harness operations

    @rule()
    def turn(self) -> None:
        self.harness.turn()

    @rule()
    def write_journal(self) -> None:
        self.harness.write_journal()

    @rule()
    def rest(self) -> None:
        self.harness.rest()
        for client in self.connected:
            everything = self.check_output(client)
            assert everything or client in self.frozen_sizes
        self.check_counters()

    @invariant()
    def blocked_are_not_written_to(self) -> None:
        assert all(len(client.written) == size for client, size in self.frozen_sizes.items())

    @invariant()
    def names_are_unique(self) -> None:
        names = self.harness.room.names()
        assert names == tuple(self.members.values())
        assert len({name.lower() for name in names}) == len(names)

    def teardown(self) -> None:
        self.harness.room.closed = True
        for client in self.connected:
            self.frozen_sizes.pop(client, None)
            client.unblock()
            client.end("shutdown")
            if not any(entry.line == "BYE quit" and client in entry.readers for entry in self.expected):
                self.expect_response(client, "BYE shutdown")
        self.rest()
        assert all(client.session.finished for client in self.connected)
        self.blocked_are_not_written_to()

    # The model

    def connect_client(self, *, crlf: bool) -> SessionClient:
        client = self.harness.connect()
        client.session._handshake = None  # disable the error limit
        if crlf:
            client.feed(b"\r\n")
            self.harness.turn()
            self.crlf.add(client)
        self.connected.append(client)
        self.ever_connected.append(client)
        return client

    def send(self, client: SessionClient, line: str) -> bool:
        """Send a line and process it immediately, if the session wants input; return whether it does."""
        while self.harness.room.batch_full:
            self.harness.write_journal()
            self.harness.turn()
        if not client.session.wants_input:
            return False
        client.send(line)
        client.session.process_input(self.harness.time)
        if client.session.subscriber.response is not None:
            self.awaited_response.add(client)
        return True

    def expect_broadcast(self, author: SessionClient, line: str) -> None:
        self.expected.append(ExpectedLine(line, frozenset(self.members) - {author}, broadcast=True))

    def expect_presence(self, author: SessionClient, line: str) -> None:
        if len(self.members) <= self.presence_limit:
            self.expect_broadcast(author, line)

    def expect_leave(self, client: SessionClient) -> None:
        self.expect_presence(client, f"LEFT {self.members[client]}")
        del self.members[client]

    def expect_response(self, client: SessionClient, line: str) -> None:
        self.expected.append(ExpectedLine(line, frozenset([client])))

    def expect_error(self, client: SessionClient, code: Code) -> None:
        self.expect_response(client, str(Err(code, code.advice)))

    def check_counters(self) -> None:
        """Check that what was counted is what was written and refused."""
        counters = self.harness.room.counters
        assert counters.sent_bytes == sum(len(client.written) for client in self.ever_connected)
        everything = (line for client in self.ever_connected for line in client.written.decode().splitlines())
        lines = [line.split() for line in everything]
        assert counters.deliveries == sum(line[0] in {"JOINED", "MSG", "LEFT"} for line in lines)
        lost = [int(line[1]) for line in lines if line[0] == "GAP"]
        assert (counters.gaps, counters.gap_lines) == (len(lost), sum(lost))
        refused = [entry.line.split()[1] for entry in self.expected if entry.line.startswith("ERR ")]
        assert counters.refusals == Counter(refused)
        assert counters.messages == len(self.messages)

    def check_output(self, client: SessionClient) -> bool:
        """Check the lines written to a client; return whether they are all that is expected."""
        to_read = iter([entry for entry in self.expected if client in entry.readers])
        history: list[str] = []
        _hello, *lines = client.written.decode().splitlines()
        assert client.written.count(b"\r\n") == (len(lines) if client in self.crlf else 0)
        for line in lines:
            verb, _, rest = line.partition(" ")
            if verb == "GAP":
                assert client in self.was_blocked or client in self.awaited_response or self.journal
                assert not self.lossless
                assert int(rest) > 0
                assert all(next(to_read).broadcast for _ in range(int(rest)))
            elif verb == "PAST":
                history.append(rest.partition(" ")[2])
            elif (entry := next(to_read)).history is None:
                assert line == entry.line
            else:
                assert line == f"OK HISTORY {len(history)}"
                assert is_subsequence(history, entry.history)
                assert history == list(entry.history) or not self.lossless
                history.clear()
        return next(to_read, None) is None


class TestRoomAgainstModel(RoomMachine.TestCase):  # type: ignore[misc, valid-type]
    pass
