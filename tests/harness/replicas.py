"""A house of several servers without a network: each has a room of its own, and all follow one log."""

from itertools import count

from simple_chat.cluster.entry import Entry, decode_entry
from simple_chat.cluster.nodes import HEARTBEAT_INTERVAL
from simple_chat.cluster.replicated import Message, ReplicatedRoom
from simple_chat.core.limits import Limits
from tests.harness.checker import End, Recording
from tests.harness.sessions import UNLIMITED, Guest, House

START = 1_700_000_000_000_000
"""When the first entry is stored, in microseconds since the epoch."""

_TICK = 1_000  # microseconds from one entry to the next
_PATIENCE = 1_000  # rounds until everything must be done


class Visitor(Guest):
    """A session on one of the servers, and all that was sent and written.

    Attributes:
        server: where it is connected.
        sent: every line.
        lost: whether the connection is gone.
    """

    def __init__(self, server: "Server", limits: Limits, *, locked: bool = False) -> None:
        super().__init__(server, limits, locked=locked)
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
        self.session.lost()

    def lines(self) -> list[str]:
        """All lines that were written, behind the greeting."""
        return self.written.decode().splitlines()[1:]

    def recording(self) -> Recording:
        """What the checker wants to know.

        Who leaves together with its server is not told which of its members do so just before, as all others
        are. That is put in, so that the checker finds the one place where this stream may end.
        """
        *before, end = bytes(self.written).splitlines(keepends=True)
        if end == b"BYE shutdown\n" and self._name in (leaving := self.server.room.left):
            before += [f"LEFT {name}\n".encode() for name in leaving[: leaving.index(self._name)]]
        return Recording(
            label=f"guest {self.session.member.ident} of {self.server.label}",
            sent=self.sent,
            received=b"".join([*before, end]),
            end=End.CLEAN if self.session.over else End.VANISHED,
        )

    @property
    def _name(self) -> str:
        """What it is called in the room, as far as it knows."""
        name = ""
        for line in self.lines():
            if line.startswith("OK JOIN ") or line == "OK LEAVE":
                name = line.removeprefix("OK JOIN ").removeprefix("OK LEAVE")
        return name


class NotedRoom(ReplicatedRoom):
    """A shared room.

    Attributes:
        left: who was here when the server left in order.
    """

    left: tuple[str, ...] = ()

    def _close(self) -> None:
        self.left = tuple(str(member.name) for member in self._members.values())
        super()._close()


