"""The commit and push hooks accept what follows the project's rules, and refuse what does not.

They run in a clone that is trimmed to what each hook needs: on the whole project, mypy without a cache and
the tests of the core take half a minute.
"""

import os
import sys
from pathlib import Path
from subprocess import CompletedProcess, run

import pytest

from tests.harness.programs import find_program

ROOT = Path(__file__).parents[1]
DEADLINE = 120.0

KEPT = (
    "pyproject.toml",
    ".pre-commit-config.yaml",
    ".gitignore",
    ".github",
    "simple_chat",
    "examples/benchmark/asyncio_streams.py",
    "tests/__init__.py",
    "tests/core/__init__.py",
)
"""At least a module in each directory that mypy is told to check."""

EMPTIED = ("simple_chat/client", "simple_chat/bench")
"""Packages that keep their ``__init__.py`` only: mypy would check the large libraries that they import."""

PASSING_TEST = "def test_passing() -> None:\n    assert True\n"
FAILING_TEST = "def test_failing() -> None:\n    raise AssertionError\n"


class Clone:
    """A trimmed clone of the project with its hooks installed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Not the variables of the git, pytest or coverage that this test runs in.
        ours = ("GIT_", "COVERAGE_", "COV_", "PYTEST_")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        path_variable = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        author = {
            f"GIT_{role}_{what}": "a@b.c" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
        }
        quick = {"PYTEST_ADDOPTS": "-p no:hypothesispytest -n0"}  # slow to start, and no test here needs it
        self._environment = inherited | author | quick | {"PATH": path_variable}

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

    def git(self, *arguments: str) -> None:
        ended = self.run("git", *arguments)
        assert ended.returncode == 0, ended.stderr

    def trim(self) -> None:
        """Commit the deletion of all that is not `KEPT`."""
        self.git("checkout", "--quiet", "HEAD", "--", *KEPT)
        for package in EMPTIED:
            for module in (self.path / package).glob("*.py"):
                if module.name != "__init__.py":
                    module.unlink()
        (self.path / "simple_chat" / "__init__.py").write_text('"""Trimmed."""\n\n__version__ = "0"\n')
        (self.path / "tests" / "core" / "test_passing.py").write_text(PASSING_TEST)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--no-verify", "--message", "Trim")

    def commit(self, files: dict[str, str]) -> CompletedProcess[str]:
        """Try to commit files, and leave a clean tree behind."""
        for name, text in files.items():
            (self.path / name).write_text(text)
        self.git("add", *files)
        ended = self.run("git", "commit", "--message", "Try it")
        self.git("reset", "--hard", "--quiet")
        return ended


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    find_program("git")
    if not (ROOT / ".git").exists():
        pytest.skip("these sources are no git repository")
    clone = Clone(tmp_path_factory.mktemp("clone"))
    clone.git("clone", "--quiet", "--no-checkout", str(ROOT), ".")
    clone.trim()
    assert clone.run("pre-commit", "install").returncode == 0
    return clone


def test_good_commit_is_accepted(clone: Clone) -> None:
    ended = clone.commit({"simple_chat/core/fine.py": '"""Fine."""\n\nFINE = 1\n'})
    assert ended.returncode == 0, ended.stdout + ended.stderr


BAD = {
    "simple_chat/core/format.py": ('"""Its quotes."""\n\nSHAPE = {   1 }\n', "ruff-format"),
    "simple_chat/core/lint.py": ('"""Unused."""\n\nimport os\n', "F401"),
    "simple_chat/core/types.py": ('"""Wrong."""\n\nCOUNT: int = "many"\n', "[assignment]"),
    "simple_chat/core/impure.py": ('"""I/O."""\n\nimport socket\n\nOPEN = socket.socket\n', "TID251"),
    "simple_chat/core/upwards.py": (
        '"""Up."""\n\nfrom simple_chat.journal import base\n\nBASE = base\n',
        "Imports run downwards BROKEN",
    ),
    ".github/workflows/new.yml": ("on: push\njobs: {}\n", "actionlint"),
}
"""Files, and what the hook that refuses each of them says: only those that refuse are heard of."""


def test_bad_commit_is_refused_by_each_hook(clone: Clone) -> None:
    refused = clone.commit({name: text for name, (text, _) in BAD.items()})
    assert refused.returncode == 1
    said = refused.stdout + refused.stderr
    assert [complaint for _, complaint in BAD.values() if complaint not in said] == []


def test_push_runs_the_tests_of_the_core(clone: Clone) -> None:
    remote = str(clone.path.with_name("remote.git"))
    clone.git("init", "--bare", "--quiet", remote)
    clone.git("push", "--quiet", remote, "HEAD")
    (clone.path / "tests" / "core" / "test_failing.py").write_text(FAILING_TEST)
    clone.git("add", "tests")
    clone.git("commit", "--quiet", "--no-verify", "--message", "Fail")
    refused = clone.run("git", "push", "--quiet", remote, "HEAD")
    assert refused.returncode == 1
    assert "test_failing" in refused.stdout + refused.stderr
