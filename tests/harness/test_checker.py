"""The checker itself: it lets correct recordings pass and finds every fault that is planted in one."""

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness.checker import check
from tests.harness.transcript import End, Recording, Violation

Recordings = dict[str, Recording]


@dataclass(slots=True)
class Client:
    """What a client of the ideal room sent and received, and where it is."""

    sent: list[str] = field(default_factory=list)
    received: list[str] = field(default_factory=lambda: ["HELLO simple_chat/1 hi"])
    name: str | None = None
    missed: int | None = None  # lines, while it lags behind
    end: End | None = None
    torn: str = ""


class IdealRoom:
    """A room that keeps every promise, and writes down what its clients would.

    Args:
        presence_limit: members up to which JOINED and LEFT are told.
    """

    def __init__(self, presence_limit: int = 100) -> None:
        self._presence_limit = presence_limit
        self._texts = 0
        self.sequence: list[str] = []
        self.clients: dict[str, Client] = {}
        self.join("observer")

    def join(self, label: str, name: str = "") -> None:
        client = self.clients.setdefault(label, Client())
        client.name = name or label
        self._tell(client, f"JOINED {client.name}")
        self._answer(client, f"JOIN {client.name}", f"OK JOIN {client.name}")

    def leave(self, label: str, command: str = "LEAVE", answer: str = "OK LEAVE") -> None:
        client = self.clients[label]
        self._go(client)
        self._answer(client, command, answer)

    def quit(self, label: str) -> None:
        self.leave(label, "QUIT", "BYE quit")
        self.clients[label].end = End.CLEAN

    def vanish(self, label: str) -> None:
        client = self.clients[label]
        client.torn = "MSG half of a li"
        client.sent.append("MSG that nobody got")
        client.end = End.VANISHED
        self._go(client)

    def say(self, label: str) -> None:
        client = self.clients[label]
        self._texts += 1
        client.sent.append(f"MSG {label} {self._texts}")
        self._tell(client, f"MSG {client.name} {label} {self._texts}")

    def ping(self, label: str) -> None:
        self._answer(self.clients[label], "PING x", "PONG x")

    def lag(self, label: str) -> None:
        client = self.clients[label]
        client.missed = client.missed or 0

    def shut_down(self) -> None:
        for client in self.clients.values():
            if client.end is None:
                if client is not self.clients["observer"]:
                    client.sent.append("MSG too late")
                self._catch_up(client)
                client.received.append("BYE shutdown")
                client.end = End.CLEAN

    def recordings(self) -> Recordings:
        return {
            label: Recording(
                label=label,
                sent=client.sent,
                received="".join([*(f"{line}\n" for line in client.received), client.torn]).encode(),
                end=client.end or End.VANISHED,
            )
            for label, client in self.clients.items()
        }

    def _go(self, client: Client) -> None:
        self._tell(client, f"LEFT {client.name}")
        client.name = None

    def _tell(self, author: Client, line: str) -> None:
        members = [client for client in self.clients.values() if client.name is not None]
        if not line.startswith("MSG ") and len(members) > self._presence_limit:
            return
        for client in members:
            if client is author:
                continue
            if client.missed is None:
                client.received.append(line)
            else:
                client.missed += 1
        if author is not self.clients["observer"]:
            self.sequence.append(line)

    def _answer(self, client: Client, command: str, answer: str) -> None:
        self._catch_up(client)
        client.sent.append(command)
        client.received.append(answer)

    def _catch_up(self, client: Client) -> None:
        if client.missed:
            client.received.append(f"GAP {client.missed}")
        client.missed = None


def verify(recordings: Recordings, *, presence: bool = True) -> list[str]:
    others = [recording for label, recording in recordings.items() if label != "observer"]
    return check(recordings["observer"], others, presence=presence)


GUESTS = [f"guest{number}" for number in range(5)]
ACTIONS = ["join", "say", "say", "say", "leave", "ping", "lag", "quit", "vanish"]


