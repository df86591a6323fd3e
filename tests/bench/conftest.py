"""Every asynchronous test here runs in both event loops."""

from tests.server.conftest import nothing_is_logged_as_wrong, pytest_asyncio_loop_factories

__all__ = ["nothing_is_logged_as_wrong", "pytest_asyncio_loop_factories"]
