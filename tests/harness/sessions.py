"""Sessions around one room, without a network: they get their turns from the server's own scheduler."""

from collections.abc import Iterable

from simple_chat.core.backlog import Batch
from simple_chat.core.codec import Codec
from simple_chat.core.commands import Command
from simple_chat.core.conversation import Conversation
from simple_chat.core.delivery import Subscriber
from simple_chat.core.limits import Limits
from simple_chat.core.room import OnCommit, Room, Sequencer
from simple_chat.core.scheduler import BatchCommitter, Committer, Scheduler
from simple_chat.errors import CommandError

UNLIMITED = Limits(rate=0)

_TURNS_MAX = 1_000  # until everything must be done


class SessionClient:
    """A session, and all that was written to it."""

    def __init__(
        self,
        harness: "SessionHarness",
        limits: Limits,
        *,
        auth_required: bool = False,
        codec: Codec | None = None,
    ) -> None:
        self._harness = harness
        self._read = 0
        self.written = bytearray()
        self.session = Conversation(
            harness.room,
            harness.sequencer,
            self.written.extend,
            limits,
            auth_required=auth_required,
            codec=codec,
        )
        self.session.greet()

    def flush(self) -> bool:
        """Write what is due."""
        return self.session.flush()

    def feed(self, data: bytes) -> None:
        """Send a packet."""
        self.session.receive(data)
        self._harness.schedule(self)

    def send(self, *lines: str) -> None:
        """Send whole lines, in one packet."""
        self.feed("".join(f"{line}\n" for line in lines).encode())

    def close(self) -> None:
        """Send nothing more."""
        self.session.receive_eof()
        self._harness.schedule(self)

    def end(self, reason: str) -> None:
        """Be closed by the server."""
        self.session.close(reason)
        self._harness.schedule(self)

    def block(self) -> None:
        """Take no bytes."""
        self._harness.room.delivery.block(self.session.subscriber)

    def unblock(self) -> None:
        """Take bytes again."""
        self._harness.room.delivery.unblock(self.session.subscriber)
        self._harness.schedule(self)

    def read(self) -> list[str]:
        """Return the lines written since the last read."""
        start, self._read = self._read, len(self.written)
        return self.written[start:].decode().splitlines()


class ManualSink:
    """A journal that writes a batch when it is told to.

    Args:
        room: whose batches are broadcast once they are written.
        immediate: whether it writes every batch at once.
    """

    def __init__(self, room: Room, *, immediate: bool) -> None:
        self._room = room
        self._immediate = immediate
        self._batch: Batch | None = None

    @property
    def busy(self) -> bool:
        """Whether a batch waits to be written."""
        return self._batch is not None

    def submit(self, batch: Batch) -> None:
        """Take a batch."""
        self._batch = batch
        if self._immediate:
            self.write()

    def write(self) -> bool:
        """Write the batch that waits, and return whether there was one."""
        if self._batch is None:
            return False
        self._room.broadcast(self._batch)
        self._batch = None
        return True


class DeferredSequencer:
    """A sequencer that applies a command when it is told to, as a replicated one does.

    Args:
        room: to which commands are applied.
    """

    batch_full = False

    def __init__(self, room: Room) -> None:
        self._room = room
        self._submitted: list[tuple[Subscriber, Command | None, OnCommit | None]] = []

    def submit(
        self, subscriber: Subscriber, command: Command | None, on_commit: OnCommit | None = None
    ) -> bool:
        """Keep a command for `commit`."""
        self._submitted.append((subscriber, command, on_commit))
        return False

    def suspend(self, subscribers: Iterable[Subscriber]) -> None:
        """Suspend the room."""
        self._room.suspend(subscribers)

    def commit(self) -> None:
        """Apply the command that was submitted first."""
        subscriber, command, on_commit = self._submitted.pop(0)
        error: CommandError | None = None
        try:
            self._room.submit(subscriber, command)
        except CommandError as refused:
            error = refused
        if on_commit is not None:
            on_commit(error)


class SessionHarness:
    """A room, its clients, and the scheduler that gives them turns.

    Args:
        room: the room.
        sequencer: where their sessions submit commands.
        committer: what has them committed.

    Attributes:
        clients: all that are connected.
        time: seconds, as sessions and batches are given it.
    """

    def __init__(self, room: Room, sequencer: Sequencer, committer: Committer) -> None:
        self.room = room
        self.sequencer = sequencer
        self.time = 0.0
        self.clients: dict[SessionClient, None] = {}
        self._scheduler = Scheduler[SessionClient](
            room, sequencer, committer, self.clients, wake=lambda: None, on_failure=_raise
        )

    def connect(
        self, limits: Limits = UNLIMITED, *, auth_required: bool = False, codec: Codec | None = None
    ) -> SessionClient:
        """Connect a client, which has read the greeting."""
        client = SessionClient(self, limits, auth_required=auth_required, codec=codec)
        client.read()
        self.clients[client] = None
        return client

    def schedule(self, client: SessionClient) -> None:
        """Give a client a turn."""
        self._scheduler.schedule(client)

    def turn(self) -> None:
        """Run one turn."""
        self._scheduler.run_turn(self.time)


class RoomHarness(SessionHarness):
    """A server by itself.

    Args:
        backlog: of the room.
        history: of the room.
        presence_limit: of the room.
        journal: whether a batch is broadcast only by `keep`.
    """

    def __init__(
        self,
        *,
        backlog: int = 1 << 20,
        history: int = 1_000,
        presence_limit: int = 1_000,
        journal: bool = False,
    ) -> None:
        room = Room(backlog=backlog, history=history, presence_limit=presence_limit)
        self._sink = ManualSink(room, immediate=not journal)
        super().__init__(room, room, BatchCommitter(room, self._sink, lambda: self.time))

    def enter(self, *names: str, limits: Limits = UNLIMITED) -> list[SessionClient]:
        """Connect clients and let them join; they have read all up to here."""
        clients = [self.connect(limits) for _ in names]
        for client, name in zip(clients, names, strict=True):
            client.send(f"JOIN {name}")
        self.rest()
        for client in clients:
            client.read()
        return clients

    def turn(self) -> None:
        """Run one turn; what was broadcast in it is committed."""
        super().turn()
        if not self._sink.busy:
            self._scheduler.on_commit()

    def keep(self) -> None:
        """Have the journal write the batch that waits, if there is one."""
        if self._sink.write():
            self._scheduler.on_commit()

    def suspend(self) -> None:
        """Make the journal fail."""
        self._scheduler.on_unavailable()

    def resume(self) -> None:
        """Make the journal work again."""
        self._scheduler.on_recovered()
        self.keep()

    def rest(self) -> None:
        """Run turns until no client is ready, with every batch written unless the journal fails."""
        for _ in range(_TURNS_MAX):
            self.turn()
            suspended = self.room.delivery.suspended
            if self._scheduler.idle and (suspended or not self._sink.busy):
                return
            if not suspended:
                self.keep()
        raise AssertionError("somebody asks for turns without end")


def _raise(client: SessionClient, error: Exception) -> None:  # noqa: ARG001 - the scheduler's signature
    raise error
