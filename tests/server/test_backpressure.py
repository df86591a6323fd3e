"""Whoever does not read, or floods, delays nobody else, and is told exactly what it missed."""

import fcntl
import re
import struct
import sys

import pytest

from simple_chat import Settings
from simple_chat.core.framing import LineBuffer
from simple_chat.core.session import Session
from tests.harness.peer import Peer
from tests.harness.server import ServerHarness, run_server_in_loop

FILLER = "x" * 4000
SMALL = 64 * 1024
SIOCOUTQNSD = 0x894B  # of linux/sockios.h: bytes that were not sent yet


def numbered(name: str, start: int, stop: int) -> list[str]:
    """Long lines, as the others get them."""
    return [f"MSG {name} {number} {FILLER}" for number in range(start, stop)]


class Talk:
    """One member who talks, and others who are checked to get it at once.

    Args:
        harness: where.
        talker: its peer, who is called ``talker``.
        listeners: who keep up.
    """

    def __init__(self, harness: ServerHarness, talker: Peer, *listeners: Peer) -> None:
        self.harness = harness
        self.talker = talker
        self._listeners = listeners
        self.said = 0

    async def say(self, number: int) -> None:
        """Say some lines; the listeners have them when this returns."""
        start, self.said = self.said, self.said + number
        await self.talker.ask(*(f"MSG {each} {FILLER}" for each in range(start, self.said)))
        for listener in self._listeners:
            assert await listener.barrier() == numbered("talker", start, self.said)

    async def say_until_behind(self, name: str) -> None:
        """Talk until a member who does not read has filled what the kernel takes for it."""
        while not self.harness.subscriber(name).blocked:
            await self.say(50)


def follow(lines: list[str], *, start: int = 0, said: int) -> int:
    """Check that lines are all of what the talker said but for the gaps; return how many were missed."""
    due, missed = start, 0
    for line in lines:
        if gap := re.fullmatch(r"GAP ([1-9]\d*)", line):
            due += int(gap[1])
            missed += int(gap[1])
        else:
            assert line == f"MSG talker {due} {FILLER}"
            due += 1
    assert due == said
    return missed


async def test_a_member_who_never_reads_delays_nobody() -> None:
    async with run_server_in_loop(Settings(backlog=SMALL)) as harness:
        talker, listener = await harness.join_all("talker", "listener")
        for number in range(3):
            slow = await harness.join(f"slow{number}", receive_buffer=4096)
            slow.pause()
        await talker.barrier()
        await listener.barrier()
        talk = Talk(harness, talker, listener)
        for _ in range(30):
            await talk.say(100)  # 12 MB in all
        assert all(harness.subscriber(f"slow{number}").blocked for number in range(3))


async def test_late_reader_gets_a_gap_and_then_everything() -> None:
    async with run_server_in_loop(Settings(backlog=SMALL)) as harness:
        talker, listener = await harness.join_all("talker", "listener")
        slow = await harness.join("slow", receive_buffer=4096)
        await talker.barrier()
        await listener.barrier()
        slow.pause()
        talk = Talk(harness, talker, listener)
        await talk.say_until_behind("slow")
        await talk.say(200)
        slow.resume()
        assert follow(await slow.barrier(), said=talk.said) > 0
        start = talk.said
        await talk.say(20)
        assert await slow.barrier() == numbered("talker", start, talk.said)


async def test_slow_reader_within_the_backlog_misses_nothing() -> None:
    async with run_server_in_loop() as harness:
        talker = await harness.join("talker")
        slow = await harness.join("slow", receive_buffer=4096)
        slow.pause()
        talk = Talk(harness, talker)
        await talk.say_until_behind("slow")
        await talk.say(200)
        slow.resume()
        assert follow(await slow.barrier(), said=talk.said) == 0


async def test_own_lines_do_not_count_as_missed() -> None:
    async with run_server_in_loop(Settings(backlog=SMALL)) as harness:
        talker = await harness.join("talker")
        slow = await harness.join("slow", receive_buffer=4096)
        await talker.barrier()
        slow.pause()
        talk = Talk(harness, talker)
        await talk.say_until_behind("slow")
        for number in range(40):
            slow.send(f"MSG mine {number}")
            assert await talker.line() == f"MSG slow mine {number}"
            await talk.say(5)
        slow.resume()
        assert follow(await slow.barrier(), said=talk.said) > 0


async def test_a_late_answer_keeps_its_place() -> None:
    async with run_server_in_loop(Settings(backlog=SMALL)) as harness:
        talker = await harness.join("talker")
        slow = await harness.join("slow", receive_buffer=4096)
        await talker.barrier()
        slow.pause()
        talk = Talk(harness, talker)
        await talk.say_until_behind("slow")
        slow.send("MSG before", "PING place", "MSG after")
        assert await talker.line() == "MSG slow before"
        place = talk.said
        await talk.say(200)
        assert await talker.barrier() == []  # what comes after the PING waits with its answer
        slow.resume()
        follow(await slow.until("PONG place"), said=place)
        assert follow(await slow.barrier(), start=place, said=talk.said) > 0
        assert await talker.barrier() == ["MSG slow after"]


