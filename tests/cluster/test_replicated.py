import re

import pytest

from simple_chat.cluster.entry import Entry, decode_entry, encode_entry
from simple_chat.cluster.nodes import LEASE, Nodes
from simple_chat.cluster.replicated import Message, ReplicatedRoom
from simple_chat.cluster.snapshot import decode_snapshot
from simple_chat.core.backlog import BACKLOG
from simple_chat.core.codes import Code
from simple_chat.core.commands import Msg
from simple_chat.core.protocol import Err
from simple_chat.core.room import BATCH_BYTES, Room
from simple_chat.core.sequence import HISTORY
from tests.harness.replicas import ClusterHarness, ReplicaClient, ReplicaHarness

BUSY = str(Err(Code.BUSY, Code.BUSY.advice))
TAKEN = str(Err(Code.NAME_TAKEN, Code.NAME_TAKEN.advice))
LONG = "x" * 4_000


@pytest.fixture
def cluster() -> ClusterHarness:
    return ClusterHarness(3)


def members(cluster: ClusterHarness, *names: str) -> list[ReplicaClient]:
    """Let one member join on each server, and discard the lines written so far."""
    clients = [server.join(name)[0] for server, name in zip(cluster.servers, names, strict=False)]
    cluster.read()
    return clients


def post(client: ReplicaClient, *texts: str) -> None:
    """Post messages and append them to the log."""
    client.send(*(f"MSG {text}" for text in texts))
    client.server.turn_and_store()


def read_without_times(client: ReplicaClient) -> list[str]:
    """Return the lines read, without the timestamps of PAST lines."""
    return [re.sub(r"^PAST \S+", "PAST", line) for line in client.read()]


def names_on(server: ReplicaHarness) -> list[str]:
    return sorted(server.room.names())


def last(cluster: ClusterHarness) -> Entry:
    return cluster.log[-1]


# Joining


def test_join_is_confirmed_when_read_back_from_the_log(cluster: ClusterHarness) -> None:
    server = cluster.servers[0]
    ann = server.connect()
    ann.send("JOIN ann")
    for step in (server.turn, server.store, server.turn):
        step()
        assert ann.read() == []
        assert server.room.names() == ()
    server.deliver()
    server.turn()
    assert ann.read() == ["OK JOIN ann"]
    assert server.room.names() == ("ann",)


def test_lines_after_a_join_wait_for_its_commit(cluster: ClusterHarness) -> None:
    a, b, _ = cluster.servers
    (bob,) = b.join("bob")
    ann = a.connect()
    ann.send("JOIN ann", "MSG 1", "PING x")
    a.turn_and_store()
    assert ann.session.awaiting_commit
    assert last(cluster).lines == (b"JOIN ann\n",)
    cluster.rest()
    assert ann.read() == ["OK JOIN ann", "PONG x"]
    assert bob.read() == ["JOINED ann", "MSG ann 1"]


@pytest.mark.parametrize("second", ["ann", "Ann", "ANN"])
@pytest.mark.parametrize("first_server", [0, 1])
def test_concurrent_joins_on_two_servers_give_the_name_to_the_first(
    cluster: ClusterHarness, second: str, first_server: int
) -> None:
    (cleo,) = cluster.servers[2].join("cleo")
    racers = [server.connect() for server in cluster.servers[:2]]
    racers[0].send("JOIN ann")
    racers[1].send(f"JOIN {second}")
    winner, loser = racers[first_server], racers[1 - first_server]
    name = winner.sent[0].removeprefix("JOIN ")
    winner.server.turn_and_store()
    loser.server.turn_and_store()
    cluster.rest()
    assert winner.read() == [f"OK JOIN {name}"]
    assert loser.read() == [TAKEN]
    assert cleo.read() == [f"JOINED {name}"]
    assert all(names_on(server) == sorted([name, "cleo"]) for server in cluster.servers)
    loser.send("JOIN bob")
    cluster.rest()
    assert winner.read() == cleo.read() == ["JOINED bob"]


def test_concurrent_joins_on_one_server_give_the_name_to_the_first(cluster: ClusterHarness) -> None:
    a, b, _ = cluster.servers
    (bob,) = b.join("bob")
    first, second = a.connect(), a.connect()
    for racer in (first, second):
        racer.send("JOIN ann")
    cluster.rest()
    assert (first.read(), second.read()) == (["OK JOIN ann"], [TAKEN])
    assert bob.read() == ["JOINED ann"]


def test_name_taken_on_another_server_is_rejected(cluster: ClusterHarness) -> None:
    cluster.servers[0].join("ann")
    outsider = cluster.servers[1].connect()
    outsider.send("JOIN ANN")
    cluster.rest()
    assert outsider.read() == [TAKEN]


def test_name_is_available_after_an_unread_leave_on_another_server(cluster: ClusterHarness) -> None:
    (ann,) = cluster.servers[0].join("ann")
    server = cluster.servers[1]
    outsider = server.connect()
    ann.send("LEAVE")
    ann.server.turn_and_store()
    outsider.send("JOIN ann")
    server.turn_and_store()
    cluster.rest()
    assert outsider.read() == ["OK JOIN ann"]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("MSG hi", Code.NOT_JOINED),
        ("LEAVE", Code.NOT_JOINED),
        ("HISTORY", Code.NOT_JOINED),
        ("JOIN .", Code.BAD_NAME),
    ],
)
def test_error_before_join_keeps_the_session_open(cluster: ClusterHarness, line: str, code: Code) -> None:
    outsider = cluster.servers[0].connect()
    outsider.send(line, "PING")
    cluster.rest()
    assert outsider.read() == [str(Err(code, code.advice)), "PONG"]


def test_second_join_of_a_member_is_rejected(cluster: ClusterHarness) -> None:
    (ann,) = cluster.servers[0].join("ann")
    ann.send("JOIN bob", "HELP", "PASS x")
    cluster.rest()
    lines = ann.read()
    assert lines[0] == str(Err(Code.ALREADY_JOINED, Code.ALREADY_JOINED.advice))
    assert lines[-2:] == ["OK HELP", "OK PASS"]


def test_non_member_is_answered_without_the_log(cluster: ClusterHarness) -> None:
    outsider = cluster.servers[0].connect()
    outsider.send("PING x", "QUIT")
    end = cluster.end
    cluster.servers[0].turn()
    assert outsider.read() == ["PONG x", "BYE quit"]
    assert cluster.end == end


# Messages


def test_messages_have_one_order_and_are_not_echoed(cluster: ClusterHarness) -> None:
    clients = members(cluster, "ann", "bob", "cleo")
    for client in reversed(clients):
        post(client, "1", "2")
    cluster.rest()
    for client in clients:
        post(client, "3")
    cluster.rest()
    sequence = [
        *["MSG cleo 1", "MSG cleo 2", "MSG bob 1", "MSG bob 2", "MSG ann 1", "MSG ann 2"],
        *["MSG ann 3", "MSG bob 3", "MSG cleo 3"],
    ]
    for name, client in zip(("ann", "bob", "cleo"), clients, strict=True):
        assert client.read() == [line for line in sequence if f" {name} " not in line]


