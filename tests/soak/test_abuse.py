"""The program that is run by hand still runs; its times are looked at by people only."""

import subprocess
import sys
from pathlib import Path

import pytest

LITTLE = {"seconds": 1, "members": 8, "idle": 40, "garbage": 20, "pause": 0.05, "mute": 10, "drip": 5}
DEADLINE = 120.0  # seconds


@pytest.mark.skipif(sys.platform != "linux", reason="needs epoll and /proc")
def test_little_abuse_loses_nothing() -> None:
    options = [f"--{name}={value}" for name, value in LITTLE.items()]
    command = [sys.executable, "-m", "tests.soak.abuse", *options, "--", "--join-timeout", "1"]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lines lost" in done.stdout
    assert "bad company: garbage thrown out" in done.stdout
