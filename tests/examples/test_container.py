"""The image in examples/container, without a container engine: its variables, options and health check."""

import json
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess, run
from tempfile import TemporaryDirectory

import pytest

from simple_chat.server import cli, ctl
from tests.harness.programs import DEADLINE, run_server_process

ROOT = Path(__file__).parents[2]
CONTAINERFILE = (ROOT / "examples" / "container" / "Containerfile").read_text()
COMPOSE = (ROOT / "examples" / "cluster" / "compose.yaml").read_text()
CODE = CONTAINERFILE.replace("\\\n", " ")
"""With each instruction on one line."""


@pytest.fixture
def directory() -> Iterator[Path]:
    with TemporaryDirectory(prefix="chat") as directory:  # a Unix socket's path can't be long
        yield Path(directory)


def instructions(word: str) -> list[str]:
    return re.findall(rf"^{word} +(.+)$", CODE, re.MULTILINE)


def variables() -> dict[str, str]:
    """Return the variables of the server that the image has."""
    pairs = (pair.split("=", 1) for line in instructions("ENV") for pair in line.split())
    return {name: value for name, value in pairs if name.startswith("SIMPLE_CHAT_")}


def run_health_check(port: int) -> CompletedProcess[str]:
    """Run the health check of the image, with another port."""
    (line,) = instructions("HEALTHCHECK")
    command = json.loads(line.partition(" CMD ")[2])
    assert command[:2] == ["python", "-c"]
    code = command[2].replace("9190", str(port))
    return run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=DEADLINE)


def test_variables_are_those_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables().items():
        monkeypatch.setenv(name, value)
    options = cli.parse([])
    assert set(variables()) == {each.label for each in options.given.values()}
    assert (options.hosts, options.admin, options.metrics) == (["0.0.0.0"], "/tmp/admin", "127.0.0.1:9190")


def test_options_of_the_command_in_its_head_are_valid() -> None:
    (command,) = re.findall(r"^# +docker run (.+\\\n# .+)$", CONTAINERFILE, re.MULTILINE)
    words = shlex.split(command.replace("\\\n#", ""))
    options = cli.parse(words[words.index("simple-chat") + 1 :])
    assert (options.journal, options.bans) == ("/data/journal", "/data/bans")


def test_image_has_all_that_is_optional_for_a_server() -> None:
    (extras,) = re.findall(r"simple_chat\[([a-z,]+)]", CODE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras.split(",")) == {*project["optional-dependencies"]} - {"bench", "demo", "dev", "fuzz"}


def test_files_that_are_copied_exist() -> None:
    copied = [word for line in instructions("COPY") if "--from" not in line for word in line.split()[:-1]]
    assert {"completions", "simple_chat", "pyproject.toml"} <= {*copied}
    assert [word for word in copied if not (ROOT / word).exists()] == []


def test_it_does_not_run_as_root() -> None:
    assert instructions("USER") == ["8090"]


def test_cluster_uses_the_same_image() -> None:
    (path,) = re.findall(r"dockerfile: (\S+)", COMPOSE)
    assert (ROOT / path).read_text() == CONTAINERFILE


def test_server_with_its_variables_is_healthy_and_can_be_steered(directory: Path) -> None:
    here = {"0.0.0.0": "127.0.0.1", "/tmp/admin": str(directory / "admin"), "127.0.0.1:9190": "127.0.0.1:0"}
    with run_server_process(**{name: here[value] for name, value in variables().items()}) as server:
        port = server.metrics_address[1]
        healthy = run_health_check(port)
        assert (healthy.returncode, healthy.stdout) == (0, "ready\n\n")
        assert ctl.main(["--admin", str(directory / "admin"), "STATUS"]) == 0
        server.join("ann")  # whom the drain waits for
        server.process.terminate()
        server.log.expect_exact("shutting down")
        draining = run_health_check(port)
        assert (draining.returncode, draining.stdout) == (1, "draining\n\n")
    assert run_health_check(port).returncode == 1
