"""Where a server is, if nobody says otherwise, and how that is written.

Pure.
"""

import re

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8090

_PORT_MAX = 65_535
_WITH_PORT = re.compile(r"(?:\[([^\[\]]+)\]|([^\[\]:]+))(?::([0-9]{1,5}))?")


def format_address(host: str, port: int) -> str:
    """Write an address the way people do: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def read_address(text: str, default_port: int) -> tuple[str, int]:
    """Read an address the way people write it: HOST or HOST:PORT, an IPv6 address with a port in brackets.

    Args:
        text: what they wrote.
        default_port: what the port is if they left it out.

    Raises:
        ValueError: it is no address.
    """
    if "[" not in text and text.count(":") != 1:  # a name, or a bare IPv6 address
        return text, default_port
    found = _WITH_PORT.fullmatch(text)
    if found is None or int(found[3] or 0) > _PORT_MAX:
        raise ValueError(f"{text!r} is neither HOST nor HOST:PORT, nor [HOST]:PORT for an IPv6 address")
    return found[1] or found[2], int(found[3] or default_port)
