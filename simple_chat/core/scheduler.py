"""The scheduler: whose turn it is, and what one turn does.

A turn executes lines of all peers that are ready, up to a bound a peer and a full batch, has them committed
as one batch, and then flushes what is due. Members come before peers that have not joined, of which only some
get a turn at a time: a crowd of them delays nobody in the room.
"""

from collections import deque
from collections.abc import Callable, Collection
from functools import partial
from itertools import chain, islice
from typing import Generic, Protocol, TypeVar

from simple_chat.core.backlog import Batch
from simple_chat.core.handshake import State
from simple_chat.core.room import Room, Sequencer
from simple_chat.core.session import Session

PRE_JOIN_PER_TURN = 16
"""Peers that have not joined and get a turn at a time: some milliseconds even if all send garbage."""


class Peer(Protocol):
    """A connection, as the scheduler sees it."""

    @property
    def session(self) -> Session:
        """Its session."""

    def flush(self) -> bool:
        """Write what is due, and return whether it wants another turn."""


class Committer(Protocol):
    """Commits what a turn submitted: writes it to a journal, or has a log of several servers order it."""

    @property
    def busy(self) -> bool:
        """Whether nothing can be committed now; `Scheduler.on_commit` follows when something can."""

    def commit(self) -> None:
        """Begin to commit what was submitted, if anything was. Not while busy."""


class Sink(Protocol):
    """Takes sealed batches and has them broadcast: a journal."""

    @property
    def busy(self) -> bool:
        """Whether no batch can be submitted now."""

    def submit(self, batch: Batch) -> None:
        """Have a batch broadcast, as soon as it is as durable as it has to be."""


class BatchCommitter:
    """The `Committer` of a server that decides the order by itself: it seals the open batch for a sink.

    Args:
        room: the room.
        sink: the journal.
        clock: returns seconds since the epoch.
    """

    def __init__(self, room: Room, sink: Sink, clock: Callable[[], float]) -> None:
        self._room = room
        self._sink = sink
        self._clock = clock

    @property
    def busy(self) -> bool:
        """Whether the journal takes no batch now."""
        return self._sink.busy

    def commit(self) -> None:
        """Seal the open batch and submit it to the journal."""
        if batch := self._room.seal_batch(self._clock()):
            self._sink.submit(batch)


P = TypeVar("P", bound=Peer)


class Scheduler(Generic[P]):
    """Gives peers their turns.

    Args:
        room: the room.
        sequencer: where the peers' sessions submit commands.
        committer: what has them committed.
        peers: all peers, ready or not; the caller keeps it up to date.
        wake: called when `run_turn` is to be called soon; not again before it was.
        on_failure: called with a peer and the exception that a step of it raised; the others go on.
    """

    def __init__(
        self,
        room: Room,
        sequencer: Sequencer,
        committer: Committer,
        peers: Collection[P],
        *,
        wake: Callable[[], object],
        on_failure: Callable[[P, Exception], None],
    ) -> None:
        self._room = room
        self._sequencer = sequencer
        self._committer = committer
        self._peers = peers
        self._wake = wake
        self._on_failure = on_failure
        # Who is ready, first come first served.
        self._ready: dict[P, None] = {}
        self._ready_pre_join: dict[P, None] = {}
        self._awaiting: dict[P, None] = {}  # a commit, to be flushed after it
        self._turn_requested = False
        self._unavailable = False

    def schedule(self, peer: P) -> None:
        """Give a peer a turn soon."""
        (self._ready_pre_join if peer.session.pre_join else self._ready)[peer] = None
        self.request_turn()

    def remove(self, peer: P) -> None:
        """Forget a peer that is gone."""
        for peers in (self._ready, self._ready_pre_join, self._awaiting):
            peers.pop(peer, None)

    @property
    def idle(self) -> bool:
        """Whether no peer is ready."""
        return not (self._ready or self._ready_pre_join)

    def request_turn(self) -> None:
        """Have a turn soon; with a full batch, only once it can be committed."""
        if not self._turn_requested and not (self._sequencer.batch_full and self._committer.busy):
            self._turn_requested = True
            self._wake()

    def run_turn(self, now: float) -> None:
        """Execute lines of all that are ready, have them committed, and flush what is due.

        Args:
            now: seconds, of a clock that never goes back.
        """
        self._turn_requested = False
        waiting, self._ready = deque(self._ready), {}
        waiting += self._next_pre_join()
        served: list[P] = []
        while waiting and not self._sequencer.batch_full:
            peer = waiting.popleft()
            served.append(peer)
            self.run_isolated(peer, partial(peer.session.process_input, now))
        self._commit()
        for peer in chain(waiting, served):  # whoever found the batch full comes first next time
            if self.run_isolated(peer, peer.flush):
                self.schedule(peer)
            if self._awaits_commit(peer.session):
                self._awaiting[peer] = None
        if not self.idle:
            self.request_turn()

    def _next_pre_join(self) -> list[P]:
        peers = list(islice(self._ready_pre_join, PRE_JOIN_PER_TURN))
        for peer in peers:
            del self._ready_pre_join[peer]
        return peers

    def run_isolated(self, peer: P, step: Callable[[], bool | None]) -> bool:
        """Run a step of one peer; if that fails, the others go on without it."""
        try:
            return bool(step())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is one peer's
            self._on_failure(peer, error)
            return False

    # Commits

    def _commit(self) -> None:
        if not self._committer.busy:
            self._committer.commit()
        elif self._unavailable:
            self._suspend()

    def _awaits_commit(self, session: Session) -> bool:
        if session.state is State.LOST:
            return False
        return session.awaiting_commit or self._room.delivery.needs_flush(session.subscriber)

    def on_commit(self) -> None:
        """Go on after something was committed: flush the peers that waited for it."""
        awaiting, self._awaiting = self._awaiting, {}
        for peer in awaiting:
            session = peer.session
            if session.awaiting_commit or self._room.delivery.only_own_pending(session.subscriber):
                self._awaiting[peer] = None
            elif not (session.subscriber.caught_up and session.input_drained):
                self.schedule(peer)
        if self._room.closed:  # no more gathers, and a journal that closes waits for no turn
            self._commit()
        self.request_turn()

    def on_unavailable(self) -> None:
        """Note that nothing can be committed for now."""
        self._unavailable = True
        if self._committer.busy:
            self._suspend()

    def on_recovered(self) -> None:
        """Note that commits go on; `on_commit` follows."""
        self._unavailable = False
        self._room.resume()

    def _suspend(self) -> None:
        """Answer all that need not wait for a commit."""
        if self._room.delivery.suspended:
            return
        self._sequencer.suspend([peer.session.subscriber for peer in self._peers])
        for peer in self._peers:
            self.schedule(peer)
