"""Several servers and their guests, driven at random: all streams must be parts of one sequence."""

from collections.abc import Callable

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

from simple_chat.cluster.nodes import LEASE
from tests.harness.checker import check
from tests.harness.replicas import Cluster, Server, Visitor

NAMES = ["ann", "Ann", "ANN", "bob", "Bob", "cleo", "dan", "eve"]
SERVERS_MAX = 6

some_server = st.integers(0, SERVERS_MAX - 1)


class ClusterMachine(RuleBasedStateMachine):
    """Guests do what they like, and servers fare as they do. The first one lives, with an observer."""

    guests: "Bundle[Visitor]" = Bundle("guests")

    @initialize(target=guests, size=st.integers(2, 3))
    def open(self, size: int) -> MultipleResults[Visitor]:
        self.cluster = Cluster(size)
        self.tables = [self.cluster.servers[0].room.table()]
        self.said = 0
        self.everybody: list[Visitor] = []
        self.ending: set[Server] = set()
        self.unwritten: dict[Visitor, int] = {}  # who is blocked or gone, and how much was written to them
        (self.observer,) = self.cluster.servers[0].join("observer")
        guests = [self.let_in(server) for server in self.cluster.servers]
        for guest, name in zip(guests, ("ann", "bob", "cleo"), strict=False):
            self.join(guest, name)
        self.cluster.rest()
        return multiple(*guests)

    # What guests do

    @rule(target=guests, server=some_server, name=st.sampled_from(NAMES))
    def enter(self, server: int, name: str) -> Visitor:
        guest = self.let_in(self.server(server))
        self.join(guest, name)
        return guest

    @rule(guest=guests, name=st.sampled_from(NAMES))
    def join(self, guest: Visitor, name: str) -> None:
        if not guest.server.room.suspended:  # which refuses it at once, before what was said has its place
            guest.send(f"JOIN {name}")

    @rule(guest=guests, count=st.integers(1, 3))
    def say(self, guest: Visitor, count: int) -> None:
        if guest.server not in self.ending:  # which refuses what is said
            for _ in range(count):
                self.said += 1
                guest.send(f"MSG {self.said}")

    @rule(guest=guests)
    def leave(self, guest: Visitor) -> None:
        if guest.server not in self.ending:  # or it is answered without the LEFT of others that come first
            guest.send("LEAVE")

    @rule(guest=guests, name=st.sampled_from(NAMES))
    def change(self, guest: Visitor, name: str) -> None:
        self.leave(guest)
        self.join(guest, name)
        self.say(guest, 1)

    @rule(guest=guests, question=st.sampled_from(["PING", "PING", "WHO", "HISTORY", "HELP", "NICK x"]))
    def ask(self, guest: Visitor, question: str) -> None:
        if question == "PING":
            self.said += 1
            question = f"PING {self.said}"
        if not guest.server.room.suspended or question.startswith(("PING", "WHO", "HISTORY")):  # as with JOIN
            guest.send(question)

    @rule(guest=consumes(guests), half_close=st.booleans())
    def quit(self, guest: Visitor, *, half_close: bool) -> None:
        if guest.server in self.ending:
            return
        if half_close:
            guest.close()
        else:
            guest.send("QUIT")

    @rule(guest=consumes(guests))
    def lose(self, guest: Visitor) -> None:
        if not guest.lost:
            guest.lose()
            self.unwritten[guest] = len(guest.written)

    @rule(guest=guests)
    def block(self, guest: Visitor) -> None:
        guest.block()
        self.unwritten[guest] = len(guest.written)

    @rule(guest=guests)
    def unblock(self, guest: Visitor) -> None:
        if not guest.lost:
            self.unwritten.pop(guest, None)
            guest.unblock()

    # What servers do

    @rule(server=some_server)
    def turn(self, server: int) -> None:
        self.server(server).turn()

    @rule(server=some_server, times=st.integers(1, 3))
    def store(self, server: int, times: int) -> None:
        for _ in range(times):
            self.server(server).store(again=times > 1)

    @rule(server=some_server)
    def speak(self, server: int) -> None:
        self.server(server).speak()

    @rule(server=some_server, most=st.none() | st.integers(1, 3))
    def deliver(self, server: int, most: int | None) -> None:
        self.server(server).deliver(most)

    @rule(server=some_server, most=st.none() | st.integers(1, 3))
    def follow(self, server: int, most: int | None) -> None:
        self.server(server).follow(most)

    @rule()
    def rest(self) -> None:
        self.cluster.rest()
        self.all_agree()

    @rule(seconds=st.sampled_from([1, 5, 12, LEASE + 10]))
    def wait(self, seconds: float) -> None:
        self.cluster.wait(seconds)
        self.all_agree()

    # How servers fare

    @rule(server=some_server)
    def die(self, server: int) -> None:
        self.mortal(server, lambda server: setattr(server, "dead", True))

    @rule(server=some_server)
    def pause(self, server: int) -> None:
        self.mortal(server, lambda server: setattr(server, "paused", True))

    @rule(server=some_server)
    def cut_off(self, server: int) -> None:
        def cut_off(server: Server) -> None:
            if server.follows:
                server.turn()
                server.suspend()

        self.mortal(server, cut_off)

    @rule(server=some_server)
    def come_back(self, server: int) -> None:
        self.server(server).paused = False
        self.server(server).resume()

    @rule(server=some_server)
    def finish(self, server: int) -> None:
        def finish(server: Server) -> None:
            server.turn()
            if not server.follows or server in self.ending:
                return
            if all(guest.session.dry for guest in server.guests):  # else a message may be refused
                self.ending.add(server)
                server.finish()

        self.mortal(server, finish)

    @rule(server=some_server)
    def keep_table(self, server: int) -> None:
        if self.server(server).follows:
            self.tables.append(self.server(server).room.table())

    @rule(which=st.integers(0, 9), late=st.booleans())
    def begin(self, which: int, *, late: bool) -> None:
        if len(self.cluster.servers) < SERVERS_MAX:
            tables = self.tables if late else [self.cluster.servers[0].room.table()]
            self.cluster.add(tables[which % len(tables)])

    # What must be

    @invariant()
    def nothing_is_written_to_who_takes_nothing(self) -> None:
        assert all(len(guest.written) == size for guest, size in self.unwritten.items())

    @invariant()
    def names_are_unique(self) -> None:
        for server in self.cluster.servers:
            names = [name.lower() for name in server.room.names()]
            assert len(set(names)) == len(names)

    def all_agree(self) -> None:
        """Servers that have read everything know the same."""
        first, *others = [server.room for server in self.cluster.servers if server.follows]
        for room in others:
            assert room.position == first.position == self.cluster.end
            assert sorted(room.names()) == sorted(first.names())
            assert room._nodes.snapshot() == first._nodes.snapshot()
        assert sum(room.keeps_table for room in (first, *others)) <= 1

    def teardown(self) -> None:
        for number in range(SERVERS_MAX):
            self.come_back(number)
        for guest in self.everybody:
            self.unblock(guest)
        self.wait(LEASE + 10)
        for guest in [*self.everybody, self.observer]:
            guest.send("QUIT")
            self.rest()
            assert guest.lost or guest.session.over or guest.server.dead
        assert self.cluster.servers[0].expelled == 0
        assert self.cluster.servers[0].room.names() == ()
        self.nothing_is_written_to_who_takes_nothing()
        assert not any("GAP" in line for guest in self.everybody for line in guest.lines())
        check(self.observer.recording(), [guest.recording() for guest in self.everybody])

    # The cluster

    def server(self, number: int) -> Server:
        return self.cluster.servers[number % len(self.cluster.servers)]

    def mortal(self, number: int, befall: Callable[[Server], object]) -> None:
        """Let something befall a server that is not the first one."""
        if number % len(self.cluster.servers):
            befall(self.server(number))

    def let_in(self, server: Server) -> Visitor:
        guest = server.connect()
        guest.session._entrance = None  # whose errors are counted, which is no business of the room
        self.everybody.append(guest)
        return guest


class HistoryMachine(ClusterMachine):
    """And all servers remember the same."""

    def all_agree(self) -> None:
        super().all_agree()
        first, *others = [server.room for server in self.cluster.servers if server.follows]
        said = [line for _, line in first.history(None)]
        assert all([line for _, line in room.history(None)] == said for room in others)


ClusterMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
HistoryMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=60, deadline=None)


class TestSharedRoomAgainstChecker(ClusterMachine.TestCase):  # type: ignore[misc, valid-type]
    pass


class TestHistoryIsTheSame(HistoryMachine.TestCase):  # type: ignore[misc, valid-type]
    pass
