"""A cluster without a network: several servers, each with its own room, replicate one log."""

from itertools import count

from simple_chat.cluster.entry import Entry, decode_entry
from simple_chat.cluster.nodes import HEARTBEAT_INTERVAL, Nodes
from simple_chat.cluster.replicated import Message, ReplicatedRoom
from simple_chat.core.codec import Codec
from simple_chat.core.limits import Limits
from simple_chat.core.membership import LOCAL
from simple_chat.core.room import Room
from simple_chat.errors import CommandError
from tests.harness.sessions import UNLIMITED, SessionClient, SessionHarness
from tests.harness.transcript import End, Recording

START = 1_700_000_000_000_000
"""Time of the first log entry, in microseconds since the epoch."""

_TICK = 1_000  # microseconds from one entry to the next
_ROUNDS_MAX = 1_000  # rounds until all servers must be idle


class ReplicaClient(SessionClient):
    """A session on one of the servers, with all lines sent and bytes written.

    Attributes:
        server: the server it is connected to.
        sent: all lines sent.
        dropped: whether the connection is lost.
    """

    def __init__(
        self,
        server: "ReplicaHarness",
        limits: Limits,
        *,
        auth_required: bool = False,
        codec: Codec | None = None,
    ) -> None:
        super().__init__(server, limits, auth_required=auth_required, codec=codec)
        self.server = server
        self.sent: list[str] = []
        self.dropped = False

    def send(self, *lines: str) -> None:
        """Send complete lines in one packet, unless the connection is lost."""
        if not self.dropped:
            self.sent += lines
            super().send(*lines)

    def close(self) -> None:
        """Send EOF, which quits."""
        self.sent.append("QUIT")
        super().close()

    def drop_connection(self) -> None:
        """Lose the connection."""
        self.dropped = True
        self.server.remove(self)
        self.session.connection_lost()

    def lines(self) -> list[str]:
        """Return all lines written, without the HELLO."""
        return self.written.decode().splitlines()[1:]

    def recording(self) -> Recording:
        """Return the recording for the checker.

        A member that leaves on its server's shutdown does not receive the LEFT lines of members that leave
        just before it. They are inserted, so that the checker finds the position where this stream ends.
        """
        *before, end = bytes(self.written).splitlines(keepends=True)
        if end == b"BYE shutdown\n" and self._name in (leaving := self.server.replica.left):
            before += [f"LEFT {name}\n".encode() for name in leaving[: leaving.index(self._name)]]
        return Recording(
            label=f"client {self.session.subscriber.ident} of {self.server.label}",
            sent=self.sent,
            received=b"".join([*before, end]),
            end=End.CLEAN if self.session.finished else End.VANISHED,
        )

    @property
    def _name(self) -> str:
        """The client's name in the room, according to the lines written to it."""
        name = ""
        for line in self.lines():
            if line.startswith("OK JOIN ") or line == "OK LEAVE":
                name = line.removeprefix("OK JOIN ").removeprefix("OK LEAVE")
        return name


class RecordingRoom(ReplicatedRoom):
    """A replicated room that records its members at shutdown.

    Attributes:
        left: names of the local members at a graceful shutdown.
    """

    left: tuple[str, ...] = ()

    def _close(self, error: CommandError | None) -> None:
        self.left = tuple(member.name for member in self.room.membership.of_node(LOCAL))
        super()._close(error)


