"""Mutate the pure modules, and see whether the tests notice: ``python -m tests.mutation``."""

import argparse
import importlib
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from tests.mutation.equivalents import FILE, read_equivalents
from tests.mutation.forks import in_fork
from tests.mutation.mutants import Mutant, Source
from tests.mutation.runner import ROOT, Outcome, Runner

MODULES = (
    "core/*.py",
    "journal/record.py",
    "journal/retention.py",
    "cluster/entry.py",
    "cluster/nodes.py",
    "cluster/outbox.py",
    "cluster/replicated.py",
    "cluster/snapshot.py",
)

# What the tests import beside the package: once, before all forks.
_IMPORTED = ("hypothesis.stateful", "nats", "nkeys", "uvloop")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tests on mutants, and print those that survive; return 1 if there are some."""
    options = _parse(arguments)
    sources = {source.name: source for source in read_sources()}
    mutants = [each for source in sources.values() for each in source.mutants]
    mutants = [each for each in mutants if any(part in str(each) for part in options.parts)]
    if options.sample is not None and options.sample < len(mutants):
        mutants = random.Random(options.seed).sample(mutants, options.sample)
    for name in _IMPORTED:
        importlib.import_module(name)
    outcomes = run(Runner(sources, thorough=options.thorough), mutants)
    return _summarize(outcomes, read_equivalents(FILE.read_text()))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", default=[""], help="only mutants with this in their key, as core/room.py"
    )
    parser.add_argument("--sample", type=int, metavar="N", help="only N of them, chosen at random")
    parser.add_argument("--seed", type=int, default=0, help="chooses the same again (default: 0)")
    parser.add_argument("--thorough", action="store_true", help="with as many examples as in other test runs")
    return parser.parse_args(arguments)


def read_sources() -> Iterator[Source]:
    package = ROOT / "simple_chat"
    for pattern in MODULES:
        for path in sorted(package.glob(pattern)):
            yield Source(path.read_text(), path, str(path.relative_to(package)))


def run(runner: Runner, mutants: Sequence[Mutant]) -> dict[Mutant, Outcome]:
    """Run the tests on mutants; print those that are not killed, one by one."""
    outcomes: dict[Mutant, Outcome] = {}

    def report(mutant: Mutant, outcome: Outcome) -> None:
        outcomes[mutant] = outcome
        if outcome is not Outcome.KILLED:
            print(f"{outcome.value}: {mutant}", flush=True)

    done = in_fork(lambda: (runner.run_in_functions(mutants, report), outcomes))
    if done is None:
        raise SystemExit("the tests could not be run, see above")
    (runs, others), outcomes = done
    for mutant in others:
        report(mutant, runner.run_imported(mutant, runs))
    return outcomes


def _summarize(outcomes: dict[Mutant, Outcome], equivalents: dict[str, str]) -> int:
    """Print a line for each module; return 1 if a mutant survived that is not listed as equivalent."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for mutant, outcome in outcomes.items():
        listed = str(mutant) in equivalents
        kind = "equivalent" if listed and outcome is Outcome.SURVIVED else outcome.value
        counts[mutant.module][kind] += 1
        counts["all"][kind] += 1
        if listed and outcome is not Outcome.SURVIVED:
            print(f"listed as equivalent, but {outcome.value}: {mutant}")
    print(
        f"\n{'':25}{'mutants':>10}{'killed':>10}{'timeout':>10}{'survived':>10}{'equivalent':>12}{'score':>10}"
    )
    for module, count in sorted(counts.items(), key=lambda each: each[0] == "all"):
        caught = count["killed"] + count["timeout"]
        score = caught / max(count.total() - count["equivalent"], 1)
        print(
            f"{module:25}{count.total():10}{count['killed']:10}{count['timeout']:10}{count['survived']:10}"
            f"{count['equivalent']:12}{score:10.1%}"
        )
    return int(counts["all"]["survived"] > 0)


if __name__ == "__main__":
    sys.exit(main())
