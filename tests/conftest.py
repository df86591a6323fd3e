"""What all tests share."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.harness.programs import Server, running_server

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
def server() -> Iterator[Server]:
    """A server program of its own."""
    with running_server() as server:
        yield server