class ReplicaHarness(SessionHarness):
    """One server: a replicated room and its clients. It is their `Committer`, as a replicator is.

    Args:
        cluster: the cluster it belongs to.
        label: its name in error messages.
        replica: its room.

    Attributes:
        replica: its room.
        position: of the last log entry read.
        dead: whether it has crashed.
        ended: whether it has left the cluster gracefully and only closes its clients.
        paused: whether it is suspended as a process.
        cut_off: whether it can neither read nor write the log.
        evicted: how often it was evicted.
    """

    clients: dict["ReplicaClient", None]  # type: ignore[assignment] # all its clients are of this type

    def __init__(self, cluster: "ClusterHarness", label: str, replica: RecordingRoom) -> None:
        super().__init__(replica.room, replica, self)
        self.replica = replica
        self.label = label
        self.position = 0
        self.dead = self.ended = self.paused = self.cut_off = False
        self.evicted = 0
        self._cluster = cluster
        self._message: Message | None = None  # in flight
        self._stored = False  # whether it is in the log
        self._failing = False

    @property
    def runs(self) -> bool:
        """Whether it runs."""
        return not (self.dead or self.paused)

    @property
    def follows(self) -> bool:
        """Whether it reads the log."""
        return self.runs and not self.ended and not self.cut_off

    # Clients

    def connect(
        self, limits: Limits = UNLIMITED, *, auth_required: bool = False, codec: Codec | None = None
    ) -> "ReplicaClient":
        """Connect a client and discard its HELLO."""
        client = ReplicaClient(self, limits, auth_required=auth_required, codec=codec)
        client.read()
        self.clients[client] = None
        return client

    def join(self, *names: str) -> list["ReplicaClient"]:
        """Connect clients, let them join, and discard the lines written to all clients so far."""
        clients = [self.connect() for _ in names]
        for client, name in zip(clients, names, strict=True):
            client.send(f"JOIN {name}")
            self._cluster.rest()
        self._cluster.read()
        return clients

    def remove(self, client: "ReplicaClient") -> None:
        """Remove a client whose connection is lost."""
        del self.clients[client]
        self._scheduler.remove(client)

    # Turns

    def turn(self) -> None:
        """Run one turn, if the server runs."""
        if self.runs:
            super().turn()

    @property
    def busy(self) -> bool:
        """Whether a message is in flight."""
        return self._message is not None

    def commit(self) -> None:
        """Publish the proposed lines to the log."""
        self._set_in_flight(self.replica.next_message())

    def _set_in_flight(self, message: Message | None) -> None:
        self._message, self._stored = message, False

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do, or nothing can be done."""
        log_read = self._message is None and self.replica._outbox.empty and self.position == self._cluster.end
        return not self.runs or (self._scheduler.idle and (log_read or not self.follows))

    def rest(self) -> None:
        """Run all servers of the cluster until they are idle."""
        self._cluster.rest()

    # The log

    def begin(self) -> None:
        """Join the cluster as a new node."""
        self.replica.begin(self._cluster.new_node())
        self._set_in_flight(self.replica.next_message(heartbeat=True))

    def send_heartbeat(self) -> None:
        """Send a heartbeat, if nothing is in flight."""
        if self.runs and not self.ended and self._message is None:
            self._set_in_flight(self.replica.next_message(heartbeat=True))

    def store(self, *, again: bool = False) -> None:
        """Append the message in flight to the log.

        Args:
            again: append it even if it is stored already, as a retry after a lost acknowledgement does.
        """
        if self.follows and self._message is not None and (again or not self._stored):
            self._stored = True
            self._cluster.store(self._message)

    def turn_and_store(self) -> None:
        """Run a turn and append its message to the log, without reading it back."""
        self.turn()
        self.store()

    def deliver(self, most: int | None = None) -> None:
        """Apply the next log entries, all or at most `most`, and deliver their lines."""
        self.follow(most)
        self._flush()

    def follow(self, most: int | None = None) -> None:
        """Apply the next log entries, all or at most `most`, without delivering their lines."""
        if not self.follows:
            return
        stop = self._cluster.end if most is None else min(self.position + most, self._cluster.end)
        while self.position < stop and not self.ended:
            self.position += 1
            self._apply(self._cluster.log[self.position - 1])

    def _apply(self, entry: Entry) -> None:
        self.replica.apply(entry)
        if self.replica.evicted:
            self.evicted += 1
            self.drop_connections()
            self.begin()
        if self.replica.flush_due:
            self._flush()

    def _flush(self) -> None:
        self.replica.flush()
        if self._message is None:
            self._scheduler.on_commit()
        elif not self.replica.in_flight:
            self._complete_message()

    def _complete_message(self) -> None:
        self._message = None
        if self._failing:
            self._failing = False
            self._scheduler.on_recovered()
        if self.room.closed:
            self.ended = True
            for client in self.clients:
                client.end("shutdown")
        self._scheduler.on_commit()

    # Failure and shutdown

    def drop_connections(self) -> None:
        """Drop every connection; its session is abandoned, as the room has no members any more."""
        for client in list(self.clients):
            client.session.abandon()
            client.drop_connection()

    def finish(self) -> None:
        """Leave the cluster gracefully."""
        self.replica.propose_end()
        if self._message is None:
            self.commit()

    def suspend(self) -> None:
        """Make the log unavailable to this server, with a message in flight."""
        self._flush()
        self.cut_off = self._failing = True
        self.send_heartbeat()
        self._scheduler.on_unavailable()

    def resume(self) -> None:
        """Make the log available to this server again."""
        self.cut_off = False


class ClusterHarness:
    """Some servers, and the log that they replicate.

    Args:
        size: number of servers.
        backlog: of each room, in bytes.
        history: of each room, in messages.
        presence_limit: of each room, in members.

    Attributes:
        log: all entries; the first has position 1.
        time: the log's clock, in microseconds since the epoch.
        servers: all servers, including those that have ended.
    """

    def __init__(
        self, size: int, *, backlog: int = 1 << 20, history: int = 1_000, presence_limit: int = 1_000
    ) -> None:
        self.log: list[Entry] = []
        self.time = START
        self.servers: list[ReplicaHarness] = []
        self._numbers = count(1)
        self._sizes = (backlog, history, presence_limit)
        for _ in range(size):
            self.add()
        self.rest()

    @property
    def end(self) -> int:
        """Position of the log's last entry."""
        return len(self.log)

    def add(self, snapshot: bytes | None = None) -> ReplicaHarness:
        """Add a server.

        Args:
            snapshot: another server's, to restore from; None to read the log from its start.
        """
        backlog, history, presence_limit = self._sizes
        room = Room(backlog=backlog, history=history, presence_limit=presence_limit)
        replica = RecordingRoom(room, Nodes())
        server = ReplicaHarness(self, f"server {len(self.servers)}", replica)
        self.servers.append(server)
        server.position = max(replica.restore(snapshot, 0), 1) - 1
        server.deliver()
        server.begin()
        server.store()
        return server

    def new_node(self) -> str:
        """Return a new, unique node name."""
        return f"node{next(self._numbers)}"

    def store(self, message: Message) -> None:
        """Append a message to the log."""
        self.time += _TICK
        self.log.append(decode_entry(self.end + 1, self.time, message.data))

    def wait(self, seconds: float) -> None:
        """Advance the clock by some seconds, with heartbeats from every server that can send them."""
        while seconds > 0:
            self.time += round(min(seconds, HEARTBEAT_INTERVAL) * 1e6)
            seconds -= HEARTBEAT_INTERVAL
            for server in self.servers:
                server.send_heartbeat()
            self.rest()

    def rest(self) -> None:
        """Run all servers until they are idle."""
        for _ in range(_ROUNDS_MAX):
            for server in self.servers:
                server.turn()
                server.store()
                server.deliver()
            if all(server.idle for server in self.servers):
                return
        raise AssertionError("the servers are still busy after the maximum number of rounds")

    def read(self) -> None:
        """Discard the lines written so far to all clients."""
        for server in self.servers:
            for client in server.clients:
                client.read()