def play(room: IdealRoom, script: list[tuple[str, str]]) -> Recordings:
    """Let guests do what is in the script, where it is possible, and shut the room down."""
    for label, action in script:
        guest = room.clients.get(label)
        inside = guest is not None and guest.name is not None
        if guest is not None and guest.end is not None:
            continue
        if action == "join" and not inside:
            room.join(label)
        elif action == "join":
            continue
        elif inside:
            getattr(room, action)(label)
    room.shut_down()
    return room.recordings()


OF_THE_ROOM = ("MSG ", "JOINED ", "LEFT ")

scripts = st.lists(st.tuples(st.sampled_from(GUESTS), st.sampled_from(ACTIONS)), max_size=80)


@settings(deadline=None)
@given(scripts)
def test_a_correct_recording_passes(script: list[tuple[str, str]]) -> None:
    room = IdealRoom()
    assert verify(play(room, script)) == room.sequence


@settings(deadline=None)
@given(scripts, st.integers(0, 6))
def test_a_correct_recording_passes_where_presence_is_told_sometimes(
    script: list[tuple[str, str]], limit: int
) -> None:
    room = IdealRoom(presence_limit=limit)
    assert verify(play(room, script), presence=False) == room.sequence


@settings(deadline=None)
@given(scripts, st.randoms())
def test_a_line_lost_doubled_or_swapped_for_one_member_is_found(
    script: list[tuple[str, str]], choice: random.Random
) -> None:
    recordings = play(IdealRoom(), script)
    candidates = [
        (label, place)
        for label, recording in recordings.items()
        if label != "observer" and recording.end is End.CLEAN
        for place, line in enumerate(lines_of(recording))
        if line.startswith(OF_THE_ROOM)
    ]
    if not candidates:
        return
    label, place = choice.choice(candidates)
    lines = lines_of(recordings[label])
    line, behind = lines[place : place + 2]
    faults = [[behind], [line, line, behind]]
    if behind.startswith(OF_THE_ROOM):  # an answer one line too early can't be told from a quicker one
        faults.append([behind, line])
    lines[place : place + 2] = choice.choice(faults)
    with pytest.raises(Violation):
        verify(recordings | {label: received(recordings[label], lines)})


def lines_of(recording: Recording) -> list[str]:
    return recording.received.decode().splitlines()


def received(recording: Recording, lines: list[str]) -> Recording:
    """The recording with other lines received."""
    return Recording(
        label=recording.label,
        sent=recording.sent,
        received="".join(f"{line}\n" for line in lines).encode(),
        end=recording.end,
    )


def a_visit() -> Recordings:
    """A short recording in which every fault has its place."""
    room = IdealRoom()
    room.join("ann")
    room.join("bob")
    for speaker in ("ann", "bob", "ann", "ann"):
        room.say(speaker)
        room.ping(speaker)
    room.leave("ann")
    room.join("eve", "Ann")
    room.say("bob")
    room.lag("eve")
    for _ in range(3):
        room.say("bob")
        room.say("eve")
    room.ping("eve")
    room.say("bob")
    room.vanish("bob")
    room.quit("eve")
    room.shut_down()
    return room.recordings()


