"""Several servers and their clients, driven at random: all streams must be parts of one sequence."""

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
from tests.harness.replicas import ClusterHarness, ReplicaClient, ReplicaHarness

NAMES = ["ann", "Ann", "ANN", "bob", "Bob", "cleo", "dan", "eve"]
SERVERS_MAX = 6

some_server = st.integers(0, SERVERS_MAX - 1)


class ClusterMachine(RuleBasedStateMachine):
    """Guests do what they like, and servers fare as they do. The first one lives, with an observer."""

    clients: "Bundle[ReplicaClient]" = Bundle("clients")

    @initialize(target=clients, size=st.integers(2, 3))
    def open(self, size: int) -> MultipleResults[ReplicaClient]:
        self.cluster = ClusterHarness(size)
        self.snapshots = [self.cluster.servers[0].replica.snapshot()]
        self.said = 0
        self.everybody: list[ReplicaClient] = []
        self.ending: set[ReplicaHarness] = set()
        self.unwritten: dict[
            ReplicaClient, int
        ] = {}  # who is blocked or gone, and how much was written to them
        (self.observer,) = self.cluster.servers[0].join("observer")
        clients = [self.let_in(server) for server in self.cluster.servers]
        for client, name in zip(clients, ("ann", "bob", "cleo"), strict=False):
            self.join(client, name)
        self.cluster.rest()
        return multiple(*clients)

    # What clients do

    @rule(target=clients, server=some_server, name=st.sampled_from(NAMES))
    def enter(self, server: int, name: str) -> ReplicaClient:
        client = self.let_in(self.server(server))
        self.join(client, name)
        return client

    @rule(client=clients, name=st.sampled_from(NAMES))
    def join(self, client: ReplicaClient, name: str) -> None:
        if (
            not client.server.room.delivery.suspended
        ):  # which refuses it at once, before what was said has its place
            client.send(f"JOIN {name}")

    @rule(client=clients, count=st.integers(1, 3))
    def say(self, client: ReplicaClient, count: int) -> None:
        if client.server not in self.ending:  # which refuses what is said
            for _ in range(count):
                self.said += 1
                client.send(f"MSG {self.said}")

    @rule(client=clients)
    def leave(self, client: ReplicaClient) -> None:
        if client.server not in self.ending:  # or it is answered without the LEFT of others that come first
            client.send("LEAVE")

    @rule(client=clients, name=st.sampled_from(NAMES))
    def change(self, client: ReplicaClient, name: str) -> None:
        self.leave(client)
        self.join(client, name)
        self.say(client, 1)

    @rule(client=clients, question=st.sampled_from(["PING", "PING", "WHO", "HISTORY", "HELP", "NICK x"]))
    def ask(self, client: ReplicaClient, question: str) -> None:
        if question == "PING":
            self.said += 1
            question = f"PING {self.said}"
        if not client.server.room.delivery.suspended or question.startswith(
            ("PING", "WHO", "HISTORY")
        ):  # as with JOIN
            client.send(question)

    @rule(client=consumes(clients), half_close=st.booleans())
    def quit(self, client: ReplicaClient, *, half_close: bool) -> None:
        if client.server in self.ending:
            return
        if half_close:
            client.close()
        else:
            client.send("QUIT")

    @rule(client=consumes(clients))
    def lose(self, client: ReplicaClient) -> None:
        if not client.lost:
            client.lose()
            self.unwritten[client] = len(client.written)

    @rule(client=clients)
    def block(self, client: ReplicaClient) -> None:
        client.block()
        self.unwritten[client] = len(client.written)

    @rule(client=clients)
    def unblock(self, client: ReplicaClient) -> None:
        if not client.lost:
            self.unwritten.pop(client, None)
            client.unblock()

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
        def cut_off(server: ReplicaHarness) -> None:
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
        def finish(server: ReplicaHarness) -> None:
            server.turn()
            if not server.follows or server in self.ending:
                return
            if all(
                client.session.input_drained for client in server.clients
            ):  # else a message may be refused
                self.ending.add(server)
                server.finish()

        self.mortal(server, finish)

    @rule(server=some_server)
    def keep_table(self, server: int) -> None:
        if self.server(server).follows:
            self.snapshots.append(self.server(server).replica.snapshot())

    @rule(which=st.integers(0, 9), late=st.booleans())
    def begin(self, which: int, *, late: bool) -> None:
        if len(self.cluster.servers) < SERVERS_MAX:
            snapshots = self.snapshots if late else [self.cluster.servers[0].replica.snapshot()]
            self.cluster.add(snapshots[which % len(snapshots)])

    # What must be

    @invariant()
    def nothing_is_written_to_who_takes_nothing(self) -> None:
        assert all(len(client.written) == size for client, size in self.unwritten.items())

    @invariant()
    def names_are_unique(self) -> None:
        for server in self.cluster.servers:
            names = [name.lower() for name in server.room.names()]
            assert len(set(names)) == len(names)

    def all_agree(self) -> None:
        """Servers that have read everything know the same."""
        first, *others = [server.replica for server in self.cluster.servers if server.follows]
        for replica in others:
            assert replica.position == first.position == self.cluster.end
            assert sorted(replica.room.names()) == sorted(first.room.names())
            assert replica._nodes.snapshot() == first._nodes.snapshot()
        assert sum(replica.is_snapshotter for replica in (first, *others)) <= 1

    def teardown(self) -> None:
        for number in range(SERVERS_MAX):
            self.come_back(number)
        for client in self.everybody:
            self.unblock(client)
        self.wait(LEASE + 10)
        for client in [*self.everybody, self.observer]:
            client.send("QUIT")
            self.rest()
            assert client.lost or client.session.finished or client.server.dead
        assert self.cluster.servers[0].evicted == 0
        assert self.cluster.servers[0].room.names() == ()
        self.nothing_is_written_to_who_takes_nothing()
        assert not any("GAP" in line for client in self.everybody for line in client.lines())
        check(self.observer.recording(), [client.recording() for client in self.everybody])

    # The cluster

    def server(self, number: int) -> ReplicaHarness:
        return self.cluster.servers[number % len(self.cluster.servers)]

    def mortal(self, number: int, befall: Callable[[ReplicaHarness], object]) -> None:
        """Let something befall a server that is not the first one."""
        if number % len(self.cluster.servers):
            befall(self.server(number))

    def let_in(self, server: ReplicaHarness) -> ReplicaClient:
        client = server.connect()
        client.session._handshake = None  # whose errors are counted, which is no business of the room
        self.everybody.append(client)
        return client


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
