"""The documentation agrees with the code: options, links, paths, the map and the examples."""

import argparse
import ast
import importlib
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import run

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "simple_chat"
MAP = PACKAGE / "README.md"
README_LINES_MAX = 170
DEADLINE = 30.0

PARSERS = {
    "simple_chat.server.cli": "simple_chat/server/README.md",
    "simple_chat.client.__main__": "simple_chat/client/README.md",
    "simple_chat.journal.__main__": "simple_chat/journal/README.md",
    "simple_chat.bench.__main__": "simple_chat/bench/README.md",
}
"""The modules with a `_parser`, and the documents with the table of its options."""

OPTION_TABLE = re.compile(r"^\| option \| default \| \|\n\|[-|]+\|\n((?:\|.*\|\n)+)", re.MULTILINE)
CELL_EDGE = re.compile(r"(?<!\\)\|")
FENCE = re.compile(r"^( *)(```+)(.*)\n((?:.*\n)*?)\1\2 *$", re.MULTILINE)
CODE = re.compile(r"(`+)(.+?)\1")
LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
PATH = re.compile(r"(?<![\w/.-])(?:simple_chat|tests|examples|\.github|\.ci)/[a-z_.][\w./-]*")
PLACE = re.compile(r"`([\w/]+\.py)(?::([\w.]+))?`")


@pytest.fixture
def parser(request: pytest.FixtureRequest) -> argparse.ArgumentParser:
    parser = importlib.import_module(request.param)._parser()
    assert isinstance(parser, argparse.ArgumentParser)
    return parser


def documents() -> list[str]:
    """Return the Markdown files of the repository, and those that are about to be added."""
    if not ((ROOT / ".git").exists() and shutil.which("git")):
        return []
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    names = run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=DEADLINE).stdout
    return sorted(name for name in set(names.splitlines()) if (ROOT / name).exists())


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def fenced(document: str, language: str) -> Iterator[tuple[str, bool]]:
    """Yield the code blocks in a language, and whether each is marked as runnable."""
    text = read(document)
    for block in FENCE.finditer(text):
        if block[3] == language:
            yield block[4], text[: block.start()].endswith("<!-- runnable -->\n")


def anchors(document: str) -> set[str]:
    """Return the anchors of a document's headings, made the way GitHub does."""
    found: dict[str, int] = {}
    for heading in HEADING.findall(FENCE.sub("", read(document))):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        found[anchor] = found.get(anchor, -1) + 1
    return {
        anchor if count == 0 else f"{anchor}-{count}"
        for anchor, last in found.items()
        for count in range(last + 1)
    }


# Options


def options_of(parser: argparse.ArgumentParser) -> dict[str, str]:
    """Return the options of a parser as a table shows them, with the defaults that their help names."""
    return {
        ", ".join(f"{flag} {metavar_of(action)}".rstrip() for flag in action.option_strings): default_of(
            action
        )
        for action in parser._actions
        if action.option_strings
    }


def metavar_of(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    if action.metavar is None and action.choices is not None:
        return f"{{{','.join(map(str, action.choices))}}}"
    return str(action.metavar or action.dest.upper())


def default_of(action: argparse.Action) -> str:
    told = re.search(r"\(default: (.+)\)", action.help or "")
    return told[1] if told else ""


def options_in(document: str) -> dict[str, str]:
    """Return the options in a document's one table, with their defaults."""
    (table,) = OPTION_TABLE.findall(read(document))
    rows = [CELL_EDGE.split(row)[1:3] for row in table.splitlines()]
    return {plain(option): plain(default) for option, default in rows}


def plain(cell: str) -> str:
    return cell.replace("`", "").replace(r"\|", "|").strip()


@pytest.mark.parametrize(("parser", "document"), PARSERS.items(), indirect=["parser"])
def test_option_table_has_exactly_the_options_and_defaults_of_the_parser(
    parser: argparse.ArgumentParser, document: str
) -> None:
    assert options_in(document) == options_of(parser)


@pytest.mark.parametrize("parser", PARSERS, indirect=True)
def test_help_names_the_default_that_an_option_has(parser: argparse.ArgumentParser) -> None:
    for action in parser._actions:
        value = action.default
        if value and action.nargs != 0 and isinstance(value, str | int | float):
            shown = value if isinstance(value, str) else f"{value:.10g}"
            assert shown in default_of(action), action.option_strings


# Links and paths


@pytest.mark.parametrize("document", documents())
def test_relative_links_lead_to_files_and_headings(document: str) -> None:
    text = CODE.sub("", FENCE.sub("", read(document)))
    broken: list[str] = []
    for link in LINK.findall(text):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        target = ((ROOT / document).parent / path).resolve() if path else ROOT / document
        if not (target.is_relative_to(ROOT) and target.exists()) or not has_anchor(target, anchor):
            broken.append(link)
    assert not broken


def has_anchor(target: Path, anchor: str) -> bool:
    return not anchor or anchor in anchors(str(target.relative_to(ROOT)))


@pytest.mark.parametrize("document", documents())
def test_paths_named_in_code_exist(document: str) -> None:
    text = read(document)
    code = "\n".join(
        [*(found[4] for found in FENCE.finditer(text)), *(found[2] for found in CODE.finditer(text))]
    )
    assert [path for path in PATH.findall(code) if not (ROOT / path).exists()] == []


# The map


def places() -> set[tuple[str, str]]:
    """Return the modules that the map names, each with a name in it or with an empty one."""
    return set(PLACE.findall(MAP.read_text(encoding="utf-8")))


def test_map_names_exactly_the_modules_of_the_package() -> None:
    modules = {
        path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"
    }
    assert {module for module, _ in places()} == modules


def test_map_names_classes_and_functions_that_exist() -> None:
    named = {(module, name) for module, name in places() if name and (PACKAGE / module).exists()}
    assert {(module, name) for module, name in named if name not in definitions(PACKAGE / module)} == set()


def definitions(module: Path) -> set[str]:
    """Return the dotted names of what a module defines: its own names, and those in its classes."""
    return set(defined_in(ast.parse(module.read_text(encoding="utf-8")).body))


def defined_in(statements: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    for statement in statements:
        match statement:
            case ast.ClassDef(name=name, body=body):
                yield prefix + name
                yield from defined_in(body, f"{prefix}{name}.")
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield prefix + name
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                yield prefix + name


# The project's README, and examples


def test_readme_is_short() -> None:
    assert len(read("README.md").splitlines()) <= README_LINES_MAX


def test_readme_has_the_test_command_where_the_checks_look_for_it() -> None:
    assert re.search(r"^<!-- the test command -->\n```sh\n.*pytest.*\n```$", read("README.md"), re.MULTILINE)


@pytest.mark.parametrize("document", documents())
def test_python_examples_compile(document: str) -> None:
    for code, _ in fenced(document, "python"):
        compile(code, document, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (document, code)
        for document in documents()
        for code, runnable in fenced(document, "python")
        if runnable
    ],
)
def test_runnable_examples_run(document: str, code: str) -> None:
    ended = run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )
    assert (ended.returncode, ended.stderr) == (0, ""), document
    assert ended.stdout
