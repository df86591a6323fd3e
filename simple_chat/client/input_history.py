"""The file that what the user types is saved to, for the arrow keys."""

import os
from contextlib import suppress
from pathlib import Path

from prompt_toolkit.history import FileHistory, History, InMemoryHistory


def open_input_history(*, save: bool) -> History:
    """Open the user's input history.

    Args:
        save: whether to keep it in a file, which only its owner can read. Where there can be none, as
            without a home directory, it lasts as long as the program.
    """
    if save and (directory := _state_directory()) is not None:
        path = directory / "history"
        with suppress(OSError):
            _create(path)
            return FileHistory(path)
    return InMemoryHistory()


def _state_directory() -> Path | None:
    """Return our directory by the XDG Base Directory Specification, which ignores relative paths."""
    configured = Path(os.environ.get("XDG_STATE_HOME", ""))
    if configured.is_absolute():
        return configured / "simple_chat"
    try:
        return Path.home() / ".local" / "state" / "simple_chat"
    except RuntimeError:  # neither HOME nor an entry in the user database
        return None


def _create(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.chmod(0o600)  # if it existed
    path.open("r+b").close()  # fail here: prompt_toolkit would fail while the prompt runs
