"""Puts the code of a mutant where the module's own code would be."""

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, FunctionType


class _Finder(MetaPathFinder):
    """Finds one module, a mutant."""

    def __init__(self, name: str, code: CodeType) -> None:
        self._name = name
        self._code = code

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        if name != self._name:
            return None
        loader = _Loader(name, self._code)
        return importlib.util.spec_from_file_location(name, self._code.co_filename, loader=loader)


class _Loader(SourceFileLoader):
    def __init__(self, name: str, code: CodeType) -> None:
        super().__init__(name, code.co_filename)
        self._code = code

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - there is only one
        return self._code


def import_instead(name: str, code: CodeType) -> None:
    """Have this code executed when a module is imported, which it is not yet."""
    assert name not in sys.modules
    sys.meta_path.insert(0, _Finder(name, code))


def fits(code: CodeType, functions: Sequence[FunctionType]) -> bool:
    """Return whether `put_into` can be done: not if `super()` was left out, say."""
    pairs = _pairs(code, functions)
    return all(new and len(new.co_freevars) == len(old.__code__.co_freevars) for old, new in pairs)


def put_into(functions: Sequence[FunctionType], code: CodeType) -> None:
    """Put a module's code into the functions that were made of its source, wherever they are."""
    for function, new in _pairs(code, functions):
        assert new is not None
        function.__code__ = new


def _pairs(
    code: CodeType, functions: Sequence[FunctionType]
) -> Iterator[tuple[FunctionType, CodeType | None]]:
    by_place = {(each.co_qualname, each.co_firstlineno): each for each in _nested(code)}
    for function in functions:
        old = function.__code__
        if old.co_filename == code.co_filename and not old.co_name.startswith("<"):
            yield function, by_place.get((old.co_qualname, old.co_firstlineno))


def _nested(code: CodeType) -> Iterator[CodeType]:
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield each
            yield from _nested(each)