def test_members_of_one_server_receive_messages_in_log_order(cluster: ClusterHarness) -> None:
    a, b, _ = cluster.servers
    ann, dan = a.join("ann", "dan")
    (bob,) = b.join("bob")
    cluster.read()
    post(ann, "1")
    post(bob, "2")
    assert dan.read() == []
    post(dan, "3")  # queued while the first is in flight
    cluster.rest()
    assert ann.read() == ["MSG bob 2", "MSG dan 3"]
    assert bob.read() == ["MSG ann 1", "MSG dan 3"]
    assert dan.read() == ["MSG ann 1", "MSG bob 2"]


def test_at_most_one_message_is_in_flight(cluster: ClusterHarness) -> None:
    server = cluster.servers[0]
    (ann,) = server.join("ann")
    ann.send("MSG 1")
    server.turn()
    waited = server.replica.in_flight
    ann.send("MSG 2")
    server.turn()
    assert server.replica.next_message() is server.replica.next_message(heartbeat=True) is None
    server.store()
    server.deliver()
    assert (waited, server.replica.in_flight) == (True, False)
    server.turn_and_store()
    assert last(cluster).lines == (b"MSG ann 2\n",)


def test_inapplicable_lines_of_an_entry_are_ignored() -> None:
    replica = ReplicatedRoom(Room(), Nodes())
    replica.apply(decode_entry(1, 0, encode_entry("a", 1, [b"JOIN ann\n", b"NICK ben\n", b"MSG ann hi\n"])))
    replica.apply(decode_entry(2, 0, encode_entry("b", 1, [b"LEAVE ann\n", b"LEAVE zoe\n"])))
    assert replica.room.names() == ("ann",)
    assert replica.room.sequence.end == 2


def test_message_idents_are_unique() -> None:
    replica = ReplicatedRoom(Room(), Nodes())
    idents = set()
    for node in ("a", "b"):
        replica.begin(node)
        for _ in range(2):
            message = replica.next_message(heartbeat=True)
            assert isinstance(message, Message)
            idents.add(message.ident)
            replica.apply(decode_entry(replica.position + 1, 0, message.data))
    assert idents == {"a-1", "a-2", "b-1", "b-2"}


def test_no_message_is_proposed_without_lines(cluster: ClusterHarness) -> None:
    assert cluster.servers[0].replica.next_message() is None


def test_room_that_has_not_begun_proposes_nothing() -> None:
    assert ReplicatedRoom(Room(), Nodes()).next_message(heartbeat=True) is None


def test_full_batch_refuses_no_message_while_the_log_is_available(cluster: ClusterHarness) -> None:
    (ann,) = cluster.servers[0].join("ann")
    replica = ann.server.replica
    count = BATCH_BYTES // len(LONG) + 2
    assert all(replica.submit(ann.session.subscriber, Msg(LONG)) for _ in range(count))
    assert replica.batch_full


def test_flush_is_due_from_the_size_of_a_batch_on() -> None:
    replica = ReplicatedRoom(Room(), Nodes())
    due = [replica.flush_due]
    replica.room.append_remote_message(b"x" * (BATCH_BYTES - 1) + b"\n")
    assert [*due, replica.flush_due] == [False, True]


def test_duplicate_messages_are_delivered_once(cluster: ClusterHarness) -> None:
    ann, bob, cleo = members(cluster, "ann", "bob", "cleo")
    post(ann, "1")
    ann.server.store(again=True)
    post(bob, "2")
    ann.server.store(again=True)
    ann.server.deliver()
    post(ann, "3")
    ann.server.store(again=True)
    cluster.rest()
    assert bob.read() == ["MSG ann 1", "MSG ann 3"]
    assert cleo.read() == ["MSG ann 1", "MSG bob 2", "MSG ann 3"]
    assert ann.read() == ["MSG bob 2"]


def test_duplicate_joins_and_leaves_are_applied_once(cluster: ClusterHarness) -> None:
    (bob,) = cluster.servers[1].join("bob")
    ann = cluster.servers[0].connect()
    for line in ("JOIN ann", "LEAVE", "JOIN ann"):
        ann.send(line)
        ann.server.turn_and_store()
        ann.server.store(again=True)
        cluster.rest()
    assert ann.read() == ["OK JOIN ann", "OK LEAVE", "OK JOIN ann"]
    assert bob.read() == ["JOINED ann", "LEFT ann", "JOINED ann"]


def test_entries_of_unknown_nodes_and_empty_entries_are_ignored(cluster: ClusterHarness) -> None:
    (ann,) = cluster.servers[0].join("ann")
    for data in (b"stranger 7\nMSG x hi\nLEAVE ann\n", b"stranger 1\nNICK ann\n"):
        cluster.store(Message("", data))
    cluster.log.append(Entry(cluster.end + 1, cluster.time))
    cluster.rest()
    assert ann.read() == []
    assert all(server.replica.position == cluster.end for server in cluster.servers)


