"""A reload: what changes, what it says, and that nothing changes if anything is wrong."""

import logging
from argparse import Namespace
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import argon2
import pytest

from simple_chat import ConfigError, Server, Settings
from simple_chat.core.codes import Code
from simple_chat.core.room import Room
from simple_chat.server import cli, connection
from simple_chat.server.auth import Authenticator
from simple_chat.server.loading import Reloader, load
from tests.harness.peer import Peer
from tests.harness.server import CA, ServerHarness, client_tls_context, disconnect_lines, run_server_in_loop

HASHER = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
LOGGER = logging.getLogger("simple_chat")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, with files that may be named; the log's level is as it was afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(connection, "_THROTTLE", 0.02)
    for name in ("one.pem", "two.pem"):
        CA.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / name)
    CA.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name in ("first", "second"):
        (tmp_path / name).write_text(HASHER.hash(name))
    level = LOGGER.level
    yield tmp_path
    LOGGER.setLevel(level)


@dataclass(frozen=True, slots=True)
class Scene:
    """A server that has its configuration from a file, and what reloads it."""

    harness: ServerHarness
    reloader: Reloader
    path: Path

    def reload(self, content: str) -> list[str]:
        """Write another configuration, and reload."""
        self.path.write_text(content)
        return self.reloader.reload()


@asynccontextmanager
async def running(content: str) -> AsyncIterator[Scene]:
    path, options = configure(content)
    loaded = load(options)
    async with run_server_in_loop(
        loaded.settings,
        limited=True,
        tls=loaded.tls,
        password=loaded.password,
    ) as harness:
        yield Scene(harness, Reloader(harness.server, ["--config", "chat.toml"], options), path)


def configure(content: str) -> tuple[Path, Namespace]:
    """Write a configuration, and return its path and the options."""
    path = Path("chat.toml")
    path.write_text(content)
    return path, cli.parse(["--config", "chat.toml"], raises=True)


def reloader_of(server: Server, content: str) -> Reloader:
    """Return what reloads a server that does not run."""
    return Reloader(server, ["--config", "chat.toml"], configure(content)[1])


# What it says


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ("", "", ["nothing changed"]),
        ("", "rate = 20", ["nothing changed"]),  # which is the default
        ("rate = 3", "rate = 5", ["rate: 3 -> 5"]),
        ("rate = 3", "", ["rate: 3 -> 20"]),
        ("", "max-clients = 7", ["max-clients: unset -> 7"]),
        ("verbose = true", "drain = 2.5", ["drain: 10 -> 2.5", "verbose: true -> false"]),
        ("", "port = 1", ["port: unset -> 1 needs a restart"]),
        ("host = 'a'", "host = ['a', 'b']", ['host: ["a"] -> ["a", "b"] needs a restart']),
        ("", "journal = 'x'\nrate = 3", ["rate: 20 -> 3", 'journal: unset -> "x" needs a restart']),
        ("", "insecure = true", ["insecure: false -> true needs a restart"]),
        (
            "",
            "backlog = 1\nloop = 'asyncio'",
            ["backlog: 8388608 -> 1 needs a restart", 'loop: "auto" -> "asyncio" needs a restart'],
        ),
        ("", "tls-cert = 'one.pem'", ['tls-cert: unset -> "one.pem" needs a restart']),
        ("tls-cert = 'one.pem'", "", ['tls-cert: "one.pem" -> unset needs a restart']),
        ("", "password-file = 'first'", ['password-file: unset -> "first" needs a restart']),
        ("password-file = 'first'", "", ['password-file: "first" -> unset needs a restart']),
        ("tls-cert = 'one.pem'", "tls-cert = 'two.pem'", ['tls-cert: "one.pem" -> "two.pem"']),
        (
            "tls-cert = 'one.pem'",
            "tls-cert = 'one.pem'\ntls-client-ca = 'ca.pem'",
            ["tls-cert: read again (one.pem)", 'tls-client-ca: unset -> "ca.pem"'],
        ),
        ("password-file = 'first'", "password-file = 'second'", ['password-file: "first" -> "second"']),
        (
            "cluster = 'nats://u:s3cret@h'",
            "cluster = 'nats://u:s3cret@i'\nmax-line = 100",
            [
                "max-line: 4096 -> 100 needs a restart",
                'cluster: ["nats://***@h"] -> ["nats://***@i"] needs a restart',
            ],
        ),
    ],
)
async def test_each_change_is_told_and_what_needs_a_restart(
    before: str, after: str, lines: list[str]
) -> None:
    loaded = load(configure(before)[1])
    authenticator = Authenticator(loaded.password) if loaded.password else None
    server = Server(loaded.settings, Room(), tls=loaded.tls, authenticator=authenticator)
    reloader = reloader_of(server, before)
    Path("chat.toml").write_text(after)  # noqa: ASYNC240 - no other task waits
    assert reloader.reload() == lines
    server.certificate.stop()


