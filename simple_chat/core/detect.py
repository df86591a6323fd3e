"""What a connection begins with: a chat client's first line, or another protocol's.

Pure. A browser that is made to send a request here, or a client that begins with TLS, is turned away before
anything that it sends could be taken for a command.
"""

import re
from enum import Enum, auto

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""What some editors and shells put before the first line; it is no part of it."""

HTTP_RESPONSE = b"HTTP/1.1 400 Bad Request\nContent-Type: text/plain\nConnection: close\n\n"
"""What an HTTP client is answered, before what everybody is told; its line ends become the client's."""

REQUEST_END_MAX = 16
"""Bytes at the end of a line that tell whether it is a request's first."""

_TLS_HANDSHAKE = b"\x16\x03"  # a record of the type handshake, of any version (RFC 8446, 5.1)

# RFC 9112, 3: method, target and version. A page can choose the method, and the target as long as it likes.
_REQUEST = re.compile(rb"\S+ +\S+ +HTTP/\d", re.IGNORECASE)
_REQUEST_END = re.compile(rb" HTTP/\d(\.\d)?[ \t]*\Z", re.IGNORECASE)


class Visitor(Enum):
    """Who is there."""

    CHAT = auto()
    TLS = auto()


_KNOWN: dict[bytes, Visitor] = {
    _TLS_HANDSHAKE: Visitor.TLS,
    BYTE_ORDER_MARK: Visitor.CHAT,
}


def detect_protocol(start: bytes) -> Visitor | None:
    """Tell who is there, as far as the first bytes do.

    Args:
        start: the first bytes, as many as have come.

    Returns:
        None while it can't be told; the longest beginning that leaves it open has 2 bytes.
    """
    for opening, visitor in _KNOWN.items():
        if start.startswith(opening):
            return visitor
    undecided = any(opening.startswith(start) for opening in _KNOWN)
    return None if undecided else Visitor.CHAT


def is_http_request(line: bytes) -> bool:
    """Whether a first line is that of an HTTP request: ``word word HTTP/digit``, whatever the method.

    Args:
        line: without its line end.
    """
    return _REQUEST.match(line) is not None


def ends_http_request(end: bytes) -> bool:
    """Whether a first line of which only the end is left is that of an HTTP request.

    Args:
        end: its last `REQUEST_END_MAX` bytes or more, without the line end.
    """
    return _REQUEST_END.search(end[-REQUEST_END_MAX:]) is not None
