"""Detects the protocol of a peer from the first bytes or the first line of its connection.

A browser that a web page makes send a request to the chat port, and a client that begins with TLS, are
disconnected before anything they send could be executed as a command.
"""

import re
from enum import Enum, auto

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""What some editors and shells put before the first line; it is no part of it."""

HTTP_RESPONSE = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
"""What an HTTP client is sent before the ERR."""

REQUEST_END_MAX = 16
"""Bytes at the end of a line that tell whether it is an HTTP request line."""

_TLS_HANDSHAKE = b"\x16\x03"  # a record of the type handshake, of any version (RFC 8446, 5.1)

# RFC 9112, 3: method, target and version. A web page can choose the method, and a target of any length.
_REQUEST = re.compile(rb"\S+ +\S+ +HTTP/\d", re.IGNORECASE)
_REQUEST_END = re.compile(rb" HTTP/\d(\.\d)?[ \t]*\Z", re.IGNORECASE)


class PeerProtocol(Enum):
    """What a connection begins with."""

    CHAT = auto()
    HTTP = auto()
    TLS = auto()


_PREFIXES: dict[bytes, PeerProtocol] = {
    _TLS_HANDSHAKE: PeerProtocol.TLS,
    BYTE_ORDER_MARK: PeerProtocol.CHAT,
}


def detect_protocol(start: bytes) -> PeerProtocol | None:
    """Return the protocol that the first bytes of a connection belong to.

    Args:
        start: the first bytes, as many as have come.

    Returns:
        None while it can't be told; 2 bytes are the longest start that leaves it open.
    """
    for prefix, protocol in _PREFIXES.items():
        if start.startswith(prefix):
            return protocol
    undecided = any(prefix.startswith(start) for prefix in _PREFIXES)
    return None if undecided else PeerProtocol.CHAT


def is_http_request(line: bytes) -> bool:
    """Return whether a first line is an HTTP request line: ``word word HTTP/digit``, whatever the method.

    Args:
        line: without its line end.
    """
    return _REQUEST.match(line) is not None


def ends_http_request(end: bytes) -> bool:
    """Return whether a first line of which only the end is left is an HTTP request line.

    Args:
        end: its last `REQUEST_END_MAX` bytes or more, without the line end.
    """
    return _REQUEST_END.search(end[-REQUEST_END_MAX:]) is not None
