"""The completion scripts in completions/ are those of the parsers, and shells complete with them."""

import runpy
import shutil
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.harness.programs import DEADLINE, find_program

ROOT = Path(__file__).parents[1]
COMPLETIONS = ROOT / "completions"
SHELLS = {
    "bash": (["--norc", "--noprofile"], "source {folder}/simple-chat{server}.bash"),
    "zsh": (["-f"], "fpath=({folder} $fpath); autoload -U compinit; compinit -D -u"),
}


def test_scripts_are_up_to_date(tmp_path: Path) -> None:
    pytest.importorskip("shtab")
    runpy.run_path(str(ROOT / ".github" / "scripts" / "completions.py"))["main"](tmp_path)
    written, kept = (
        {path.name: path.read_text() for path in folder.iterdir()} for folder in (tmp_path, COMPLETIONS)
    )
    assert written == kept, "run .github/scripts/completions.py"


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> Iterator["pexpect.spawn[str]"]:
    """A shell that knows the scripts."""
    if request.param == "zsh" and not shutil.which("zsh"):
        pytest.skip("zsh is not installed")
    options, load = SHELLS[request.param]
    with pexpect.spawn(find_program(request.param), options, encoding="utf-8", timeout=DEADLINE) as child:
        child.delaybeforesend = None
        for server in ("", "-server"):
            child.sendline(load.format(folder=COMPLETIONS, server=server))
        child.sendline("PS1=; echo rea''dy")
        child.expect("ready\r\n")
        yield child


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("simple-chat-server --max-c", "--max-clients"),
        ("simple-chat-server --sync d", "--sync disk"),
        ("simple-chat-server hash", "hash-password"),
        ("simple-chat-server ctl STAT", "ctl STATUS"),
        ("simple-chat-server ctl --admin x DR", "ctl --admin x DRAIN"),
        ("simple-chat-server --tls-cert pyproject.to", "--tls-cert pyproject.toml"),
        ("simple-chat --use", "--username"),
        ("simple-chat --color al", "--color always"),
    ],
)
def test_tab_completes(shell: "pexpect.spawn[str]", typed: str, completed: str) -> None:
    shell.sendline(f"cd {ROOT}")
    shell.send(f"{typed}\t")
    shell.expect_exact(completed)
