"""Every test here runs twice: in uvloop's event loop, if it is installed, and in asyncio's own."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping

import pytest

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories() -> Mapping[str, LoopFactory]:
    """Tell pytest-asyncio which event loops to run the tests in."""
    factories: dict[str, LoopFactory] = {"asyncio": asyncio.new_event_loop}
    try:
        import uvloop  # noqa: PLC0415 - not installed everywhere
    except ImportError:
        return factories
    return {"uvloop": uvloop.new_event_loop, **factories}


@pytest.fixture(autouse=True)
def nothing_is_logged_as_wrong(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test in which the server or the event loop logs a warning; it may `clear` what it expects."""
    yield
    wrong = [record for record in caplog.get_records("call") if record.levelno >= logging.WARNING]
    assert [record.getMessage() for record in wrong] == []
