"""A house of several servers without a network: each has a room of its own, and all follow one log."""

from itertools import count

from simple_chat.cluster.entry import Entry, decode_entry
from simple_chat.cluster.nodes import HEARTBEAT_INTERVAL, Nodes
from simple_chat.cluster.replicated import Message, ReplicatedRoom
from simple_chat.core.codec import Codec
from simple_chat.core.limits import Limits
from simple_chat.core.membership import LOCAL
from simple_chat.core.room import Room
from simple_chat.errors import CommandError
from tests.harness.checker import End, Recording
from tests.harness.sessions import UNLIMITED, SessionClient, SessionHarness

START = 1_700_000_000_000_000
"""When the first entry is stored, in microseconds since the epoch."""

_TICK = 1_000  # microseconds from one entry to the next
_ROUNDS_MAX = 1_000  # rounds until everything must be done


class ReplicaClient(SessionClient):
    """A session on one of the servers, and all that was sent and written.

    Attributes:
        server: where it is connected.
        sent: every line.
        lost: whether the connection is gone.
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
        self.lost = False

    def send(self, *lines: str) -> None:
        """Send whole lines, in one packet, while there is a connection."""
        if not self.lost:
            self.sent += lines
            super().send(*lines)

    def close(self) -> None:
        """Send nothing more, which means to quit."""
        self.sent.append("QUIT")
        super().close()

    def lose(self) -> None:
        """Lose the connection."""
        self.lost = True
        self.server.remove(self)
        self.session.connection_lost()

    def lines(self) -> list[str]:
        """All lines that were written, behind the greeting."""
        return self.written.decode().splitlines()[1:]

    def recording(self) -> Recording:
        """What the checker wants to know.

        Who leaves together with its server is not told which of its members do so just before, as all others
        are. That is put in, so that the checker finds the one place where this stream may end.
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
        """What it is called in the room, as far as it knows."""
        name = ""
        for line in self.lines():
            if line.startswith("OK JOIN ") or line == "OK LEAVE":
                name = line.removeprefix("OK JOIN ").removeprefix("OK LEAVE")
        return name


class RecordingRoom(ReplicatedRoom):
    """A replicated room.

    Attributes:
        left: who was here when the server left in order.
    """

    left: tuple[str, ...] = ()

    def _close(self, error: CommandError | None) -> None:
        self.left = tuple(member.name for member in self.room.membership.of_node(LOCAL))
        super()._close(error)


