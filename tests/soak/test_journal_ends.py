"""Whatever moment a server is told to end at, what it took reaches everybody and is in the journal.

JOURNAL_ENDS=500 pytest -s tests/soak/test_journal_ends.py is the long one; JOURNAL_SEED repeats one.
"""

import asyncio
import os
import random
import shutil
from itertools import cycle, islice
from pathlib import Path
from time import monotonic

from simple_chat.journal.policy import Sync
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

ENDS = int(os.environ.get("JOURNAL_ENDS", "6"))
SEED = int(os.environ.get("JOURNAL_SEED", str(random.randrange(2**32))))
TALK_MAX = 0.2  # seconds that a server lives after everybody joined
DRAIN = 10


async def test_an_end_under_load_brings_the_same_lines_to_everybody_and_to_the_journal(
    tmp_path: Path,
) -> None:
    print(f"JOURNAL_SEED={SEED}")  # noqa: T201 - pytest shows it on failure, and with -s
    moments = random.Random(SEED)
    said, taken, slowest = 0, 0, 0.0
    for run, sync in enumerate(islice(cycle(Sync), ENDS)):
        folder = tmp_path / f"{run}-{sync}"
        async with running(folder, sync, "--drain", str(DRAIN)) as server:
            members = await crowd(server.address, run)
            await asyncio.sleep(moments.uniform(0, TALK_MAX))
            slowest = max(slowest, await end(server))
            for member in members:
                await member.wait_closed()
        assert server.log == []
        said += sum(len(member.said) for member in members)
        taken += await check_journal(folder, members)
        shutil.rmtree(folder)
    report = f"{ENDS} ends, {taken} of {said} messages were taken, {slowest:.2f} s for the slowest end"
    print(report)  # noqa: T201 - as above


async def end(server: Server) -> float:
    """Tell a server to end, and see that it does so in order and in time; return the seconds it took."""
    begin = monotonic()
    server.process.terminate()
    async with asyncio.timeout(DRAIN + 1):
        assert await server.process.wait() == 0
    return monotonic() - begin


async def check_journal(folder: Path, members: list[Member]) -> int:
    """Check that the journal is what everybody was shown; return how many messages it has."""
    start, *lines = [record.line async for record in read_journal(folder)]
    assert start == START
    check_said(lines, members, kept=True)
    for member in members:
        assert member.received.endswith(b"\nBYE shutdown\n"), (member.name, member.received[-80:])
        check_same(member.shown, owed(lines, member), f"what {member.name} was shown")
    return sum(line.startswith(b"MSG ") for line in lines)
