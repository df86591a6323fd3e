"""The same script is answered by the same bytes, however its members come, with and without a journal."""

import asyncio
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from tempfile import TemporaryDirectory

import argon2
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from simple_chat import Settings
from tests.harness.peer import DEADLINE, Peer, TlsPeer
from tests.harness.server import TRANSPORTS, ServerHarness, run_server_in_loop
from tests.harness.texts import CHARACTERS
from tests.server.conftest import LoopFactory, pytest_asyncio_loop_factories

EXAMPLES = int(os.environ.get("TRACE_EXAMPLES", "8"))
"""Scripts that are tried. Some thousands take minutes."""

MAX_LINE = 64
HASH = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("sesame")


# What members do. Each waits until what it did is done, so that the order of the room is the script's.


@dataclass(frozen=True)
class Say:
    """Send complete lines, cut into packets anywhere."""

    lines: bytes
    cuts: Sequence[int]


@dataclass(frozen=True)
class Begin:
    """Send the beginning of a line."""

    part: bytes


@dataclass(frozen=True)
class Negotiate:
    """Send what telnet programs say to each other, and a line end."""

    commands: bytes


@dataclass(frozen=True)
class End:
    """End the connection; whoever comes next comes anew."""

    how: str


Step = Say | Begin | Negotiate | End
Script = list[tuple[int, Step]]


@dataclass
class Stay:
    """One connection of a member.

    Attributes:
        peer: its own side.
        in_line: whether the beginning of a line was sent, so that nothing can be asked.
        certain: bytes that have arrived for certain.
    """

    peer: Peer
    in_line: bool = False
    certain: int = 0

    def write(self, data: bytes) -> None:
        """Send bytes, unless the server has ended the connection meanwhile."""
        if not self.peer.transport.is_closing():
            self.peer.write(data)


@dataclass
class Trace:
    """What a connection received.

    Attributes:
        data: the bytes.
        whole: whether it is all that it was sent; who closes may miss the last of it.
    """

    data: bytes
    whole: bool


@dataclass
class Play:
    """A script that is played in a house.

    Attributes:
        harness: where.
        cut: whether lines are cut into packets.
    """

    harness: ServerHarness
    cut: bool
    traces: list[Trace] = field(default_factory=list)
    stays: dict[int, Stay] = field(default_factory=dict)
    number: int = 0  # of questions

    async def play(self, script: Script) -> list[Trace]:
        for who, step in script:
            if who not in self.stays:
                self.stays[who] = Stay(await self.harness.connect())
            await self._do(who, self.stays[who], step)
            for each in sorted(self.stays, key=lambda other: other != who):  # first who did it
                await self._wait_for(each)
        for who in list(self.stays):
            await self._end(who, "QUIT")
        return self.traces

    async def _do(self, who: int, stay: Stay, step: Step) -> None:
        match step:
            case Say(lines, cuts):
                places = sorted({0, *(cut % len(lines) for cut in cuts), len(lines)})
                for start, stop in pairwise(places if self.cut else (0, len(lines))):
                    stay.write(lines[start:stop])
                    await asyncio.sleep(0)  # so that it is a packet of its own
                stay.in_line = False
            case Begin(part) if not stay.in_line:
                stay.write(part)
                stay.in_line = True
            case Begin():
                pass
            case Negotiate(commands):
                stay.write(commands + b"\n")
                stay.in_line = False
            case End(how):
                await self._end(who, how)

    async def _wait_for(self, who: int) -> None:
        """Wait until a member has everything that was said, or was sent away."""
        stay = self.stays[who]
        if stay.in_line:
            return
        self.number += 1
        stay.write(f"PING {self.number}\n".encode())
        answer = f"PONG {self.number}".encode()
        async with asyncio.timeout(DEADLINE):
            while answer not in stay.peer.received[stay.certain :]:
                if stay.peer.closed:
                    await self._note(who, whole=True)
                    return
                await stay.peer._wait_for_change()
        stay.certain = len(stay.peer.received)

    async def _end(self, who: int, how: str) -> None:
        stay = self.stays[who]
        match how:
            case "QUIT":
                stay.write(b"\nQUIT\n")
                await stay.peer.wait_closed()
            case "half-close":
                stay.peer.half_close()
                await stay.peer.wait_closed()
            case _:
                await stay.peer.close()
        ends_as_a_whole = how == "half-close" and isinstance(stay.peer, TlsPeer)
        await self._note(who, whole=not ends_as_a_whole and how != "close")

    async def _note(self, who: int, *, whole: bool) -> None:
        stay = self.stays.pop(who)
        await self.harness.wait_for_connections(len(self.stays))
        received = bytes(stay.peer.received if whole else stay.peer.received[: stay.certain])
        self.traces.append(Trace(re.sub(rb"PAST \S+", b"PAST", received), whole))


