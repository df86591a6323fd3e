"""Networks: what a peer's address belongs to, as limits and bans count it."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network

_LOOPBACK = {4: IPv4Network("127.0.0.0/8"), 6: IPv6Network("::1/128")}

_CUSTOMER_PREFIX = 64
"""The IPv6 prefix that one customer usually has (RFC 6177): a single address says little about who it is."""


def parse_ip(host: str) -> IPv4Address | IPv6Address:
    """Parse an IP address, with or without a scope; an IPv4 address that IPv6 maps is returned as such.

    Raises:
        ValueError: it is no address.
    """
    address = ip_address(host.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def network_of(host: str) -> Network | None:
    """Return the network that a connection counts for.

    Args:
        host: an IP address, with or without a scope; empty for a Unix socket.

    Returns:
        An IPv4 address, or the /64 of an IPv6 address. None for this machine's own addresses and for Unix
        sockets: everybody may be behind them.
    """
    address = parse_ip(host) if host else None
    return None if address is None or address.is_loopback else _network(address)


def parse_network(text: str) -> Network:
    """Parse an IPv4 address, an IPv6 address for its /64, or a network such as 192.0.2.0/24.

    Raises:
        ValueError: it is none of them.
    """
    return ip_network(text, strict=False) if "/" in text else _network(parse_ip(text))


def _network(address: IPv4Address | IPv6Address) -> Network:
    if isinstance(address, IPv4Address):
        return IPv4Network(address)
    return IPv6Network((address, _CUSTOMER_PREFIX), strict=False)


def format_network(network: Network) -> str:
    """Return a network as people write it: a single IPv4 address without its prefix."""
    return str(network.network_address if network.prefixlen == 32 and network.version == 4 else network)


def is_shared(network: Network) -> bool:
    """Return whether a network has addresses of this machine itself, which anybody may come from."""
    return network.overlaps(_LOOPBACK[network.version])  # type: ignore[arg-type]
