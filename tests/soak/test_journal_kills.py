"""A server killed at any moment leaves all acknowledged lines in its journal, and the next one continues it.

Long run: JOURNAL_KILLS=300 pytest -s tests/soak/test_journal_kills.py. JOURNAL_SEED repeats a run.
"""

import asyncio
import os
import random
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from simple_chat.journal.base import Sync
from simple_chat.journal.directory import list_segments
from simple_chat.journal.record import Record
from tests.harness.peer import DEADLINE, connect
from tests.soak.abuse import Server
from tests.soak.journal_kills import (
    START,
    Member,
    check_messages,
    check_same,
    expected_lines,
    join_all,
    read_journal,
    running,
)

KILLS = int(os.environ.get("JOURNAL_KILLS", "3"))
SEED = int(os.environ.get("JOURNAL_SEED", str(random.randrange(2**32))))
LOAD_MAX = 0.2  # seconds of load before the server ends
HISTORY = 1000  # messages: the server's default


@pytest.mark.parametrize("sync", list(Sync))
async def test_killed_server_leaves_acknowledged_lines_once_and_in_order(sync: Sync, tmp_path: Path) -> None:
    print(f"{sync}: JOURNAL_SEED={SEED}")  # noqa: T201 - pytest shows it on failure, and with -s
    trial = Trial(tmp_path, sync)
    delays = random.Random(SEED)
    members: list[Member] = []
    for run in range(KILLS):
        async with running(tmp_path, sync) as server:
            await trial.check_restart(members, server)
            members = await join_all(server.address, run)
            await asyncio.sleep(delays.uniform(0, LOAD_MAX))
            server.process.kill()
            await server.process.wait()
            for member in members:
                await member.wait_closed()
    async with running(tmp_path, sync) as server:
        await trial.check_restart(members, server)
        server.process.terminate()
        async with asyncio.timeout(DEADLINE):
            await server.process.wait()
    await trial.check_whole()
    print(f"{sync}: {trial}")  # noqa: T201 - as above


@dataclass
class Trial:
    """A journal on which one server after another is killed.

    Args:
        directory: the journal's directory.
        sync: how durable its lines are.
    """

    directory: Path
    sync: Sync
    _number: int = 0  # of the next record to check
    _starts: int = 0
    _acknowledged: int = 0
    _torn: int = 0
    _messages: deque[Record] = field(default_factory=lambda: deque(maxlen=HISTORY))

    def __str__(self) -> str:
        return (
            f"{self._starts - 1} kills, {self._acknowledged} lines acknowledged,"
            f" {self._number} records, {self._torn} torn and cut off"
        )

    async def check_restart(self, members: list[Member], server: Server) -> None:
        """Check the journal and the history of a server that has just started.

        Args:
            members: those of the server before it, which was killed.
            server: the new server.
        """
        records = [record async for record in read_journal(self.directory, self._number)]
        self._number += len(records)
        self._starts += 1
        *lines, start = [record.line for record in records]
        assert start == START
        self._check_log(server.log)
        self._check_lines(lines, members)
        self._messages += [record for record in records if record.line.startswith(b"MSG ")]
        await self._check_history(server.address)

    def _check_log(self, log: list[str]) -> None:
        """Check that a torn record is the only problem logged, at most once."""
        assert len(log) <= 1, log
        assert all("is torn" in line for line in log), log
        self._torn += len(log)

    def _check_lines(self, lines: list[bytes], members: list[Member]) -> None:
        durable = self.sync is not Sync.NONE
        check_messages(lines, members, durable=durable)
        for member in members:
            self._acknowledged += member.acknowledged
            received, due = member.room_lines, expected_lines(lines, member)
            if not durable:
                del received[len(due) :]
            check_same(received, due[: len(received)], f"lines received by {member.name}")

    async def _check_history(self, address: tuple[str, int]) -> None:
        """Check that HISTORY returns the last messages, at least those of the last segment."""
        peer = await connect(address)
        past = [line for line in await peer.ask("JOIN reader", "HISTORY") if line.startswith("PAST ")]
        await peer.reset()
        last = max(
            (each.first for each in list_segments(self.directory) if each.first < self._number - 1), default=0
        )
        assert len(past) >= sum(record.number >= last for record in self._messages)
        expected = [b"PAST %b %b" % (each.time.encode(), each.line[4:]) for each in self._messages]
        found = [line.encode() for line in past]
        check_same(found, expected[len(expected) - len(found) :], "HISTORY")

    async def check_whole(self) -> None:
        """Check that all records are there from the first one on, and no message twice."""
        numbers, starts, texts, messages = 0, 0, set[bytes](), 0
        async for record in read_journal(self.directory):
            assert record.number == numbers
            numbers += 1
            starts += record.line == START
            if record.line.startswith(b"MSG "):
                messages += 1
                texts.add(record.line.rstrip(b"x"))  # without the filler
        assert len(texts) == messages
        assert starts == self._starts
        assert numbers >= self._number
