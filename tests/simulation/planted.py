"""Planted faults: small wrong changes to shipped code, each of which some seed has to find.

A fault is an `Edit` or several: a few characters in the source of one function are replaced, as a slip of the
pen would do it.
"""

import inspect
import textwrap
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from types import FunctionType, ModuleType
from unittest.mock import patch

from tests.simulation.plan import Plan
from tests.simulation.run import run


class Edit:
    """A change of one function.

    Args:
        owner: the class or module that has it.
        name: of the function, or property.
        old: what is replaced in its source, where it occurs once.
        new: what takes its place.
    """

    def __init__(self, owner: type | ModuleType, name: str, old: str, new: str) -> None:
        self.owner = owner
        self.name = name
        self._old = old
        self._new = new

    def applied(self) -> AbstractContextManager[object]:
        """Return a context in which the function is changed.

        Raises:
            ValueError: the source is another by now.
        """
        return patch.object(self.owner, self.name, self._changed())

    def _changed(self) -> object:
        function = _function(vars(self.owner)[self.name])
        source = textwrap.dedent(inspect.getsource(function))
        if (count := source.count(self._old)) != 1:
            raise ValueError(f"{self.name} has {self._old!r} {count} times")
        names: dict[str, object] = {}
        exec(source.replace(self._old, self._new), function.__globals__, names)
        return names[self.name]


def _function(attribute: object) -> FunctionType:
    """Return the function of a property, or of a static or class method."""
    function = getattr(attribute, "fget", None) or getattr(attribute, "__func__", attribute)
    assert isinstance(function, FunctionType)
    return function


class Planted:
    """A planted fault.

    Args:
        name: what is wrong.
        plan: a world in which it shows; it is looked for in others of this kind, too.
        edits: that make it.

    Attributes:
        name: what is wrong.
        plan: that world.
    """

    def __init__(self, name: str, plan: Plan, *edits: Edit) -> None:
        self.name = name
        self.plan = plan
        self.edits = edits

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Have the fault in the code for a while."""
        with ExitStack() as stack:
            for edit in self.edits:
                stack.enter_context(edit.applied())
            yield


@dataclass(frozen=True)
class Hunt:
    """How a fault was looked for.

    Attributes:
        seeds: worlds that were run.
        seconds: that took.
        plan: the last of them.
        finding: what was found in that; None if nothing was.
    """

    seeds: int
    seconds: float
    plan: Plan
    finding: str | None


def hunt(fault: Planted, seeds: Iterable[int]) -> Hunt:
    """Look for a fault in the worlds of some seeds; only what is not found without it counts."""
    began, count, plan = time.monotonic(), 0, fault.plan
    for count, seed in enumerate(seeds, 1):
        plan = replace(fault.plan, seed=seed)
        with fault.applied():
            findings = run(plan).findings
        if findings and not run(plan).findings:
            return Hunt(count, time.monotonic() - began, plan, findings[0])
    return Hunt(count, time.monotonic() - began, plan, None)
