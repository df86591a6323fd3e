"""Random operations on servers and clients; every client's output must be part of one sequence."""

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
    """Random clients and server failures. The first server, with an observer, never fails."""

    clients: "Bundle[ReplicaClient]" = Bundle("clients")

    @initialize(target=clients, size=st.integers(2, 3))
    def open(self, size: int) -> MultipleResults[ReplicaClient]:
        self.cluster = ClusterHarness(size)
        self.snapshots = [self.cluster.servers[0].replica.snapshot()]
        self.message_count = 0
        self.all_clients: list[ReplicaClient] = []
        self.ending: set[ReplicaHarness] = set()
        self.frozen_sizes: dict[ReplicaClient, int] = {}  # bytes written to blocked and disconnected clients
        (self.observer,) = self.cluster.servers[0].join("observer")
        clients = [self.connect_client(server) for server in self.cluster.servers]
        for client, name in zip(clients, ("ann", "bob", "cleo"), strict=False):
            self.join(client, name)
        self.cluster.rest()
        return multiple(*clients)

    # Client operations

    @rule(target=clients, server=some_server, name=st.sampled_from(NAMES))
    def enter(self, server: int, name: str) -> ReplicaClient:
        client = self.connect_client(self.server(server))
        self.join(client, name)
        return client

    @rule(client=clients, name=st.sampled_from(NAMES))
    def join(self, client: ReplicaClient, name: str) -> None:
        if (
            not client.server.room.delivery.suspended
        ):  # JOIN is rejected immediately, before earlier messages are ordered
            client.send(f"JOIN {name}")

    @rule(client=clients, count=st.integers(1, 3))
    def post(self, client: ReplicaClient, count: int) -> None:
        if client.server not in self.ending:  # messages are rejected
            for _ in range(count):
                self.message_count += 1
                client.send(f"MSG {self.message_count}")

    @rule(client=clients)
    def leave(self, client: ReplicaClient) -> None:
        if client.server not in self.ending:  # the response would omit earlier LEFT lines
            client.send("LEAVE")

    @rule(client=clients, name=st.sampled_from(NAMES))
    def change(self, client: ReplicaClient, name: str) -> None:
        self.leave(client)
        self.join(client, name)
        self.post(client, 1)

    @rule(client=clients, question=st.sampled_from(["PING", "PING", "WHO", "HISTORY", "HELP", "NICK x"]))
    def ask(self, client: ReplicaClient, question: str) -> None:
        if question == "PING":
            self.message_count += 1
            question = f"PING {self.message_count}"
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
    def drop_connection(self, client: ReplicaClient) -> None:
        if not client.dropped:
            client.drop_connection()
            self.frozen_sizes[client] = len(client.written)

    @rule(client=clients)
    def block(self, client: ReplicaClient) -> None:
        client.block()
        self.frozen_sizes[client] = len(client.written)

    @rule(client=clients)
    def unblock(self, client: ReplicaClient) -> None:
        if not client.dropped:
            self.frozen_sizes.pop(client, None)
            client.unblock()

    # Server operations

    @rule(server=some_server)
    def turn(self, server: int) -> None:
        self.server(server).turn()

    @rule(server=some_server, times=st.integers(1, 3))
    def store(self, server: int, times: int) -> None:
        for _ in range(times):
            self.server(server).store(again=times > 1)

    @rule(server=some_server)
    def turn_and_store(self, server: int) -> None:
        self.server(server).turn_and_store()

    @rule(server=some_server, most=st.none() | st.integers(1, 3))
    def deliver(self, server: int, most: int | None) -> None:
        self.server(server).deliver(most)

    @rule(server=some_server, most=st.none() | st.integers(1, 3))
    def follow(self, server: int, most: int | None) -> None:
        self.server(server).follow(most)

    @rule()
    def rest(self) -> None:
        self.cluster.rest()
        self.check_replicas_agree()

    @rule(seconds=st.sampled_from([1, 5, 12, LEASE + 10]))
    def wait(self, seconds: float) -> None:
        self.cluster.wait(seconds)
        self.check_replicas_agree()

    # Server failures

    @rule(server=some_server)
    def crash(self, server: int) -> None:
        self.fail_server(server, lambda server: setattr(server, "dead", True))

    @rule(server=some_server)
    def pause(self, server: int) -> None:
        self.fail_server(server, lambda server: setattr(server, "paused", True))

    @rule(server=some_server)
    def cut_off(self, server: int) -> None:
        def cut_off(server: ReplicaHarness) -> None:
            if server.follows:
                server.turn()
                server.suspend()

        self.fail_server(server, cut_off)

    @rule(server=some_server)
    def recover(self, server: int) -> None:
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
            ):  # else a message may be rejected
                self.ending.add(server)
                server.finish()

        self.fail_server(server, finish)

    @rule(server=some_server)
    def take_snapshot(self, server: int) -> None:
        if self.server(server).follows:
            self.snapshots.append(self.server(server).replica.snapshot())

    @rule(which=st.integers(0, 9), late=st.booleans())
    def add_server(self, which: int, *, late: bool) -> None:
        if len(self.cluster.servers) < SERVERS_MAX:
            snapshots = self.snapshots if late else [self.cluster.servers[0].replica.snapshot()]
            self.cluster.add(snapshots[which % len(snapshots)])

    # Invariants

    @invariant()
    def blocked_are_not_written_to(self) -> None:
        assert all(len(client.written) == size for client, size in self.frozen_sizes.items())

    @invariant()
    def names_are_unique(self) -> None:
        for server in self.cluster.servers:
            names = [name.lower() for name in server.room.names()]
            assert len(set(names)) == len(names)

    def check_replicas_agree(self) -> None:
        """Check that all servers that have read the whole log have the same state."""
        first, *others = [server.replica for server in self.cluster.servers if server.follows]
        for replica in others:
            assert replica.position == first.position == self.cluster.end
            assert sorted(replica.room.names()) == sorted(first.room.names())
            assert replica._nodes.snapshot() == first._nodes.snapshot()
        assert sum(replica.is_snapshotter for replica in (first, *others)) <= 1

    def teardown(self) -> None:
        for number in range(SERVERS_MAX):
            self.recover(number)
        for client in self.all_clients:
            self.unblock(client)
        self.wait(LEASE + 10)
        for client in [*self.all_clients, self.observer]:
            client.send("QUIT")
            self.rest()
            assert client.dropped or client.session.finished or client.server.dead
        assert self.cluster.servers[0].evicted == 0
        assert self.cluster.servers[0].room.names() == ()
        self.blocked_are_not_written_to()
        assert not any("GAP" in line for client in self.all_clients for line in client.lines())
        check(self.observer.recording(), [client.recording() for client in self.all_clients])

    # The cluster

    def server(self, number: int) -> ReplicaHarness:
        return self.cluster.servers[number % len(self.cluster.servers)]

    def fail_server(self, number: int, failure: Callable[[ReplicaHarness], object]) -> None:
        """Apply a failure to a server other than the first."""
        if number % len(self.cluster.servers):
            failure(self.server(number))

    def connect_client(self, server: ReplicaHarness) -> ReplicaClient:
        client = server.connect()
        client.session._handshake = None  # disable the error limit
        self.all_clients.append(client)
        return client


class HistoryMachine(ClusterMachine):
    """Also check that all servers have the same history."""

    def check_replicas_agree(self) -> None:
        super().check_replicas_agree()
        first, *others = [server.room for server in self.cluster.servers if server.follows]
        first_history = [line for _, line in first.history(None)]
        assert all([line for _, line in room.history(None)] == first_history for room in others)


HistoryMachine.TestCase.settings = settings(max_examples=settings().max_examples // 4)


class TestSharedRoomAgainstChecker(ClusterMachine.TestCase):  # type: ignore[misc, valid-type]
    pass


class TestHistoryIsTheSame(HistoryMachine.TestCase):  # type: ignore[misc, valid-type]
    pass
