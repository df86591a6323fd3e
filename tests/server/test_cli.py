"""Options and variables that the server's command line refuses, each in one line and with exit status 2."""

import re
from pathlib import Path

import pytest

from simple_chat.errors import ConfigError
from simple_chat.server import cli


def assert_refused(capsys: pytest.CaptureFixture[str], reason: str, *arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.parse(arguments)
    assert ended.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert re.fullmatch(f".*{reason}.*\n", shown.err)  # a dot is no line end: exactly one line


@pytest.mark.parametrize(
    "options",
    [
        "--port x",
        "--port 65536",
        "--port=",
        "--max-line 63",
        "--backlog 1.5",
        "--history -1",
        "--presence-limit many",
        "--drain soon",
        "--loop forever",
        "--journal=",
        "--sync maybe",
        "--journal-segment 0",
        "--journal-segment 1T",
        "--journal-keep 1.5G",
        "--journal-keep 0d",
        "--journal-keep d",
        "--host",
        "--hist 5",
        "--unknown",
        "surplus",
    ],
)
def test_invalid_option_is_refused(options: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused(capsys, "--help shows all options", *options.split())


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        ("--sync disk", "--journal"),
        ("--journal-segment 1M", "--journal"),
        ("--journal-keep 30d", "--journal"),
        ("--tls-key key.pem", "--tls-cert"),
        ("--tls-client-ca ca.pem", "--tls-cert"),
        ("--cluster-room x", "--cluster"),
        ("--cluster-replicas 1", "--cluster"),
        ("--cluster-creds x", "--cluster"),
        ("--cluster-ca x", "--cluster"),
        ("--cluster-cert x", "--cluster"),
        ("--cluster nats://h --cluster-key x", "--cluster-cert"),
    ],
)
def test_option_without_the_one_it_needs_is_refused(
    options: str, needed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    *_, option, _ = options.split()
    assert_refused(capsys, f"{option} needs {needed} .*--help shows all options", *options.split())


# Where NATS is

URLS = ("nats://one", "tls://user:s3cret@two:4222")


def test_cluster_comes_from_option_file_or_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = ", ".join(URLS)
    assert cli.parse(["--cluster", text]).cluster == URLS
    (tmp_path / "urls").write_text(f"\ufeff{text}\n", "utf-8")
    (tmp_path / "lines").write_text("\r\n".join(URLS), "utf-8")
    monkeypatch.setenv("SIMPLE_CHAT_SERVER_CLUSTER", "nats://elsewhere")
    assert cli.parse([]).cluster == ("nats://elsewhere",)
    for file in ("urls", "lines"):
        options = cli.parse(["--cluster-file", str(tmp_path / file)])
        assert cli.settings_from(options).cluster == URLS
    assert cli.parse(["--cluster", text]).cluster == URLS


def test_cluster_and_its_file_exclude_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "urls").write_text("nats://h")
    options = ("--cluster", "nats://h", "--cluster-file", str(tmp_path / "urls"))
    assert_refused(capsys, "not allowed with argument", *options)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "can't read {}: No such file or directory"),
        (b"", "can't use {}: URL 1 is not a NATS URL"),
        (b"s3cret\xff", "can't use {}: it is not UTF-8"),
        (b"nats://one nats://u:s3/cret@two", "can't use {}: URL 2 is not a NATS URL"),
    ],
)
def test_unusable_cluster_file_is_named_and_not_quoted(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "urls"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        cli.settings_from(cli.parse(["--cluster-file", str(path)]))
    assert str(caught.value).startswith(reason.format(path))
    assert "s3" not in str(caught.value)


def test_journal_with_a_cluster_of_the_environment_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIMPLE_CHAT_SERVER_CLUSTER", "nats://h")
    assert_refused(capsys, "SIMPLE_CHAT_SERVER_CLUSTER", "--journal", "x")


def test_invalid_cluster_in_the_environment_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIMPLE_CHAT_SERVER_CLUSTER", "nats://u:s3,cret@h")
    assert_refused(capsys, ": SIMPLE_CHAT_SERVER_CLUSTER: URL 1 is not a NATS URL")
