"""Try seed after seed until something is found: ``python -m tests.simulation``."""

import argparse
import itertools
import random
import sys
import time
from collections.abc import Iterator, Sequence

from tests.simulation.plan import SHAPES, Plan
from tests.simulation.planted import hunt
from tests.simulation.planted_faults import PLANTED
from tests.simulation.run import run, shrink

_PLANTED_SEEDS = 200  # worlds in which a planted fault is looked for
_PROGRESS = 5.0  # seconds between two lines of progress


def main(arguments: Sequence[str] | None = None) -> int:
    """Run worlds; return 1 if something was found."""
    options = _parse(arguments)
    if options.planted is not None:
        return _look_for_planted(options)
    if options.tell:
        return _tell(next(_plans(options)))
    began, last, virtual, count = time.monotonic(), time.monotonic(), 0.0, 0
    for plan in _plans(options):
        world = run(plan)
        count += 1
        virtual += world.loop.now
        if world.findings:
            smaller = shrink(plan)
            print(f"seed {plan.seed}: {world.findings[0]}")
            print(f"again: python -m tests.simulation {smaller} --tell")
            return 1
        now = time.monotonic()
        if now - last > _PROGRESS:
            last = now
            print(_progress(count, virtual, now - began), file=sys.stderr)
        if options.minutes is not None and now - began > 60 * options.minutes:
            break
    print(_progress(count, virtual, time.monotonic() - began))
    return 0


def _look_for_planted(options: argparse.Namespace) -> int:
    """Look for planted faults, by default from worlds on in which they show; return 1 if one is not found."""
    missed = 0
    for fault in PLANTED:
        if options.planted in fault.name:
            start = fault.plan.seed if options.start is None else options.start
            found = hunt(fault, range(start, start + (options.seeds or _PLANTED_SEEDS)))
            result = "NOT FOUND" if found.finding is None else f"{found.plan}: {found.finding[:120]}"
            print(f"{found.seeds:4} seeds {found.seconds:6.1f} s  {fault.name} | {result}", flush=True)
            missed += found.finding is None
    print(f"{missed} not found")
    return 1 if missed else 0


def _progress(count: int, virtual: float, seconds: float) -> str:
    return f"{count} seeds, {count / seconds:.1f}/s; {virtual:.0f} virtual seconds, {virtual / seconds:.0f}/s"


def _plans(options: argparse.Namespace) -> Iterator[Plan]:
    shapes = SHAPES if options.shape is None else (options.shape,)
    limits = {
        name: value
        for name in ("people", "faults", "seconds")
        if (value := getattr(options, name)) is not None
    }
    if options.seed is not None:
        yield Plan(shapes[0], options.seed, **limits)
        return
    start = random.randrange(2**31) if options.start is None else options.start
    seeds = itertools.count(start) if options.seeds is None else range(start, start + options.seeds)
    for seed in seeds:
        yield Plan(shapes[seed % len(shapes)], seed, **limits)


def _tell(plan: Plan) -> int:
    """Print the story of a world."""
    world = run(plan, telling=True)
    print("\n".join(world.story))
    return 1 if world.findings else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, metavar="N", help="how many (default: no end)")
    parser.add_argument("--start", type=int, metavar="SEED", help="the first one (default: any)")
    parser.add_argument("--minutes", type=float, metavar="M", help="stop after so many minutes")
    parser.add_argument("--shape", choices=SHAPES, help="(default: all in turn)")
    parser.add_argument("--seed", type=int, metavar="S", help="only this one")
    parser.add_argument(
        "--planted",
        nargs="?",
        const="",
        metavar="NAME",
        help="look for planted faults: all, or those whose name has this in it",
    )
    parser.add_argument("--tell", action="store_true", help="print its story")
    for name, kind in (("people", int), ("faults", int), ("seconds", float)):
        parser.add_argument(f"--{name}", type=kind, help="at most so many")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
