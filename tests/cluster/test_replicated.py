import re

import pytest

from simple_chat.cluster.entry import Entry, decode_entry, encode_entry
from simple_chat.cluster.nodes import LEASE, Nodes
from simple_chat.cluster.replicated import Message, ReplicatedRoom
from simple_chat.core.backlog import BACKLOG
from simple_chat.core.codes import Code
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
    """Let one join on each server, who have read everything up to here."""
    clients = [server.join(name)[0] for server, name in zip(cluster.servers, names, strict=False)]
    cluster.read()
    return clients


def say(client: ReplicaClient, *texts: str) -> None:
    """Say something, that is in the log then."""
    client.send(*(f"MSG {text}" for text in texts))
    client.server.speak()


def without_times(client: ReplicaClient) -> list[str]:
    """What was read, and of the past not when it was."""
    return [re.sub(r"^PAST \S+", "PAST", line) for line in client.read()]


def names_on(server: ReplicaHarness) -> list[str]:
    return sorted(server.room.names())


def last(cluster: ClusterHarness) -> Entry:
    return cluster.log[-1]


# Joining


def test_join_is_answered_when_it_is_read_back(cluster: ClusterHarness) -> None:
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


def test_lines_behind_a_join_wait_for_it(cluster: ClusterHarness) -> None:
    a, b, _ = cluster.servers
    (bob,) = b.join("bob")
    ann = a.connect()
    ann.send("JOIN ann", "MSG 1", "PING x")
    a.speak()
    assert ann.session.awaiting_commit
    assert last(cluster).lines == (b"JOIN ann\n",)
    cluster.rest()
    assert ann.read() == ["OK JOIN ann", "PONG x"]
    assert bob.read() == ["JOINED ann", "MSG ann 1"]


@pytest.mark.parametrize("second", ["ann", "Ann", "ANN"])
@pytest.mark.parametrize("first_server", [0, 1])
def test_of_two_who_race_for_a_name_one_gets_it(
    cluster: ClusterHarness, second: str, first_server: int
) -> None:
    (cleo,) = cluster.servers[2].join("cleo")
    racers = [server.connect() for server in cluster.servers[:2]]
    racers[0].send("JOIN ann")
    racers[1].send(f"JOIN {second}")
    winner, loser = racers[first_server], racers[1 - first_server]
    name = winner.sent[0].removeprefix("JOIN ")
    winner.server.speak()
    loser.server.speak()
    cluster.rest()
    assert winner.read() == [f"OK JOIN {name}"]
    assert loser.read() == [TAKEN]
    assert cleo.read() == [f"JOINED {name}"]
    assert all(names_on(server) == sorted([name, "cleo"]) for server in cluster.servers)
    loser.send("JOIN bob")
    cluster.rest()
    assert winner.read() == cleo.read() == ["JOINED bob"]


def test_of_two_on_one_server_too(cluster: ClusterHarness) -> None:
    a, b, _ = cluster.servers
    (bob,) = b.join("bob")
    first, second = a.connect(), a.connect()
    for racer in (first, second):
        racer.send("JOIN ann")
    cluster.rest()
    assert (first.read(), second.read()) == (["OK JOIN ann"], [TAKEN])
    assert bob.read() == ["JOINED ann"]


def test_name_that_is_held_elsewhere_is_refused(cluster: ClusterHarness) -> None:
    cluster.servers[0].join("ann")
    stranger = cluster.servers[1].connect()
    stranger.send("JOIN ANN")
    cluster.rest()
    assert stranger.read() == [TAKEN]


def test_name_that_was_left_elsewhere_is_free_before_that_is_known_here(cluster: ClusterHarness) -> None:
    (ann,) = cluster.servers[0].join("ann")
    server = cluster.servers[1]
    stranger = server.connect()
    ann.send("LEAVE")
    ann.server.speak()
    stranger.send("JOIN ann")
    server.speak()
    cluster.rest()
    assert stranger.read() == ["OK JOIN ann"]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("MSG hi", Code.NOT_JOINED),
        ("LEAVE", Code.NOT_JOINED),
        ("HISTORY", Code.NOT_JOINED),
        ("JOIN .", Code.BAD_NAME),
    ],
)
def test_stranger_is_refused_and_may_go_on(cluster: ClusterHarness, line: str, code: Code) -> None:
    stranger = cluster.servers[0].connect()
    stranger.send(line, "PING")
    cluster.rest()
    assert stranger.read() == [str(Err(code, code.advice)), "PONG"]


def test_member_joins_once(cluster: ClusterHarness) -> None:
    (ann,) = cluster.servers[0].join("ann")
    ann.send("JOIN bob", "HELP", "PASS x")
    cluster.rest()
    lines = ann.read()
    assert lines[0] == str(Err(Code.ALREADY_JOINED, Code.ALREADY_JOINED.advice))
    assert lines[-2:] == ["OK HELP", "OK PASS"]


def test_stranger_is_answered_without_the_log(cluster: ClusterHarness) -> None:
    stranger = cluster.servers[0].connect()
    stranger.send("PING x", "QUIT")
    end = cluster.end
    cluster.servers[0].turn()
    assert stranger.read() == ["PONG x", "BYE quit"]
    assert cluster.end == end


# What is said


def test_messages_have_one_order_and_own_ones_never_come_back(cluster: ClusterHarness) -> None:
    clients = members(cluster, "ann", "bob", "cleo")
    for client in reversed(clients):
        say(client, "1", "2")
    cluster.rest()
    for client in clients:
        say(client, "3")
    cluster.rest()
    sequence = [
        *["MSG cleo 1", "MSG cleo 2", "MSG bob 1", "MSG bob 2", "MSG ann 1", "MSG ann 2"],
        *["MSG ann 3", "MSG bob 3", "MSG cleo 3"],
    ]
    for name, client in zip(("ann", "bob", "cleo"), clients, strict=True):
        assert client.read() == [line for line in sequence if f" {name} " not in line]


