"""Planted faults are found, and by what they do: the same worlds are without findings otherwise.

`python -m tests.simulation --planted` looks for all of them.
"""

from collections import Counter
from itertools import islice

import pytest

from tests.simulation.planted import Planted, hunt
from tests.simulation.planted_faults import PLANTED

SEEDS = 40
"""Worlds in which a fault is looked for; the first one shows it, as long as worlds stay the same."""

SMALL = [
    fault for fault in PLANTED if fault.plan.seed < 4 and fault.plan.people <= 5 and fault.plan.seconds <= 20
]
SAMPLE = [*islice(SMALL, 0, None, 6)]


def test_each_planted_fault_has_a_name_of_its_own() -> None:
    names = Counter(fault.name for fault in PLANTED)
    assert len(names) >= 40
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("fault", PLANTED, ids=lambda fault: fault.name)
def test_a_planted_fault_changes_the_code_and_leaves_it_as_it_was(fault: Planted) -> None:
    before = [vars(edit.owner)[edit.name] for edit in fault.edits]
    with fault.applied():
        changed = [vars(edit.owner)[edit.name] for edit in fault.edits]
    after = [vars(edit.owner)[edit.name] for edit in fault.edits]
    assert all(new is not old for new, old in zip(changed, before, strict=True))
    assert all(new is old for new, old in zip(after, before, strict=True))


@pytest.mark.parametrize("fault", SAMPLE, ids=lambda fault: fault.name)
def test_a_planted_fault_is_found(fault: Planted) -> None:
    found = hunt(fault, range(fault.plan.seed, fault.plan.seed + SEEDS))
    assert found.finding is not None, f"not in {found.seeds} worlds"
