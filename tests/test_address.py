"""Addresses: parsing, formatting, and those of the command line."""

import pytest

from simple_chat.address import format_address, parse_address
from simple_chat.client.__main__ import _parser


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SIMPLE_CHAT_SERVER_HOST", "SIMPLE_CHAT_SERVER_PORT"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("chat.example", ("chat.example", 8090)),
        ("chat.example:1", ("chat.example", 1)),
        ("192.0.2.1", ("192.0.2.1", 8090)),
        ("192.0.2.1:65535", ("192.0.2.1", 65535)),
        ("::1", ("::1", 8090)),
        ("2001:db8::1:8091", ("2001:db8::1:8091", 8090)),
        ("fe80::1%eth0", ("fe80::1%eth0", 8090)),
        ("[::1]", ("::1", 8090)),
        ("[::1]:8091", ("::1", 8091)),
        ("[::1]:0", ("::1", 0)),
        ("", ("", 8090)),
    ],
)
def test_address_is_parsed(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text, 8090) == address


@pytest.mark.parametrize("address", [("chat.example", 1), ("192.0.2.1", 8091), ("::1", 65535)])
def test_formatted_address_parses_to_itself(address: tuple[str, int]) -> None:
    assert parse_address(format_address(*address), 8090) == address


@pytest.mark.parametrize(
    "text",
    [
        "a:",
        ":1",
        "a:b",
        "a:-1",
        "a:65536",
        "a:000001",
        "a:\u0661",
        "a: 1",
        "[::1",
        "[::1]8091",
        "[::1]:",
        "[]:1",
    ],
)
def test_invalid_address_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="is neither HOST nor HOST:PORT"):
        parse_address(text, 8090)


@pytest.mark.parametrize(
    ("arguments", "variable", "hosts"),
    [
        ([], None, ["127.0.0.1"]),
        ([], "", ["127.0.0.1"]),
        ([], "one", ["one"]),
        ([], "one:1, [::1]:2,three", ["one:1", "[::1]:2", "three"]),
        (["--host", "one"], None, ["one"]),
        (["--host", "one"], "two", ["one"]),
        (["--host", "one:1", "--host", "::1", "--host", "one:1"], "two", ["one:1", "::1", "one:1"]),
        (["--host", "127.0.0.1", "--host", "two"], None, ["127.0.0.1", "two"]),
        (["--host", "one,two", "--host", "three"], None, ["one", "two", "three"]),
    ],
)
def test_hosts_come_from_the_options_else_the_environment(
    arguments: list[str], variable: str | None, hosts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable is not None:
        monkeypatch.setenv("SIMPLE_CHAT_SERVER_HOST", variable)
    options = _parser().parse_args(arguments)
    assert (options.hosts, options.port) == (hosts, 8090)


@pytest.mark.parametrize(
    ("arguments", "variable", "message"),
    [
        (["--host", "one:x"], "", "'one:x' is neither HOST nor HOST:PORT"),
        (["--host", "one", "--host", ""], "", "must not be empty"),
        ([], "one,two:x", "'two:x' is neither HOST nor HOST:PORT"),
        ([], "one,,two", "must not be empty"),
    ],
)
def test_invalid_host_is_status_2(
    arguments: list[str],
    variable: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SIMPLE_CHAT_SERVER_HOST", variable)
    with pytest.raises(SystemExit, match=r"^2$"):
        _parser().parse_args(arguments)
    assert message in capsys.readouterr().err
