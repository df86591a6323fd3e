"""The hooks that a clone installs refuse what the project does not take."""

import os
import sys
from pathlib import Path
from subprocess import CompletedProcess, run

import pytest

from tests.harness.programs import find_program

ROOT = Path(__file__).parents[1]
DEADLINE = 120.0
"""Seconds that one command may take: mypy begins without a cache."""


class Clone:
    """A clone of the project with its hooks installed, and somebody who commits in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Neither this clone's git nor a measurement of coverage is the throwaway's business.
        ours = ("GIT_", "COVERAGE_", "COV_", "PYTEST_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        here = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        nobody = {
            f"GIT_{who}_{what}": "a@b.c" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
        }
        self._environment = inherited | nobody | {"PATH": here}

    def run(self, *command: str) -> CompletedProcess[str]:
        return run(
            command,
            cwd=self.path,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE,
        )

    def commit(self, name: str, text: str) -> CompletedProcess[str]:
        """Try to commit a file."""
        (self.path / name).write_text(text)
        self.run("git", "add", name)
        try:
            return self.run("git", "commit", "--message", "Try it")
        finally:
            self.run("git", "reset", "--hard")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A throwaway clone of what is committed here."""
    find_program("git")
    if not (ROOT / ".git").exists():
        pytest.skip("these sources are no git repository")
    clone = Clone(tmp_path_factory.mktemp("clone"))
    assert clone.run("git", "clone", "--quiet", str(ROOT), ".").returncode == 0
    assert clone.run("pre-commit", "install").returncode == 0
    return clone


def test_good_commit_is_taken(clone: Clone) -> None:
    assert clone.commit("simple_chat/fine.py", '"""Fine."""\n\nFINE = 1\n').returncode == 0


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("simple_chat/shape.py", '"""Its quotes."""\n\nSHAPE = {   1 }\n', "ruff-format"),
        ("simple_chat/lint.py", '"""Unused."""\n\nimport os\n', "F401"),
        ("simple_chat/types.py", '"""Wrong."""\n\nCOUNT: int = "many"\n', "[assignment]"),
        ("simple_chat/core.py", '"""Impure."""\n\nimport socket\n\nOPEN = socket.socket\n', "TID251"),
        (".github/workflows/new.yml", "on: push\njobs: {}\n", "actionlint"),
    ],
    ids=["format", "lint", "types", "purity", "workflow"],
)
def test_bad_commit_is_refused(clone: Clone, name: str, text: str, complaint: str) -> None:
    refused = clone.commit(name, text)
    assert refused.returncode == 1
    assert complaint in refused.stdout + refused.stderr


def test_push_runs_the_tests_of_the_core(clone: Clone) -> None:
    broken = "def test_broken() -> None:\n    raise AssertionError\n"
    assert clone.commit("tests/core/test_broken.py", broken).returncode == 0
    elsewhere = clone.path.with_name("elsewhere.git")
    clone.run("git", "init", "--bare", "--quiet", str(elsewhere))
    refused = clone.run("git", "push", "--quiet", str(elsewhere), "HEAD")
    assert refused.returncode == 1
    assert "test_broken" in refused.stdout + refused.stderr