async def test_a_slow_reader_who_leaves_gets_what_was_said_until_then_and_no_more() -> None:
    async with run_server_in_loop(Settings(backlog=SMALL)) as harness:
        talker = await harness.join("talker")
        slow = await harness.join("slow", receive_buffer=4096)
        await talker.barrier()
        slow.pause()
        talk = Talk(harness, talker)
        await talk.say_until_behind("slow")
        slow.send("LEAVE")
        assert await talker.line() == "LEFT slow"
        until = talk.said
        await talk.say(200)
        slow.resume()
        follow(await slow.until("OK LEAVE"), said=until)
        assert await slow.barrier() == []


async def test_a_slow_reader_who_quits_gets_what_it_is_owed_and_bye() -> None:
    async with run_server_in_loop(Settings(backlog=SMALL)) as harness:
        talker, other = await harness.join("talker"), await harness.connect()
        slow = await harness.join("slow", receive_buffer=4096)
        await talker.barrier()
        slow.pause()
        talk = Talk(harness, talker)
        await talk.say_until_behind("slow")
        slow.send("QUIT")
        assert await talker.line() == "LEFT slow"
        assert await other.ask("JOIN slow") == ["OK JOIN slow"]
        until = talk.said
        slow.resume()
        *lines, bye = await slow.rest()
        assert bye == "BYE quit"
        follow(lines, said=until)


async def test_unread_responses_do_not_accumulate() -> None:
    async with run_server_in_loop() as harness:
        greedy = await harness.join("greedy", receive_buffer=4096)
        other = await harness.connect()
        greedy.pause()
        connection = harness.connection(harness.subscriber("greedy"))
        greedy.send(*["HELP"] * 20_000)  # half a MB, for which the kernel can't take the answers
        while not harness.subscriber("greedy").blocked:
            await other.barrier()
        for _ in range(100):
            await other.barrier()
        assert connection.transport.get_write_buffer_size() <= SMALL
        assert connection.session._codec.held <= 8 * SMALL
        greedy.resume()
        assert (await greedy.barrier()).count("OK HELP") == 20_000


@pytest.mark.parametrize(
    ("line", "number"),
    [("MSG flood", 10_000), ("PING flood", 10_000), ("NONSENSE", 10_000), ("", 50_000)],
)
async def test_a_flood_does_not_starve_a_single_line(line: str, number: int) -> None:
    async with run_server_in_loop() as harness:
        flooder, single, witness = await harness.join_all("flooder", "single", "witness")
        flooder.send("MSG begin", *[line] * number, "MSG end")
        await witness.until("MSG flooder begin")
        single.send("MSG one line")
        before = await witness.until("MSG single one line")
        assert len(before) < number / 2
        assert "MSG flooder end" not in before
        after = await witness.until("MSG flooder end")
        assert len(before) + len(after) == (number if line == "MSG flood" else 0)


async def test_flood_stays_in_the_kernel_until_it_can_be_processed(monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    feed = LineBuffer.feed

    def feed_and_note(buffer: LineBuffer, data: bytes) -> None:
        feed(buffer, data)
        held.append(buffer.held)

    monkeypatch.setattr(LineBuffer, "feed", feed_and_note)
    async with run_server_in_loop() as harness:
        flooder, witness = await harness.join_all("flooder", "witness")
        flooder.send(*[f"MSG {FILLER}"] * 3000)
        await flooder.barrier()
        assert len(await witness.barrier()) == 3000
    assert max(held) <= 8 * SMALL  # one read of the event loop, and the rest of another


async def test_waiting_for_a_slow_reader_costs_no_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    async with run_server_in_loop() as harness:
        talker, other = await harness.join("talker"), await harness.connect()
        slow = await harness.join("slow", receive_buffer=4096)
        await talker.barrier()
        slow.pause()
        session = harness.connection(harness.subscriber("slow")).session
        talk = Talk(harness, talker)
        await talk.say_until_behind("slow")
        slow.send("QUIT")
        slow.half_close()
        assert await talker.line() == "LEFT slow"
        turns: list[Session] = []
        settle = Session.flush

        def count_and_settle(session: Session) -> bool:
            turns.append(session)
            return settle(session)

        monkeypatch.setattr(Session, "flush", count_and_settle)
        for _ in range(100):
            await other.barrier()
        assert turns.count(session) < 10
        slow.resume()
        *lines, bye = await slow.rest()
        assert bye == "BYE quit"
        follow(lines, said=talk.said)


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels tell it in other ways")
async def test_kernel_keeps_little_for_who_does_not_read() -> None:
    async with run_server_in_loop() as harness:
        talker = await harness.join("talker")
        slow = await harness.join("slow")
        slow.pause()
        await Talk(harness, talker).say_until_behind("slow")
        sock = harness.connection(harness.subscriber("slow")).transport.get_extra_info("socket")
        unsent = struct.unpack("I", fcntl.ioctl(sock.fileno(), SIOCOUTQNSD, b"\0" * 4))[0]
        assert 0 < unsent < 64 * 1024