async def play(script: Script, transport: str, *, locked: bool, cut: bool = True) -> list[Trace]:
    async with run_server_in_loop(
        Settings(max_line=MAX_LINE), transport=transport, password=HASH if locked else None
    ) as harness:
        return await Play(harness, cut).play(script)


async def play_with_journal(script: Script, *, locked: bool) -> list[Trace]:
    with TemporaryDirectory() as folder:
        settings = Settings(max_line=MAX_LINE, journal=folder)
        async with run_server_in_loop(settings, password=HASH if locked else None) as harness:
            return await Play(harness, cut=True).play(script)


def compare(ours: list[Trace], others: list[Trace]) -> None:
    """Check that what was received is the same, as far as it is certain to have arrived."""
    assert len(ours) == len(others)
    for one, other in zip(ours, others, strict=True):
        size = min(len(one.data), len(other.data))
        assert one.data[:size] == other.data[:size]
        assert all(len(each.data) == size or not (one.whole and other.whole) for each in (one, other))


# Scripts

names = st.sampled_from([b"ann", b"Ann", b"bob", b"cleo", b"-", b"n" * 33])
texts = st.one_of(
    st.text(CHARACTERS, max_size=20).map(str.encode),
    st.binary(max_size=20),
    st.sampled_from([b"\x1b[31m", b"\xe2\x80\xaeabc", b"tab\tand\0nul", b"x" * 60, b"x" * 61, b"x" * 70]),
).map(lambda text: text.translate(None, b"\n\xff"))
lines = st.one_of(
    names.map(lambda name: b"JOIN " + name),
    texts.map(lambda text: b"MSG " + text),
    st.sampled_from(
        [b"LEAVE", b"WHO", b"HISTORY", b"HISTORY 2", b"PING", b"PING \xc3\xa4", b"HELP", b"QUIT"]
    ),
    st.sampled_from([b"PASS sesame", b"PASS x", b"", b"GET / HTTP/1.1", b"\xef\xbb\xbfWHO", b"join dora"]),
    texts,
)
said = st.lists(
    st.tuples(lines, st.sampled_from([b"\n", b"\n", b"\r\n"])).map(b"".join), min_size=1, max_size=6
)
steps = st.one_of(
    names.map(lambda name: Say(b"PASS sesame\nJOIN " + name + b"\n", ())),
    st.builds(Say, said.map(b"".join), st.lists(st.integers(0, 999), max_size=5)),
    st.builds(Begin, st.sampled_from([b"MSG half a li", b"J", b"\xc3", b"WHO\r", b"nonsense"])),
    st.builds(
        Negotiate,
        st.sampled_from([b"\xff\xfb\x01", b"\xff\xfd\x03\xff\xfa\x01xyz\xff\xf0", b"\xff\xff\xff\xf1"]),
    ),
    st.builds(End, st.sampled_from(["QUIT", "half-close", "close"])),
)
scripts = st.lists(st.tuples(st.integers(0, 2), steps), min_size=1, max_size=10)

ENTER = [
    (number, Say(b"PASS sesame\nJOIN %b\n" % name, (7,)))
    for number, name in enumerate((b"ann", b"bob", b"cleo"))
]


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(script=scripts, locked=st.booleans())
@example(
    script=[
        *ENTER,
        (0, Say(b"MSG one\r\nMSG two\r\nHISTORY\r\n", (3, 9))),
        (1, Begin(b"MSG half")),
        (2, End("QUIT")),
        (1, End("half-close")),
    ],
    locked=False,
)
@example(
    script=[
        *ENTER,
        (0, Begin(b"MSG half")),
        (0, End("close")),
        (1, Negotiate(b"\xff\xfb\x01")),
        (0, Say(b"WHO\n", ())),
    ],
    locked=True,
)
def test_responses_are_the_same_bytes_over_every_transport_loop_and_journal(
    *, script: Script, locked: bool
) -> None:
    loops: list[LoopFactory] = [*pytest_asyncio_loop_factories().values()]
    with asyncio.Runner() as runner:
        played = [runner.run(play(script, "tcp", locked=locked, cut=False))]
    for loop in loops:
        with asyncio.Runner(loop_factory=loop) as runner:
            played += [runner.run(play(script, transport, locked=locked)) for transport in TRANSPORTS]
            played.append(runner.run(play_with_journal(script, locked=locked)))
    for other in played[1:]:
        compare(played[0], other)