def test_members_of_one_server_hear_each_other_in_that_order_too(cluster: ClusterHarness) -> None:
    a, b, _ = cluster.servers
    ann, dan = a.join("ann", "dan")
    (bob,) = b.join("bob")
    cluster.read()
    say(ann, "1")
    say(bob, "2")
    assert dan.read() == []
    say(dan, "3")  # which waits while the first is on its way
    cluster.rest()
    assert ann.read() == ["MSG bob 2", "MSG dan 3"]
    assert bob.read() == ["MSG ann 1", "MSG dan 3"]
    assert dan.read() == ["MSG ann 1", "MSG bob 2"]


def test_one_message_is_on_its_way_at_a_time(cluster: ClusterHarness) -> None:
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
    server.speak()
    assert last(cluster).lines == (b"MSG ann 2\n",)


def test_lines_that_mean_nothing_here_are_passed_over() -> None:
    replica = ReplicatedRoom(Room(), Nodes())
    replica.apply(decode_entry(1, 0, encode_entry("a", 1, [b"JOIN ann\n", b"NICK ben\n", b"MSG ann hi\n"])))
    replica.apply(decode_entry(2, 0, encode_entry("b", 1, [b"LEAVE ann\n", b"LEAVE zoe\n"])))
    assert replica.room.names() == ("ann",)
    assert replica.room.sequence.end == 2


def test_message_has_a_name_of_its_own() -> None:
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


def test_nothing_is_proposed_when_nothing_is_to_be(cluster: ClusterHarness) -> None:
    assert cluster.servers[0].replica.next_message() is None


def test_message_that_is_stored_again_is_heard_once(cluster: ClusterHarness) -> None:
    ann, bob, cleo = members(cluster, "ann", "bob", "cleo")
    say(ann, "1")
    ann.server.store(again=True)
    say(bob, "2")
    ann.server.store(again=True)
    ann.server.deliver()
    say(ann, "3")
    ann.server.store(again=True)
    cluster.rest()
    assert bob.read() == ["MSG ann 1", "MSG ann 3"]
    assert cleo.read() == ["MSG ann 1", "MSG bob 2", "MSG ann 3"]
    assert ann.read() == ["MSG bob 2"]


def test_join_and_leave_that_are_stored_again_happen_once(cluster: ClusterHarness) -> None:
    (bob,) = cluster.servers[1].join("bob")
    ann = cluster.servers[0].connect()
    for line in ("JOIN ann", "LEAVE", "JOIN ann"):
        ann.send(line)
        ann.server.speak()
        ann.server.store(again=True)
        cluster.rest()
    assert ann.read() == ["OK JOIN ann", "OK LEAVE", "OK JOIN ann"]
    assert bob.read() == ["JOINED ann", "LEFT ann", "JOINED ann"]


def test_what_nobody_did_is_passed_over(cluster: ClusterHarness) -> None:
    (ann,) = cluster.servers[0].join("ann")
    for data in (b"stranger 7\nMSG x hi\nLEAVE ann\n", b"stranger 1\nNICK ann\n"):
        cluster.store(Message("", data))
    cluster.log.append(Entry(cluster.end + 1, cluster.time))
    cluster.rest()
    assert ann.read() == []
    assert all(server.replica.position == cluster.end for server in cluster.servers)


