"""Record a conversation in a tmux with four panes as an asciicast, version 2."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import pexpect

ROWS, COLUMNS = 20, 108
_TOP, _LEFT = 9, 60  # rows and columns of the upper left pane
_TIMEOUT = 15.0  # seconds for a text to appear
_PORT = os.environ.get("SIMPLE_CHAT_SERVER_PORT") or "8090"

# Seconds, at speed 1
_KEY_INTERVAL = 0.045
_PAUSE = 0.7  # for the viewer, when something happened
_FINAL_PAUSE = 3.0

_TMUX_OPTIONS = (
    "status off",
    "pane-border-status top",
    "pane-border-format '#[fg=colour250] #{pane_title} '",
    "pane-border-style fg=colour240",
    "pane-active-border-style fg=colour240",
    "escape-time 0",
)


class Pane:
    """A pane that can be typed into."""

    def __init__(self, session: "TmuxSession", number: int) -> None:
        self._session = session
        self._target = f"demo:0.{number}"

    def type(self, text: str, *, enter: bool = True) -> None:
        """Type a text key by key, or several at a time if that is too slow for the session's speed."""
        self._session.tmux("select-pane", "-t", self._target)  # shows the cursor there
        step = max(1, round(self._session.speed))
        for at in range(0, len(text), step):
            self._session.tmux("send-keys", "-t", self._target, "-l", text[at : at + step])
            self._session.record(_KEY_INTERVAL * step)
        if enter:
            self._session.record(4 * _KEY_INTERVAL)
            self._session.tmux("send-keys", "-t", self._target, "Enter")

    def wait_for(self, text: str) -> None:
        """Record until the pane shows a text, and a pause.

        Raises:
            TimeoutError: it did not appear in time.
        """
        deadline = monotonic() + _TIMEOUT
        while text not in (shown := self._session.tmux("capture-pane", "-p", "-t", self._target)):
            if monotonic() > deadline:
                raise TimeoutError(f"{text!r} did not appear within {_TIMEOUT:g} s, but:\n{shown}")
            self._session.record(_KEY_INTERVAL)
        self._session.record(_PAUSE)


class TmuxSession:
    """A tmux server of its own, attached to a terminal that is recorded.

    Args:
        home: directory for its socket and its shells.
        speed: factor by which to shorten all pauses.

    Attributes:
        events: the terminal's output, as the events of an asciicast.
        speed: the same.
    """

    def __init__(self, home: str, speed: float) -> None:
        self._socket = str(Path(home, "tmux"))
        self.speed = speed
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        variables = {
            "HOME": home,
            "LANG": "C.UTF-8",
            "PATH": path,
            "PS1": "$ ",
            "SIMPLE_CHAT_SERVER_PORT": _PORT,
            "TERM": "screen-256color",
        }
        self._shell = shlex.join(["env", "-i", *(f"{k}={v}" for k, v in variables.items()), "sh"])
        self.events: list[tuple[float, str, str]] = []

    @contextmanager
    def panes(self, *titles: str) -> Iterator[list[Pane]]:
        """Open two rows of two panes for the length of the block, and start the recording.

        Args:
            titles: upper left, lower left, upper right, lower right.
        """
        size = ("-x", str(COLUMNS), "-y", str(ROWS))
        self.tmux("-f", os.devnull, "new-session", "-d", "-s", "demo", *size, self._shell)
        try:
            for option in _TMUX_OPTIONS:
                self.tmux("set", "-g", *shlex.split(option))
            self._split("-h", "demo:0.0", COLUMNS - _LEFT - 1)
            for upper in (0, 2):
                self._split("-v", f"demo:0.{upper}", ROWS - _TOP - 2)
            for number, title in enumerate(titles):
                self.tmux("select-pane", "-t", f"demo:0.{number}", "-T", title)
            self._attach()
            yield [Pane(self, number) for number in range(len(titles))]
        finally:
            self.tmux("kill-server")

    def _split(self, direction: str, target: str, size: int) -> None:
        self.tmux("split-window", direction, "-t", target, "-l", str(size), self._shell)

    def _attach(self) -> None:
        arguments = ["-u", "-S", self._socket, "attach", "-t", "demo"]
        environment = {**os.environ, "TERM": "screen-256color"}  # no sequences that pyte does not know
        self._terminal = pexpect.spawn(
            "tmux", arguments, dimensions=(ROWS, COLUMNS), env=environment, encoding="utf-8"
        )
        self._start = monotonic()
        self.record(_PAUSE)

    def tmux(self, *command: str) -> str:
        """Run a tmux command, and return its output."""
        command = ("tmux", "-S", self._socket, *command)
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def record(self, seconds: float) -> None:
        """Record the terminal's output for a time, which `speed` shortens."""
        deadline = monotonic() + seconds / self.speed
        while (left := deadline - monotonic()) > 0:
            try:
                output = self._terminal.read_nonblocking(65536, timeout=left)
            except pexpect.TIMEOUT:
                return
            self.events.append((round(monotonic() - self._start, 3), "o", output))


def play_conversation(session: TmuxSession) -> None:
    """Type the conversation of the demo."""
    titles = ("the server", "ann, with the client", "cleo, with nc", "ben, with the client")
    with session.panes(*titles) as (server, ann, cleo, ben):
        server.type("python -m simple_chat.server")
        server.wait_for("listening on")
        ann.type("python -m simple_chat.client --username ann")
        ann.wait_for("ann>")
        ben.type("python -m simple_chat.client --username ben")
        ben.wait_for("ben>")
        cleo.type(f"nc 127.0.0.1 {_PORT}")
        cleo.wait_for("HELLO")
        cleo.type("JOIN cleo")
        ben.wait_for("cleo joined")
        ben.type("send good morning, al", enter=False)
        cleo.type("MSG anybody here?")
        ben.wait_for("anybody here?")
        ben.type("l of you")
        ann.wait_for("good morning, all of you")
        ann.type("send no key was lost, ben")
        cleo.wait_for("no key was lost")
        ann.type("leave")
        cleo.wait_for("LEFT ann")
        session.record(_FINAL_PAUSE)


def record(path: Path, speed: float = 1.0) -> None:
    """Record the conversation.

    Args:
        path: the asciicast to write.
        speed: factor by which to shorten all pauses.
    """
    with TemporaryDirectory() as home:
        session = TmuxSession(home, speed)
        play_conversation(session)
    header = {"version": 2, "width": COLUMNS, "height": ROWS, "title": "simple_chat"}
    lines = [json.dumps(line, ensure_ascii=False) for line in (header, *session.events)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
