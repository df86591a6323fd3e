"""Server addresses: the defaults, and the one grammar of all programs and of the API.

Pure.
"""

import contextlib
import re
from collections.abc import Sequence

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8090

_PORT_MAX = 65_535
_IPV6 = re.compile(r"[0-9A-Fa-f:.]+(?:%[^\[\]:]+)?")
_HOST_PORT = re.compile(r"(?:\[([^\[\]]+)\]|([^\[\]:]+))(?::([0-9]{1,5}))?")


def format_address(host: str, port: int) -> str:
    """Return ``host:port``, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def host_of(address: str) -> str:
    """Return the host of what `format_address` returned; of an empty text, an empty one."""
    return address.rpartition(":")[0].strip("[]")


def parse_address(text: str, default_port: int) -> tuple[str, int]:
    """Parse HOST or HOST:PORT; an IPv6 address with a port has to be in brackets.

    Args:
        text: what to parse.
        default_port: the port if `text` has none.

    Raises:
        ValueError: it is neither.
    """
    if text.count(":") > 1 and _IPV6.fullmatch(text):
        return text, default_port
    match = _HOST_PORT.fullmatch(text)
    if match is None or int(match[3] or 0) > _PORT_MAX:
        raise ValueError(f"{text!r} is neither HOST nor HOST:PORT, nor [HOST]:PORT for an IPv6 address")
    return match[1] or match[2], int(match[3] or default_port)


def parse_port(text: str) -> tuple[str, int]:
    """Parse PORT or HOST:PORT; without a host it is `DEFAULT_HOST`.

    Raises:
        ValueError: it is neither.
    """
    with contextlib.suppress(ValueError):
        host, port = parse_address(f"{DEFAULT_HOST}:{text}" if text.isdecimal() else text, -1)
        if port >= 0:
            return host, port
    raise ValueError(f"{text!r} is neither PORT nor HOST:PORT, nor [HOST]:PORT for an IPv6 address")


def parse_addresses(hosts: str | Sequence[str], default_port: int) -> list[tuple[str, int]]:
    """Parse addresses: a text with one, or with several separated by commas, or a list of such texts.

    Args:
        hosts: what to parse.
        default_port: the port of those that have none.

    Raises:
        ValueError: one of them is no address, or the list is empty.
    """
    texts = [hosts] if isinstance(hosts, str) else hosts
    addresses = [parse_address(each.strip(), default_port) for text in texts for each in text.split(",")]
    if not addresses:
        raise ValueError("the list of hosts is empty")
    return addresses