def test_server_takes_no_more_when_a_message_is_full(cluster: ClusterHarness) -> None:
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
def test_message_is_small_however_many_leave_at_once(cluster: ClusterHarness, ending: str) -> None:
    """Else NATS takes none of it: what it has to take is a full batch and two lines."""
    a = cluster.servers[0]
    crowd = [a.connect() for _ in range(2 * BATCH_BYTES // 38)]
    for number, client in enumerate(crowd):
        client.send(f"JOIN {number:032}")
    cluster.rest()
    for client in crowd:
        client.lose() if ending == "lose" else client.close()
    cluster.rest()
    assert cluster.servers[1].room.names() == ()
    assert max(sum(map(len, entry.lines)) for entry in cluster.log) <= BATCH_BYTES + 2 * 4_096


# Leaving


def test_leaving_and_coming_back(cluster: ClusterHarness) -> None:
    ann, bob, cleo = members(cluster, "ann", "bob", "cleo")
    ann.send("MSG 1", "LEAVE", "JOIN Ann", "MSG 2")
    ann.server.speak()
    say(bob, "missed?")
    cluster.rest()
    assert ann.read() == ["OK LEAVE", "OK JOIN Ann"]  # bob spoke behind the one, before the other
    assert bob.read() == ["MSG ann 1", "LEFT ann", "JOINED Ann", "MSG Ann 2"]
    assert cleo.read() == ["MSG ann 1", "LEFT ann", "MSG bob missed?", "JOINED Ann", "MSG Ann 2"]


def test_who_leaves_gets_what_came_before(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    say(bob, "before")
    ann.send("LEAVE")
    ann.server.speak()
    say(bob, "behind")
    cluster.rest()
    assert ann.read() == ["MSG bob before", "OK LEAVE"]


@pytest.mark.parametrize("quits", ["QUIT", "half-close"])
def test_quitting(cluster: ClusterHarness, quits: str) -> None:
    ann, bob, cleo = members(cluster, "ann", "bob", "cleo")
    ann.send("MSG 1", "PING x", "MSG 2")
    if quits == "QUIT":
        ann.send("QUIT", "MSG 3")
    else:
        ann.close()
    say(bob, "hi")
    cluster.rest()
    assert ann.session.finished
    assert ann.read() == ["MSG bob hi", "PONG x", "BYE quit"]
    assert bob.read() == ["MSG ann 1", "MSG ann 2", "LEFT ann"]
    assert cleo.read() == ["MSG bob hi", "MSG ann 1", "MSG ann 2", "LEFT ann"]


def test_lost_connection_is_told_once(cluster: ClusterHarness) -> None:
    ann, bob, cleo = members(cluster, "ann", "bob", "cleo")
    say(ann, "1")
    ann.lose()
    cluster.rest()
    assert bob.read() == cleo.read() == ["MSG ann 1", "LEFT ann"]
    assert ann.read() == []
    assert all(names_on(server) == ["bob", "cleo"] for server in cluster.servers)


@pytest.mark.parametrize("asked", ["PING x", "WHO", "HISTORY", "LEAVE", "QUIT"])
@pytest.mark.parametrize("stored", [False, True])
def test_lost_connection_with_a_question_on_its_way(
    cluster: ClusterHarness, asked: str, *, stored: bool
) -> None:
    ann, bob, cleo = members(cluster, "ann", "bob", "cleo")
    ann.send("MSG 1", asked)
    ann.server.turn()
    if stored:
        ann.server.store()
    ann.lose()
    cluster.rest()
    assert ann.read() == []
    assert bob.read() == cleo.read() == ["MSG ann 1", "LEFT ann"]


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_connection_that_is_lost_while_its_join_is_on_its_way(cluster: ClusterHarness, steps: int) -> None:
    (bob,) = cluster.servers[1].join("bob")
    server = cluster.servers[0]
    (dan,) = server.join("dan")
    bob.read()
    ann = server.connect()
    ann.send("JOIN ann", "MSG 1")
    for step in (server.turn, server.store)[:steps]:
        step()
    ann.lose()
    cluster.rest()
    assert ann.read() == []
    assert bob.read() == dan.read() == (["JOINED ann", "LEFT ann"] if steps else [])
    assert all(names_on(server) == ["bob", "dan"] for server in cluster.servers)


def test_connection_that_is_lost_before_it_loses_a_race(cluster: ClusterHarness) -> None:
    a, b, c = cluster.servers
    (cleo,) = c.join("cleo")
    winner, loser = a.connect(), b.connect()
    for racer in (winner, loser):
        racer.send("JOIN ann")
        racer.server.speak()
    loser.lose()
    cluster.rest()
    assert winner.read() == ["OK JOIN ann"]
    assert cleo.read() == ["JOINED ann"]


def test_who_is_sent_away_leaves_in_its_place(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    ann.send("MSG 1", "PING x")
    ann.server.turn()
    ann.end("stalled")
    cluster.rest()
    assert ann.read() == ["PONG x", "BYE stalled"]
    assert bob.read() == ["MSG ann 1", "LEFT ann"]


def test_who_is_sent_away_while_a_question_waits_has_the_answer_before(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    ann.send("PING x")
    ann.server.turn()
    ann.end("stalled")
    cluster.rest()
    assert ann.read() == ["PONG x", "BYE stalled"]
    assert ann.session.finished
    assert bob.read() == ["LEFT ann"]


def test_who_is_sent_away_with_a_join_on_its_way_leaves_behind_it(cluster: ClusterHarness) -> None:
    (bob,) = cluster.servers[1].join("bob")
    ann = cluster.servers[0].connect()
    ann.send("JOIN ann")
    ann.server.turn()
    ann.session.disconnect(Code.JOIN_TIMEOUT)
    cluster.rest()
    assert [line.split()[0] for line in ann.read()] == ["OK", "ERR", "BYE"]
    assert ann.session.finished
    assert bob.read() == ["JOINED ann", "LEFT ann"]


# What is asked


def test_refusal_comes_behind_what_was_said_before(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    say(bob, "first")
    ann.send("MSG 1", "NICK x")
    ann.server.speak()
    cluster.rest()
    assert [line.split()[:2] for line in ann.read()] == [["MSG", "bob"], ["ERR", "unknown-command"]]


def test_pong_comes_behind_all_that_stood_in_the_log(cluster: ClusterHarness) -> None:
    ann, bob, cleo = members(cluster, "ann", "bob", "cleo")
    say(bob, "1")
    cleo.send("LEAVE")
    cleo.server.speak()
    ann.send("PING x")
    ann.server.speak()
    bob.server.deliver()
    say(bob, "2")
    assert ann.read() == []
    ann.server.deliver()
    ann.server.turn()
    assert ann.read() == ["MSG bob 1", "LEFT cleo", "PONG x", "MSG bob 2"]


def test_pong_comes_behind_what_was_said_on_the_same_server(cluster: ClusterHarness) -> None:
    a, b, _ = cluster.servers
    ann, dan = a.join("ann", "dan")
    (bob,) = b.join("bob")
    cluster.read()
    dan.send("MSG 1")
    ann.send("MSG 2", "PING x")
    a.speak()
    say(bob, "3")
    cluster.rest()
    assert ann.read() == ["MSG dan 1", "PONG x", "MSG bob 3"]
    assert dan.read() == ["MSG ann 2", "MSG bob 3"]


def test_questions_are_nothing_to_the_others(cluster: ClusterHarness) -> None:
    ann, bob, cleo = members(cluster, "ann", "bob", "cleo")
    ann.send("PING", "WHO", "HISTORY", "HELP")
    cluster.rest()
    assert bob.read() == cleo.read() == []
    assert [line.split()[0] for line in ann.read() if not line.startswith("INFO")] == [
        *["PONG", "NAMES", "OK", "OK", "OK"]
    ]


def test_who_is_told_as_it_was_at_its_place(cluster: ClusterHarness) -> None:
    a, b, c = cluster.servers
    ann, dan = a.join("ann", "dan")
    bob, cleo, eve = b.connect(), c.connect(), b.connect()
    bob.send("JOIN bob")
    b.speak()
    ann.send("WHO")
    a.speak()
    cleo.send("JOIN cleo")
    c.speak()
    cluster.rest()
    dan.send("LEAVE")
    a.speak()
    eve.send("WHO")
    cluster.rest()
    assert ann.read() == ["JOINED bob", "NAMES ann dan bob", "OK WHO 3", "JOINED cleo", "LEFT dan"]
    assert eve.read() == ["NAMES bob ann cleo", "OK WHO 3"]  # first who is here


def test_history_is_of_all_servers_and_the_same_on_all(cluster: ClusterHarness) -> None:
    clients = members(cluster, "ann", "bob", "cleo")
    for text in ("1", "2"):
        for client in clients:
            say(client, text)
        cluster.rest()
    cluster.read()
    for client in clients:
        client.send("HISTORY", "HISTORY 1")
    cluster.rest()
    for client in clients:
        assert without_times(client) == [
            *["PAST ann 1", "PAST bob 1", "PAST cleo 1", "PAST ann 2", "PAST bob 2", "PAST cleo 2"],
            *["OK HISTORY 6", "PAST cleo 2", "OK HISTORY 1"],
        ]


def test_history_reaches_up_to_its_place(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    say(bob, "1")
    ann.send("HISTORY")
    ann.server.speak()
    bob.server.deliver()
    say(bob, "2")
    cluster.rest()
    assert without_times(ann) == ["MSG bob 1", "PAST bob 1", "OK HISTORY 1", "MSG bob 2"]


def test_slow_reader_gets_everything_in_its_place(cluster: ClusterHarness) -> None:
    ann, bob, cleo = members(cluster, "ann", "bob", "cleo")
    ann.block()
    for number in range(4):
        say(bob, f"{number} {LONG}")
        say(cleo, str(number))
        cluster.rest()
    ann.send("MSG 4")
    cluster.rest()
    assert ann.read() == []
    ann.unblock()
    ann.send("PING x")
    say(bob, "5")
    cluster.rest()
    assert [line.split()[1:3] for line in ann.read()] == [
        *[[name, str(number)] for number in range(4) for name in ("bob", "cleo")],
        *[["bob", "5"], ["x"]],
    ]


def test_reader_who_is_too_slow_is_told_what_it_missed() -> None:
    cluster = ClusterHarness(2, backlog=2_000)
    ann, bob = members(cluster, "ann", "bob")
    ann.block()
    for number in range(9):
        say(bob, f"{number} {'x' * 500}")
        cluster.rest()
    ann.unblock()
    ann.send("PING x")
    cluster.rest()
    gap, *heard, pong = ann.read()
    assert pong == "PONG x"
    assert gap == f"GAP {9 - len(heard)}"
    assert heard
    assert heard[-1].startswith("MSG bob 8")


# How a server ends


def test_server_that_leaves_in_order(cluster: ClusterHarness) -> None:
    a, b, c = cluster.servers
    ann, dan, eve = a.join("ann", "dan", "eve")
    (bob,) = b.join("bob")
    (cleo,) = c.join("cleo")
    cluster.read()
    dan.send("MSG 1")
    say(bob, "2")
    a.turn()
    a.finish()
    a.store()
    say(cleo, "3")
    cluster.rest()
    say(bob, "4")
    cluster.rest()
    assert ann.read() == ["MSG bob 2", "MSG dan 1", "MSG cleo 3", "BYE shutdown"]
    assert dan.read() == ["MSG bob 2", "MSG cleo 3", "BYE shutdown"]
    assert eve.session.finished
    gone = ["LEFT ann", "LEFT dan", "LEFT eve"]
    assert bob.read() == ["MSG dan 1", "MSG cleo 3", *gone]
    assert cleo.read() == ["MSG bob 2", "MSG dan 1", *gone, "MSG bob 4"]
    assert names_on(b) == names_on(c) == ["bob", "cleo"]


def test_server_without_members_leaves_without_a_word(cluster: ClusterHarness) -> None:
    (bob,) = cluster.servers[1].join("bob")
    cluster.servers[0].finish()
    cluster.rest()
    cluster.wait(LEASE + 10)
    assert bob.read() == []


def test_server_that_left_is_not_dead_later(cluster: ClusterHarness) -> None:
    a, b, _ = cluster.servers
    a.join("ann")
    a.finish()
    cluster.rest()
    (ann,) = b.join("ann")  # the name is free
    cluster.wait(LEASE + 10)
    assert ann.read() == []
    assert names_on(b) == ["ann"]
    assert a.evicted == 0


def test_what_is_asked_behind_the_end_is_answered_at_the_end(cluster: ClusterHarness) -> None:
    a, b, _ = cluster.servers
    ann, dan, eve, fay = a.join("ann", "dan", "eve", "fay")
    (bob,) = b.join("bob")
    stranger = a.connect()
    cluster.read()
    say(bob, "1")
    a.finish()
    ann.send("PING x")
    dan.send("LEAVE", "PING y")
    eve.lose()
    fay.send("QUIT")
    stranger.send("JOIN zoe")
    a.turn()
    assert ann.read() == dan.read() == fay.read() == stranger.read() == []
    cluster.rest()
    assert ann.read() == ["MSG bob 1", "PONG x", "BYE shutdown"]
    assert dan.read()[:2] == ["MSG bob 1", "OK LEAVE"]
    assert fay.read() == ["MSG bob 1", "BYE quit"]
    assert stranger.read() == [BUSY, "BYE shutdown"]
    assert bob.read() == ["LEFT ann", "LEFT dan", "LEFT eve", "LEFT fay"]


def test_what_comes_in_the_last_message_is_heard_before_answers_and_without_a_gap(
    cluster: ClusterHarness,
) -> None:
    """PONG means that everything before it was sent; and nothing has to be missed at an end in order."""
    a = cluster.servers[0]
    ann, dan, eve, fay = a.join("ann", "dan", "eve", "fay")
    cluster.read()
    dan.send("MSG 1")
    a.turn()
    eve.send("MSG 2")
    a.turn()  # it waits while the first is on its way
    a.finish()
    ann.send("PING x")
    dan.send("LEAVE")
    fay.send("QUIT")
    cluster.rest()
    assert ann.read() == ["MSG dan 1", "MSG eve 2", "PONG x", "BYE shutdown"]
    assert dan.read()[:2] == ["MSG eve 2", "OK LEAVE"]
    assert fay.read() == ["MSG dan 1", "MSG eve 2", "BYE quit"]


def test_pong_does_not_stand_for_what_is_not_taken_any_more(cluster: ClusterHarness) -> None:
    """What is said behind the end is refused, or else no PONG may come behind it."""
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


def test_dead_server_s_members_leave_at_one_place(cluster: ClusterHarness) -> None:
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
    heard = cleo.read()
    place = heard.index("LEFT ann")
    assert heard[place : place + 2] == ["LEFT ann", "LEFT dan"]
    assert [line for line in heard if line.startswith("LEFT")] == ["LEFT ann", "LEFT dan"]
    assert bob.read() == ["LEFT ann", "LEFT dan"]
    assert LEASE / 2.5 - 2 <= place <= LEASE / 2.5 + 2
    eve = c.connect()
    eve.send("JOIN Ann")
    cluster.rest()
    assert eve.read() == ["OK JOIN Ann"]


def test_dead_server_s_members_leave_at_the_same_place_for_all_survivors(cluster: ClusterHarness) -> None:
    a, b, c = cluster.servers
    a.join("ann", "dan")
    bob, watcher = b.join("bob", "bill")
    (cleo,) = c.join("cleo")
    cluster.read()
    a.dead = True
    for number in range(20):
        for client in (bob, cleo):
            client.send(f"MSG {number}")
            client.server.speak()
        cluster.wait(2.5)
    heard = watcher.read()
    assert [line for line in heard if " bob " not in line] == bob.read()
    assert [line for line in heard if " cleo " not in line] == cleo.read()
    assert heard.count("LEFT ann") == heard.count("LEFT dan") == 1


def test_what_a_server_said_before_it_died_is_heard(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    say(ann, "last")
    ann.server.dead = True
    cluster.wait(LEASE + 5)
    assert bob.read() == ["MSG ann last", "LEFT ann"]


def test_no_server_dies_while_all_are_there(cluster: ClusterHarness) -> None:
    clients = members(cluster, "ann", "bob", "cleo")
    cluster.wait(10 * LEASE)
    assert all(client.read() == [] for client in clients)
    assert [server.evicted for server in cluster.servers] == [0, 0, 0]


def test_no_server_dies_because_the_log_was_away(cluster: ClusterHarness) -> None:
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


# A server that is taken for dead and is not


def pause(cluster: ClusterHarness, server: ReplicaHarness, seconds: float = LEASE + 5) -> None:
    server.paused = True
    cluster.wait(seconds)
    server.paused = False


def test_paused_server_that_comes_back_is_expelled(cluster: ClusterHarness) -> None:
    a, b, _ = cluster.servers
    ann, dan = a.join("ann", "dan")
    (bob,) = b.join("bob")
    cluster.read()
    stranger = a.connect()
    ann.send("MSG never heard", "LEAVE")
    a.turn()
    dan.send("MSG neither", "PING x")
    stranger.send("JOIN zoe")
    a.turn()
    bob.send("MSG heard")
    pause(cluster, a)
    assert bob.read() == ["LEFT ann", "LEFT dan"]
    a.store()  # too late
    for _ in cluster.log:
        a.deliver(1)
    cluster.rest()
    assert a.evicted == 1
    assert all(client.lost for client in (ann, dan, stranger))
    assert ann.read() == dan.read() == ["MSG bob heard"]
    assert stranger.read() == bob.read() == []
    assert all(server.room.names() == ("bob",) for server in cluster.servers)


def test_server_that_was_paused_in_time_goes_on(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    ann.send("MSG 1", "PING x")
    ann.server.turn()
    bob.send("MSG 2")
    pause(cluster, ann.server, LEASE - 10)
    cluster.rest()
    assert ann.read() == ["MSG bob 2", "PONG x"]
    assert bob.read() == ["MSG ann 1"]
    assert ann.server.evicted == 0


def test_expelled_server_begins_again(cluster: ClusterHarness) -> None:
    ann, bob, cleo = members(cluster, "ann", "bob", "cleo")
    ann.send("MSG lost")
    ann.server.turn()
    pause(cluster, ann.server)
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
    pause(cluster, ann.server)
    assert bob.read() == cleo.read() == ["LEFT ann"]
    cluster.rest()
    assert ann.server.evicted == 2


def test_room_tells_that_it_was_expelled_until_it_begins(cluster: ClusterHarness) -> None:
    server = cluster.servers[0]
    server.join("ann")
    server.replica.evict()
    expelled = server.replica.evicted
    assert server.room.names() == ()
    assert not server.replica.in_flight
    assert server.replica.next_message() is None
    server.begin()
    assert (expelled, server.replica.evicted) == (True, False)


def test_server_that_was_cut_off_for_too_long_is_expelled(cluster: ClusterHarness) -> None:
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


def start_over(server: ReplicaHarness, snapshot: bytes) -> None:
    """Go on from a snapshot without knowing what happened meanwhile, as when a part of the log was lost."""
    server.replica.evict()
    server.cut()
    server.position = server.replica.restore(snapshot, 0) - 1
    server.deliver()


def test_server_that_starts_over_remembers_nothing_twice(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    say(ann, "1")
    cluster.rest()
    say(bob, "2")
    cluster.rest()
    start_over(ann.server, bob.server.replica.snapshot())
    ann.server.begin()
    cluster.rest()
    cluster.wait(LEASE + 5)
    (back,) = ann.server.join("ann")
    back.send("HISTORY")
    bob.send("HISTORY")
    cluster.rest()
    assert without_times(back) == ["PAST ann 1", "PAST bob 2", "OK HISTORY 2"]
    assert without_times(bob)[-3:] == ["PAST ann 1", "PAST bob 2", "OK HISTORY 2"]


def test_server_that_starts_over_knows_who_came_through_it_before(cluster: ClusterHarness) -> None:
    """It is not the old one any more: what that did stands in the log as anybody's else."""
    a, b, _ = cluster.servers
    snapshot = b.replica.snapshot()
    (ann,) = a.join("ann")
    b.join("bob")
    say(ann, "1")
    cluster.rest()
    start_over(a, snapshot)
    assert names_on(a) == names_on(b) == ["ann", "bob"]
    a.begin()
    (cleo,) = a.join("cleo")
    cleo.send("HISTORY")
    cluster.rest()
    assert without_times(cleo) == ["PAST ann 1", "OK HISTORY 1"]
    cluster.wait(LEASE + 5)
    assert names_on(a) == names_on(b) == ["bob", "cleo"]


def test_who_comes_before_a_server_begins_again_is_answered(cluster: ClusterHarness) -> None:
    a = cluster.servers[0]
    a.replica.evict()
    a.cut()
    ann = a.connect()
    ann.send("JOIN ann")
    a.turn()
    a.begin()
    cluster.rest()
    assert not ann.session.awaiting_commit
    assert [line.split()[0] for line in ann.read()] in (["OK"], ["ERR"])


# While the log is away


def test_nothing_is_lost_while_the_log_is_away(cluster: ClusterHarness) -> None:
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


def test_lines_are_refused_when_enough_wait_and_those_before_are_not_lost(cluster: ClusterHarness) -> None:
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
    say(ann, "again")
    cluster.rest()
    assert bob.read() == ["MSG ann again"]
    assert ann.read() == []


def test_nobody_joins_while_the_log_is_away(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    ann.server.suspend()
    dan = ann.server.connect()
    dan.send(*["JOIN dan"] * 20, "JOIN ANN", "JOIN Bob", "WHO")
    cluster.rest()
    *refused, names, count = dan.read()
    assert refused == [*[BUSY] * 20, TAKEN, TAKEN]  # too often to be a mistake of his
    assert sorted(names.split()[1:]) == ["ann", "bob", "cleo"]
    assert count == "OK WHO 3"
    ann.server.resume()
    cluster.rest()
    dan.send("JOIN dan")
    cluster.rest()
    assert dan.read() == ["OK JOIN dan"]
    assert bob.read() == ["JOINED dan"]


def test_join_that_waits_to_be_proposed_is_refused(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    ann.send("MSG 1")
    ann.server.turn()
    dan, eve = ann.server.connect(), ann.server.connect()
    dan.send("JOIN dan", "PING x")
    eve.send("JOIN eve")
    ann.server.turn()
    eve.lose()
    ann.server.suspend()
    cluster.rest()
    assert dan.read() == [BUSY, "PONG x"]
    ann.server.resume()
    cluster.rest()
    assert bob.read() == ["MSG ann 1"]


def test_join_that_is_on_its_way_waits(cluster: ClusterHarness) -> None:
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


QUESTIONS = [
    ("WHO", ["NAMES", "OK"]),
    ("HISTORY", ["PAST", "OK"]),
]
PING = ("PING x", ["PONG"])


def verbs(client: ReplicaClient) -> list[str]:
    return [line.split()[0] for line in client.read()]


@pytest.mark.parametrize(("question", "answer"), QUESTIONS)
def test_who_said_nothing_is_answered_at_once(
    cluster: ClusterHarness, question: str, answer: list[str]
) -> None:
    a, b, _ = cluster.servers
    ann, dan = a.join("ann", "dan")
    (bob,) = b.join("bob")
    say(bob, "0")
    cluster.rest()
    cluster.read()
    say(ann, "1")
    a.suspend()
    dan.send(question, question)
    cluster.rest()
    assert verbs(dan) == answer * 2
    a.resume()
    cluster.rest()
    assert dan.read() == ["MSG ann 1"]


@pytest.mark.parametrize("asked_before", [False, True])
def test_pong_waits_for_what_others_may_have_said_meanwhile(
    cluster: ClusterHarness, *, asked_before: bool
) -> None:
    a, b, _ = cluster.servers
    ann, dan = a.join("ann", "dan")
    (bob,) = b.join("bob")
    cluster.read()
    if asked_before:
        say(dan, "0")
        a.turn()
        ann.send("PING x")  # which waits to be proposed
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


@pytest.mark.parametrize(("question", "answer"), [*QUESTIONS, PING])
@pytest.mark.parametrize("turn_between", [False, True])
def test_who_said_something_is_answered_behind_it(
    cluster: ClusterHarness, question: str, answer: list[str], *, turn_between: bool
) -> None:
    a, b, _ = cluster.servers
    ann, dan = a.join("ann", "dan")
    (bob,) = b.join("bob")
    say(bob, "0")
    cluster.rest()
    cluster.read()
    dan.send("MSG 1")
    if turn_between:
        a.turn()  # it is on its way
    a.suspend()
    dan.send(question)
    cluster.rest()
    assert dan.read() == []
    a.resume()
    cluster.rest()
    assert verbs(dan) == (["PAST", *answer] if question == "HISTORY" else answer)
    assert ann.read() == bob.read() == ["MSG dan 1"]


@pytest.mark.parametrize(("question", "answer"), QUESTIONS)
@pytest.mark.parametrize("speaks", [False, True])
def test_question_that_waits_to_be_proposed_need_not(
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


def test_leaving_waits_for_the_log(cluster: ClusterHarness) -> None:
    ann, bob, cleo = members(cluster, "ann", "bob", "cleo")
    ann.server.suspend()
    bob.server.suspend()
    ann.send("LEAVE", "JOIN ann")
    bob.lose()
    cluster.rest()
    assert ann.read() == cleo.read() == []
    ann.server.resume()
    cluster.rest()
    bob.server.resume()
    cluster.rest()
    assert ann.read() == ["OK LEAVE", "OK JOIN ann", "LEFT bob"]
    assert cleo.read() == ["LEFT ann", "JOINED ann", "LEFT bob"]


def test_answer_does_not_overtake_what_was_read_with_it(cluster: ClusterHarness) -> None:
    a, b, _ = cluster.servers
    ann, dan = a.join("ann", "dan")
    (bob,) = b.join("bob")
    cluster.read()
    ann.send("WHO")
    dan.send("LEAVE")
    a.turn()
    a.suspend()
    say(bob, "1")
    b.speak()
    a.resume()
    a.store()
    a.follow()
    a.turn()  # before it is handed out, and without knowing that the log is back
    cluster.rest()
    assert ann.read() == ["MSG bob 1", "NAMES ann dan bob", "OK WHO 3", "LEFT dan"]
    assert dan.read() == ["MSG bob 1", "OK LEAVE"]


def test_lost_connection_whose_question_is_answered_leaves_all_the_same(cluster: ClusterHarness) -> None:
    a, b, _ = cluster.servers
    ann, dan = a.join("ann", "dan")
    (bob,) = b.join("bob")
    cluster.read()
    dan.send("MSG 1")
    a.turn()
    ann.send("PING x")
    dan.send("MSG 2")
    a.turn()
    ann.lose()
    a.suspend()
    cluster.rest()
    a.resume()
    cluster.rest()
    assert ann.read() == []
    assert sorted(bob.read()) == ["LEFT ann", "MSG dan 1", "MSG dan 2"]


def test_everything_is_in_order_behind_it(cluster: ClusterHarness) -> None:
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


def test_message_that_was_stored_before_the_log_went_away_is_said_once(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    say(ann, "1")
    ann.server.suspend()
    cluster.rest()
    assert bob.read() == ["MSG ann 1"]
    ann.server.resume()
    ann.server.store(again=True)
    ann.send("PING x")
    cluster.rest()
    assert bob.read() == []
    assert ann.read() == ["PONG x"]


def test_server_ends_when_the_log_is_back(cluster: ClusterHarness) -> None:
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


# Servers that begin later


def test_server_that_begins_later_goes_on_as_the_others(cluster: ClusterHarness) -> None:
    a, b, c = cluster.servers
    ann, _ = a.join("ann", "Dan")
    bob, _ = b.join("bob", "eve")
    (cleo,) = c.join("cleo")
    say(ann, "before")
    cluster.rest()
    snapshot = b.replica.snapshot()
    ann.send("LEAVE", "JOIN ann", "MSG between")
    cluster.rest()
    cluster.read()
    newcomer = cluster.add(snapshot)
    assert names_on(newcomer) == names_on(a) == ["Dan", "ann", "bob", "cleo", "eve"]
    (fay,) = newcomer.join("fay")
    cluster.read()
    say(bob, "1")
    fay.send("MSG 2", "WHO", "JOIN x")
    cluster.rest()
    heard, names, count, refused = fay.read()
    assert (heard, count) == ("MSG bob 1", "OK WHO 6")
    assert names.split()[1] == "fay"
    assert sorted(names.split()[1:]) == ["Dan", "ann", "bob", "cleo", "eve", "fay"]
    assert refused.startswith("ERR already-joined")
    assert cleo.read() == ["MSG bob 1", "MSG fay 2"]
    a.finish()
    b.dead = True
    cluster.wait(LEASE + 10)
    assert fay.read() == cleo.read() == ["LEFT Dan", "LEFT ann", "LEFT bob", "LEFT eve"]
    assert names_on(newcomer) == names_on(c) == ["cleo", "fay"]


def test_newcomer_buries_who_died_long_before(cluster: ClusterHarness) -> None:
    a, b, c = cluster.servers
    a.join("ann")
    (bob,) = b.join("bob")
    a.dead = True
    cluster.wait(LEASE - 10)
    newcomer = cluster.add(b.replica.snapshot())
    cluster.rest()
    (dan,) = newcomer.join("dan")
    (eve,) = c.join("eve")
    cluster.read()
    cluster.wait(20)
    assert bob.read() == dan.read() == eve.read() == ["LEFT ann"]


def test_newcomer_knows_which_messages_were_there(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    say(ann, "1")
    bob.server.deliver()
    newcomer = cluster.add(bob.server.replica.snapshot())
    (dan,) = newcomer.join("dan")
    ann.server.store(again=True)
    cluster.rest()
    assert dan.read() == []
    assert "MSG ann 1" in bob.lines()


@pytest.mark.parametrize("behind", [0, 2])
def test_newcomer_has_the_same_history(cluster: ClusterHarness, behind: int) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    for number in range(5):
        say(ann, str(number), "more")
        say(bob, str(number))
        cluster.rest()
    snapshot = bob.server.replica.snapshot()
    for number in range(behind):
        say(ann, f"late {number}")
        cluster.rest()
    (dan,) = cluster.add(snapshot).join("dan")
    cluster.read()
    for client in (ann, dan):
        client.send("HISTORY", "HISTORY 4")
    cluster.rest()
    past = without_times(ann)
    assert past[15 + behind] == f"OK HISTORY {15 + behind}"
    assert without_times(dan) == past


def test_newcomer_knows_when_something_was_said(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    for number in range(3):
        say(ann, str(number))
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


def test_newcomer_s_newcomer_has_it_too(cluster: ClusterHarness) -> None:
    ann, _, _ = members(cluster, "ann", "bob", "cleo")
    say(ann, "1")
    cluster.rest()
    newcomer = cluster.add(ann.server.replica.snapshot())
    say(ann, "2")
    cluster.rest()
    (dan,) = cluster.add(newcomer.replica.snapshot()).join("dan")
    dan.send("HISTORY")
    cluster.rest()
    assert [line.split()[-1] for line in dan.read()] == ["1", "2", "2"]


def test_newcomer_does_not_remember_what_was_not_said(cluster: ClusterHarness) -> None:
    """A message that is there again, and one of a server that was taken for dead, were heard by nobody."""
    ann, bob, cleo = members(cluster, "ann", "bob", "cleo")
    say(bob, "1")
    bob.server.store(again=True)
    cluster.rest()
    ann.send("MSG never heard")
    ann.server.turn()
    pause(cluster, ann.server)
    ann.server.store()
    cluster.rest()
    say(bob, "2")
    cluster.rest()
    (dan,) = cluster.add(cleo.server.replica.snapshot()).join("dan")
    cluster.read()
    for client in (cleo, dan):
        client.send("HISTORY")
    cluster.rest()
    assert without_times(cleo) == ["PAST bob 1", "PAST bob 2", "OK HISTORY 2"]
    assert without_times(dan) == ["PAST bob 1", "PAST bob 2", "OK HISTORY 2"]


def test_table_reaches_back_for_a_history_and_no_further(cluster: ClusterHarness) -> None:
    ann, bob, _ = members(cluster, "ann", "bob", "cleo")
    for number in range(HISTORY + 50):
        say(ann, str(number))
        ann.server.deliver()
    cluster.rest()
    replica = ReplicatedRoom(Room(), Nodes())
    start = replica.restore(bob.server.replica.snapshot(), 0)
    said = sum(line.startswith(b"MSG ") for entry in cluster.log[start - 1 :] for line in entry.lines)
    assert HISTORY <= said <= HISTORY + 1
    (dan,) = cluster.add(bob.server.replica.snapshot()).join("dan")
    dan.send("HISTORY")
    cluster.rest()
    past = dan.read()
    assert past[-1] == f"OK HISTORY {HISTORY}"
    assert past[0].endswith(" ann 50")


def test_table_of_a_silent_room_points_behind_it(cluster: ClusterHarness) -> None:
    cluster.servers[0].join("ann")
    replica = ReplicatedRoom(Room(), Nodes())
    assert replica.restore(cluster.servers[1].replica.snapshot(), 0) == cluster.end + 1
    assert replica.position == cluster.end
    assert replica.room.names() == ("ann",)


def test_without_a_table_nobody_is_there(cluster: ClusterHarness) -> None:
    ann, _, _ = members(cluster, "ann", "bob", "cleo")
    say(ann, "1")
    cluster.rest()
    replica = ReplicatedRoom(Room(), Nodes())
    assert replica.restore(None, cluster.end) == 1
    for entry in cluster.log:
        replica.apply(entry)
    replica.flush()
    assert replica.room.names() == ()
    assert [line for _, line in replica.room.history(None)] == [b"MSG ann 1\n"]


def test_server_that_is_there_for_the_longest_time_keeps_the_table(cluster: ClusterHarness) -> None:
    def keepers() -> list[ReplicaHarness]:
        return [server for server in cluster.servers if server.runs and server.replica.is_snapshotter]

    a, b, c = cluster.servers
    assert keepers() == [a]
    a.finish()
    cluster.rest()
    assert keepers() == [b]
    b.dead = True
    cluster.wait(LEASE + 10)
    assert keepers() == [c]
    newcomer = cluster.add(c.replica.snapshot())
    cluster.rest()
    assert keepers() == [c]
    pause(cluster, c)
    cluster.rest()
    assert keepers() == [newcomer]
    assert c.evicted == 1


# How many there are


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
    bob.lose()
    cluster.rest()
    assert ann.read() == ["LEFT bob"]


def test_presence_limit_counts_those_of_a_dead_server_one_by_one() -> None:
    cluster = ClusterHarness(2, presence_limit=3)
    a, b = cluster.servers
    a.join("ann", "dan", "eve")
    (bob,) = b.join("bob")
    newcomer = cluster.add(b.replica.snapshot())
    a.dead = True
    cluster.wait(LEASE + 10)
    assert bob.lines() == ["OK JOIN bob", "LEFT dan", "LEFT eve"]
    assert newcomer.room.names() == ("bob",)


@pytest.mark.parametrize("limit", [0, 1_000])
def test_messages_are_sent_beyond_the_limit(limit: int) -> None:
    cluster = ClusterHarness(2, presence_limit=limit, backlog=BACKLOG)
    ann, bob = members(cluster, "ann", "bob")
    say(ann, "1")
    cluster.rest()
    assert bob.read() == ["MSG ann 1"]


def test_entry_of_a_stranger_introduces_it(cluster: ClusterHarness) -> None:
    (ann,) = cluster.servers[0].join("ann")
    cluster.store(Message("", encode_entry("other", 1, [b"JOIN zoe\n", b"MSG zoe hi\n"])))
    cluster.rest()
    assert ann.read() == ["JOINED zoe", "MSG zoe hi"]
    cluster.wait(LEASE + 10)
    assert ann.read() == ["LEFT zoe"]
