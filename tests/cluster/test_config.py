"""URLs of NATS servers: what is valid, the login in them, and that nobody sees it."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from simple_chat import ConfigError, Settings
from simple_chat.cluster import stream as stream_module
from simple_chat.cluster.config import ClusterConfig, NatsLogin, parse_nats_urls
from tests.harness.cluster import chat_server, chat_servers, cluster_options
from tests.harness.nats import NatsCluster, NatsTls
from tests.harness.nats_fixtures import OWN_ROOM
from tests.harness.programs import run_server_process, run_server_to_exit

USER, PASSWORD = "chat@example.org", "a:b/c%40,d e"
LOGIN = f"{quote(USER, safe='')}:{quote(PASSWORD, safe='')}"


# What is in a URL


@pytest.mark.parametrize(
    ("url", "shown", "login"),
    [
        ("nats://host", "nats://host", NatsLogin()),
        ("tls://[::1]:4222/", "tls://[::1]:4222", NatsLogin()),
        ("nats://ann:pw@host:1", "nats://host:1", NatsLogin(user="ann", password="pw")),
        ("nats://ann:@host", "nats://host", NatsLogin(user="ann", password="")),
        ("nats://t%2Fk@host", "nats://host", NatsLogin(token="t/k")),
        ("nats://ann:p@w:x@host", "nats://host", NatsLogin(user="ann", password="p@w:x")),
        (f"tls://{LOGIN}@host", "tls://host", NatsLogin(user=USER, password=PASSWORD)),
        ("nats://ann:50%off@host", "nats://host", NatsLogin(user="ann", password="50%off")),
        ("nats://ann:%C3%A4@host", "nats://host", NatsLogin(user="ann", password="\u00e4")),
    ],
)
def test_login_is_decoded_and_not_in_the_url_that_is_shown(url: str, shown: str, login: NatsLogin) -> None:
    assert parse_nats_urls([url]) == ([shown], login)


def test_login_of_one_url_is_that_of_all() -> None:
    login = NatsLogin(user="ann", password="pw")
    assert parse_nats_urls(["nats://a", "nats://ann:pw@b"]) == (["nats://a", "nats://b"], login)
    assert parse_nats_urls(["nats://ann:p%77@a", "nats://ann:pw@b"]) == (["nats://a", "nats://b"], login)
    with pytest.raises(ValueError, match="have different users or passwords") as caught:
        parse_nats_urls(["nats://ann:s3cret@a", "nats://ann:s3cret2@b"])
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "s3cret",
        "host:4222",
        "http://ann:s3cret@host",
        "nats://",
        "nats://ann:s3cret@",
        "nats://host:x",
        "nats://host:65536",
        "nats://ann:s3cret",
        "nats://ann:s3/cret@host",
        "nats://ann:1/s3cret@host",
        "nats://ann:s3?cret@host",
        "nats://ann:s3#cret@host",
        "nats://ann:s3[cret@host",
        "nats://ann:s3cret%FF@host",
        "nats://ann:s3cret@host/room",
    ],
)
def test_invalid_url_is_a_value_error_that_names_only_its_place(url: str) -> None:
    with pytest.raises(ValueError, match=r"^URL 2 is not a NATS URL such as nats://host:4222") as caught:
        parse_nats_urls(["nats://host", url])
    assert "s3" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_repr_of_a_configuration_has_no_login() -> None:
    urls = ("nats://ann:s3cret@host",)
    for each in (Settings(cluster=urls), ClusterConfig(servers=urls), *parse_nats_urls(urls)):
        assert "s3cret" not in repr(each)
    assert "s3cret" not in repr(parse_nats_urls(["nats://s3cret@host"]))


# NATS with a password


@pytest.fixture(scope="module")
def password_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    with NatsCluster(tmp_path_factory.mktemp("nats"), servers=1, login=(USER, PASSWORD)) as cluster:
        yield cluster


@pytest.fixture
def password_room(password_server: NatsCluster) -> Iterator[str]:
    yield OWN_ROOM
    password_server.delete(OWN_ROOM)


def with_login(nats: NatsCluster, login: str) -> str:
    return nats.url.replace("://", f"://{login}@")


async def test_password_of_a_url_lets_servers_in(password_server: NatsCluster, password_room: str) -> None:
    urls = (with_login(password_server, LOGIN),)
    async with chat_servers(password_server, password_room, 2, cluster=urls) as (one, two):
        ann, ben = await one.join("ann"), await two.join("ben")
        await ann.until("JOINED ben")
        await ben.ask("MSG hello")
        assert await ann.line() == "MSG ben hello"


def test_program_takes_the_url_from_file_or_variable(
    password_server: NatsCluster, password_room: str, tmp_path: Path
) -> None:
    _, _, *options = cluster_options(password_server, password_room)
    path = tmp_path / "urls"
    path.write_text(f"{with_login(password_server, LOGIN)}\n")
    variables = {"SIMPLE_CHAT_SERVER_CLUSTER": with_login(password_server, LOGIN)}
    with (
        run_server_process(*options, "-v", "--cluster-file", str(path)) as one,
        run_server_process(*options, "-v", **variables) as two,
    ):
        alice = one.join("alice")
        two.join("bob")
        alice.wait_for("JOINED bob")
        for log in (one.stop(), two.stop()):
            assert quote(PASSWORD, safe="") not in log
            assert PASSWORD not in log


async def test_wrong_password_is_refused_and_not_shown(
    password_server: NatsCluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stream_module, "START_TIMEOUT", 2.0)
    caplog.set_level(logging.DEBUG)
    with pytest.raises(ConfigError) as caught:
        async with chat_server(
            password_server, OWN_ROOM, cluster=(with_login(password_server, "ann:s3cret"),)
        ):
            pytest.fail("it was let in")
    assert str(caught.value).startswith(f"can't use NATS at {password_server.url}: ")
    assert "Authorization Violation" in str(caught.value)
    assert "s3cret" not in f"{caught.value!r} {caplog.text}"


async def test_no_password_is_sent_in_plain_text_where_the_url_demands_tls(
    password_server: NatsCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "START_TIMEOUT", 2.0)
    url = with_login(password_server, LOGIN).replace("nats://", "tls://")
    with pytest.raises(ConfigError, match="it does not use TLS, as tls:// in its URL demands"):
        async with chat_server(password_server, OWN_ROOM, cluster=(url,)):
            pytest.fail("it was let in")


async def test_url_that_is_none_is_refused(password_server: NatsCluster) -> None:
    with pytest.raises(ConfigError, match=r"^URL 1 is not a NATS URL"):
        async with chat_server(password_server, OWN_ROOM, cluster=("nats://ann:s3/cret@host",)):
            pytest.fail("there is no such URL")


# NATS that requires certificates


@pytest.fixture(scope="module")
def verifying_server(tmp_path_factory: pytest.TempPathFactory, nats_tls: NatsTls) -> Iterator[NatsCluster]:
    folder = tmp_path_factory.mktemp("verifying")
    with NatsCluster(folder, servers=1, tls=replace(nats_tls, verify=True)) as cluster:
        yield cluster


def test_certificate_lets_a_server_in(verifying_server: NatsCluster, nats_tls: NatsTls) -> None:
    files = (
        "--cluster-ca",
        nats_tls.ca,
        "--cluster-cert",
        nats_tls.certificate,
        "--cluster-key",
        nats_tls.key,
    )
    options = (*cluster_options(verifying_server, OWN_ROOM), *map(str, files))
    with run_server_process(*options) as server:
        server.join("alice")


async def test_server_without_a_certificate_is_refused(
    verifying_server: NatsCluster, nats_tls: NatsTls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "START_TIMEOUT", 2.0)
    with pytest.raises(ConfigError, match="certificate"):
        async with chat_server(verifying_server, OWN_ROOM, cluster_ca=str(nats_tls.ca)):
            pytest.fail("it was let in")


@pytest.mark.parametrize("option", ["--cluster-cert", "--cluster-key"])
def test_unusable_certificate_is_named(
    verifying_server: NatsCluster, nats_tls: NatsTls, tmp_path: Path, option: str
) -> None:
    path = tmp_path / "file"
    path.write_text("x\n")
    files = {
        "--cluster-cert": str(nats_tls.certificate),
        "--cluster-key": str(nats_tls.key),
        option: str(path),
    }
    arguments = [each for pair in files.items() for each in pair]
    ended = run_server_to_exit("--port", "0", *cluster_options(verifying_server, OWN_ROOM), *arguments)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"simple_chat: can't use {path}: ")
