"""The public API: its names, its documentation, and what it imports."""

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
    """Return the names that type checkers see in the package, and their modules."""
    return {
        alias.name: node.module or ""
        for block in ast.parse((PACKAGE / "__init__.py").read_text()).body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


# Names


def test_all_equals_the_names_for_type_checkers() -> None:
    assert sorted(simple_chat.__all__) == sorted(declared())


@pytest.mark.parametrize(("name", "module"), declared().items())
def test_public_name_is_that_of_its_module(name: str, module: str) -> None:
    assert getattr(simple_chat, name) is getattr(import_module(module), name)


def test_other_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'simple_chat' has no attribute 'Room'"):
        getattr(simple_chat, "Room")  # noqa: B009 - mypy rejects the attribute


@pytest.mark.parametrize("name", sorted({*simple_chat.__all__} - {"ChatEvent"}))
def test_public_name_and_its_members_are_documented(name: str) -> None:
    thing = getattr(simple_chat, name)
    members = vars(thing).items() if inspect.isclass(thing) else []
    assert is_documented(thing)
    assert [key for key, each in members if is_public_member(key, each) and not is_documented(each)] == []


def is_public_member(key: str, member: object) -> bool:
    return not key.startswith("_") and (inspect.isfunction(member) or isinstance(member, property))


def is_documented(thing: object) -> bool:
    doc = inspect.getdoc(thing) or ""
    return doc != "" and not doc.startswith(
        f"{getattr(thing, '__name__', '')}("
    )  # the generated docstring of a dataclass


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


def test_package_does_not_import_optional_libraries() -> None:
    code = "import sys; from simple_chat import *; connect, serve; print(*sys.modules)"
    ended = run([sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE, check=True)
    loaded = {module.partition(".")[0] for module in ended.stdout.split()}
    assert {"simple_chat", "asyncio"} <= loaded
    assert not loaded & {"prompt_toolkit", "uvloop", "aiofiles", "nats", "prometheus_client"}
