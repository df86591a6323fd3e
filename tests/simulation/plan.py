"""What a simulated world is made of. The same plan is the same world; a smaller one is easier to read."""

from dataclasses import dataclass, replace
from typing import Self

SHAPES = ("single", "journal", "cluster")
"""One server, one with a journal, three that share a log."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan.

    Attributes:
        shape: one of `SHAPES`.
        seed: decides everything that the others leave open.
        people: how many there are at a time, at most.
        faults: how many faults there are, at most.
        seconds: how long people come and go, at most.
    """

    shape: str
    seed: int
    people: int = 20
    faults: int = 100
    seconds: float = 3600.0

    def smaller(self) -> list[Self]:
        """Return the next smaller plans, the smallest first."""
        return [
            *(replace(self, people=each) for each in (self.people // 2, self.people - 1) if each > 0),
            *(replace(self, faults=each) for each in (self.faults // 2, self.faults - 1) if each >= 0),
            *(replace(self, seconds=self.seconds * part) for part in (0.5, 0.9)),
        ]

    def __str__(self) -> str:
        limits = f"--people {self.people} --faults {self.faults} --seconds {self.seconds:g}"
        return f"--shape {self.shape} --seed {self.seed} {limits}"
