"""Planted faults of clusters."""

from functools import partial

from simple_chat.cluster.nodes import Nodes
from simple_chat.cluster.outbox import Outbox
from simple_chat.cluster.replicated import ReplicatedRoom
from simple_chat.cluster.replicator import Replicator
from simple_chat.core.scheduler import Scheduler
from simple_chat.core.session import Session
from simple_chat.server.hub import Hub
from tests.simulation.plan import Plan
from tests.simulation.planted import Edit, Planted

_cluster = partial(Plan, "cluster", people=5, faults=3, seconds=20.0)
_long = partial(Plan, "cluster", people=10, faults=20, seconds=120.0)
_calm = partial(Plan, "cluster", people=5, faults=0, seconds=20.0)

CLUSTER = [
    Planted(
        "a commit has nothing more committed",
        _calm(5),
        Edit(Scheduler, "on_commit", "self.request_turn()", "pass"),
    ),
    Planted(
        "a server ends with the next heartbeat",
        _calm(3),
        Edit(Replicator, "leave", "self.commit()", "pass"),
    ),
    Planted(
        "a commit does not end the wait for it",
        _calm(0),
        Edit(Session, "_on_commit", "self.awaiting_commit = False", "pass"),
    ),
    Planted(
        "a JOIN that was in flight outlives its connection",
        _long(32),
        Edit(Session, "_on_commit", "if self.state is State.LOST:", "if False:"),
    ),
    Planted(
        "who waits for a commit is not woken",
        _calm(0),
        Edit(Scheduler, "_awaits_commit", "session.awaiting_commit or ", ""),
    ),
    Planted(
        "who has input left after a commit is not woken",
        _calm(0),
        Edit(
            Scheduler,
            "on_commit",
            "elif not (session.subscriber.caught_up and session.input_drained):",
            "elif not session.subscriber.caught_up:",
        ),
    ),
    Planted(
        "an eviction aborts no connection",
        _cluster(0),
        Edit(Hub, "on_evicted", "connection.abort(End.EVICTED)", "None"),
    ),
    Planted(
        "an eviction leaves commits to be waited for",
        _cluster(0),
        Edit(Hub, "on_evicted", "connection.session.abandon()", "None"),
    ),
    Planted(
        "an eviction leaves the members in the room",
        _long(0),
        Edit(ReplicatedRoom, "evict", "self.room.leave(subscriber)", "pass"),
    ),
    Planted(
        "an eviction keeps what was proposed",
        _long(0),
        Edit(ReplicatedRoom, "evict", "self._outbox = Outbox()", "pass"),
    ),
    Planted(
        "the members of a dead server stay",
        _cluster(1),
        Edit(ReplicatedRoom, "apply", "self._evict_node(node)", "pass"),
    ),
    Planted(
        "an entry that is stored twice is applied twice",
        _long(1),
        Edit(Nodes, "record_heartbeat", "number <= known.number", "number < known.number"),
    ),
    Planted(
        "an entry does not renew the lease",
        _calm(0, seconds=60.0),
        Edit(
            Nodes, "record_heartbeat", "known.number, known.seen = number, self.now", "known.number = number"
        ),
    ),
    Planted(
        "a lease is shorter than it should be",
        _calm(1),
        Edit(Nodes, "expire", "> self._lease]", "> self._lease // 10]"),
    ),
    Planted(
        "a lease never ends",
        _cluster(1),
        Edit(Nodes, "expire", "self.now - node.seen > self._lease", "False"),
    ),
    Planted(
        "an outage of the log counts for the leases",
        _long(1),
        Edit(Nodes, "expire", "min(max(time - self._time, 0), self._step_max)", "max(time - self._time, 0)"),
    ),
    Planted(
        "an idle server sends no heartbeat",
        _calm(1, people=2, seconds=60.0),
        Edit(Replicator, "_publish", "next_message(heartbeat=True)", "next_message()"),
    ),
    Planted(
        "all entries of a server have one number",
        _calm(0),
        Edit(ReplicatedRoom, "next_message", "self._number += 1", "self._number = 1"),
    ),
    Planted(
        "a proposal is lost where a message is full",
        _long(32),
        Edit(Outbox, "_split", "self._waiting[count:]", "self._waiting[count + 1 :]"),
    ),
    Planted(
        "what was committed is still in flight",
        _calm(0),
        Edit(Outbox, "land", "self._in_flight or [], None", "self._in_flight or [], self._in_flight"),
    ),
    Planted(
        "while the log is away, WHO overtakes the messages before it",
        _cluster(33),
        Edit(Outbox, "take_immediate", " and not self.has_messages(proposal.subscriber)", ""),
    ),
    Planted(
        "what is said after the end is taken",
        _long(12),
        Edit(ReplicatedRoom, "_submit_message", "self._ending or ", ""),
    ),
    Planted(
        "a line that is refused is sent nevertheless",
        _long(51),
        Edit(
            ReplicatedRoom,
            "_submit_message",
            "raise CommandError(Code.BUSY)",
            "self._outbox.add(Proposal(encode_message(name, command.text), subscriber, command, None))\n"
            "        raise CommandError(Code.BUSY)",
        ),
    ),
    Planted(
        "a member is missing in snapshots",
        _long(16),
        Edit(ReplicatedRoom, "snapshot", "in self.room.membership:", "in [*self.room.membership][1:]:"),
    ),
    Planted(
        "members of the snapshot's server belong to who reads it",
        _long(8),
        Edit(ReplicatedRoom, "snapshot", "names[member.node or self.node]", "names[member.node]"),
    ),
    Planted(
        "an entry behind the snapshot is passed over",
        _cluster(1),
        Edit(
            ReplicatedRoom, "restore", "self.position = state.position", "self.position = state.position + 1"
        ),
    ),
    Planted(
        "a server that starts has no messages of before",
        _long(4),
        Edit(ReplicatedRoom, "restore", "set(state.message_entries)", "set()"),
    ),
    Planted(
        "nobody goes on when a message was read back",
        _calm(1),
        Edit(Replicator, "_on_read_back", "self._host.on_commit()", "pass"),
    ),
    Planted(
        "a LEAVE from another server is not applied",
        _calm(0),
        Edit(ReplicatedRoom, "_apply_remote", "member.node == node", "member.node != node"),
    ),
    Planted(
        "a server that ends in order leaves its members",
        _cluster(4),
        Edit(
            ReplicatedRoom,
            "_apply_remote",
            "self._nodes.remove(node)\n        self._evict_node(node)",
            "self._nodes.remove(node)",
        ),
    ),
]