def test_what_needs_a_restart_is_told_until_it_is_as_it_was() -> None:
    server = Server(Settings(), Room())
    reloader = reloader_of(server, "")
    told = []
    for content in ("port = 1\nrate = 5", "port = 1\nrate = 5", "port = 2\nrate = 5", "rate = 5"):
        Path("chat.toml").write_text(content)
        told.append(reloader.reload())
    assert told == [
        ["port: unset -> 1 needs a restart", "rate: 20 -> 5"],
        ["port: unset -> 1 needs a restart"],
        ["port: unset -> 2 needs a restart"],
        ["nothing changed"],
    ]
    assert server.settings == Settings(rate=5)


def test_other_urls_in_the_clusters_file_need_a_restart() -> None:
    Path("urls").write_text("nats://u:s3cret@h")
    server = Server(Settings(cluster=("nats://u:s3cret@h",)), Room())
    reloader = reloader_of(server, "cluster-file = 'urls'")
    assert reloader.reload() == ["nothing changed"]
    Path("urls").write_text("nats://u:s3cret@i")
    assert reloader.reload() == ["cluster-file: other URLs in urls needs a restart"]


def test_log_has_a_line_for_each_change_and_warns_of_a_restart(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    reloader = reloader_of(Server(Settings(), Room()), "")
    for content in ("port = 1\nrate = 5", "rate = ["):
        Path("chat.toml").write_text(content)
        reloader.on_signal()
    assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
        ("WARNING", "reload: port: unset -> 1 needs a restart"),
        ("INFO", "reload: rate: 20 -> 5"),
        ("ERROR", "nothing reloaded: chat.toml:1: Invalid value (at end of document)"),
    ]
    caplog.clear()


# What it does


async def test_rate_holds_for_those_who_are_here() -> None:
    async with running("rate = 1\nburst = 2") as scene:
        ann, bob = await scene.harness.join_all("ann", "bob")
        ann.send(*(f"MSG {number}" for number in range(300)))
        assert scene.reload("rate = 0") == ["rate: 1 -> 0", "burst: 2 -> 200"]
        assert await bob.lines(300) == [f"MSG ann {number}" for number in range(300)]


async def test_fewer_places_than_are_taken_drop_nobody() -> None:
    async with running("rate = 0") as scene:
        ann, bob = await scene.harness.join_all("ann", "bob")
        assert scene.reload("rate = 0\nmax-clients = 1") == ["max-clients: unset -> 1"]
        assert await (await scene.harness.connect()).rest() == disconnect_lines(Code.TOO_MANY_CONNECTIONS)
        assert await ann.ask("MSG still here") == []
        assert await bob.barrier() == ["MSG ann still here"]
        scene.reload("rate = 0\nmax-clients = 3")
        await scene.harness.join("cleo")


