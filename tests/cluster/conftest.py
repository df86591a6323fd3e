import pytest

from tests.harness.timing import SHORT_TIMEOUTS


@pytest.fixture
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let chat servers in this process find out soon that NATS is unavailable."""
    for module, name, value in SHORT_TIMEOUTS:
        monkeypatch.setattr(module, name, value)
