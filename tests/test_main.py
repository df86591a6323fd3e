"""``python -m simple_chat``, which is no program."""

import sys
from subprocess import CompletedProcess, run

import pytest

import simple_chat
from tests.harness.programs import DEADLINE

HOW = ("python -m simple_chat.server", "simple-chat-server", "python -m simple_chat.client", "simple-chat ")


def run_package(*arguments: str) -> CompletedProcess[str]:
    command = [sys.executable, "-m", "simple_chat", *arguments]
    return run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)


@pytest.mark.parametrize("arguments", [(), ("--host", "0.0.0.0"), ("server",)])
def test_package_says_how_to_start_the_programs(arguments: tuple[str, ...]) -> None:
    ended = run_package(*arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert all(each in ended.stderr for each in HOW)


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_of_the_package_is_the_same(option: str) -> None:
    ended = run_package(option)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert all(each in ended.stdout for each in HOW)


def test_version_is_the_packages() -> None:
    ended = run_package("--version")
    assert (ended.returncode, ended.stdout) == (0, f"simple_chat {simple_chat.__version__}\n")
