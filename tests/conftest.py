"""What all tests share."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.harness.programs import ServerProcess, run_server_process

pytest_plugins = ["tests.harness.nats_fixtures"]

settings.register_profile(
    "default",
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("default")


def pytest_xdist_auto_num_workers() -> int:
    """Run two workers a processor: half of the time, tests wait for programs, disks and timers."""
    return 2 * (os.cpu_count() or 1)


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    """A server program of its own."""
    with run_server_process() as server:
        yield server
