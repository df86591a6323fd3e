"""Run simulated worlds, and make the plan of one that shows a fault smaller."""

import contextlib
from dataclasses import replace

from tests.simulation.plan import Plan
from tests.simulation.scenarios import SCENARIOS
from tests.simulation.world import Finding, World

_SHRINKS = 60  # worlds that are tried


def run(plan: Plan, *, telling: bool = False) -> World:
    """Run a world, and return it with what was found."""
    world = World(plan, telling=telling)
    with contextlib.suppress(Finding):  # the world keeps it
        world.run(SCENARIOS[plan.shape])
    return world


def shrink(plan: Plan) -> Plan:
    """Return a smaller plan that shows a fault, too.

    Args:
        plan: one that shows a fault.
    """
    plan = replace(plan, seconds=max(run(plan).seconds_of_life, 1.0))
    left = _SHRINKS
    while left > 0:
        for smaller in plan.smaller():
            left -= 1
            if run(smaller).findings:
                plan = smaller
                break
        else:
            return plan
    return plan
