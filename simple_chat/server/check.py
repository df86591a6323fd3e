"""``--check-config``: what would be in force, and whether a server would start with it."""

import argparse
import socket

from simple_chat.address import DEFAULT_HOST, DEFAULT_PORT, format_address
from simple_chat.errors import ListenError, describe_error
from simple_chat.server import cli, config_file
from simple_chat.server.access import check_access, tcp_addresses
from simple_chat.server.loading import load


def check(options: argparse.Namespace) -> None:
    """Check what a server checks before it listens, but neither lock its journal nor connect to NATS.

    Args:
        options: of the command line.

    Raises:
        ChatError: a server would not start.
    """
    loaded = load(options)
    if loaded.settings.cluster is not None:
        from simple_chat.cluster import replicator  # noqa: F401, PLC0415 - NATS's client may be missing

    addresses = tcp_addresses(options.hosts, options.port, elsewhere=options.unix is not None)
    resolved = [each for address in addresses for each in _resolve(*address)]
    check_access(loaded.settings, resolved, loaded.tls, password_required=loaded.password is not None)


def _resolve(host: str, port: int) -> list[tuple[str, int]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, ValueError) as error:
        raise ListenError(f"can't listen on {format_address(host, port)}: {describe_error(error)}") from error
    return [(str(address[0]), port) for *_, address in found]


def describe(options: argparse.Namespace) -> str:
    """Return the options in force as a configuration file."""
    if not tcp_addresses(options.hosts, options.port, elsewhere=options.unix is not None):
        return config_file.write(each for each in cli.values(options) if each.name not in {"host", "port"})
    options.hosts = options.hosts or [DEFAULT_HOST]
    options.port = DEFAULT_PORT if options.port is None else options.port
    return config_file.write(cli.values(options))
