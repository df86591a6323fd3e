"""A short run of the program finds nothing lost; its latencies are not asserted."""

import subprocess
import sys
from pathlib import Path

import pytest

SMALL = {"seconds": 0.5, "members": 8, "idle": 40, "garbage": 20, "pause": 0.05, "mute": 10, "drip": 5}
DEADLINE = 120.0


@pytest.mark.skipif(sys.platform != "linux", reason="needs epoll and /proc")
def test_members_among_a_few_abusers_lose_nothing() -> None:
    options = [f"--{name}={value}" for name, value in SMALL.items()]
    command = [sys.executable, "-m", "tests.soak.abuse", *options, "--", "--join-timeout", "1"]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lines lost" in done.stdout
    assert "abusers: garbage disconnected" in done.stdout