class Server(House):
    """One of the servers: a room and its guests, who get their turns as a server gives them.

    Args:
        cluster: that it is one of.
        label: what it is called by people.
        room: its room, which follows the log from here on.

    Attributes:
        position: of the log's entry that was read last.
        guests: whose connections are there.
        dead: whether it does nothing any more, ever.
        ended: whether it left in order, and has only its guests to send away.
        paused: whether it does nothing for now.
        cut_off: whether the log is away for it: nothing gets in, and nothing comes out.
        expelled: how often the others took it for dead.
    """

    room: NotedRoom

    def __init__(self, cluster: "Cluster", label: str, room: NotedRoom) -> None:
        super().__init__()
        self.room = room
        self.label = label
        self.position = 0
        self.guests: dict[Visitor, None] = {}
        self.dead = self.ended = self.paused = self.cut_off = False
        self.expelled = 0
        self._cluster = cluster
        self._message: Message | None = None  # on its way
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

    # Its guests

    def connect(self, limits: Limits = UNLIMITED, *, locked: bool = False) -> Visitor:
        """Let somebody connect, who has read the greeting."""
        visitor = Visitor(self, limits, locked=locked)
        visitor.read()
        self.guests[visitor] = None
        return visitor

    def join(self, *names: str) -> list[Visitor]:
        """Let some connect and join. All on all servers have read everything up to here then."""
        visitors = [self.connect() for _ in names]
        for visitor, name in zip(visitors, names, strict=True):
            visitor.send(f"JOIN {name}")
            self._cluster.rest()
        self._cluster.read()
        return visitors

    def remove(self, visitor: Visitor) -> None:
        """Forget a connection that is gone."""
        del self.guests[visitor]
        self._waiting.pop(visitor, None)
        self._awaiting.pop(visitor, None)

    # Its turns

    def turn(self) -> None:
        """Take the lines of all who wait, propose them, then write what is due."""
        if not self.runs:
            return
        waiting, self._waiting = self._waiting, {}
        for guest in waiting:
            guest.session.take(self.time)
        self._collect()
        for guest in waiting:
            if guest.session.settle():
                self.schedule(guest)
            if guest.session.deferred or self.room.awaits(guest.session.member):
                self._awaiting[guest] = None

    def _collect(self) -> None:
        if self._message is None:
            self._put(self.room.propose())
        elif self._failing and not self.room.suspended:
            self._suspend()

    def _put(self, message: Message | None) -> None:
        self._message, self._stored = message, False

    def _suspend(self) -> None:
        self.room.suspend([guest.session.member for guest in self.guests])
        for guest in self.guests:
            self.schedule(guest)

    @property
    def quiet(self) -> bool:
        """Whether there is nothing to do, or nothing that can be done."""
        idle = self._message is None and not self.room._outbox and self.position == self._cluster.end
        return not self.runs or (not self._waiting and (idle or not self.follows))

    def rest(self) -> None:
        """Do what can be done, here and on all other servers."""
        self._cluster.rest()

    # The log

    def begin(self) -> None:
        """Be a new server among the others."""
        self.room.begin(self._cluster.new_node())
        self._put(self.room.propose(beat=True))

    def beat(self) -> None:
        """Say that it is there, if nothing is on its way."""
        if self.runs and not self.ended and self._message is None:
            self._put(self.room.propose(beat=True))

    def store(self, *, again: bool = False) -> None:
        """Put the message that is on its way into the log.

        Args:
            again: even if it is there, as when nobody knows whether it is.
        """
        if self.follows and self._message is not None and (again or not self._stored):
            self._stored = True
            self._cluster.store(self._message)

    def speak(self) -> None:
        """Have what its guests sent up to now in the log, and read nothing of it."""
        self.turn()
        self.store()

    def deliver(self, most: int | None = None) -> None:
        """Read on in the log, as far as it is or `most` entries, and hand out what they brought."""
        self.follow(most)
        self._flush()

    def follow(self, most: int | None = None) -> None:
        """Read on in the log, as far as it is or `most` entries; what they brought is handed out later."""
        if not self.follows:
            return
        stop = self._cluster.end if most is None else min(self.position + most, self._cluster.end)
        while self.position < stop and not self.ended:
            self.position += 1
            self._apply(self._cluster.log[self.position - 1])

    def _apply(self, entry: Entry) -> None:
        self.room.apply(entry)
        if self.room.expelled:
            self.expelled += 1
            self.cut()
            self.begin()
        if self.room.brims:
            self._flush()

    def _flush(self) -> None:
        self.room.flush()
        if self._message is None:
            self._serve_awaiting()
        elif not self.room.waits:
            self._go_on()

    def _go_on(self) -> None:
        self._message = None
        if self._failing:
            self._failing = self.room.suspended = False
        if self.room.closed:
            self.ended = True
            for guest in self.guests:
                guest.end("shutdown")
        self._serve_awaiting()

    def _serve_awaiting(self) -> None:
        awaiting, self._awaiting = self._awaiting, {}
        for each in awaiting:
            member = each.session.member
            if each.session.deferred or self.room.only_spoke(member):
                self._awaiting[each] = None
            elif not (member.steady and each.session.dry):
                self.schedule(each)

    # What becomes of it

    def cut(self) -> None:
        """End every connection, of which the room knows nothing any more."""
        for guest in list(self.guests):
            guest.session.forsake()
            guest.lose()

    def finish(self) -> None:
        """Leave in order."""
        self.room.end_here()
        if self._message is None:
            self._put(self.room.propose())

    def suspend(self) -> None:
        """Find that the log is away, with a message on the way to it."""
        self._flush()
        self.cut_off = self._failing = True
        self.beat()
        self._suspend()

    def resume(self) -> None:
        """Find the log again."""
        self.cut_off = False


class Cluster:
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
        self.servers: list[Server] = []
        self._numbers = count(1)
        self._sizes = (backlog, history, presence_limit)
        for _ in range(size):
            self.add()
        self.rest()

    @property
    def end(self) -> int:
        """Position of the log's last entry."""
        return len(self.log)

    def add(self, table: bytes | None = None) -> Server:
        """Let one more server begin.

        Args:
            table: another's, from which it begins; None for the log's beginning.
        """
        backlog, history, presence_limit = self._sizes
        room = NotedRoom(backlog=backlog, history=history, presence_limit=presence_limit)
        server = Server(self, f"server {len(self.servers)}", room)
        self.servers.append(server)
        server.position = max(room.load(table, 0), 1) - 1
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
        for _ in range(_PATIENCE):
            for server in self.servers:
                server.turn()
                server.store()
                server.deliver()
            if all(server.quiet for server in self.servers):
                return
        raise AssertionError("there is no end")

    def read(self) -> None:
        """Let all guests have read what they got."""
        for server in self.servers:
            for guest in server.guests:
                guest.read()
