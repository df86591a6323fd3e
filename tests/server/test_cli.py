"""Options and variables that the server's command line refuses, each in one line and with exit status 2."""

import re

import pytest

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


@pytest.mark.parametrize("options", ["--sync disk", "--journal-segment 1M", "--journal-keep 30d"])
def test_journal_option_without_a_journal_is_refused(
    options: str, capsys: pytest.CaptureFixture[str]
) -> None:
    reason = "--sync, --journal-segment and --journal-keep need --journal"
    assert_refused(capsys, reason, *options.split())


@pytest.mark.parametrize("options", ["--tls-key key.pem", "--tls-client-ca ca.pem"])
def test_tls_option_without_a_certificate_is_refused(
    options: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(capsys, "--tls-cert .*--help shows all options", *options.split())


@pytest.mark.parametrize("value", ["x", "65536", "-1", " "])
def test_invalid_port_in_the_environment_is_refused(
    value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIMPLE_CHAT_SERVER_PORT", value)
    assert_refused(capsys, f"'{value}' is not a whole number from 0 to 65535")
