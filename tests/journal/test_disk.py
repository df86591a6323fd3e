"""The thread for the disk: what it returns, and that nobody waits for it at the end."""

import sys
from pathlib import Path
from subprocess import run

import pytest

from simple_chat.journal.disk import DiskThread
from tests.harness.programs import DEADLINE

HANGING = """
import asyncio, time
from simple_chat.journal.disk import DiskThread

async def main():
    task = asyncio.create_task(DiskThread().run(time.sleep, 3600))
    await asyncio.sleep(0)
    task.cancel()

asyncio.run(main())
"""


def test_call_that_hangs_does_not_hold_the_end_of_the_process() -> None:
    ended = run([sys.executable, "-c", HANGING], capture_output=True, timeout=DEADLINE, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")


async def test_call_raises_what_its_function_raises(tmp_path: Path) -> None:
    disk = DiskThread()
    with pytest.raises(FileNotFoundError):
        await disk.run((tmp_path / "missing").unlink)
    disk.close()
