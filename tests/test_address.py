"""Addresses: parsing, formatting, and those of the command lines."""

from argparse import Namespace
from collections.abc import Callable, Sequence

import pytest

from simple_chat.address import format_address, parse_address, parse_addresses, parse_port
from simple_chat.client import __main__ as client
from simple_chat.server import cli as server

Parse = Callable[[Sequence[str]], Namespace]

DEFAULT = "127.0.0.1"


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
        ("::ffff:192.0.2.1", ("::ffff:192.0.2.1", 8090)),
        ("::", ("::", 8090)),
    ],
)
def test_address_is_parsed(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text, 8090) == address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9190", (DEFAULT, 9190)),
        ("0", (DEFAULT, 0)),
        ("chat.example:1", ("chat.example", 1)),
        ("0.0.0.0:65535", ("0.0.0.0", 65535)),
        ("[::1]:9190", ("::1", 9190)),
    ],
)
def test_port_is_parsed_with_or_without_a_host(text: str, address: tuple[str, int]) -> None:
    assert parse_port(text) == address


@pytest.mark.parametrize(
    "text", ["", "host", "127.0.0.1", ":1", "::1", "[::1]", "65536", "-1", "\u0661", "1 ", "1,2", "a:1,b:2"]
)
def test_what_has_no_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="neither PORT nor HOST:PORT"):
        parse_port(text)


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
        "",
        "host:1:2",
        "http://a:1",
    ],
)
def test_invalid_address_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="is neither HOST nor HOST:PORT"):
        parse_address(text, 8090)


@pytest.mark.parametrize(
    ("hosts", "addresses"),
    [
        ("a", [("a", 8090)]),
        ("a:1, [::1]:2,::1", [("a", 1), ("::1", 2), ("::1", 8090)]),
        (["a:1", "b,c:3"], [("a", 1), ("b", 8090), ("c", 3)]),
    ],
)
def test_addresses_are_parsed(hosts: str | list[str], addresses: list[tuple[str, int]]) -> None:
    assert parse_addresses(hosts, 8090) == addresses


@pytest.mark.parametrize("hosts", ["", "a,", "a,,b", ["a", ""], ["a", "b:x"], []])
def test_invalid_addresses_are_a_value_error(hosts: str | list[str]) -> None:
    with pytest.raises(ValueError, match=r"is neither HOST nor HOST:PORT|the list of hosts is empty"):
        parse_addresses(hosts, 8090)


# The command lines


def parse_client(arguments: Sequence[str]) -> Namespace:
    return client._parse(["--username", "ann", *arguments], on_terminal=False)


BOTH = pytest.mark.parametrize("parse", [parse_client, server.parse], ids=["client", "server"])


@BOTH
@pytest.mark.parametrize(
    ("arguments", "variable", "hosts"),
    [
        ([], None, DEFAULT),
        ([], "", DEFAULT),
        ([], "one", "one"),
        ([], "one:1, [::1]:2,three", "one:1,[::1]:2,three"),
        (["--host", "one"], None, "one"),
        (["--host", "one"], "two", "one"),
        (["--host", "one:1", "--host", "::1", "--host", "one:1"], "two", "one:1,::1,one:1"),
        (["--host", DEFAULT, "--host", "two"], None, f"{DEFAULT},two"),
        (["--host", "one,[::1]", "--host=three"], None, "one,::1,three"),
    ],
)
def test_hosts_come_from_the_options_else_the_environment(
    parse: Parse, arguments: list[str], variable: str | None, hosts: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable is not None:
        monkeypatch.setenv("SIMPLE_CHAT_SERVER_HOST", variable)
    options = parse(arguments)
    assert parse_addresses(options.hosts or DEFAULT, 8090) == parse_addresses(hosts, 8090)
    assert options.port is None


@pytest.mark.parametrize(
    ("arguments", "hosts"),
    [
        (["one:1"], ["one:1"]),
        (["one", "two"], ["one", "two"]),
        (["--tls", "one,two"], ["one", "two"]),
        (["one", "--tls"], ["one"]),
        (["one", "--host", "two"], ["one", "two"]),
        (["--host", "two", "one"], ["two", "one"]),
    ],
)
def test_argument_without_an_option_is_a_host_of_the_client(
    arguments: list[str], hosts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMPLE_CHAT_SERVER_HOST", "elsewhere")
    assert parse_client(arguments).hosts == hosts


@BOTH
@pytest.mark.parametrize(
    ("arguments", "variable", "message"),
    [
        (["--host", "one:x"], "", "argument --host: 'one:x' is neither HOST nor HOST:PORT"),
        (["--host", "one", "--host", ""], "", "argument --host: '' is neither HOST nor HOST:PORT"),
        ([], "one,two:x", ": SIMPLE_CHAT_SERVER_HOST: 'two:x' is neither HOST nor HOST:PORT"),
        ([], "one,,two", ": SIMPLE_CHAT_SERVER_HOST: '' is neither HOST nor HOST:PORT"),
    ],
)
def test_invalid_host_is_status_2_and_says_where_it_came_from(
    parse: Parse,
    arguments: list[str],
    variable: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SIMPLE_CHAT_SERVER_HOST", variable)
    with pytest.raises(SystemExit, match=r"^2$"):
        parse(arguments)
    assert message in capsys.readouterr().err.replace("--host/--ip", "--host")


@BOTH
@pytest.mark.parametrize(
    "value", ["tcp://10.96.0.5:8090", "udp://10.96.0.5:8090", "sctp://[fd00::1]:8090", ""]
)
def test_port_that_kubernetes_sets_for_a_service_counts_as_unset(
    parse: Parse, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMPLE_CHAT_SERVER_PORT", value)
    assert parse([]).port is None


@BOTH
@pytest.mark.parametrize("value", ["x", "65536", "-1", " ", "http://10.96.0.5:8090"])
def test_invalid_port_says_where_it_came_from(
    parse: Parse, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    problem = f"'{value}' is not a whole number from 0 to 65535 (--help shows all options)\n"
    with pytest.raises(SystemExit, match=r"^2$"):
        parse([f"--port={value}"])
    assert capsys.readouterr().err.endswith(f": argument --port: {problem}")
    monkeypatch.setenv("SIMPLE_CHAT_SERVER_PORT", value)
    with pytest.raises(SystemExit, match=r"^2$"):
        parse([])
    assert capsys.readouterr().err.endswith(f": SIMPLE_CHAT_SERVER_PORT: {problem}")


@BOTH
def test_invalid_variable_does_not_matter_if_there_is_an_option(
    parse: Parse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMPLE_CHAT_SERVER_PORT", "x")
    monkeypatch.setenv("SIMPLE_CHAT_SERVER_HOST", "a:x")
    options = parse(["--port", "1", "--host", "b"])
    assert (options.hosts, options.port) == (["b"], 1)
