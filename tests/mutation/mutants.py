"""Mutants: a module with one small fault in it, such as ``<`` for ``<=``, or a statement left out."""

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType

from tests.mutation.operators import alternative_statements, alternatives, is_skipped, negations

_SKIPPED_FIELDS = {"annotation", "returns", "decorator_list", "bases", "format_spec"}


@dataclass(frozen=True)
class Mutant:
    """One small fault in one module.

    Attributes:
        module: its file, from the package on.
        function: the qualified name of the innermost function or class around it.
        statement: the first line of the statement that has it.
        change: what becomes of what.
        repeated: how many mutants of the module before it read the same.
        lines: numbers of the lines by which the tests are found that execute it.
        at_import: whether it is executed when the module is imported, instead of when a function is called.
        index: its number in the module.
    """

    module: str
    function: str
    statement: str
    change: str
    repeated: int
    lines: frozenset[int]
    at_import: bool
    index: int

    def __str__(self) -> str:
        """Return what identifies it, wherever its lines move."""
        again = f" #{self.repeated + 1}" if self.repeated else ""
        return f"{self.module} {self.function or '-'} | {self.statement} | {self.change}{again}"


@dataclass(frozen=True)
class _Edit:
    """Another value for a field of a node."""

    node: ast.AST
    field: str
    old: object
    new: object

    def apply(self) -> None:
        setattr(self.node, self.field, self.new)

    def undo(self) -> None:
        setattr(self.node, self.field, self.old)


@dataclass(frozen=True)
class _Place:
    """Where a node is: `function` and `at_import` as of `Mutant`, and what is around it."""

    function: str = ""
    at_import: bool = True
    returns_bool: bool = False
    statement: ast.stmt | None = None

    def enter(self, parent: ast.AST, field: str, child: ast.AST) -> "_Place":
        """Return the place of a child in a field of a node that is here."""
        place = self
        if isinstance(child, ast.FunctionDef | ast.ClassDef):
            place = replace(place, function=f"{place.function}.{child.name}".lstrip("."))
        if isinstance(parent, ast.FunctionDef) and field == "body":
            returns_bool = isinstance(parent.returns, ast.Name) and parent.returns.id == "bool"
            place = replace(place, at_import=False, returns_bool=returns_bool)
        return replace(place, statement=child) if isinstance(child, ast.stmt) else place


class Source:
    """A module to mutate.

    Args:
        text: its source.
        path: of its file.
        name: of the file, from the package on.

    Attributes:
        name: the same.
        mutants: all of them.
    """

    def __init__(self, text: str, path: Path, name: str) -> None:
        self._path = path
        self._tree = ast.parse(text)
        self._edits: list[_Edit] = []
        self.name = name
        self.mutants: list[Mutant] = []
        seen: Counter[str] = Counter()
        for place, shown, change, edit in _edits(self._tree, _Place()):
            mutant = self._describe(place, shown, change)
            self.mutants.append(replace(mutant, repeated=seen[str(mutant)]))
            self._edits.append(edit)
            seen[str(mutant)] += 1

    def _describe(self, place: _Place, shown: ast.AST, change: str) -> Mutant:
        statement = place.statement
        assert statement is not None
        first = getattr(shown, "lineno", statement.lineno)
        lines = frozenset({statement.lineno, *range(first, getattr(shown, "end_lineno", first) + 1)})
        index = len(self.mutants)
        return Mutant(
            self.name, place.function, _first_line(statement), change, 0, lines, place.at_import, index
        )

    def compile(self, mutant: Mutant) -> CodeType:
        """Return the module's code with a mutant in it."""
        edit = self._edits[mutant.index]
        edit.apply()
        try:
            return compile(ast.fix_missing_locations(self._tree), self._path, "exec", dont_inherit=True)
        finally:
            edit.undo()


_Found = tuple[_Place, ast.AST, str, _Edit]
"""A place, the node that is changed there, what the change reads like, and the edit that makes it."""


def _edits(node: ast.AST, place: _Place) -> Iterator[_Found]:
    """Iterate over all edits in a node."""
    for field, value in ast.iter_fields(node):
        if field in _SKIPPED_FIELDS:
            continue
        children = value if isinstance(value, list) else [value]
        for index, child in enumerate(children):
            if not isinstance(child, ast.AST) or (isinstance(child, ast.stmt) and is_skipped(child)):
                continue
            inside = place.enter(node, field, child)
            for new in _replacements(field, child, inside):
                ast.copy_location(new, child)
                others = [*children[:index], new, *children[index + 1 :]]
                edit = _Edit(node, field, value, others if isinstance(value, list) else new)
                yield inside, *_shown(node, child, new, edit), edit
            yield from _edits(child, inside)
    yield from _shortenings(node, place)


def _replacements(field: str, child: ast.AST, place: _Place) -> Iterator[ast.AST]:
    if isinstance(child, ast.stmt):
        if not (place.at_import and isinstance(child, ast.Expr)):
            yield from alternative_statements(child, returns_bool=place.returns_bool)
        return
    yield from alternatives(child)
    if isinstance(child, ast.expr) and field in {"test", "guard", "ifs"}:
        yield from negations(child)


def _shown(parent: ast.AST, child: ast.AST, new: ast.AST, edit: _Edit) -> tuple[ast.AST, str]:
    """Return the node that is changed, and what the change reads like."""
    if isinstance(new, ast.Pass):
        return child, "left out"
    if isinstance(child, ast.expr | ast.stmt):
        return child, f"{_first_line(child)} -> {_first_line(new)}"
    before = _first_line(parent)  # of an operator
    edit.apply()
    after = _first_line(parent)
    edit.undo()
    return parent, f"{before} -> {after}"


def _shortenings(node: ast.AST, place: _Place) -> Iterator[_Found]:
    """Leave out a case of a match, or an end of a slice."""
    if isinstance(node, ast.Match) and len(node.cases) > 1:
        for case in node.cases:
            others = [each for each in node.cases if each is not case]
            change = f"case {ast.unparse(case.pattern)} left out"
            yield place, case.pattern, change, _Edit(node, "cases", node.cases, others)
    if isinstance(node, ast.Slice):
        for end in ("lower", "upper"):
            if (old := getattr(node, end)) is not None:
                yield (
                    place,
                    node,
                    f"{ast.unparse(old)} of {ast.unparse(node)} left out",
                    _Edit(node, end, old, None),
                )


def _first_line(node: ast.AST) -> str:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return f"{'def' if isinstance(node, ast.FunctionDef) else 'class'} {node.name}"
    return ast.unparse(node).partition("\n")[0]
