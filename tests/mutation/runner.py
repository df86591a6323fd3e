"""Runs the tests on mutants.

Most mutants are in functions: the tests are collected once, and for each mutant a fork puts its code into the
functions of the module, and runs the tests that execute its lines, the fastest first, until one fails. A
mutant of what is executed when the module is imported takes the module's place, and the tests are collected
anew.
"""

import gc
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType

import coverage
import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.mutation.forks import in_fork, limit_cpu
from tests.mutation.importing import fits, import_instead, put_into
from tests.mutation.mutants import Mutant, Source

ROOT = Path(__file__).parents[2]
TESTS = (
    "tests/core",
    "tests/journal/test_record.py",
    "tests/journal/test_retention.py",
    "tests/cluster/test_entry.py",
    "tests/cluster/test_message_index.py",
    "tests/cluster/test_nodes.py",
    "tests/cluster/test_orders.py",
    "tests/cluster/test_outbox.py",
    "tests/cluster/test_replicated.py",
    "tests/cluster/test_replicated_model.py",
    "tests/cluster/test_snapshot.py",
)
"""What may kill a mutant: no test that needs a socket, a file, or time."""

_IGNORED = "tests/core/test_cost.py"  # a mutant that only costs more is none
_PACKAGE = "simple_chat"
_EXAMPLES, _EXAMPLES_THOROUGH = 25, 150  # of each property

# CPU time after which a test hangs: several times what it took without a mutant, for it may have more to do.
_PATIENCE, _LEAST = 10, 1.0
_IMPORT = 20.0


class Outcome(Enum):
    """What became of a mutant."""

    KILLED = "killed"
    TIMEOUT = "timeout"
    SURVIVED = "survived"
    EQUIVALENT = "equivalent"


@dataclass
class Runs:
    """How the tests run without a mutant.

    Attributes:
        seconds: of CPU time that each takes, by its name.
        by_line: names of the tests that execute a line, by its module and number.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    by_line: dict[str, dict[int, set[str]]] = field(default_factory=dict)

    def of_lines(self, mutant: Mutant) -> set[str]:
        """Return the tests that execute a mutant's lines, apart from importing the module."""
        lines = self.by_line.get(mutant.module, {})
        return set().union(*(lines.get(line, set()) for line in mutant.lines))

    def of_module(self, module: str) -> set[str]:
        """Return the tests that execute lines of a module; all, if it does nothing but to be imported."""
        return set().union(*self.by_line.get(module, {}).values()) or set(self.seconds)


class _Loop:
    """A plugin that has a function run the tests that were collected."""

    def __init__(self, run: Callable[[pytest.Session], None]) -> None:
        self._run = run

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self._run(session)
        return True


