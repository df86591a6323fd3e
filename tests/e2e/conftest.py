from collections.abc import Iterator

import pytest

from tests.programs import Server, running_server


@pytest.fixture
def server() -> Iterator[Server]:
    with running_server() as server:
        yield server
