from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.harness.nats import Engine


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Three servers, which all tests share: whoever does something to them takes a `room_name` too."""
    with Engine(tmp_path_factory.mktemp("engine")) as engine:
        yield engine


@pytest.fixture
def room_name(engine: Engine) -> Iterator[str]:
    """A name that no room had before; afterwards all servers are well, and have no stream of that name."""
    name = f"room-{uuid4().hex}"
    yield name
    engine.start()
    engine.delete(name)
