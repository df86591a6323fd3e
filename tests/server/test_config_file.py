"""The configuration file: what it may have, and each error with its file and line."""

import os
import tomllib
from datetime import timedelta
from pathlib import Path

import pytest

from simple_chat.errors import ConfigError
from simple_chat.journal.base import Sync
from simple_chat.layers import OptionValue
from simple_chat.server import cli, config_file
from tests.test_docs import ROOT


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration file in the current directory, by its name alone."""
    monkeypatch.chdir(tmp_path)
    return Path("chat.toml")


def refusal(path: Path, content: str | bytes, *flags: str) -> str:
    """Return why a configuration file is refused."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ConfigError) as caught:
        cli.parse(["--config", str(path), *flags], raises=True)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What it may have


@pytest.mark.parametrize(
    ("line", "dest", "value"),
    [
        ("max-clients = 100", "max_clients", 100),
        ("max-clients = '100'", "max_clients", 100),
        ("backlog = 1_000_000", "backlog", 1_000_000),
        ("drain = 2.5", "drain", 2.5),
        ("drain = 2", "drain", 2.0),
        ("verbose = true", "verbose", True),
        ("insecure = false", "insecure", False),
        ("reuse-port = 'yes'", "reuse_port", True),
        ("host = '::1'", "hosts", ["::1"]),
        ("host = 'a, b:1'", "hosts", ["a", "b:1"]),
        ("host = ['a', 'b:1']", "hosts", ["a", "b:1"]),
        ("cluster = 'nats://a,nats://b'", "cluster", ("nats://a", "nats://b")),
        ("cluster = ['nats://a', 'nats://b']", "cluster", ("nats://a", "nats://b")),
        ("cluster-file = 'urls'", "cluster", Path("urls")),
        ("journal = 'a'\nsync = 'disk'", "sync", Sync.DISK),
        ("journal = 'a'\njournal-segment = '64K'", "journal_segment", 65_536),
        ("journal = 'a'\njournal-segment = 4096", "journal_segment", 4096),
        ("journal = 'a'\njournal-keep = '30d'", "journal_keep", timedelta(days=30)),
        ("'rate' = 3  # quoted", "rate", 3),
        ("\ufeffrate = 3\r\n", "rate", 3),
        ("", "rate", 20),
    ],
)
def test_value_is_read_as_its_flag_reads_it(path: Path, line: str, dest: str, value: object) -> None:
    path.write_bytes(line.encode())
    assert getattr(cli.parse(["--config", str(path)]), dest) == value


# What is wrong with it


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            "rate = 3\n\nmax-client = 5",
            "chat.toml:3: there is no option 'max-client', did you mean max-clients?",
        ),
        ("max_clients = 5", "chat.toml:1: there is no option 'max_clients', did you mean max-clients?"),
        ("hist = 5", "chat.toml:1: there is no option 'hist', did you mean history?"),
        ("frobnicate = 5", "chat.toml:1: there is no option 'frobnicate'"),
        ("config = 'x'", "chat.toml:1: there is no option 'config'"),
        ("help = true", "chat.toml:1: there is no option 'help'"),
        ("command = 'x'", "chat.toml:1: there is no option 'command'"),
        (
            "\n[limits]\nrate = 3",
            "chat.toml:2: 'limits' is a table; an option is a line, as max-clients = 100",
        ),
        ("[[rate]]", "chat.toml:1: 'rate' is a table; an option is a line, as max-clients = 100"),
        ("rate.burst = 3", "chat.toml:1: 'rate' is a table; an option is a line, as max-clients = 100"),
        ("rate = 3\nburst = = 3", "chat.toml:2:9: Invalid value"),
        ("rate = 3\nburst =\n", "chat.toml:2:8: Invalid value"),
        ("rate = 3\nburst = [", "chat.toml:2: Invalid value (at end of document)"),
        ("rate = 3\nrate = 4\n", "chat.toml:2:9: Cannot overwrite a value"),
    ],
)
def test_fault_is_told_with_file_and_line(path: Path, content: str, reason: str) -> None:
    assert refusal(path, content) == reason


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("max-clients = 0", "chat.toml:1: max-clients: '0' is not a whole number at least 1"),
        ("max-clients = 1.5", "chat.toml:1: max-clients: '1.5' is not a whole number at least 1"),
        ("max-clients = 'x'", "chat.toml:1: max-clients: 'x' is not a whole number at least 1"),
        ("drain = nan", "chat.toml:1: drain: 'nan' is not a number of seconds from 0 to 1000000"),
        ("rate = true", "chat.toml:1: rate: true is for a switch, this takes a text or number"),
        ("rate = [3]", "chat.toml:1: rate: this takes one text or number, and no list, date or table"),
        ("rate = 2026-01-01", "chat.toml:1: rate: this takes one text or number, and no list, date or table"),
        ("verbose = 2", "chat.toml:1: verbose: 2 is neither true nor false"),
        ("verbose = 'on'", "chat.toml:1: verbose: 'on' is neither true nor false"),
        ("unix = 5", "chat.toml:1: unix: 5 is a number, a text has quotes"),
        ("unix = ''", "chat.toml:1: unix: must not be empty"),
        ("host = [1]", "chat.toml:1: host: this takes a list of texts"),
        (
            "host = []",
            "chat.toml:1: host: '' is neither HOST nor HOST:PORT, nor [HOST]:PORT for an IPv6 address",
        ),
        ("journal = 'a'\nsync = 'x'", "chat.toml:2: sync: 'x' is none of none, os, disk"),
        ("sync = 'os'", "chat.toml:1: sync needs --journal"),
        (
            "cluster = 'nats://a'\ncluster-file = 'b'",
            "chat.toml:2: cluster-file: not allowed with chat.toml:1: cluster",
        ),
        (
            "cluster = 'nats://a'\njournal = 'b'",
            "chat.toml:2: journal and chat.toml:1: cluster exclude each other",
        ),
    ],
)
def test_invalid_value_is_told_with_what_is_expected(path: Path, content: str, reason: str) -> None:
    assert refusal(path, content).partition(": in a cluster")[0] == reason


