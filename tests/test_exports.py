"""What programs may rely on: the names of the package, and what importing it costs."""

import ast
import inspect
import sys
from importlib import import_module
from pathlib import Path
from subprocess import run
from typing import get_args

import pytest

import simple_chat
from tests.harness.programs import DEADLINE

PACKAGE = Path(simple_chat.__file__).parent


def declared() -> dict[str, str]:
    """The names that type checkers see in the package, and the modules where they are."""
    return {
        alias.name: node.module or ""
        for block in ast.parse((PACKAGE / "__init__.py").read_text()).body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


# Names


def test_public_names_are_those_that_type_checkers_see() -> None:
    assert sorted(simple_chat.__all__) == sorted(declared())


@pytest.mark.parametrize(("name", "home"), declared().items())
def test_public_name_is_what_its_module_has(name: str, home: str) -> None:
    assert getattr(simple_chat, name) is getattr(import_module(home), name)


def test_other_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="'simple_chat' has no attribute 'Room'"):
        getattr(simple_chat, "Room")  # noqa: B009 - a type checker knows that there is none


@pytest.mark.parametrize("name", sorted({*simple_chat.__all__} - {"ChatEvent"}))
def test_public_name_and_what_it_offers_are_documented(name: str) -> None:
    thing = getattr(simple_chat, name)
    members = vars(thing).items() if inspect.isclass(thing) else []
    assert is_documented(thing)
    assert [key for key, each in members if is_offered(key, each) and not is_documented(each)] == []


def is_offered(key: str, member: object) -> bool:
    return not key.startswith("_") and (inspect.isfunction(member) or isinstance(member, property))


def is_documented(thing: object) -> bool:
    doc = inspect.getdoc(thing) or ""
    return doc != "" and not doc.startswith(f"{getattr(thing, '__name__', '')}(")  # as dataclass makes it


def test_every_kind_of_event_is_public() -> None:
    assert {kind.__name__ for kind in get_args(simple_chat.ChatEvent)} <= {*simple_chat.__all__}


def test_every_public_error_is_a_chat_error() -> None:
    errors = {name for name in simple_chat.__all__ if name.endswith("Error")}
    raised = {name for name in simple_chat.__all__ if is_error(getattr(simple_chat, name))}
    assert errors == raised
    assert all(issubclass(getattr(simple_chat, name), simple_chat.ChatError) for name in errors)


def is_error(thing: object) -> bool:
    return inspect.isclass(thing) and issubclass(thing, BaseException)


# Imports


def test_using_the_package_loads_neither_a_prompt_nor_an_event_loop_of_others() -> None:
    code = "import sys; from simple_chat import *; connect, serve; print(*sys.modules)"
    ended = run([sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE, check=True)
    loaded = {module.partition(".")[0] for module in ended.stdout.split()}
    assert {"simple_chat", "asyncio"} <= loaded
    assert not loaded & {"prompt_toolkit", "uvloop", "aiofiles", "nats"}
