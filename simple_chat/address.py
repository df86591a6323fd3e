"""Server addresses: the default, and how they are written.

Pure.
"""

import re

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8090

_PORT_MAX = 65_535
_HOST_PORT = re.compile(r"(?:\[([^\[\]]+)\]|([^\[\]:]+))(?::([0-9]{1,5}))?")


def format_address(host: str, port: int) -> str:
    """Return ``host:port``, with an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_address(text: str, default_port: int) -> tuple[str, int]:
    """Parse HOST or HOST:PORT; an IPv6 address with a port has to be in brackets.

    Args:
        text: what to parse.
        default_port: the port if `text` has none.

    Raises:
        ValueError: it is neither.
    """
    if "[" not in text and text.count(":") != 1:  # a name, or an IPv6 address without brackets
        return text, default_port
    match = _HOST_PORT.fullmatch(text)
    if match is None or int(match[3] or 0) > _PORT_MAX:
        raise ValueError(f"{text!r} is neither HOST nor HOST:PORT, nor [HOST]:PORT for an IPv6 address")
    return match[1] or match[2], int(match[3] or default_port)