async def test_new_certificate_and_client_ca_are_for_connections_to_come() -> None:
    async with running("tls-cert = 'one.pem'") as scene:
        ann = await scene.harness.join("ann")
        before = scene.harness.server.tls
        scene.reload("tls-cert = 'two.pem'\ntls-client-ca = 'ca.pem'")
        assert scene.harness.server.tls is not before
        bob = await scene.harness.connect(tls=client_tls_context(CA))
        assert await bob.ask("JOIN bob") == ["OK JOIN bob"]
        assert await ann.barrier() == ["JOINED bob"]


async def test_tls_and_password_stay_when_they_are_switched_off() -> None:
    async with running("tls-cert = 'one.pem'\npassword-file = 'first'") as scene:
        tls = scene.harness.server.tls
        scene.reload("rate = 0")
        assert scene.harness.server.tls is tls
        peer = await scene.harness.connect()
        assert await passes(peer, "first")


async def passes(peer: Peer, secret: str) -> bool:
    return await peer.ask(f"PASS {secret}") == ["OK PASS"]


async def test_new_password_is_for_connections_to_come() -> None:
    async with running("password-file = 'first'") as scene:
        ann = await scene.harness.connect()
        assert await passes(ann, "first")
        scene.reload("password-file = 'second'")
        assert await ann.ask("JOIN ann") == ["OK JOIN ann"]
        assert await passes(await scene.harness.connect(), "second")
        assert not await passes(await scene.harness.connect(), "first")


def test_log_level_changes_only_with_its_option() -> None:
    reloader = reloader_of(Server(Settings(), Room()), "")
    levels = []
    for content in ("verbose = true", "verbose = true", "", "rate = 1"):
        Path("chat.toml").write_text(content)
        reloader.reload()
        levels.append(LOGGER.level)
    assert levels == [logging.DEBUG, logging.DEBUG, logging.INFO, logging.INFO]


# What is wrong


def remove(name: str) -> Callable[[], None]:
    return Path(name).unlink


BASE = "tls-cert = 'one.pem'\npassword-file = 'first'\nrate = 3\n"


@pytest.mark.parametrize(
    ("content", "spoil", "reason"),
    [
        (
            "rate = 9\nmax-client = 5",
            None,
            "chat.toml:2: there is no option 'max-client', did you mean max-clients?",
        ),
        ("rate = 9\nburst = 0", None, "chat.toml:2: burst: '0' is not a whole number at least 1"),
        ("rate = 9\nburst = = 0", None, "chat.toml:2:9: Invalid value"),
        ("rate = 9\nsync = 'os'", None, "chat.toml:2: sync needs --journal"),
        (f"{BASE}\nburst = 9", remove("one.pem"), "can't use one.pem: No such file or directory"),
        (f"{BASE}\nburst = 9", remove("first"), "can't read first: No such file or directory"),
        (f"{BASE}\ntls-key = 'first'", None, "can't use first: there is no private key in it"),
        (f"{BASE}\ntls-client-ca = 'first'", None, "can't use first: there is no certificate in it"),
        (
            "password-file = 'one.pem'",
            None,
            "can't read one.pem: no password's hash, make one with hash-password",
        ),
        (f"{BASE}\ncluster-file = 'one.pem'", None, "can't use one.pem: URL 1 is not a NATS URL"),
        ("", remove("chat.toml"), "can't read chat.toml: No such file or directory"),
    ],
)
async def test_nothing_changes_if_anything_is_wrong(
    content: str, spoil: Callable[[], None] | None, reason: str
) -> None:
    async with running(BASE) as scene:
        server = scene.harness.server
        before = server.settings, server.tls
        scene.path.write_text(content)
        if spoil is not None:
            spoil()
        with pytest.raises(ConfigError) as caught:
            scene.reloader.reload()
        assert str(caught.value).startswith(reason)
        assert (server.settings, server.tls) == before
        assert await passes(await scene.harness.connect(), "first")
