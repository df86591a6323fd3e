"""Whatever here needs an event loop runs in both of them, and must leave nothing in the log."""

from tests.server.conftest import nothing_is_logged_as_wrong, pytest_asyncio_loop_factories

__all__ = ["nothing_is_logged_as_wrong", "pytest_asyncio_loop_factories"]