@pytest.mark.parametrize(
    ("streams", "old", "new", "reason"),
    [
        # for one
        (
            ["bob"],
            "MSG ann ann 1\n",
            "",
            "bob: the answer behind 'MSG bob bob 2' came where 'MSG ann ann 1' was due",
        ),
        (["bob"], "MSG ann ann 3\n", "MSG ann ann 3\nMSG ann ann 3\n", "came where 'MSG ann ann 4' was due"),
        (
            ["bob"],
            "MSG ann ann 3\nMSG ann ann 4\n",
            "MSG ann ann 4\nMSG ann ann 3\n",
            "'MSG ann ann 3' was due",
        ),
        (["ann"], "MSG bob bob 2\n", "MSG ann ann 1\nMSG bob bob 2\n", "'MSG ann ann 1' came where"),
        (["ann"], "PONG x\n", "MSG ann ann 1\nPONG x\n", "'MSG ann ann 1' came back to its sender"),
        (
            ["bob"],
            "MSG ann ann 3\n",
            "MSG ann made up\n",
            "'MSG ann made up' came where 'MSG ann ann 3' was due",
        ),
        (["bob"], "LEFT ann\n", "", "came where 'LEFT ann' was due"),
        (["bob"], "JOINED Ann\n", "", "came where 'JOINED Ann' was due"),
        (
            ["eve"],
            "OK JOIN Ann\n",
            "LEFT ann\nOK JOIN Ann\n",
            "eve: 'LEFT ann' came while it was not in the room",
        ),
        (["ann"], "OK LEAVE\n", "OK LEAVE\nJOINED Ann\n", "'JOINED Ann' came while it was not in the room"),
        (["eve"], "LEFT bob\nBYE quit\n", "BYE quit\n", "'BYE quit' came where 'LEFT bob' was due"),
        (["eve"], "BYE quit\n", "", "eve: the end was clean, but there is no BYE"),
        (["eve"], "BYE quit\n", "BYE quit\nMSG bob bob 99\n", "there is more behind 'BYE quit'"),
        (["eve"], "BYE quit\n", "BYE qui", "the last line is torn: b'BYE qui'"),
        (["eve"], "GAP 3\n", "GAP 4\n", "came where 'LEFT bob' was due"),
        (
            ["eve"],
            "GAP 3\n",
            "GAP 2\n",
            "the answer behind 'MSG Ann eve 11' came where 'MSG bob bob 10' was due",
        ),
        (["eve"], "GAP 3\n", "GAP 30\n", "'GAP 30', but there were fewer lines"),
        (["eve"], "GAP 3\n", "", "the answer behind 'MSG Ann eve 7' came where 'MSG bob bob 6' was due"),
        (["ann"], "PONG x\nMSG bob bob 2\n", "MSG bob bob 2\n", "'LEAVE' was answered|'PING x' was answered"),
        (["ann"], "PONG x\n", "PONG y\n", "'PING x' was answered 'PONG y'"),
        (["ann"], "PONG x\n", "PONG x\nPONG x\nPONG x\nPONG x\n", "was answered 'PONG x'"),
        (
            ["ann"],
            "MSG bob bob 2\nPONG x\n",
            "PONG x\nMSG bob bob 2\n",
            "the answer behind 'MSG ann ann 3' came where 'MSG bob bob 2' was due",
        ),
        # for all alike
        (["observer", "bob"], "MSG ann ann 3\n", "", "ann: 'MSG ann ann 3' was taken, but nobody heard it"),
        (["observer", "bob"], "MSG ann ann 3\n", "MSG ann ann 3\n" * 2, "'MSG ann ann 3' came 2 times"),
        (
            ["observer", "bob"],
            "MSG ann ann 3\nMSG ann ann 4\n",
            "MSG ann ann 4\nMSG ann ann 3\n",
            "ann: 'MSG ann ann 4' came before 'MSG ann ann 3'",
        ),
        (
            ["observer", "bob"],
            "LEFT ann\nJOINED Ann\n",
            "JOINED Ann\nLEFT ann\n",
            "'JOINED Ann' came before the LEFT of who had that name",
        ),
        (["observer", "bob"], "MSG ann", "MSG zoe", "nobody sent 'MSG zoe ann 1'"),
        (["observer", "eve"], "LEFT bob\n", "LEFT bob\nLEFT bob\n", "nobody in the room had that name"),
        (["observer", "eve"], "LEFT bob\n", "", "bob: it vanished, but there is no 'LEFT bob'"),
        (
            ["observer", "eve"],
            "LEFT bob\n",
            "LEFT bob\nJOINED zoe\n",
            "'JOINED zoe' came 1 times, more often",
        ),
        # for the observer
        (
            ["observer"],
            "MSG ann ann 3\n",
            "",
            "ann: 'MSG ann ann 3' was taken, but nobody heard it",
        ),
        (["observer"], "MSG ann ann 3\n", "GAP 1\n", "observer: an observer keeps up, but there is a GAP"),
    ],
)
def test_a_planted_fault_is_found_and_named(streams: list[str], old: str, new: str, reason: str) -> None:
    recordings = a_visit()
    verify(recordings)
    for label in streams:
        stream = recordings[label].received.decode()
        assert f"\n{old}" in stream
        lines = stream.replace(f"\n{old}", f"\n{new}", 1).encode()
        recordings[label] = Recording(
            label=label, sent=recordings[label].sent, received=lines, end=recordings[label].end
        )
    with pytest.raises(Violation, match=reason):
        verify(recordings)


