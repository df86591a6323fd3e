"""A shutdown under load, at any moment, brings the same lines to the journal and to every member.

Long run: JOURNAL_ENDS=500 pytest -s tests/soak/test_journal_ends.py. JOURNAL_SEED repeats a run.
"""

import asyncio
import os
import random
import shutil
from itertools import cycle, islice
from pathlib import Path
from time import monotonic

from simple_chat.journal.base import Sync
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

ENDS = int(os.environ.get("JOURNAL_ENDS", "3"))
SEED = int(os.environ.get("JOURNAL_SEED", str(random.randrange(2**32))))
LOAD_MAX = 0.2  # seconds of load before the server ends
DRAIN = 10


async def test_shutdown_under_load_completes_the_journal_and_every_member(tmp_path: Path) -> None:
    print(f"JOURNAL_SEED={SEED}")  # noqa: T201 - pytest shows it on failure, and with -s
    delays = random.Random(SEED)
    sent, written, slowest = 0, 0, 0.0
    for run, sync in enumerate(islice(cycle(Sync), ENDS)):
        directory = tmp_path / f"{run}-{sync}"
        async with running(directory, sync, "--drain", str(DRAIN)) as server:
            members = await join_all(server.address, run)
            await asyncio.sleep(delays.uniform(0, LOAD_MAX))
            slowest = max(slowest, await end(server))
            for member in members:
                await member.wait_closed()
        assert server.log == []
        sent += sum(len(member.sent_messages) for member in members)
        written += await check_journal(directory, members)
        shutil.rmtree(directory)
    report = f"{ENDS} ends, {written} of {sent} messages were written, the slowest end took {slowest:.2f} s"
    print(report)  # noqa: T201 - as above


async def end(server: Server) -> float:
    """Shut a server down, and check its exit status; return the seconds it took."""
    begin = monotonic()
    server.process.terminate()
    async with asyncio.timeout(DRAIN + 1):
        assert await server.process.wait() == 0
    return monotonic() - begin


async def check_journal(directory: Path, members: list[Member]) -> int:
    """Check that the journal has what every member received; return its number of messages."""
    start, *lines = [record.line async for record in read_journal(directory)]
    assert start == START
    check_messages(lines, members, durable=True)
    for member in members:
        assert member.received.endswith(b"\nBYE shutdown\n"), (member.name, member.received[-80:])
        check_same(member.room_lines, expected_lines(lines, member), f"lines received by {member.name}")
    return sum(line.startswith(b"MSG ") for line in lines)