class Runner:
    """Runs the tests on mutants, in forks of a process that has imported no module of the package.

    Args:
        sources: the modules, by their names.
        thorough: whether properties get as many examples as in other runs of the tests.
    """

    def __init__(self, sources: Mapping[str, Source], *, thorough: bool = False) -> None:
        self._sources = sources
        self._thorough = thorough

    def run_in_functions(
        self, mutants: Iterable[Mutant], report: Callable[[Mutant, Outcome], None]
    ) -> tuple[Runs, list[Mutant]]:
        """Run the tests on mutants in functions; this process is of no use for more.

        Returns:
            How the tests run without a mutant, and the mutants that have to be imported.

        Raises:
            RuntimeError: a test fails without a mutant.
        """
        results: list[tuple[Runs, list[Mutant]]] = []

        def loop(session: pytest.Session) -> None:
            runs, others = _measure(session), []
            gc.unfreeze()  # what is frozen is not found
            functions = [each for each in gc.get_objects() if isinstance(each, FunctionType)]
            gc.freeze()
            for mutant in mutants:
                names = set() if mutant.at_import else runs.of_lines(mutant)
                code = self._sources[mutant.module].compile(mutant)
                if names and fits(code, functions):
                    items = [item for item in session.items if item.nodeid in names]
                    step = partial(_put_and_run, functions, code, session, items, runs)
                    report(mutant, _outcome(in_fork(step)))
                else:
                    others.append(mutant)
            results.append((runs, others))

        self._collect(TESTS, loop)
        if not results:
            raise RuntimeError("the tests fail without a mutant")
        return results[0]

    def run_imported(self, mutant: Mutant, runs: Runs) -> Outcome:
        """Run the tests on a mutant that is imported: first those of its module.

        All tests of a file are run: what a test is called may depend on the mutant.
        """
        mirrored = f"tests/{mutant.module.replace('/', '/test_')}"
        others = {each.partition("::")[0] for each in runs.of_module(mutant.module)} - {mirrored}
        for files in ([mirrored], sorted(others)):
            outcome = _outcome(in_fork(partial(self._import_and_run, mutant, files, runs)))
            if outcome is not Outcome.SURVIVED:
                return outcome
        return Outcome.SURVIVED

    def _import_and_run(self, mutant: Mutant, files: Sequence[str], runs: Runs) -> bool:
        """Return whether a test in some files fails."""
        name = f"{_PACKAGE}.{mutant.module.removesuffix('.py').replace('/', '.')}"
        import_instead(name, self._sources[mutant.module].compile(mutant))
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)  # an import may fail, and pytest says so
        os.dup2(null, 2)

        def loop(session: pytest.Session) -> None:
            _run(session, session.items, runs)

        limit_cpu(_IMPORT)
        existing = [each for each in files if (ROOT / each).exists()]
        return bool(existing) and self._collect(existing, loop) != pytest.ExitCode.OK

    def _collect(self, tests: Iterable[str], run: Callable[[pytest.Session], None]) -> int:
        """Collect tests, have a function run them, and return pytest's exit status."""
        settings.register_profile(
            "mutants",
            max_examples=_EXAMPLES_THOROUGH if self._thorough else _EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.generate],
        )

        def limited(session: pytest.Session) -> None:
            if not self._thorough:
                _limit_machines(session.items)
            run(session)

        options = ["--override-ini=addopts=", "--hypothesis-profile=mutants", "--capture=no", "--exitfirst"]
        options += ["-Wignore::pytest.PytestAssertRewriteWarning", "-pno:terminal", "-pno:cacheprovider"]
        return pytest.main([*options, f"--ignore={_IGNORED}", *tests], plugins=[_Loop(limited)])


def _limit_machines(items: Iterable[pytest.Item]) -> None:
    """Let state machines, which have settings of their own, run few examples."""
    for machine in {item.cls for item in items if isinstance(item, pytest.Function)}:
        if hasattr(machine, "settings"):
            machine.settings = settings(machine.settings, max_examples=_EXAMPLES // 2)


def _put_and_run(
    functions: Sequence[FunctionType],
    code: CodeType,
    session: pytest.Session,
    items: Sequence[pytest.Item],
    runs: Runs,
) -> bool:
    put_into(functions, code)
    return _run(session, items, runs)


def _run(session: pytest.Session, items: Iterable[pytest.Item], runs: Runs) -> bool:
    """Run tests, the fastest first, and return whether one failed."""
    for item in sorted(items, key=lambda item: runs.seconds.get(item.nodeid, 0.0)):
        limit_cpu(_LEAST + _PATIENCE * runs.seconds.get(item.nodeid, 1.0))
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        if session.testsfailed:
            return True
    return False


def _outcome(failed: bool | None) -> Outcome:  # noqa: FBT001 - as in_fork returns it
    return Outcome.TIMEOUT if failed is None else Outcome.KILLED if failed else Outcome.SURVIVED


def _measure(session: pytest.Session) -> Runs:
    """Run all tests without a mutant.

    Raises:
        RuntimeError: one fails.
    """
    runs = Runs()
    watch = coverage.Coverage(data_file=None, config_file=False, include=[str(ROOT / _PACKAGE / "*")])
    for item in session.items:
        watch.start()
        watch.switch_context(item.nodeid)
        began = time.process_time()
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        runs.seconds[item.nodeid] = time.process_time() - began
        watch.stop()
        if session.testsfailed:
            raise RuntimeError(f"{item.nodeid} fails without a mutant")
    data = watch.get_data()
    for path in data.measured_files():
        contexts = data.contexts_by_lineno(path)
        module = str(Path(path).relative_to(ROOT / _PACKAGE))
        runs.by_line[module] = {line: set(tests) - {""} for line, tests in contexts.items()}
    return runs
