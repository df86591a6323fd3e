"""What the tests of the pure core share."""

import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from tests.harness.sessions import RoomHarness


@pytest.fixture
def harness() -> RoomHarness:
    return RoomHarness()


@pytest.fixture
def held() -> Iterator[Callable[[], int]]:
    """Bytes of memory that are held now and were not when the test began."""
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    yield lambda: tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
