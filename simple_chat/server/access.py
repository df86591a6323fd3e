"""Where a server listens, and who can reach it there."""

import ssl
from collections.abc import Iterable, Sequence

from simple_chat.address import DEFAULT_HOST, DEFAULT_PORT, format_address, parse_addresses
from simple_chat.core.network import network_of
from simple_chat.errors import ConfigError, ListenError
from simple_chat.server.config import Settings


def tcp_addresses(
    host: str | Sequence[str] | None, port: int | None, *, elsewhere: bool
) -> list[tuple[str, int]]:
    """Return where to listen by TCP.

    Args:
        host: as `serve` takes it.
        port: the same.
        elsewhere: whether there is something else to listen on, so that there need not be an address.

    Raises:
        ListenError: a host is no address.
    """
    if host is None and port is None and elsewhere:
        return []
    try:
        return parse_addresses(DEFAULT_HOST if host is None else host, DEFAULT_PORT if port is None else port)
    except ValueError as error:
        raise ListenError(f"can't listen: {error}") from error


def exposed(addresses: Iterable[tuple[str, int]]) -> list[str]:
    """Return the addresses that other machines may reach."""
    return [format_address(*each) for each in addresses if network_of(each[0]) is not None]


def check_access(
    settings: Settings,
    addresses: Sequence[tuple[str, int]],
    tls: ssl.SSLContext | None,
    *,
    password_required: bool,
) -> None:
    """Check the configuration against the TCP addresses.

    Raises:
        ConfigError: a password would cross a network in clear text, or what is for TCP has no address.
    """
    if not addresses and (tls is not None or settings.reuse_port):
        raise ConfigError("TLS and --reuse-port are for TCP, and --unix alone is not: add --host or --port")
    if password_required and tls is None and not settings.insecure:
        for address in exposed(addresses):
            raise ConfigError(f"on {address} a password needs TLS (or --insecure)")
