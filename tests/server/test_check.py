"""``--check-config``: what it prints is a configuration; what it refuses is what a server refuses."""

import tomllib
from pathlib import Path

import argon2
import pytest

from simple_chat.server import cli
from simple_chat.server.check import describe
from tests.harness.programs import run_server_to_exit

HASH = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("open sesame")

FLAGS = [
    "",
    "--host 127.0.0.2,[::1]:1 --port 0 -v --insecure",
    "--unix socket",
    "--unix socket --port 0",
    "--journal dir --sync disk --journal-segment 64K --journal-keep 30d",
    "--cluster nats://a,tls://b --cluster-room x --cluster-replicas 1 --cluster-cert c --cluster-key d",
    "--cluster-file urls --loop asyncio",
    "--max-clients 5 --rate 0 --drain 0.25 --join-timeout 0",
]


@pytest.mark.parametrize("flags", FLAGS)
def test_what_is_printed_is_a_configuration_that_comes_to_the_same(tmp_path: Path, flags: str) -> None:
    options = cli.parse(flags.split())
    printed = describe(options)
    path = tmp_path / "chat.toml"
    path.write_text(printed)
    again = cli.parse(["--config", str(path)])
    assert {each.name: each.value for each in cli.values(again)} == {
        each.name: each.value for each in cli.values(options)
    }
    assert all(str(path) in each.source for each in cli.values(again) if each.value is not None)


def test_printed_values_say_where_they_are_from(tmp_path: Path) -> None:
    (tmp_path / "chat.toml").write_text("rate = 5\nburst = 9\nverbose = true\nhost = '127.0.0.2'")
    ended = run_server_to_exit(
        "--config",
        str(tmp_path / "chat.toml"),
        "--check-config",
        "--rate=6",
        SIMPLE_CHAT_SERVER_BURST="7",
        SIMPLE_CHAT_SERVER_CLUSTER="nats://u:s3cret@h",
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "s3cret" not in ended.stdout
    assert tomllib.loads(ended.stdout)["cluster"] == ["nats://***@h"]
    sources = {line.split()[0]: line.rpartition("  # ")[2] for line in ended.stdout.splitlines()}
    assert {name: sources[name] for name in ("rate", "burst", "verbose", "host", "port", "cluster")} == {
        "rate": "--rate",
        "burst": "SIMPLE_CHAT_SERVER_BURST",
        "verbose": f"{tmp_path}/chat.toml:3",
        "host": f"{tmp_path}/chat.toml:4",
        "port": "default",
        "cluster": "SIMPLE_CHAT_SERVER_CLUSTER",
    }


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ("--tls-cert none", "can't use none: No such file or directory"),
        ("--password-file none", "can't read none: No such file or directory"),
        ("--cluster-file none", "can't read none: No such file or directory"),
        ("--unix socket --reuse-port", "TLS and --reuse-port are for TCP"),
        ("--host 0.0.0.0 --password-file password", "on 0.0.0.0:8090 a password needs TLS (or --insecure)"),
        ("--host no.such.host.invalid", "can't listen on no.such.host.invalid:8090: "),
        ("--host \N{SNOWMAN}..invalid", "can't listen on \N{SNOWMAN}..invalid:8090: "),
    ],
)
def test_what_a_server_would_refuse_is_refused_with_its_message_and_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "password").write_text(HASH)
    ended = run_server_to_exit("--check-config", *flags.split())
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert ended.stderr.startswith(f"simple_chat: {reason}")


def test_invalid_configuration_is_refused_with_status_2(tmp_path: Path) -> None:
    (tmp_path / "chat.toml").write_text("\nmax-client = 5")
    for check in ([], ["--check-config"]):
        ended = run_server_to_exit("--config", str(tmp_path / "chat.toml"), *check)
        assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
        reason = f"{tmp_path}/chat.toml:2: there is no option 'max-client', did you mean max-clients?"
        assert reason in ended.stderr


def test_check_needs_no_nats_and_locks_no_journal(tmp_path: Path) -> None:
    for flags in (["--cluster", "nats://127.0.0.1:1"], ["--journal", str(tmp_path / "journal")]):
        assert run_server_to_exit("--check-config", *flags).returncode == 0
    assert not (tmp_path / "journal").exists()
