"""What the tests of the pure core share."""

import tracemalloc
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.core.house import House

settings.register_profile(
    "core",
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("core")


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def held() -> Iterator[Callable[[], int]]:
    """Bytes of memory that are held now and were not when the test began."""
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    yield lambda: tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
