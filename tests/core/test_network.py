import pytest

from simple_chat.core.network import format_network, is_shared, network_of, parse_network


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "10.0.0.1"),  # a private address is an address
        ("169.254.1.1", "169.254.1.1"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:ffff:ffff:ffff", "2001:db8::/64"),
        ("2001:db8:0:1::1", "2001:db8:0:1::/64"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fd00::2", "fd00::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::192.0.2.7", "::/64"),  # not mapped: an address like any other
        ("::2", "::/64"),
    ],
)
def test_network_of_an_external_address(host: str, network: str) -> None:
    found = network_of(host)
    assert found is not None
    assert format_network(found) == network


@pytest.mark.parametrize("host", ["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", ""])
def test_loopback_has_no_network(host: str) -> None:
    assert network_of(host) is None


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.7/32", "192.0.2.7"),
        ("192.0.2.7/24", "192.0.2.0/24"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::1/128", "2001:db8::1/128"),
        ("2001:db8::/32", "2001:db8::/32"),
    ],
)
def test_network_is_parsed_and_formatted(text: str, network: str) -> None:
    assert format_network(parse_network(text)) == network


@pytest.mark.parametrize("text", ["", "ann", "192.0.2", "192.0.2.1/33", "192.0.2.1/", "1.2.3.4.5"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_network(text)


@pytest.mark.parametrize(
    ("network", "shared"),
    [
        ("127.0.0.1", True),
        ("127.0.0.0/8", True),
        ("0.0.0.0/0", True),
        ("::1", True),
        ("::1/128", True),
        ("192.0.2.0/24", False),
        ("2001:db8::/32", False),
    ],
)
def test_network_with_addresses_of_this_machine_is_shared(network: str, shared: bool) -> None:  # noqa: FBT001
    assert is_shared(parse_network(network)) is shared
