"""Mutate the pure modules, and see whether the tests notice: ``python -m tests.mutation``."""

import argparse
import importlib
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from tests.mutation.equivalents import FILE, read_equivalents
from tests.mutation.forks import in_fork
from tests.mutation.mutants import Mutant, Source
from tests.mutation.runner import ROOT, Outcome, Runner

MODULES = (
    "core/*.py",
    "journal/record.py",
    "journal/retention.py",
    "cluster/entry.py",
    "cluster/message_index.py",
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
        mutants = random.Random(0).sample(mutants, options.sample)
    listed = read_equivalents(FILE.read_text())
    equivalents = [each for each in mutants if str(each) in listed]
    chosen = mutants if options.thorough else [each for each in mutants if str(each) not in listed]
    for name in _IMPORTED:
        importlib.import_module(name)
    outcomes = run(Runner(sources, thorough=options.thorough), chosen)
    for mutant in equivalents:
        if outcomes.get(mutant, Outcome.SURVIVED) is Outcome.SURVIVED:
            outcomes[mutant] = Outcome.EQUIVALENT
        else:
            print(f"listed as equivalent, and {outcomes[mutant].value}: {mutant}")
    return summarize(outcomes)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("parts", nargs="*", default=[""], help="only mutants that have this, as core/room.py")
    parser.add_argument("--sample", type=int, metavar="N", help="only N of them, always the same")
    parser.add_argument(
        "--thorough", action="store_true", help="with as many examples as in other test runs; equivalents too"
    )
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


def summarize(outcomes: Mapping[Mutant, Outcome]) -> int:
    """Print a line for each module, and return 1 if a mutant survived."""
    counts: dict[str, Counter[Outcome]] = defaultdict(Counter)
    for mutant, outcome in outcomes.items():
        counts[mutant.module][outcome] += 1
        counts["all"][outcome] += 1
    print(
        "\nmodule".ljust(24), "mutants", *(f"{outcome.value:>10}" for outcome in Outcome), "score", sep="  "
    )
    for module, count in sorted(counts.items(), key=lambda each: each[0] == "all"):
        caught, total = count[Outcome.KILLED] + count[Outcome.TIMEOUT], count.total()
        score = caught / max(total - count[Outcome.EQUIVALENT], 1)
        figures = (f"{count[outcome]:10}" for outcome in Outcome)
        print(module.ljust(23), f"{total:7}", *figures, f"{score:.1%}", sep="  ")
    return int(counts["all"][Outcome.SURVIVED] > 0)


if __name__ == "__main__":
    sys.exit(main())
