"""What the first bytes of a connection tell: a chat client, or somebody who knocks at the wrong door.

Pure. A browser that is made to send a request here, or a client that begins with TLS, is turned away before
anything that it sends could be taken for a command.
"""

from enum import Enum, auto

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""What some editors and shells put before the first line; it is no part of it."""

HTTP_ANSWER = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
"""What an HTTP client is answered, before what everybody is told."""

# RFC 9110, 5789 and 9113
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PRI")
_TLS_HANDSHAKE = b"\x16\x03"  # a record of the type handshake, of any version (RFC 8446, 5.1)


class Visitor(Enum):
    """Who is there."""

    CHAT = auto()
    HTTP = auto()
    TLS = auto()


_KNOWN: dict[bytes, Visitor] = {
    **{f"{method} ".encode(): Visitor.HTTP for method in _METHODS},
    _TLS_HANDSHAKE: Visitor.TLS,
    BYTE_ORDER_MARK: Visitor.CHAT,
}


def recognize(start: bytes) -> Visitor | None:
    """Tell who is there.

    Args:
        start: the first bytes, as many as have come.

    Returns:
        None while it can't be told; the longest beginning that leaves it open has 7 bytes.
    """
    for opening, visitor in _KNOWN.items():
        if start.startswith(opening):
            return visitor
    undecided = any(opening.startswith(start) for opening in _KNOWN)
    return None if undecided else Visitor.CHAT
