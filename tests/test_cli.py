"""What all command lines have in common: unknown options, the program's name, variables in errors."""

import os
import re
import sys
from argparse import ArgumentParser
from importlib import import_module
from pathlib import Path
from subprocess import run

import pytest

from simple_chat.cli import Parser, number
from tests.harness.programs import DEADLINE

Capture = pytest.CaptureFixture[str]

PROGRAMS = {
    "simple_chat.server": ("simple_chat.server.cli", "simple-chat-server"),
    "simple_chat.client": ("simple_chat.client.__main__", "simple-chat"),
    "simple_chat.journal": ("simple_chat.journal.__main__", None),
    "simple_chat.bench": ("simple_chat.bench.__main__", None),
}
"""The modules that are programs, where the parser of each is, and its console script."""


def parser_of(program: str) -> ArgumentParser:
    parser = import_module(PROGRAMS[program][0])._parser()
    assert isinstance(parser, ArgumentParser)
    return parser


def error_of(capsys: Capture, parser: ArgumentParser, *arguments: str) -> str:
    """Return what a parser refuses its arguments with, in one line and with status 2."""
    with pytest.raises(SystemExit, match=r"^2$"):
        parser.parse_args(arguments)
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    return shown.err.partition(": ")[2].removesuffix(" (--help shows all options)\n")


# Unknown options


@pytest.mark.parametrize(
    ("program", "arguments", "message"),
    [
        ("server", "--max-cleints 5", "there is no option --max-cleints, did you mean --max-clients?"),
        ("server", "--max-cleints=5", "there is no option --max-cleints, did you mean --max-clients?"),
        ("server", "-port 5", "there is no option -port, did you mean --port?"),
        ("server", "--hist 5", "there is no option --hist, did you mean --history?"),
        ("server", "--frobnicate", "there is no option --frobnicate"),
        ("server", "-x 5", "there is no option -x"),
        ("client", "--usrename bot", "there is no option --usrename, did you mean --username?"),
        ("client", "--usrename a:b", "there is no option --usrename, did you mean --username?"),
        ("client", "--port x --tsl", "there is no option --tsl, did you mean --tls?"),
        ("client", "--username -bot", "there is no option -bot"),
        ("journal", "--form 5 journal", "there is no option --form, did you mean --from?"),
        ("journal", "--verfy", "there is no option --verfy, did you mean --verify?"),
        ("bench", "--client 5", "there is no option --client, did you mean --clients?"),
    ],
)
def test_unknown_option_is_named_with_the_nearest_one(
    capsys: Capture, program: str, arguments: str, message: str
) -> None:
    assert error_of(capsys, parser_of(f"simple_chat.{program}"), *arguments.split()) == message


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("server", "-v --rate=0 --port 0"),
        ("client", "-- one"),
        ("journal", "-f journal"),
        ("journal", "journal -f"),
        ("bench", "--rate 1"),
    ],
)
def test_known_options_are_accepted(program: str, arguments: str) -> None:
    parser_of(f"simple_chat.{program}").parse_args(arguments.split())


def test_what_looks_like_a_number_or_holds_a_space_is_a_value(capsys: Capture) -> None:
    server = parser_of("simple_chat.server")
    assert "argument --history: '-1' is not a whole number" in error_of(capsys, server, "--history", "-1")
    assert server.parse_args(["--unix", "--not an option"]).unix == "--not an option"
    assert server.parse_args(["--unix=--path"]).unix == "--path"


def test_argument_that_is_no_command_of_the_server_says_what_there_is(capsys: Capture) -> None:
    message = error_of(capsys, parser_of("simple_chat.server"), "0.0.0.0:8090")
    expected = "'0.0.0.0:8090' is no command, hash-password is the only one; --host says where to listen"
    assert message == expected


# Passwords


@pytest.mark.parametrize("arguments", ["--cluster nats://h nats://u:s3cret@h", "--port nats://u:s3cret@h"])
def test_errors_have_no_password_of_a_url(capsys: Capture, arguments: str) -> None:
    message = error_of(capsys, parser_of("simple_chat.server"), *arguments.split())
    assert "nats://***@h" in message
    assert "s3cret" not in message


# Variables


def test_error_in_a_variable_names_it_and_one_in_an_option_that(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_VARIABLE", "x")
    parser = Parser("program", "Something.", variable_of={"count": "A_VARIABLE"}.get)
    parser.add_argument("--count", type=number(1))
    assert error_of(capsys, parser) == "A_VARIABLE: 'x' is not a whole number at least 1"
    assert (
        error_of(capsys, parser, "--count", "y") == "argument --count: 'y' is not a whole number at least 1"
    )
    assert parser.parse_args(["--count", "2"]).count == 2


# The program's name


@pytest.mark.parametrize("program", PROGRAMS)
def test_program_calls_itself_by_the_name_it_was_called_by(program: str, tmp_path: Path) -> None:
    assert usage(sys.executable, "-m", program) == f"python -m {program}"
    script = tmp_path / "a-script"  # as pip writes one
    script.write_text(f"import sys\nfrom {program}.__main__ import main\nsys.exit(main())\n")
    assert usage(sys.executable, str(script)) == "a-script"


@pytest.mark.parametrize(
    ("program", "script"), [(name, each[1]) for name, each in PROGRAMS.items() if each[1]]
)
def test_console_script_calls_itself_by_its_name(program: str, script: str) -> None:
    path = Path(sys.executable).with_name(script)
    if not path.exists():
        pytest.skip(f"{program} is not installed")
    assert usage(str(path)) == script


def usage(*command: str) -> str:
    """Return the name that a program has in its help and in its errors."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SIMPLE_CHAT_")}
    shown, refused = (
        run(
            [*command, option], env=environment, capture_output=True, text=True, timeout=DEADLINE, check=False
        )
        for option in ("--help", "--frobnicate")
    )
    assert (shown.returncode, refused.returncode) == (0, 2)
    name, _, _ = refused.stderr.partition(": ")
    assert re.match(f"usage: {re.escape(name)} \\[-h", shown.stdout)
    return name