def test_a_torn_line_is_no_fault_of_one_who_vanished() -> None:
    bob = a_visit()["bob"]
    assert bob.end is End.VANISHED
    assert not bob.received.endswith(b"\n")


def test_an_observer_who_talks_is_refused() -> None:
    room = IdealRoom()
    room.say("observer")
    room.quit("observer")
    with pytest.raises(Violation, match="an observer joins once, and says nothing"):
        verify(room.recordings())


def check_leaving(ann: str, ben: str, goodbye: str) -> None:
    """Check two members that leave next to each other, of whom the second is not told of the first.

    Args:
        ann: server of the first.
        ben: of the second.
        goodbye: of both.
    """
    lines = {
        "observer": [
            "JOINED cleo",
            "JOINED ann",
            "JOINED ben",
            "LEFT ann",
            "LEFT ben",
            "MSG cleo on",
            "LEFT cleo",
        ],
        "ann": ["JOINED ben", goodbye],
        "ben": [goodbye],
        "cleo": ["JOINED ann", "JOINED ben", "LEFT ann", "LEFT ben"],
    }
    sent = {"observer": [], "ann": ["QUIT"], "ben": ["QUIT"], "cleo": ["MSG on"]}
    observer, *others = (
        Recording(
            label=label,
            sent=[f"JOIN {label}", *sent[label]],
            received="\n".join(("HELLO hi", f"OK JOIN {label}", *received, "")).encode(),
            end=End.CLEAN if label in {"ann", "ben"} else End.VANISHED,
            server={"ann": ann, "ben": ben}.get(label, "s1"),
        )
        for label, received in lines.items()
    )
    check(observer, others)


def test_members_of_a_server_that_ends_may_miss_the_left_of_each_other() -> None:
    check_leaving("s2", "s2", "BYE shutdown")


@pytest.mark.parametrize(
    ("ann", "ben", "goodbye"),
    [("s3", "s2", "BYE shutdown"), ("s2", "s2", "BYE quit"), ("", "", "BYE shutdown")],
    ids=["of another server", "where no server ends", "of a single server"],
)
def test_left_that_is_missing_otherwise_is_found(ann: str, ben: str, goodbye: str) -> None:
    with pytest.raises(Violation, match="LEFT ann"):
        check_leaving(ann, ben, goodbye)


def test_member_of_a_server_that_ends_may_have_had_a_name_later_than_others_had_it() -> None:
    room = ["JOINED ann", "JOINED ben", "LEFT ann", "LEFT ben", "JOINED ben", "LEFT ben"]

    def recording(name: str, *received: str, server: str, goodbye: str) -> Recording:
        lines = ("HELLO hi", f"OK JOIN {name}", *received, goodbye, "")
        sent = [f"JOIN {name}", *["QUIT"] * (goodbye == "BYE quit")]
        return Recording(
            label=name, sent=sent, received="\n".join(lines).encode(), end=End.CLEAN, server=server
        )

    check(
        recording("observer", *room, server="s1", goodbye="BYE shutdown"),
        [
            recording("ann", "JOINED ben", server="s1", goodbye="BYE quit"),
            recording("ben", "LEFT ann", server="s1", goodbye="BYE quit"),
            recording("ben", server="s2", goodbye="BYE shutdown"),
        ],
    )