def test_server_stops_reading_input_when_the_batch_is_full(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    texts = [f"{number} {LONG}" for number in range(3 * BATCH_BYTES // 4_000)]
    ann.send(*(f"MSG {text}" for text in texts))
    ann.server.turn()
    ann.server.turn()
    was_full = ann.server.replica.batch_full
    assert ann.session._codec.held > len(LONG)
    cluster.rest()
    assert (was_full, ann.server.replica.batch_full) == (True, False)
    assert bob.read() == [f"MSG ann {text}" for text in texts]
    assert max(sum(map(len, entry.lines)) for entry in cluster.log) <= BATCH_BYTES + 4_096


@pytest.mark.parametrize("ending", ["lose", "close"])
def test_message_size_is_bounded_when_many_members_leave(cluster: ClusterHarness, ending: str) -> None:
    """NATS rejects larger messages: its limit must allow a full batch and two lines."""
    a = cluster.servers[0]
    crowd = [a.connect() for _ in range(2 * BATCH_BYTES // 38)]
    for number, client in enumerate(crowd):
        client.send(f"JOIN {number:032}")
    cluster.rest()
    for client in crowd:
        client.drop_connection() if ending == "lose" else client.close()
    cluster.rest()
    assert cluster.servers[1].room.names() == ()
    assert max(sum(map(len, entry.lines)) for entry in cluster.log) <= BATCH_BYTES + 2 * 4_096


# Leaving


def test_rejoined_member_skips_messages_between_leave_and_join(cluster: ClusterHarness) -> None:
    ann, bob, cleo = members(cluster, "ann", "bob", "cleo")
    ann.send("MSG 1", "LEAVE", "JOIN Ann", "MSG 2")
    ann.server.turn_and_store()
    post(bob, "missed?")
    cluster.rest()
    assert ann.read() == ["OK LEAVE", "OK JOIN Ann"]  # bob's message is between the two
    assert bob.read() == ["MSG ann 1", "LEFT ann", "JOINED Ann", "MSG Ann 2"]
    assert cleo.read() == ["MSG ann 1", "LEFT ann", "MSG bob missed?", "JOINED Ann", "MSG Ann 2"]


def test_leaving_member_receives_all_earlier_lines(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    post(bob, "before")
    ann.send("LEAVE")
    ann.server.turn_and_store()
    post(bob, "behind")
    cluster.rest()
    assert ann.read() == ["MSG bob before", "OK LEAVE"]


@pytest.mark.parametrize("quits", ["QUIT", "half-close"])
def test_quit_delivers_all_earlier_lines_and_then_bye(cluster: ClusterHarness, quits: str) -> None:
    ann, bob, cleo = members(cluster, "ann", "bob", "cleo")
    ann.send("MSG 1", "PING x", "MSG 2")
    if quits == "QUIT":
        ann.send("QUIT", "MSG 3")
    else:
        ann.close()
    post(bob, "hi")
    cluster.rest()
    assert ann.session.finished
    assert ann.read() == ["MSG bob hi", "PONG x", "BYE quit"]
    assert bob.read() == ["MSG ann 1", "MSG ann 2", "LEFT ann"]
    assert cleo.read() == ["MSG bob hi", "MSG ann 1", "MSG ann 2", "LEFT ann"]


def test_quit_leaves_in_the_same_entry_as_the_messages_before(cluster: ClusterHarness) -> None:
    (ann,) = cluster.servers[0].join("ann")
    ann.send("MSG 1", "QUIT")
    ann.server.turn_and_store()
    assert last(cluster).lines == (b"MSG ann 1\n", b"LEAVE ann\n")


def test_lost_connection_is_broadcast_once(cluster: ClusterHarness) -> None:
    ann, bob, cleo = members(cluster, "ann", "bob", "cleo")
    post(ann, "1")
    ann.drop_connection()
    cluster.rest()
    assert bob.read() == cleo.read() == ["MSG ann 1", "LEFT ann"]
    assert ann.read() == []
    assert all(names_on(server) == ["bob", "cleo"] for server in cluster.servers)


@pytest.mark.parametrize("asked", ["PING x", "WHO", "HISTORY", "LEAVE", "QUIT"])
@pytest.mark.parametrize("stored", [False, True])
def test_lost_connection_with_a_pending_command_leaves_the_room(
    cluster: ClusterHarness, asked: str, *, stored: bool
) -> None:
    ann, bob, cleo = members(cluster, "ann", "bob", "cleo")
    ann.send("MSG 1", asked)
    ann.server.turn()
    if stored:
        ann.server.store()
    ann.drop_connection()
    cluster.rest()
    assert ann.read() == []
    assert bob.read() == cleo.read() == ["MSG ann 1", "LEFT ann"]


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_connection_lost_during_join_leaves_the_room(cluster: ClusterHarness, steps: int) -> None:
    (bob,) = cluster.servers[1].join("bob")
    server = cluster.servers[0]
    (dan,) = server.join("dan")
    bob.read()
    ann = server.connect()
    ann.send("JOIN ann", "MSG 1")
    for step in (server.turn, server.store)[:steps]:
        step()
    ann.drop_connection()
    cluster.rest()
    assert ann.read() == []
    assert bob.read() == dan.read() == (["JOINED ann", "LEFT ann"] if steps else [])
    assert all(names_on(server) == ["bob", "dan"] for server in cluster.servers)


def test_connection_lost_before_its_join_is_rejected_broadcasts_nothing(cluster: ClusterHarness) -> None:
    a, b, c = cluster.servers
    (cleo,) = c.join("cleo")
    winner, loser = a.connect(), b.connect()
    for racer in (winner, loser):
        racer.send("JOIN ann")
        racer.server.turn_and_store()
    loser.drop_connection()
    cluster.rest()
    assert winner.read() == ["OK JOIN ann"]
    assert cleo.read() == ["JOINED ann"]


def test_disconnected_member_leaves_after_its_messages(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    ann.send("MSG 1", "PING x")
    ann.server.turn()
    ann.end("stalled")
    cluster.rest()
    assert ann.read() == ["PONG x", "BYE stalled"]
    assert bob.read() == ["MSG ann 1", "LEFT ann"]


def test_disconnect_waits_for_a_pending_response(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    ann.send("PING x")
    ann.server.turn()
    ann.end("stalled")
    cluster.rest()
    assert ann.read() == ["PONG x", "BYE stalled"]
    assert ann.session.finished
    assert bob.read() == ["LEFT ann"]


def test_disconnect_during_join_leaves_after_the_join(cluster: ClusterHarness) -> None:
    (bob,) = cluster.servers[1].join("bob")
    ann = cluster.servers[0].connect()
    ann.send("JOIN ann")
    ann.server.turn()
    ann.session.disconnect(Code.JOIN_TIMEOUT)
    cluster.rest()
    assert [line.split()[0] for line in ann.read()] == ["OK", "ERR", "BYE"]
    assert ann.session.finished
    assert bob.read() == ["JOINED ann", "LEFT ann"]


# Responses


def test_error_follows_earlier_messages(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    post(bob, "first")
    ann.send("MSG 1", "NICK x")
    ann.server.turn_and_store()
    cluster.rest()
    assert [line.split()[:2] for line in ann.read()] == [["MSG", "bob"], ["ERR", "unknown-command"]]


def test_pong_follows_all_earlier_log_entries(cluster: ClusterHarness) -> None:
    ann, bob, cleo = members(cluster, "ann", "bob", "cleo")
    post(bob, "1")
    cleo.send("LEAVE")
    cleo.server.turn_and_store()
    ann.send("PING x")
    ann.server.turn_and_store()
    bob.server.deliver()
    post(bob, "2")
    assert ann.read() == []
    ann.server.deliver()
    ann.server.turn()
    assert ann.read() == ["MSG bob 1", "LEFT cleo", "PONG x", "MSG bob 2"]


def test_pong_follows_earlier_messages_of_the_same_server(cluster: ClusterHarness) -> None:
    a, b, _ = cluster.servers
    ann, dan = a.join("ann", "dan")
    (bob,) = b.join("bob")
    cluster.read()
    dan.send("MSG 1")
    ann.send("MSG 2", "PING x")
    a.turn_and_store()
    post(bob, "3")
    cluster.rest()
    assert ann.read() == ["MSG dan 1", "PONG x", "MSG bob 3"]
    assert dan.read() == ["MSG ann 2", "MSG bob 3"]


def test_queries_send_nothing_to_other_members(cluster: ClusterHarness) -> None:
    ann, bob, cleo = members(cluster, "ann", "bob", "cleo")
    ann.send("PING", "WHO", "HISTORY", "HELP")
    cluster.rest()
    assert bob.read() == cleo.read() == []
    assert [line.split()[0] for line in ann.read() if not line.startswith("INFO")] == [
        *["PONG", "NAMES", "OK", "OK", "OK"]
    ]


def test_who_lists_the_members_at_its_position(cluster: ClusterHarness) -> None:
    a, b, c = cluster.servers
    ann, dan = a.join("ann", "dan")
    bob, cleo, eve = b.connect(), c.connect(), b.connect()
    bob.send("JOIN bob")
    b.turn_and_store()
    ann.send("WHO")
    a.turn_and_store()
    cleo.send("JOIN cleo")
    c.turn_and_store()
    cluster.rest()
    dan.send("LEAVE")
    a.turn_and_store()
    eve.send("WHO")
    cluster.rest()
    assert ann.read() == ["JOINED bob", "NAMES ann dan bob", "OK WHO 3", "JOINED cleo", "LEFT dan"]
    assert eve.read() == ["NAMES bob ann cleo", "OK WHO 3"]  # local members first


def test_history_is_the_same_on_all_servers(cluster: ClusterHarness) -> None:
    clients = members(cluster, "ann", "bob", "cleo")
    for text in ("1", "2"):
        for client in clients:
            post(client, text)
        cluster.rest()
    cluster.read()
    for client in clients:
        client.send("HISTORY", "HISTORY 1")
    cluster.rest()
    for client in clients:
        assert read_without_times(client) == [
            *["PAST ann 1", "PAST bob 1", "PAST cleo 1", "PAST ann 2", "PAST bob 2", "PAST cleo 2"],
            *["OK HISTORY 6", "PAST cleo 2", "OK HISTORY 1"],
        ]


def test_history_ends_at_its_position(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    post(bob, "1")
    ann.send("HISTORY")
    ann.server.turn_and_store()
    bob.server.deliver()
    post(bob, "2")
    cluster.rest()
    assert read_without_times(ann) == ["MSG bob 1", "PAST bob 1", "OK HISTORY 1", "MSG bob 2"]


def test_slow_reader_receives_all_lines_in_order(cluster: ClusterHarness) -> None:
    ann, bob, cleo = members(cluster, "ann", "bob", "cleo")
    ann.block()
    for number in range(4):
        post(bob, f"{number} {LONG}")
        post(cleo, str(number))
        cluster.rest()
    ann.send("MSG 4")
    cluster.rest()
    assert ann.read() == []
    ann.unblock()
    ann.send("PING x")
    post(bob, "5")
    cluster.rest()
    assert [line.split()[1:3] for line in ann.read()] == [
        *[[name, str(number)] for number in range(4) for name in ("bob", "cleo")],
        *[["bob", "5"], ["x"]],
    ]


def test_reader_behind_the_backlog_receives_a_gap() -> None:
    cluster = ClusterHarness(2, backlog=2_000)
    ann, bob = members(cluster, "ann", "bob")
    ann.block()
    for number in range(9):
        post(bob, f"{number} {'x' * 500}")
        cluster.rest()
    ann.unblock()
    ann.send("PING x")
    cluster.rest()
    gap, *received, pong = ann.read()
    assert pong == "PONG x"
    assert gap == f"GAP {9 - len(received)}"
    assert received
    assert received[-1].startswith("MSG bob 8")


# Shutdown and failure of a server


def test_graceful_shutdown_delivers_all_lines_and_leaves_the_members(cluster: ClusterHarness) -> None:
    a, b, c = cluster.servers
    ann, dan, eve = a.join("ann", "dan", "eve")
    (bob,) = b.join("bob")
    (cleo,) = c.join("cleo")
    cluster.read()
    dan.send("MSG 1")
    post(bob, "2")
    a.turn()
    a.finish()
    a.store()
    post(cleo, "3")
    cluster.rest()
    post(bob, "4")
    cluster.rest()
    assert ann.read() == ["MSG bob 2", "MSG dan 1", "MSG cleo 3", "BYE shutdown"]
    assert dan.read() == ["MSG bob 2", "MSG cleo 3", "BYE shutdown"]
    assert eve.session.finished
    left = ["LEFT ann", "LEFT dan", "LEFT eve"]
    assert bob.read() == ["MSG dan 1", "MSG cleo 3", *left]
    assert cleo.read() == ["MSG bob 2", "MSG dan 1", *left, "MSG bob 4"]
    assert names_on(b) == names_on(c) == ["bob", "cleo"]


def test_shutdown_without_members_broadcasts_nothing(cluster: ClusterHarness) -> None:
    (bob,) = cluster.servers[1].join("bob")
    cluster.servers[0].finish()
    cluster.rest()
    cluster.wait(LEASE + 10)
    assert bob.read() == []


def test_server_is_not_evicted_after_a_graceful_shutdown(cluster: ClusterHarness) -> None:
    a, b, _ = cluster.servers
    a.join("ann")
    a.finish()
    cluster.rest()
    (ann,) = b.join("ann")  # the name is available
    cluster.wait(LEASE + 10)
    assert ann.read() == []
    assert names_on(b) == ["ann"]
    assert a.evicted == 0


def test_commands_after_shutdown_started_are_answered_at_its_end(cluster: ClusterHarness) -> None:
    a, b, _ = cluster.servers
    ann, dan, eve, fay = a.join("ann", "dan", "eve", "fay")
    (bob,) = b.join("bob")
    outsider = a.connect()
    cluster.read()
    post(bob, "1")
    a.finish()
    ann.send("PING x")
    dan.send("LEAVE", "PING y")
    eve.drop_connection()
    fay.send("QUIT")
    outsider.send("JOIN zoe")
    a.turn()
    assert ann.read() == dan.read() == fay.read() == outsider.read() == []
    cluster.rest()
    assert ann.read() == ["MSG bob 1", "PONG x", "BYE shutdown"]
    assert dan.read()[:2] == ["MSG bob 1", "OK LEAVE"]
    assert fay.read() == ["MSG bob 1", "BYE quit"]
    assert outsider.read() == [BUSY, "BYE shutdown"]
    assert bob.read() == ["LEFT ann", "LEFT dan", "LEFT eve", "LEFT fay"]


def test_last_message_at_shutdown_is_delivered_before_responses_without_a_gap(
    cluster: ClusterHarness,
) -> None:
    """PONG confirms all earlier lines, and a graceful shutdown loses no lines."""
    a = cluster.servers[0]
    ann, dan, eve, fay = a.join("ann", "dan", "eve", "fay")
    cluster.read()
    dan.send("MSG 1")
    a.turn()
    eve.send("MSG 2")
    a.turn()  # queued while the first is in flight
    a.finish()
    ann.send("PING x")
    dan.send("LEAVE")
    fay.send("QUIT")
    cluster.rest()
    assert ann.read() == ["MSG dan 1", "MSG eve 2", "PONG x", "BYE shutdown"]
    assert dan.read()[:2] == ["MSG eve 2", "OK LEAVE"]
    assert fay.read() == ["MSG dan 1", "MSG eve 2", "BYE quit"]


def test_message_at_shutdown_is_refused_at_once(cluster: ClusterHarness) -> None:
    a = cluster.servers[0]
    (ann,) = a.join("ann")
    ann.read()
    ann.send("MSG 1")
    a.turn()
    a.finish()
    ann.send("MSG 2")
    a.turn()
    assert ann.read() == [BUSY]


def test_no_pong_confirms_a_message_discarded_at_shutdown(cluster: ClusterHarness) -> None:
    """A message after the shutdown is rejected, or else no PONG follows it."""
    a, b, _ = cluster.servers
    (ann,) = a.join("ann")
    (bob,) = b.join("bob")
    ann.read()
    a.finish()
    ann.send("MSG 1", "PING x")
    cluster.rest()
    assert bob.read() == ["LEFT ann"]
    lines = ann.read()
    assert lines[-1] == "BYE shutdown"
    assert BUSY in lines or "PONG x" not in lines


def test_members_of_a_crashed_server_leave_together_after_the_lease(cluster: ClusterHarness) -> None:
    a, b, c = cluster.servers
    a.join("ann", "dan")
    (bob,) = b.join("bob")
    (cleo,) = c.join("cleo")
    cluster.read()
    a.dead = True
    said = [0]
    for number in range(20):
        cluster.wait(2.5)
        bob.send(f"MSG {number}")
        said.append(number)
        cluster.rest()
    received = cleo.read()
    place = received.index("LEFT ann")
    assert received[place : place + 2] == ["LEFT ann", "LEFT dan"]
    assert [line for line in received if line.startswith("LEFT")] == ["LEFT ann", "LEFT dan"]
    assert bob.read() == ["LEFT ann", "LEFT dan"]
    assert LEASE / 2.5 - 2 <= place <= LEASE / 2.5 + 2
    eve = c.connect()
    eve.send("JOIN Ann")
    cluster.rest()
    assert eve.read() == ["OK JOIN Ann"]


def test_members_of_a_crashed_server_leave_at_the_same_position_everywhere(cluster: ClusterHarness) -> None:
    a, b, c = cluster.servers
    a.join("ann", "dan")
    bob, watcher = b.join("bob", "bill")
    (cleo,) = c.join("cleo")
    cluster.read()
    a.dead = True
    for number in range(20):
        for client in (bob, cleo):
            client.send(f"MSG {number}")
            client.server.turn_and_store()
        cluster.wait(2.5)
    received = watcher.read()
    assert [line for line in received if " bob " not in line] == bob.read()
    assert [line for line in received if " cleo " not in line] == cleo.read()
    assert received.count("LEFT ann") == received.count("LEFT dan") == 1


def test_messages_stored_before_a_crash_are_delivered(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    post(ann, "last")
    ann.server.dead = True
    cluster.wait(LEASE + 5)
    assert bob.read() == ["MSG ann last", "LEFT ann"]


def test_no_server_is_evicted_while_all_send_heartbeats(cluster: ClusterHarness) -> None:
    clients = members(cluster, "ann", "bob", "cleo")
    cluster.wait(10 * LEASE)
    assert all(client.read() == [] for client in clients)
    assert [server.evicted for server in cluster.servers] == [0, 0, 0]


def test_no_server_is_evicted_after_a_log_outage(cluster: ClusterHarness) -> None:
    clients = members(cluster, "ann", "bob", "cleo")
    for server in cluster.servers:
        server.suspend()
    cluster.wait(LEASE)
    cluster.time += 3_600_000_000
    for server in cluster.servers:
        server.resume()
    cluster.rest()
    cluster.wait(LEASE)
    assert all(client.read() == [] for client in clients)
    assert [server.evicted for server in cluster.servers] == [0, 0, 0]


# Eviction of a running server


def pause_and_resume(cluster: ClusterHarness, server: ReplicaHarness, seconds: float = LEASE + 5) -> None:
    server.paused = True
    cluster.wait(seconds)
    server.paused = False


def test_server_paused_beyond_the_lease_is_evicted(cluster: ClusterHarness) -> None:
    a, b, _ = cluster.servers
    ann, dan = a.join("ann", "dan")
    (bob,) = b.join("bob")
    cluster.read()
    outsider = a.connect()
    ann.send("MSG never heard", "LEAVE")
    a.turn()
    dan.send("MSG neither", "PING x")
    outsider.send("JOIN zoe")
    a.turn()
    bob.send("MSG heard")
    pause_and_resume(cluster, a)
    assert bob.read() == ["LEFT ann", "LEFT dan"]
    a.store()  # after the lease has expired
    for _ in cluster.log:
        a.deliver(1)
    cluster.rest()
    assert a.evicted == 1
    assert all(client.dropped for client in (ann, dan, outsider))
    assert ann.read() == dan.read() == ["MSG bob heard"]
    assert outsider.read() == bob.read() == []
    assert all(server.room.names() == ("bob",) for server in cluster.servers)


def test_server_paused_within_the_lease_continues(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    ann.send("MSG 1", "PING x")
    ann.server.turn()
    bob.send("MSG 2")
    pause_and_resume(cluster, ann.server, LEASE - 10)
    cluster.rest()
    assert ann.read() == ["MSG bob 2", "PONG x"]
    assert bob.read() == ["MSG ann 1"]
    assert ann.server.evicted == 0


def test_evicted_server_rejoins_as_a_new_node(cluster: ClusterHarness) -> None:
    ann, bob, cleo = members(cluster, "ann", "bob", "cleo")
    ann.send("MSG lost")
    ann.server.turn()
    pause_and_resume(cluster, ann.server)
    cluster.rest()
    cluster.read()
    (back,) = ann.server.join("ann")
    back.send("MSG 1", "WHO")
    cluster.rest()
    assert [line.split()[0] for line in back.read()] == ["NAMES", "OK"]
    assert bob.read() == cleo.read() == ["MSG ann 1"]
    assert all(names_on(server) == ["ann", "bob", "cleo"] for server in cluster.servers)
    cluster.wait(2 * LEASE)
    assert bob.read() == cleo.read() == []
    pause_and_resume(cluster, ann.server)
    assert bob.read() == cleo.read() == ["LEFT ann"]
    cluster.rest()
    assert ann.server.evicted == 2


def test_evicted_is_set_until_the_room_rejoins(cluster: ClusterHarness) -> None:
    server = cluster.servers[0]
    server.join("ann")
    server.replica.evict()
    evicted = server.replica.evicted
    assert server.room.names() == ()
    assert not server.replica.in_flight
    assert server.replica.next_message() is None
    server.begin()
    assert (evicted, server.replica.evicted) == (True, False)


def test_server_cut_off_beyond_the_lease_is_evicted(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    ann.server.suspend()
    ann.send("MSG 1")
    cluster.wait(LEASE + 5)
    ann.server.resume()
    cluster.rest()
    assert ann.server.evicted == 1
    assert bob.read() == ["LEFT ann"]
    (dan,) = ann.server.join("dan")
    dan.send("MSG 2")
    cluster.rest()
    assert bob.read() == ["MSG dan 2"]


def restore_after_gap(server: ReplicaHarness, snapshot: bytes) -> None:
    """Evict a server and restore it from a snapshot, as after a gap in the log."""
    server.replica.evict()
    server.drop_connections()
    server.position = server.replica.restore(snapshot, 0) - 1
    server.deliver()


def test_restored_server_has_no_duplicate_history(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    post(ann, "1")
    cluster.rest()
    post(bob, "2")
    cluster.rest()
    restore_after_gap(ann.server, bob.server.replica.snapshot())
    ann.server.begin()
    cluster.rest()
    cluster.wait(LEASE + 5)
    (back,) = ann.server.join("ann")
    back.send("HISTORY")
    bob.send("HISTORY")
    cluster.rest()
    assert read_without_times(back) == ["PAST ann 1", "PAST bob 2", "OK HISTORY 2"]
    assert read_without_times(bob)[-3:] == ["PAST ann 1", "PAST bob 2", "OK HISTORY 2"]


def test_restored_server_keeps_its_former_members_until_the_lease_expires(cluster: ClusterHarness) -> None:
    """Its own earlier entries in the log are those of another node."""
    a, b, _ = cluster.servers
    snapshot = b.replica.snapshot()
    (ann,) = a.join("ann")
    b.join("bob")
    post(ann, "1")
    cluster.rest()
    restore_after_gap(a, snapshot)
    assert names_on(a) == names_on(b) == ["ann", "bob"]
    a.begin()
    (cleo,) = a.join("cleo")
    cleo.send("HISTORY")
    cluster.rest()
    assert read_without_times(cleo) == ["PAST ann 1", "OK HISTORY 1"]
    cluster.wait(LEASE + 5)
    assert names_on(a) == names_on(b) == ["bob", "cleo"]


def test_join_on_an_evicted_server_is_answered(cluster: ClusterHarness) -> None:
    a = cluster.servers[0]
    a.replica.evict()
    a.drop_connections()
    ann = a.connect()
    ann.send("JOIN ann")
    a.turn()
    a.begin()
    cluster.rest()
    assert not ann.session.awaiting_commit
    assert [line.split()[0] for line in ann.read()] in (["OK"], ["ERR"])


# While the log is unavailable


def test_messages_during_an_outage_are_delivered_after_it(cluster: ClusterHarness) -> None:
    ann, bob, cleo = members(cluster, "ann", "bob", "cleo")
    ann.server.suspend()
    ann.send("MSG 1", "MSG 2")
    bob.send("MSG 3")
    cluster.rest()
    assert ann.read() == bob.read() == []
    assert cleo.read() == ["MSG bob 3"]
    ann.server.resume()
    cluster.rest()
    assert ann.read() == ["MSG bob 3"]
    assert bob.read() == cleo.read() == ["MSG ann 1", "MSG ann 2"]
    assert not ann.server.room.delivery.suspended


def test_messages_are_rejected_when_the_batch_is_full_and_earlier_ones_are_delivered(
    cluster: ClusterHarness,
) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    ann.server.suspend()
    count = 0
    while ann.read() == []:
        assert count <= BATCH_BYTES // 4_000 + 1
        ann.send(f"MSG {count} {LONG}")
        cluster.rest()
        count += 1
    assert count > BATCH_BYTES // 4_100
    ann.send("MSG no", "MSG no")
    cluster.rest()
    assert ann.read() == [BUSY, BUSY]
    ann.server.resume()
    cluster.rest()
    assert bob.read() == [f"MSG ann {number} {LONG}" for number in range(count - 1)]
    post(ann, "again")
    cluster.rest()
    assert bob.read() == ["MSG ann again"]
    assert ann.read() == []


def test_join_is_rejected_during_an_outage(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    ann.server.suspend()
    dan = ann.server.connect()
    dan.send(*["JOIN dan"] * 20, "JOIN ANN", "JOIN Bob", "WHO")
    cluster.rest()
    *errors, names, count = dan.read()
    assert errors == [*[BUSY] * 20, TAKEN, TAKEN]  # more than the error limit: busy does not count
    assert sorted(names.split()[1:]) == ["ann", "bob", "cleo"]
    assert count == "OK WHO 3"
    ann.server.resume()
    cluster.rest()
    dan.send("JOIN dan")
    cluster.rest()
    assert dan.read() == ["OK JOIN dan"]
    assert bob.read() == ["JOINED dan"]


def test_queued_join_is_rejected_on_outage(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    ann.send("MSG 1")
    ann.server.turn()
    dan, eve = ann.server.connect(), ann.server.connect()
    dan.send("JOIN dan", "PING x")
    eve.send("JOIN eve")
    ann.server.turn()
    eve.drop_connection()
    ann.server.suspend()
    cluster.rest()
    assert dan.read() == [BUSY, "PONG x"]
    ann.server.resume()
    cluster.rest()
    assert bob.read() == ["MSG ann 1"]


def test_join_in_flight_waits_for_the_log(cluster: ClusterHarness) -> None:
    (bob,) = cluster.servers[1].join("bob")
    ann = cluster.servers[0].connect()
    ann.send("JOIN ann", "WHO")
    ann.server.turn()
    ann.server.suspend()
    cluster.rest()
    assert ann.read() == []
    ann.server.resume()
    cluster.rest()
    assert ann.read() == ["OK JOIN ann", "NAMES ann bob", "OK WHO 2"]
    assert bob.read() == ["JOINED ann"]


QUERIES = [
    ("WHO", ["NAMES", "OK"]),
    ("HISTORY", ["PAST", "OK"]),
]
PING = ("PING x", ["PONG"])


def verbs(client: ReplicaClient) -> list[str]:
    return [line.split()[0] for line in client.read()]


@pytest.mark.parametrize(("question", "answer"), QUERIES)
def test_query_without_pending_messages_is_answered_during_an_outage(
    cluster: ClusterHarness, question: str, answer: list[str]
) -> None:
    a, b, _ = cluster.servers
    ann, dan = a.join("ann", "dan")
    (bob,) = b.join("bob")
    post(bob, "0")
    cluster.rest()
    cluster.read()
    post(ann, "1")
    a.suspend()
    dan.send(question, question)
    cluster.rest()
    assert verbs(dan) == answer * 2
    a.resume()
    cluster.rest()
    assert dan.read() == ["MSG ann 1"]


def test_help_waits_for_no_message_during_an_outage(cluster: ClusterHarness) -> None:
    (ann,) = cluster.servers[0].join("ann")
    ann.read()
    ann.send("MSG 1")
    ann.server.suspend()
    ann.send("HELP")
    cluster.rest()
    assert verbs(ann)[-1] == "OK"


@pytest.mark.parametrize("asked_before", [False, True])
def test_pong_waits_for_messages_of_other_servers(cluster: ClusterHarness, *, asked_before: bool) -> None:
    a, b, _ = cluster.servers
    ann, dan = a.join("ann", "dan")
    (bob,) = b.join("bob")
    cluster.read()
    if asked_before:
        post(dan, "0")
        a.turn()
        ann.send("PING x")  # queued to be proposed
        a.turn()
    a.suspend()
    if not asked_before:
        ann.send("PING x")
    bob.send("MSG 1", "PING y")
    cluster.rest()
    assert "PONG y" in bob.read()
    assert ann.read() == []
    a.resume()
    cluster.rest()
    assert ann.read() == [*(["MSG dan 0"] if asked_before else []), "MSG bob 1", "PONG x"]


@pytest.mark.parametrize(("question", "answer"), [*QUERIES, PING])
@pytest.mark.parametrize("turn_between", [False, True])
def test_response_waits_for_own_pending_messages(
    cluster: ClusterHarness, question: str, answer: list[str], *, turn_between: bool
) -> None:
    a, b, _ = cluster.servers
    ann, dan = a.join("ann", "dan")
    (bob,) = b.join("bob")
    post(bob, "0")
    cluster.rest()
    cluster.read()
    dan.send("MSG 1")
    if turn_between:
        a.turn()  # in flight
    a.suspend()
    dan.send(question)
    cluster.rest()
    assert dan.read() == []
    a.resume()
    cluster.rest()
    assert verbs(dan) == (["PAST", *answer] if question == "HISTORY" else answer)
    assert ann.read() == bob.read() == ["MSG dan 1"]


@pytest.mark.parametrize(("question", "answer"), QUERIES)
@pytest.mark.parametrize("speaks", [False, True])
def test_queued_query_without_pending_messages_is_answered_on_outage(
    cluster: ClusterHarness, question: str, answer: list[str], *, speaks: bool
) -> None:
    a = cluster.servers[0]
    ann, dan = a.join("ann", "dan")
    ann.send("MSG 1")
    a.turn()
    cluster.read()
    if speaks:
        dan.send("MSG 2")
    dan.send(question)
    a.turn()
    a.suspend()
    cluster.rest()
    if speaks:
        assert dan.read() == []
        a.resume()
        cluster.rest()
        assert verbs(dan) == ["MSG", *(["PAST"] if question == "HISTORY" else []), *answer]
    else:
        assert verbs(dan) == [verb for verb in answer if verb != "PAST"]
        a.resume()
        cluster.rest()
        assert dan.read() == ["MSG ann 1"]
    assert ann.read() == (["MSG dan 2"] if speaks else [])


def test_leave_waits_for_the_log(cluster: ClusterHarness) -> None:
    ann, bob, cleo = members(cluster, "ann", "bob", "cleo")
    ann.server.suspend()
    bob.server.suspend()
    ann.send("LEAVE", "JOIN ann")
    bob.drop_connection()
    cluster.rest()
    assert ann.read() == cleo.read() == []
    ann.server.resume()
    cluster.rest()
    bob.server.resume()
    cluster.rest()
    assert ann.read() == ["OK LEAVE", "OK JOIN ann", "LEFT bob"]
    assert cleo.read() == ["LEFT ann", "JOINED ann", "LEFT bob"]


def test_response_follows_lines_applied_with_it(cluster: ClusterHarness) -> None:
    a, b, _ = cluster.servers
    ann, dan = a.join("ann", "dan")
    (bob,) = b.join("bob")
    cluster.read()
    ann.send("WHO")
    dan.send("LEAVE")
    a.turn()
    a.suspend()
    post(bob, "1")
    b.turn_and_store()
    a.resume()
    a.store()
    a.follow()
    a.turn()  # before delivery, and before the log is known to be available
    cluster.rest()
    assert ann.read() == ["MSG bob 1", "NAMES ann dan bob", "OK WHO 3", "LEFT dan"]
    assert dan.read() == ["MSG bob 1", "OK LEAVE"]


def test_answer_during_an_outage_follows_what_was_read_from_the_log(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    a = ann.server
    a.suspend()
    post(bob, "1")
    a.resume()
    a.follow()
    ann.send("WHO")
    a.turn()
    cluster.rest()
    assert ann.read() == ["MSG bob 1", "NAMES ann bob cleo", "OK WHO 3"]


def test_lost_connection_with_an_early_response_leaves_the_room(cluster: ClusterHarness) -> None:
    a, b, _ = cluster.servers
    ann, dan = a.join("ann", "dan")
    (bob,) = b.join("bob")
    cluster.read()
    dan.send("MSG 1")
    a.turn()
    ann.send("PING x")
    dan.send("MSG 2")
    a.turn()
    ann.drop_connection()
    a.suspend()
    cluster.rest()
    a.resume()
    cluster.rest()
    assert ann.read() == []
    assert sorted(bob.read()) == ["LEFT ann", "MSG dan 1", "MSG dan 2"]


def test_order_is_kept_after_an_outage(cluster: ClusterHarness) -> None:
    a, b, _ = cluster.servers
    ann, dan = a.join("ann", "dan")
    (bob,) = b.join("bob")
    cluster.read()
    a.suspend()
    ann.send("MSG 1", "PING x", "MSG 3")
    dan.send("MSG 2", "QUIT")
    bob.send("MSG 0")
    cluster.rest()
    a.resume()
    cluster.rest()
    assert bob.read() == ["MSG ann 1", "MSG dan 2", "LEFT dan", "MSG ann 3"]
    assert ann.read() == ["MSG bob 0", "PONG x", "MSG dan 2", "LEFT dan"]
    assert dan.read() == ["MSG bob 0", "MSG ann 1", "BYE quit"]


def test_message_stored_before_an_outage_is_delivered_once(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    post(ann, "1")
    ann.server.suspend()
    cluster.rest()
    assert bob.read() == ["MSG ann 1"]
    ann.server.resume()
    ann.server.store(again=True)
    ann.send("PING x")
    cluster.rest()
    assert bob.read() == []
    assert ann.read() == ["PONG x"]


def test_shutdown_completes_after_an_outage(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    ann.server.suspend()
    ann.send("MSG 1")
    cluster.rest()
    ann.server.finish()
    cluster.rest()
    assert ann.read() == []
    ann.server.resume()
    cluster.rest()
    assert ann.read() == ["BYE shutdown"]
    assert bob.read() == ["MSG ann 1", "LEFT ann"]


# Servers that start later


def test_server_restored_from_a_snapshot_matches_the_others(cluster: ClusterHarness) -> None:
    a, b, c = cluster.servers
    ann, _ = a.join("ann", "Dan")
    bob, _ = b.join("bob", "eve")
    (cleo,) = c.join("cleo")
    post(ann, "before")
    cluster.rest()
    snapshot = b.replica.snapshot()
    ann.send("LEAVE", "JOIN ann", "MSG between")
    cluster.rest()
    cluster.read()
    new_server = cluster.add(snapshot)
    assert names_on(new_server) == names_on(a) == ["Dan", "ann", "bob", "cleo", "eve"]
    (fay,) = new_server.join("fay")
    cluster.read()
    post(bob, "1")
    fay.send("MSG 2", "WHO", "JOIN x")
    cluster.rest()
    received, names, count, errors = fay.read()
    assert (received, count) == ("MSG bob 1", "OK WHO 6")
    assert names.split()[1] == "fay"
    assert sorted(names.split()[1:]) == ["Dan", "ann", "bob", "cleo", "eve", "fay"]
    assert errors.startswith("ERR already-joined")
    assert cleo.read() == ["MSG bob 1", "MSG fay 2"]
    a.finish()
    b.dead = True
    cluster.wait(LEASE + 10)
    assert fay.read() == cleo.read() == ["LEFT Dan", "LEFT ann", "LEFT bob", "LEFT eve"]
    assert names_on(new_server) == names_on(c) == ["cleo", "fay"]


def test_new_server_evicts_a_server_that_crashed_before_its_start(cluster: ClusterHarness) -> None:
    a, b, c = cluster.servers
    a.join("ann")
    (bob,) = b.join("bob")
    a.dead = True
    cluster.wait(LEASE - 10)
    new_server = cluster.add(b.replica.snapshot())
    cluster.rest()
    (dan,) = new_server.join("dan")
    (eve,) = c.join("eve")
    cluster.read()
    cluster.wait(20)
    assert bob.read() == dan.read() == eve.read() == ["LEFT ann"]


def test_new_server_ignores_duplicates_of_messages_before_its_snapshot(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    post(ann, "1")
    bob.server.deliver()
    new_server = cluster.add(bob.server.replica.snapshot())
    (dan,) = new_server.join("dan")
    ann.server.store(again=True)
    cluster.rest()
    assert dan.read() == []
    assert "MSG ann 1" in bob.lines()


@pytest.mark.parametrize("behind", [0, 2])
def test_new_server_has_the_same_history(cluster: ClusterHarness, behind: int) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    for number in range(5):
        post(ann, str(number), "more")
        post(bob, str(number))
        cluster.rest()
    snapshot = bob.server.replica.snapshot()
    for number in range(behind):
        post(ann, f"late {number}")
        cluster.rest()
    (dan,) = cluster.add(snapshot).join("dan")
    cluster.read()
    for client in (ann, dan):
        client.send("HISTORY", "HISTORY 4")
    cluster.rest()
    past = read_without_times(ann)
    assert past[15 + behind] == f"OK HISTORY {15 + behind}"
    assert read_without_times(dan) == past


def test_new_server_has_the_same_history_timestamps(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    for number in range(3):
        post(ann, str(number))
        cluster.rest()
        cluster.wait(60)
    (dan,) = cluster.add(bob.server.replica.snapshot()).join("dan")
    cluster.read()
    for client in (bob, dan):
        client.send("HISTORY")
    cluster.rest()
    past = bob.read()[:3]
    seconds = [line.split()[1][:19] for line in past]
    assert seconds == ["2023-11-14T22:13:20", "2023-11-14T22:14:20", "2023-11-14T22:15:20"]
    assert dan.read()[:3] == past


def test_server_restored_from_a_new_server_has_the_same_history(cluster: ClusterHarness) -> None:
    ann, _, _ = members(cluster, "ann", "bob", "cleo")
    post(ann, "1")
    cluster.rest()
    new_server = cluster.add(ann.server.replica.snapshot())
    post(ann, "2")
    cluster.rest()
    (dan,) = cluster.add(new_server.replica.snapshot()).join("dan")
    dan.send("HISTORY")
    cluster.rest()
    assert [line.split()[-1] for line in dan.read()] == ["1", "2", "2"]


def test_new_server_history_excludes_undelivered_messages(cluster: ClusterHarness) -> None:
    """Neither a duplicate message nor a message of an evicted server was delivered."""
    ann, bob, cleo = members(cluster, "ann", "bob", "cleo")
    post(bob, "1")
    bob.server.store(again=True)
    cluster.rest()
    ann.send("MSG never heard")
    ann.server.turn()
    pause_and_resume(cluster, ann.server)
    ann.server.store()
    cluster.rest()
    post(bob, "2")
    cluster.rest()
    (dan,) = cluster.add(cleo.server.replica.snapshot()).join("dan")
    cluster.read()
    for client in (cleo, dan):
        client.send("HISTORY")
    cluster.rest()
    assert read_without_times(cleo) == ["PAST bob 1", "PAST bob 2", "OK HISTORY 2"]
    assert read_without_times(dan) == ["PAST bob 1", "PAST bob 2", "OK HISTORY 2"]


def test_snapshot_position_covers_exactly_one_history(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    for number in range(HISTORY + 50):
        post(ann, str(number))
        ann.server.deliver()
    cluster.rest()
    replica = ReplicatedRoom(Room(), Nodes())
    start = replica.restore(bob.server.replica.snapshot(), 0)
    said = sum(line.startswith(b"MSG ") for entry in cluster.log[start - 1 :] for line in entry.lines)
    assert HISTORY <= said <= HISTORY + 1
    of_author, of_other = (decode_snapshot(each.server.replica.snapshot()) for each in (ann, bob))
    assert of_author.message_entries == of_other.message_entries
    (dan,) = cluster.add(bob.server.replica.snapshot()).join("dan")
    dan.send("HISTORY")
    cluster.rest()
    past = dan.read()
    assert past[-1] == f"OK HISTORY {HISTORY}"
    assert past[0].endswith(" ann 50")


def test_snapshot_has_the_entries_of_as_many_messages_as_are_reached_back_and_no_more() -> None:
    replica = ReplicatedRoom(Room(), Nodes())
    replica.restore(None, 0)
    first: list[int] = []
    for position in range(1, HISTORY + 2):
        lines = (b"MSG ann hi\n",) * (10 if position == 1 else 1)
        replica.apply(Entry(position, position, "a", position, lines))
        replica.flush()
        if position >= HISTORY:
            first.append(decode_snapshot(replica.snapshot()).message_entries[0])
    assert first == [1, 2]


def test_server_that_is_restored_again_counts_messages_anew() -> None:
    replica = ReplicatedRoom(Room(), Nodes())
    replica.restore(None, 0)
    lines = (b"MSG ann hi\n",) * (HISTORY // 2)
    entries = [Entry(position, position, "a", position, lines) for position in range(1, 5)]

    def positions(*applied: Entry) -> list[int]:
        for entry in applied:
            replica.apply(entry)
            replica.flush()
        return decode_snapshot(replica.snapshot()).message_entries

    assert positions(*entries[:3]) == [2, 3]
    assert replica.restore(replica.snapshot(), 0) == 2
    assert positions(*entries[1:3]) == [2, 3]
    assert positions(entries[3]) == [3, 4]


def test_server_with_a_short_history_knows_where_that_of_others_begins() -> None:
    cluster = ClusterHarness(2, history=1)
    ann, _ = members(cluster, "ann", "bob")
    for number in range(3):
        post(ann, str(number))
        cluster.rest()
    assert len(decode_snapshot(ann.server.replica.snapshot()).message_entries) == 3


def test_snapshot_without_history_points_past_the_end_of_the_log(cluster: ClusterHarness) -> None:
    cluster.servers[0].join("ann")
    replica = ReplicatedRoom(Room(), Nodes())
    assert replica.restore(cluster.servers[1].replica.snapshot(), 0) == cluster.end + 1
    assert replica.position == cluster.end
    assert replica.room.names() == ("ann",)


def test_room_without_a_snapshot_has_history_but_no_members(cluster: ClusterHarness) -> None:
    ann, _, _ = members(cluster, "ann", "bob", "cleo")
    post(ann, "1")
    cluster.rest()
    replica = ReplicatedRoom(Room(), Nodes())
    assert replica.restore(None, cluster.end) == 1
    for entry in cluster.log:
        replica.apply(entry)
    replica.flush()
    assert replica.room.names() == ()
    assert [line for _, line in replica.room.history(None)] == [b"MSG ann 1\n"]


def test_oldest_server_is_the_snapshotter(cluster: ClusterHarness) -> None:
    def snapshotters() -> list[ReplicaHarness]:
        return [server for server in cluster.servers if server.runs and server.replica.is_snapshotter]

    a, b, c = cluster.servers
    assert snapshotters() == [a]
    a.finish()
    cluster.rest()
    assert snapshotters() == [b]
    b.dead = True
    cluster.wait(LEASE + 10)
    assert snapshotters() == [c]
    new_server = cluster.add(c.replica.snapshot())
    cluster.rest()
    assert snapshotters() == [c]
    pause_and_resume(cluster, c)
    cluster.rest()
    assert snapshotters() == [new_server]
    assert c.evicted == 1


# Presence limit


def test_presence_limit_counts_the_members_of_all_servers() -> None:
    cluster = ClusterHarness(3, presence_limit=2)
    ann, bob, cleo = members(cluster, "ann", "bob", "cleo")
    assert ann.lines() == ["OK JOIN ann", "JOINED bob"]
    assert bob.lines() == ["OK JOIN bob"]
    ann.send("WHO")
    cluster.rest()
    assert ann.read()[-1] == "OK WHO 3"
    cleo.send("LEAVE")
    cluster.rest()
    assert ann.read() == bob.read() == []
    bob.drop_connection()
    cluster.rest()
    assert ann.read() == ["LEFT bob"]


def test_presence_limit_applies_to_each_leave_of_a_crashed_server() -> None:
    cluster = ClusterHarness(2, presence_limit=3)
    a, b = cluster.servers
    a.join("ann", "dan", "eve")
    (bob,) = b.join("bob")
    new_server = cluster.add(b.replica.snapshot())
    a.dead = True
    cluster.wait(LEASE + 10)
    assert bob.lines() == ["OK JOIN bob", "LEFT dan", "LEFT eve"]
    assert new_server.room.names() == ("bob",)


@pytest.mark.parametrize("limit", [0, 1_000])
def test_messages_are_broadcast_above_the_presence_limit(limit: int) -> None:
    cluster = ClusterHarness(2, presence_limit=limit, backlog=BACKLOG)
    ann, bob = members(cluster, "ann", "bob")
    post(ann, "1")
    cluster.rest()
    assert bob.read() == ["MSG ann 1"]


def test_entry_of_an_unknown_node_registers_it(cluster: ClusterHarness) -> None:
    (ann,) = cluster.servers[0].join("ann")
    cluster.store(Message("", encode_entry("other", 1, [b"JOIN zoe\n", b"MSG zoe hi\n"])))
    cluster.rest()
    assert ann.read() == ["JOINED zoe", "MSG zoe hi"]
    cluster.wait(LEASE + 10)
    assert ann.read() == ["LEFT zoe"]
