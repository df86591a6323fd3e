"""The mutants that are made of a source, and that they get where the code would be."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.mutation.__main__ import read_sources
from tests.mutation.equivalents import FILE, read_equivalents
from tests.mutation.forks import in_fork, limit_cpu
from tests.mutation.importing import fits, import_instead, put_into
from tests.mutation.mutants import Source

TEXT = '''
"""A module."""

LIMIT = 8 * 1024
WORD = "word"

class Cup:
    """A cup."""

    def is_full(self, added: int = 0) -> bool:
        """Whether it is."""
        return self.size(added) if self.open else not self.empty

    def fill(self, parts: list[int]) -> None:
        self.level = 0
        for part in parts[1:]:
            if part <= LIMIT and part:
                self.level += part
'''


def keys(text: str) -> list[str]:
    return [str(mutant) for mutant in Source(text, Path("cup.py"), "cup.py").mutants]


def test_mutants_are_all_small_faults_of_what_is_executed() -> None:
    full, fill = "cup.py Cup.is_full |", "cup.py Cup.fill |"
    returned = "return self.size(added) if self.open else not self.empty"
    assert keys(TEXT) == [
        "cup.py - | WORD = 'word' | 'word' -> ''",
        f"{full} def is_full | 0 -> 1",
        f"{full} def is_full | 0 -> -1",
        f"{full} {returned} | {returned} -> return not ({returned.removeprefix('return ')})",
        f"{full} {returned} | self.open -> not self.open",
        f"{full} {returned} | not self.empty -> self.empty",
        f"{fill} self.level = 0 | left out",
        f"{fill} self.level = 0 | 0 -> 1",
        f"{fill} self.level = 0 | 0 -> -1",
        f"{fill} for part in parts[1:]: | 1 -> 2",
        f"{fill} for part in parts[1:]: | 1 -> 0",
        f"{fill} for part in parts[1:]: | 1 of 1: left out",
        f"{fill} if part <= LIMIT and part: | part <= LIMIT and part -> part",
        f"{fill} if part <= LIMIT and part: | part <= LIMIT and part -> part <= LIMIT",
        f"{fill} if part <= LIMIT and part: | part <= LIMIT and part -> not (part <= LIMIT and part)",
        f"{fill} if part <= LIMIT and part: | part <= LIMIT and part -> part <= LIMIT or part",
        f"{fill} if part <= LIMIT and part: | part <= LIMIT -> part < LIMIT",
        f"{fill} if part <= LIMIT and part: | part <= LIMIT -> part > LIMIT",
        f"{fill} self.level += part | left out",
        f"{fill} self.level += part | self.level += part -> self.level -= part",
    ]


def test_mutants_that_read_the_same_are_numbered() -> None:
    assert keys("def f(): return [1, 1]")[1::2] == [
        "cup.py f | return [1, 1] | 1 -> 2",
        "cup.py f | return [1, 1] | 1 -> 2 #2",
    ]


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(
        "SIZE = 3\ndef double(x): return x + x\nPAIR = [1]\n", tmp_path / "mutated_module.py", "m.py"
    )


def test_mutant_is_put_into_a_function_that_is_there(source: Source) -> None:
    mutant = next(each for each in source.mutants if each.change == "x + x -> x - x")
    code = source.compile(mutant)
    namespace: dict[str, Any] = {}
    exec(source.compile(source.mutants[-1]), namespace)
    double = namespace["double"]
    assert fits(code, [double])
    put_into([double], code)
    assert double(4) == 0


def test_mutant_is_imported_instead_of_the_module(source: Source) -> None:
    code = source.compile(source.mutants[-1])

    def import_it() -> object:
        import_instead("mutated_module", code)
        return import_module("mutated_module").PAIR

    assert in_fork(import_it) == [0]
    assert "mutated_module" not in sys.modules


def test_fork_that_runs_in_circles_is_ended() -> None:
    def turn() -> None:
        limit_cpu(0.05)
        while True:
            pass

    assert in_fork(turn) is None


def test_equivalents_have_reasons_and_are_mutants_of_the_sources() -> None:
    text = FILE.read_text()
    listed = [line for line in text.splitlines() if line and not line.startswith(("    ", "#"))]
    assert len(set(listed)) == len(listed)
    assert set(listed) == set(read_equivalents(text))
    assert set(listed) <= {str(mutant) for source in read_sources() for mutant in source.mutants}
