"""What `serve` refuses."""

from pathlib import Path

import pytest

from simple_chat import Settings, serve
from simple_chat.errors import ConfigError


async def test_journal_and_cluster_exclude_each_other_and_leave_no_directory(tmp_path: Path) -> None:
    settings = Settings(journal=str(tmp_path / "journal"), cluster=("nats://127.0.0.1:1",))
    with pytest.raises(ConfigError, match="exclude each other"):
        async with serve("127.0.0.1", 0, settings=settings):
            pass
    assert not (tmp_path / "journal").exists()