class ReplicaHarness(SessionHarness):
    """One of the servers: a replicated room and its clients. It is their `Committer`, as a replicator is.

    Args:
        cluster: that it is one of.
        label: what it is called by people.
        replica: its room, which follows the log from here on.

    Attributes:
        replica: the same.
        position: of the log's entry that was read last.
        dead: whether it does nothing any more, ever.
        ended: whether it left in order, and has only its clients to close.
        paused: whether it does nothing for now.
        cut_off: whether the log is unavailable for it: nothing gets in, and nothing comes out.
        evicted: how often the others took it for dead.
    """

    clients: dict["ReplicaClient", None]  # type: ignore[assignment] # it connects no others

    def __init__(self, cluster: "ClusterHarness", label: str, replica: RecordingRoom) -> None:
        super().__init__(replica.room, replica, self)
        self.replica = replica
        self.label = label
        self.position = 0
        self.dead = self.ended = self.paused = self.cut_off = False
        self.evicted = 0
        self._cluster = cluster
        self._message: Message | None = None  # in flight
        self._stored = False  # whether that is in the log
        self._failing = False

    @property
    def runs(self) -> bool:
        """Whether it does anything."""
        return not (self.dead or self.paused)

    @property
    def follows(self) -> bool:
        """Whether it reads the log."""
        return self.runs and not self.ended and not self.cut_off

    # Its clients

    def connect(
        self, limits: Limits = UNLIMITED, *, auth_required: bool = False, codec: Codec | None = None
    ) -> "ReplicaClient":
        """Connect a client, which has read the greeting."""
        client = ReplicaClient(self, limits, auth_required=auth_required, codec=codec)
        client.read()
        self.clients[client] = None
        return client

    def join(self, *names: str) -> list["ReplicaClient"]:
        """Connect clients and let them join. All on all servers have read everything up to here then."""
        clients = [self.connect() for _ in names]
        for client, name in zip(clients, names, strict=True):
            client.send(f"JOIN {name}")
            self._cluster.rest()
        self._cluster.read()
        return clients

    def remove(self, client: "ReplicaClient") -> None:
        """Forget a connection that is gone."""
        del self.clients[client]
        self._scheduler.remove(client)

    # Its turns

    def turn(self) -> None:
        """Run one turn, if the server runs."""
        if self.runs:
            super().turn()

    @property
    def busy(self) -> bool:
        """Whether a message is in flight."""
        return self._message is not None

    def commit(self) -> None:
        """Put what was proposed on its way to the log."""
        self._put(self.replica.next_message())

    def _put(self, message: Message | None) -> None:
        self._message, self._stored = message, False

    @property
    def quiet(self) -> bool:
        """Whether there is nothing to do, or nothing that can be done."""
        idle = self._message is None and self.replica._outbox.empty and self.position == self._cluster.end
        return not self.runs or (self._scheduler.idle and (idle or not self.follows))

    def rest(self) -> None:
        """Do what can be done, here and on all other servers."""
        self._cluster.rest()

    # The log

    def begin(self) -> None:
        """Be a new server among the others."""
        self.replica.begin(self._cluster.new_node())
        self._put(self.replica.next_message(heartbeat=True))

    def beat(self) -> None:
        """Send a heartbeat, if nothing is in flight."""
        if self.runs and not self.ended and self._message is None:
            self._put(self.replica.next_message(heartbeat=True))

    def store(self, *, again: bool = False) -> None:
        """Put the message that is in flight into the log.

        Args:
            again: even if it is there, as when nobody knows whether it is.
        """
        if self.follows and self._message is not None and (again or not self._stored):
            self._stored = True
            self._cluster.store(self._message)

    def speak(self) -> None:
        """Have what its clients sent up to now in the log, and read nothing of it."""
        self.turn()
        self.store()

    def deliver(self, most: int | None = None) -> None:
        """Read on in the log, as far as it is or `most` entries, and deliver what they brought."""
        self.follow(most)
        self._flush()

    def follow(self, most: int | None = None) -> None:
        """Read on in the log, as far as it is or `most` entries; what they brought is delivered later."""
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
            self.cut()
            self.begin()
        if self.replica.flush_due:
            self._flush()

    def _flush(self) -> None:
        self.replica.flush()
        if self._message is None:
            self._scheduler.on_commit()
        elif not self.replica.in_flight:
            self._go_on()

    def _go_on(self) -> None:
        self._message = None
        if self._failing:
            self._failing = False
            self._scheduler.on_recovered()
        if self.room.closed:
            self.ended = True
            for client in self.clients:
                client.end("shutdown")
        self._scheduler.on_commit()

    # What becomes of it

    def cut(self) -> None:
        """End every connection, of which the room knows nothing any more."""
        for client in list(self.clients):
            client.session.abandon()
            client.lose()

    def finish(self) -> None:
        """Leave in order."""
        self.replica.propose_end()
        if self._message is None:
            self.commit()

    def suspend(self) -> None:
        """Find that the log is unavailable, with a message in flight."""
        self._flush()
        self.cut_off = self._failing = True
        self.beat()
        self._scheduler.on_unavailable()

    def resume(self) -> None:
        """Find the log again."""
        self.cut_off = False


class ClusterHarness:
    """Some servers, and the log that they follow.

    Args:
        size: how many servers there are.
        backlog: of each room.
        history: of each room.
        presence_limit: of each room.

    Attributes:
        log: all entries, of which the first has the position 1.
        time: by the log's clock, in microseconds since the epoch.
        servers: that were there ever.
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
        """Let one more server begin.

        Args:
            snapshot: another's, from which it begins; None for the log's beginning.
        """
        backlog, history, presence_limit = self._sizes
        room = Room(backlog=backlog, history=history, presence_limit=presence_limit)
        replica = RecordingRoom(room, Nodes(), history=history)
        server = ReplicaHarness(self, f"server {len(self.servers)}", replica)
        self.servers.append(server)
        server.position = max(replica.restore(snapshot, 0), 1) - 1
        server.deliver()
        server.begin()
        server.store()
        return server

    def new_node(self) -> str:
        """What no server was called before."""
        return f"node{next(self._numbers)}"

    def store(self, message: Message) -> None:
        """Put a message into the log."""
        self.time += _TICK
        self.log.append(decode_entry(self.end + 1, self.time, message.data))

    def wait(self, seconds: float) -> None:
        """Let time go by, in which every server that follows the log says that it is there."""
        while seconds > 0:
            self.time += round(min(seconds, HEARTBEAT_INTERVAL) * 1e6)
            seconds -= HEARTBEAT_INTERVAL
            for server in self.servers:
                server.beat()
            self.rest()

    def rest(self) -> None:
        """Do what can be done on all servers, until there is nothing more."""
        for _ in range(_ROUNDS_MAX):
            for server in self.servers:
                server.turn()
                server.store()
                server.deliver()
            if all(server.quiet for server in self.servers):
                return
        raise AssertionError("there is no end")

    def read(self) -> None:
        """Let all clients have read what they got."""
        for server in self.servers:
            for client in server.clients:
                client.read()
