"""Plays a conversation in a terminal with four panes and films it as an asciicast, version 2."""

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
_TOP, _LEFT = 9, 60  # size of the pane in the left upper corner
_DEADLINE = 15.0  # seconds for something to appear
_KEY = 0.045  # seconds from key to key
_GLANCE = 0.7  # seconds that a reader takes to see what happened
_LOOK = 3.0  # seconds that the last picture stays
_PORT = os.environ.get("SIMPLE_CHAT_SERVER_PORT") or "8090"

_TMUX_OPTIONS = (
    "status off",
    "pane-border-status top",
    "pane-border-format '#[fg=colour250] #{pane_title} '",
    "pane-border-style fg=colour240",
    "pane-active-border-style fg=colour240",
    "escape-time 0",
)


class Pane:
    """One of the panes, and who sits before it."""

    def __init__(self, stage: "Stage", number: int) -> None:
        self._stage = stage
        self._target = f"demo:0.{number}"

    def type(self, text: str, *, enter: bool = True) -> None:
        """Type at the speed of a person who knows what to say."""
        self._stage.tmux("select-pane", "-t", self._target)  # where the cursor is shown
        for key in text:
            self._stage.tmux("send-keys", "-t", self._target, "-l", key)
            self._stage.film(_KEY)
        if enter:
            self.enter()

    def enter(self) -> None:
        """Press Enter."""
        self._stage.film(4 * _KEY)
        self._stage.tmux("send-keys", "-t", self._target, "Enter")

    def see(self, text: str) -> None:
        """Film until the pane shows a text, and a glance longer.

        Raises:
            TimeoutError: if it does not within the deadline.
        """
        deadline = monotonic() + _DEADLINE
        while text not in (shown := self._stage.tmux("capture-pane", "-p", "-t", self._target)):
            if monotonic() > deadline:
                raise TimeoutError(f"{text!r} was not seen, but:\n{shown}")
            self._stage.film(_KEY)
        self._stage.film(_GLANCE)


class Stage:
    """A tmux of its own, seen through a terminal that is filmed.

    Attributes:
        film_so_far: what the terminal put out, as the asciicast's events.
    """

    def __init__(self, home: str) -> None:
        self._socket = str(Path(home, "tmux"))
        here = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        surroundings = {
            "HOME": home,
            "LANG": "C.UTF-8",
            "PATH": here,
            "PS1": "$ ",
            "SIMPLE_CHAT_SERVER_PORT": _PORT,
            "TERM": "screen-256color",
        }
        self._shell = shlex.join(["env", "-i", *(f"{k}={v}" for k, v in surroundings.items()), "sh"])
        self.film_so_far: list[tuple[float, str, str]] = []

    @contextmanager
    def lit(self, *titles: str) -> Iterator[list[Pane]]:
        """Raise the curtain: two rows of two panes with these titles, from the left upper corner on."""
        size = ("-x", str(COLUMNS), "-y", str(ROWS))
        self.tmux("-f", os.devnull, "new-session", "-d", "-s", "demo", *size, self._shell)
        try:
            for option in _TMUX_OPTIONS:
                self.tmux("set", "-g", *shlex.split(option))
            self.tmux("split-window", "-h", "-t", "demo:0.0", "-l", str(COLUMNS - _LEFT - 1), self._shell)
            for upper in (0, 2):
                self.tmux(
                    "split-window", "-v", "-t", f"demo:0.{upper}", "-l", str(ROWS - _TOP - 2), self._shell
                )
            for number, title in enumerate(titles):
                self.tmux("select-pane", "-t", f"demo:0.{number}", "-T", title)
            self._attach()
            yield [Pane(self, number) for number in range(len(titles))]
        finally:
            self.tmux("kill-server")

    def _attach(self) -> None:
        attach = ["-u", "-S", self._socket, "attach", "-t", "demo"]
        environment = {**os.environ, "TERM": "screen-256color"}  # without sequences that few terminals know
        self._terminal = pexpect.spawn(
            "tmux", attach, dimensions=(ROWS, COLUMNS), env=environment, encoding="utf-8"
        )
        self._start = monotonic()
        self.film(_GLANCE)

    def tmux(self, *command: str) -> str:
        """Tell tmux something, and return what it says."""
        ended = subprocess.run(
            ["tmux", "-S", self._socket, *command], check=True, capture_output=True, text=True
        )
        return ended.stdout

    def film(self, seconds: float) -> None:
        """Take down what the terminal shows for so long."""
        until = monotonic() + seconds
        while (left := until - monotonic()) > 0:
            try:
                shown = self._terminal.read_nonblocking(65536, timeout=left)
            except pexpect.TIMEOUT:
                return
            self.film_so_far.append((round(monotonic() - self._start, 3), "o", shown))


def play(stage: Stage) -> None:
    """The conversation."""
    titles = ("the server", "ann, with the client", "cleo, with nc", "ben, with the client")
    with stage.lit(*titles) as (server, ann, cleo, ben):
        server.type("python -m simple_chat.server")
        server.see("listening on")
        ann.type("python -m simple_chat.client --username ann")
        ann.see("ann>")
        ben.type("python -m simple_chat.client --username ben")
        ben.see("ben>")
        cleo.type(f"nc 127.0.0.1 {_PORT}")
        cleo.see("HELLO")
        cleo.type("JOIN cleo")
        ben.see("cleo joined")
        ben.type("send good morning, al", enter=False)
        cleo.type("MSG anybody here?")
        ben.see("anybody here?")
        ben.type("l of you")
        ann.see("good morning, all of you")
        ann.type("send no key was lost, ben")
        cleo.see("no key was lost")
        ann.type("leave")
        cleo.see("LEFT ann")
        stage.film(_LOOK)


def record(path: Path) -> None:
    """Play the conversation and write it down.

    Args:
        path: of the asciicast.
    """
    with TemporaryDirectory() as home:
        stage = Stage(home)
        play(stage)
    header = {"version": 2, "width": COLUMNS, "height": ROWS, "title": "simple_chat"}
    lines = [json.dumps(line, ensure_ascii=False) for line in (header, *stage.film_so_far)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
