"""What all tests share."""

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


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    """A server program of its own."""
    with run_server_process() as server:
        yield server
