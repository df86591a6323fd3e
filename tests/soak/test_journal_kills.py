"""Whatever moment a server is killed at, its journal has what was acknowledged, and the next one goes on.

JOURNAL_KILLS=300 pytest -s tests/soak/test_journal_kills.py is the long one; JOURNAL_SEED repeats one.
"""

import asyncio
import os
import random
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from simple_chat.journal.directory import segments
from simple_chat.journal.policy import Sync
from simple_chat.journal.record import Record
from tests.harness.peer import DEADLINE, connect
from tests.soak.abuse import Server
from tests.soak.journal_kills import (
    START,
    Member,
    check_said,
    check_same,
    crowd,
    owed,
    read_journal,
    running,
)

KILLS = int(os.environ.get("JOURNAL_KILLS", "6"))
SEED = int(os.environ.get("JOURNAL_SEED", str(random.randrange(2**32))))
TALK_MAX = 0.2  # seconds that a server lives after everybody joined
HISTORY = 1000  # messages: the server's default


@pytest.mark.parametrize("sync", list(Sync))
async def test_a_killed_server_leaves_all_that_was_acknowledged_once_and_in_order(
    sync: Sync, tmp_path: Path
) -> None:
    print(f"{sync}: JOURNAL_SEED={SEED}")  # noqa: T201 - pytest shows it on failure, and with -s
    trial = Trial(tmp_path, sync)
    moments = random.Random(SEED)
    members: list[Member] = []
    for run in range(KILLS):
        async with running(tmp_path, sync) as server:
            await trial.look_back(members, server)
            members = await crowd(server.address, run)
            await asyncio.sleep(moments.uniform(0, TALK_MAX))
            server.process.kill()
            await server.process.wait()
            for member in members:
                await member.wait_closed()
    async with running(tmp_path, sync) as server:
        await trial.look_back(members, server)
        server.process.terminate()
        async with asyncio.timeout(DEADLINE):
            await server.process.wait()
    await trial.check_whole()
    print(f"{sync}: {trial}")  # noqa: T201 - as above


@dataclass
class Trial:
    """A journal that one server after another is killed on.

    Args:
        folder: where it is.
        sync: what a line of it survives.
    """

    folder: Path
    sync: Sync
    _number: int = 0  # of the next record to look at
    _starts: int = 0
    _acknowledged: int = 0
    _torn: int = 0
    _messages: deque[Record] = field(default_factory=lambda: deque(maxlen=HISTORY))

    def __str__(self) -> str:
        return (
            f"{self._starts - 1} kills, {self._acknowledged} lines acknowledged,"
            f" {self._number} records, {self._torn} torn and cut off"
        )

    async def look_back(self, members: list[Member], server: Server) -> None:
        """Check what a server finds that has just started.

        Args:
            members: who talked until the last one was killed.
            server: the new one.
        """
        records = [record async for record in read_journal(self.folder, self._number)]
        self._number += len(records)
        self._starts += 1
        *lines, start = [record.line for record in records]
        assert start == START
        self._check_log(server.log)
        self._check_lines(lines, members)
        self._messages += [record for record in records if record.line.startswith(b"MSG ")]
        await self._check_history(server.address)

    def _check_log(self, log: list[str]) -> None:
        """The only thing that may be wrong is that one record is torn."""
        assert len(log) <= 1, log
        assert all("is torn" in line for line in log), log
        self._torn += len(log)

    def _check_lines(self, lines: list[bytes], members: list[Member]) -> None:
        kept = self.sync is not Sync.NONE
        check_said(lines, members, kept=kept)
        for member in members:
            self._acknowledged += member.acknowledged
            shown, due = member.shown, owed(lines, member)
            if not kept:
                del shown[len(due) :]
            check_same(shown, due[: len(shown)], f"what {member.name} was shown")

    async def _check_history(self, address: tuple[str, int]) -> None:
        """HISTORY tells the last messages, at least those of the segment that was the last one."""
        peer = await connect(address)
        past = [line for line in await peer.ask("JOIN reader", "HISTORY") if line.startswith("PAST ")]
        await peer.reset()
        last = max((each.first for each in segments(self.folder) if each.first < self._number - 1), default=0)
        assert len(past) >= sum(record.number >= last for record in self._messages)
        expected = [b"PAST %b %b" % (each.time.encode(), each.line[4:]) for each in self._messages]
        told = [line.encode() for line in past]
        check_same(told, expected[len(expected) - len(told) :], "HISTORY")

    async def check_whole(self) -> None:
        """What was looked at is all still there, from the first record on, and no text is there twice."""
        numbers, starts, texts, messages = 0, 0, set[bytes](), 0
        async for record in read_journal(self.folder):
            assert record.number == numbers
            numbers += 1
            starts += record.line == START
            if record.line.startswith(b"MSG "):
                messages += 1
                texts.add(record.line.rstrip(b"x"))  # without what makes it longer
        assert len(texts) == messages
        assert starts == self._starts
        assert numbers >= self._number
