"""Where a server is, if nobody says otherwise, and how that is written.

Pure.
"""

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8090


def show_address(host: str, port: int) -> str:
    """Write an address the way people do: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
