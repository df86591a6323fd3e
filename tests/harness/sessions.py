"""Sessions in one room, run by the server's scheduler without a network."""

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

_TURNS_MAX = 1_000  # turns until all clients must be idle


class SessionClient:
    """A session, and all bytes written to it."""

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
        """Write pending output."""
        return self.session.flush()

    def feed(self, data: bytes) -> None:
        """Send bytes as one packet."""
        self.session.receive(data)
        self._harness.schedule(self)

    def send(self, *lines: str) -> None:
        """Send complete lines in one packet."""
        self.feed("".join(f"{line}\n" for line in lines).encode())

    def close(self) -> None:
        """Send EOF."""
        self.session.receive_eof()
        self._harness.schedule(self)

    def end(self, reason: str) -> None:
        """Have the server close the session."""
        self.session.close(reason)
        self._harness.schedule(self)

    def block(self) -> None:
        """Block the client's output."""
        self._harness.room.delivery.block(self.session.subscriber)

    def unblock(self) -> None:
        """Unblock the client's output."""
        self._harness.room.delivery.unblock(self.session.subscriber)
        self._harness.schedule(self)

    def read(self) -> list[str]:
        """Return the lines written since the last read."""
        start, self._read = self._read, len(self.written)
        return self.written[start:].decode().splitlines()


class ManualSink:
    """A journal that writes a batch when `write` is called.

    Args:
        room: broadcasts each batch once it is written.
        immediate: write every batch on submission.
    """

    def __init__(self, room: Room, *, immediate: bool) -> None:
        self._room = room
        self._immediate = immediate
        self._batch: Batch | None = None

    @property
    def busy(self) -> bool:
        """Whether a batch is pending."""
        return self._batch is not None

    def submit(self, batch: Batch) -> None:
        """Accept a batch."""
        self._batch = batch
        if self._immediate:
            self.write()

    def write(self) -> bool:
        """Write the pending batch; return whether there was one."""
        if self._batch is None:
            return False
        self._room.broadcast(self._batch)
        self._batch = None
        return True


class DeferredSequencer:
    """A sequencer that applies a command when `commit` is called, as a replicated one does.

    Args:
        room: the commands are applied to it.
    """

    batch_full = False

    def __init__(self, room: Room) -> None:
        self._room = room
        self._submitted: list[tuple[Subscriber, Command | None, OnCommit | None]] = []

    def submit(
        self, subscriber: Subscriber, command: Command | None, on_commit: OnCommit | None = None
    ) -> bool:
        """Queue a command for `commit`."""
        self._submitted.append((subscriber, command, on_commit))
        return False

    def suspend(self, subscribers: Iterable[Subscriber]) -> None:
        """Suspend the room."""
        self._room.suspend(subscribers)

    def commit(self) -> None:
        """Apply the oldest queued command."""
        subscriber, command, on_commit = self._submitted.pop(0)
        error: CommandError | None = None
        try:
            self._room.submit(subscriber, command)
        except CommandError as raised:
            error = raised
        if on_commit is not None:
            on_commit(error)


class SessionHarness:
    """A room, its clients, and the scheduler that runs their turns.

    Args:
        room: the room.
        sequencer: the sessions submit commands to it.
        committer: commits the batches.

    Attributes:
        clients: all connected clients.
        time: the clock of sessions and batches, in seconds.
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
        """Connect a client and discard its HELLO."""
        client = SessionClient(self, limits, auth_required=auth_required, codec=codec)
        client.read()
        self.clients[client] = None
        return client

    def schedule(self, client: SessionClient) -> None:
        """Schedule a turn for a client."""
        self._scheduler.schedule(client)

    def turn(self) -> None:
        """Run one turn."""
        self._scheduler.run_turn(self.time)


class RoomHarness(SessionHarness):
    """A single server.

    Args:
        backlog: the room's, in bytes.
        history: the room's, in messages.
        presence_limit: the room's, in members.
        journal: broadcast a batch only once `write_journal` is called.
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
        """Connect clients, let them join, and discard the lines written to them so far."""
        clients = [self.connect(limits) for _ in names]
        for client, name in zip(clients, names, strict=True):
            client.send(f"JOIN {name}")
        self.rest()
        for client in clients:
            client.read()
        return clients

    def turn(self) -> None:
        """Run one turn, and commit what it broadcast."""
        super().turn()
        if not self._sink.busy:
            self._scheduler.on_commit()

    def write_journal(self) -> None:
        """Have the journal write the pending batch, if any."""
        if self._sink.write():
            self._scheduler.on_commit()

    def suspend(self) -> None:
        """Make the journal unavailable."""
        self._scheduler.on_unavailable()

    def resume(self) -> None:
        """Make the journal available again."""
        self._scheduler.on_recovered()
        self.write_journal()

    def rest(self) -> None:
        """Run turns until no client is ready; write every batch unless the journal is unavailable."""
        for _ in range(_TURNS_MAX):
            self.turn()
            suspended = self.room.delivery.suspended
            if self._scheduler.idle and (suspended or not self._sink.busy):
                return
            if not suspended:
                self.write_journal()
        raise AssertionError("clients are still scheduled after the maximum number of turns")


def _raise(client: SessionClient, error: Exception) -> None:  # noqa: ARG001 - the scheduler's signature
    raise error