@pytest.mark.parametrize(
    "content",
    ["cluster = 'nats://u:s3cret@h/x'", "cluster = ['nats://u:s3cret@h', 5]", "rate = 'a://u:s3cret@h'"],
)
def test_password_in_a_url_is_not_repeated(path: Path, content: str) -> None:
    assert "s3cret" not in refusal(path, content)


def test_look_alike_of_a_key_in_a_text_does_not_hide_where_it_is(path: Path) -> None:
    assert refusal(path, "# rate = 1\nburst-rate = 1").startswith("chat.toml:2: ")
    assert refusal(path, '"max\\u002dclients" = 0').startswith("chat.toml: max-clients: ")  # not found


def test_file_that_is_not_utf8_is_refused(path: Path) -> None:
    assert refusal(path, b"unix = '\xff'") == "can't use chat.toml: it is not UTF-8"


def test_unreadable_file_is_refused_with_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path, reason in {"none": "No such file or directory", ".": "Is a directory"}.items():
        with pytest.raises(SystemExit, match=r"^2$"):
            cli.parse(["--config", str(tmp_path / path)])
        message = capsys.readouterr().err
        assert f": can't read {tmp_path / path}: {reason} (--help" in message
        assert message.count("\n") == 1


def test_pipe_is_refused_and_not_waited_for(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(ConfigError, match=r"^can't read chat.toml: it is a pipe, not a file$"):
        cli.parse(["--config", str(path)], raises=True)


# Written


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"),
        (30.0, "30"),
        (0.1, "0.1"),
        (True, "true"),
        ("a", '"a"'),
        (Path("/a"), '"/a"'),
        (Sync.OS, '"os"'),
        (timedelta(days=30), '"30d"'),
        (["a", "b"], '["a", "b"]'),
        ('"\\\n\x7f☃', '"\\"\\\\\\u000a\\u007f☃"'),
        (("nats://u:p@h", "nats://h"), '["nats://***@h", "nats://h"]'),
    ],
)
def test_value_is_written_as_toml(value: object, text: str) -> None:
    assert config_file.to_toml(value) == text
    assert tomllib.loads(f"a = {text}")


def test_written_options_are_aligned_and_those_that_are_not_set_are_comments() -> None:
    values = [
        OptionValue("rate", "rate", 5, "--rate", "20"),
        OptionValue("max-line", "max_line", 64, "default", "4096"),
        OptionValue("sync", "sync", None, "default", "os"),
        OptionValue("journal", "journal", None, "default", ""),
        OptionValue("unix", "unix", "/" + 60 * "x", "chat.toml:2", ""),
    ]
    assert config_file.write(values).splitlines() == [
        "rate     = 5   # --rate",
        "max-line = 64  # default",
        "# sync is not set (default: os)",
        "# journal is not set",
        f'unix     = "/{60 * "x"}"  # chat.toml:2',
    ]


def test_example_is_a_valid_configuration() -> None:
    options = cli.parse(["--config", str(ROOT / "examples/config/chat.toml")], raises=True)
    assert (options.hosts, options.max_clients) == (["0.0.0.0", "::"], 500)
