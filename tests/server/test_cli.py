"""The layers of the server's options; and what is refused, each in one line and with exit status 2."""

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


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, so that files have short names."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


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


# Layers

FLAG, VARIABLE, FILE, DEFAULT = "--rate", "SIMPLE_CHAT_SERVER_RATE", "chat.toml:2", "default"


@pytest.mark.parametrize(
    ("given", "value", "source"),
    [
        ((None, None, None), 20, DEFAULT),
        ((None, None, "3"), 3, FILE),
        ((None, "", "3"), 3, FILE),
        ((None, "2", None), 2, VARIABLE),
        ((None, "2", "3"), 2, VARIABLE),
        ((None, "2", "'wrong'"), 2, VARIABLE),
        (("1", None, None), 1, FLAG),
        (("1", None, "3"), 1, FLAG),
        (("1", "2", None), 1, FLAG),
        (("1", "2", "3"), 1, FLAG),
        (("1", "wrong", "'wrong'"), 1, FLAG),
        (("20", "2", "3"), 20, FLAG),  # as the default, but given
    ],
)
def test_flag_goes_before_variable_before_file_before_default(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: tuple[str | None, str | None, str | None],
    value: int,
    source: str,
) -> None:
    flag, variable, file = given
    (folder / "chat.toml").write_text("\n" if file is None else f"\nrate = {file}")
    if variable is not None:
        monkeypatch.setenv(VARIABLE, variable)
    options = cli.parse(["--config", "chat.toml", *([] if flag is None else ["--rate", flag])])
    assert options.rate == value
    assert {each.name: each.source for each in cli.values(options)}["rate"] == source


@pytest.mark.parametrize(
    ("flags", "variables", "file", "cluster"),
    [
        ("--cluster nats://a", {"CLUSTER_FILE": "b"}, "", (("nats://a",), "cluster")),
        ("--cluster-file a", {"CLUSTER": "nats://b"}, "", (Path("a"), "cluster-file")),
        ("--cluster-file a", {"CLUSTER": "nats://b", "CLUSTER_FILE": "c"}, "", (Path("a"), "cluster-file")),
        ("", {"CLUSTER": "nats://a"}, "cluster-file = 'b'", (("nats://a",), "cluster")),
        ("", {"CLUSTER_FILE": "a"}, "cluster = 'nats://b'", (Path("a"), "cluster-file")),
    ],
)
def test_layers_are_one_for_options_of_which_one_can_be_given(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: str,
    variables: dict[str, str],
    file: str,
    cluster: tuple[object, str],
) -> None:
    (folder / "chat.toml").write_text(file)
    for key, text in variables.items():
        monkeypatch.setenv(f"SIMPLE_CHAT_SERVER_{key}", text)
    options = cli.parse(["--config", "chat.toml", *flags.split()])
    (name,) = [each.name for each in cli.values(options) if each.dest == "cluster"]
    assert (options.cluster, name) == cluster


def test_two_variables_of_which_one_can_be_given_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("CLUSTER", "CLUSTER_FILE"):
        monkeypatch.setenv(f"SIMPLE_CHAT_SERVER_{name}", "nats://a")
    assert_refused(capsys, "SIMPLE_CHAT_SERVER_CLUSTER_FILE: not allowed with SIMPLE_CHAT_SERVER_CLUSTER ")


def test_file_is_named_by_its_variable_and_a_flag_goes_before_that(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "one").write_text("rate = 1")
    (folder / "two").write_text("rate = 2")
    monkeypatch.setenv("SIMPLE_CHAT_SERVER_CONFIG", "one")
    assert cli.parse([]).rate == 1
    assert cli.parse(["--config=two"]).rate == 2


def test_switch_is_taken_from_each_layer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "chat.toml").write_text("verbose = true")
    assert not cli.parse([]).verbose
    assert cli.parse(["--config", "chat.toml"]).verbose
    with monkeypatch.context() as patch:
        patch.setenv("SIMPLE_CHAT_SERVER_VERBOSE", "no")
        assert not cli.parse(["--config", "chat.toml"]).verbose
    for flags in (["-v"], ["-vv"], ["--verbose"]):
        options = cli.parse(["--config", "chat.toml", *flags])
        assert (options.verbose, options.given["verbose"].source) == (True, "--verbose")
    assert "verbose" not in cli.parse(["--unix", "alive", "--", "hash-password"]).given  # it has a v


def test_host_of_a_flag_replaces_that_of_a_lower_layer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "chat.toml").write_text("host = ['a', 'b']")
    assert cli.parse(["--config", "chat.toml"]).hosts == ["a", "b"]
    monkeypatch.setenv("SIMPLE_CHAT_SERVER_HOST", "c, d")
    assert cli.parse(["--config", "chat.toml"]).hosts == ["c", "d"]
    assert cli.parse(["--config", "chat.toml", "--ip", "e", "--host", "f"]).hosts == ["e", "f"]


def test_every_option_has_a_variable_and_a_line_in_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {
        flag[2:] for action in cli._parser()._actions for flag in action.option_strings if flag[:2] == "--"
    }
    in_files = names - {"help", "version", "ip", "config", "check-config"}
    assert {each.name for each in cli.values(cli.parse([]))} == in_files - {"cluster-file"}
    for name in in_files:
        (folder / "chat.toml").write_text(f"{name} = 1979-05-27")
        with pytest.raises(ConfigError, match=f"^chat.toml:1: {name}: "):
            cli.parse(["--config", "chat.toml"], raises=True)
        assert is_heeded("x", f"SIMPLE_CHAT_SERVER_{name.upper().replace('-', '_')}", monkeypatch)


def is_heeded(text: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a variable has a say: a value is from there, or is refused and blamed on it."""
    with monkeypatch.context() as patch:
        patch.setenv(variable, text)
        try:
            return variable in {each.source for each in cli.values(cli.parse([], raises=True))}
        except ConfigError as error:
            return str(error).startswith(variable)


def test_option_that_needs_another_is_named_as_it_was_given(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMPLE_CHAT_SERVER_TLS_KEY", "key.pem")
    with pytest.raises(ConfigError, match=r"^SIMPLE_CHAT_SERVER_TLS_KEY needs --tls-cert$"):
        cli.parse([], raises=True)
    (folder / "chat.toml").write_text("tls-cert = 'cert.pem'")
    assert cli.parse(["--config", "chat.toml"]).tls_key == "key.pem"


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
