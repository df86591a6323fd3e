"""What all tests share."""

import gc
import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.harness.programs import ServerProcess, run_server_process

# Hundreds of programs are started: each is to find its bytecode, instead of compiling everything anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Programs are ended by Ctrl-C, even if the tests run in the background and inherit that it is ignored.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.harness.nats_fixtures"]

settings.register_profile(
    "default",
    max_examples=60,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=200)
settings.load_profile("default")


def pytest_xdist_auto_num_workers() -> int:
    """Run three workers on two processors: tests wait for programs, disks and timers part of the time."""
    return 3 * (os.cpu_count() or 1) // 2


def pytest_collection_finish() -> None:
    """Keep garbage collections from looking at thousands of tests again and again."""
    gc.freeze()


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    """A server program of its own."""
    with run_server_process() as server:
        yield server
