"""Takes telnet negotiation out of a byte stream and refuses every option it asks for.

Pure. A telnet client may negotiate in the middle of a line, and a packet may end in the middle of a
negotiation. The command bytes are those of RFC 854; UTF-8 never holds the byte 0xFF they begin with.
"""

import re

_REFUSALS = {b"\xfd": b"\xfc", b"\xfb": b"\xfe"}  # DO -> WONT, WILL -> DONT

# An IAC before a byte below 0xF0 begins nothing that telnet knows: it stays in the stream, where the
# line it stands in is refused as not UTF-8. Dropping it could join two lines.
_NEGOTIATION = re.compile(
    rb"\xff(?:"
    rb"(?P<literal>\xff)"
    rb"|(?P<request>[\xfb\xfd])(?P<option>[\x00-\xff])"
    rb"|[\xfc\xfe][\x00-\xff]"  # WONT, DONT: nothing was asked for, so there is nothing to stop
    rb"|[\xf0-\xf9]"  # commands of one byte: NOP, interrupt, are you there, ...
    rb"|\xfa(?:[^\xff]|\xff[^\xf0])*+\xff\xf0"  # a subnegotiation, up to IAC SE
    rb"|(?P<unfinished>[\xfb-\xfe]?\Z|(?P<sub>\xfa)(?:[^\xff]|\xff[^\xf0])*+\xff?\Z)"
    rb")"
)


class Telnet:
    """What one connection's telnet side has said so far."""

    __slots__ = ("_refused", "_replies", "_unfinished")

    def __init__(self) -> None:
        self._unfinished = b""
        self._refused: set[bytes] = set()
        self._replies: list[bytes] = []

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Split what came in into text and answers.

        Each request is refused once, so that no peer can make answers pile up.

        Args:
            data: bytes as they came from the peer, cut anywhere.

        Returns:
            The text in it, and the refusals to send back.
        """
        if not self._unfinished and b"\xff" not in data:
            return data, b""
        data, self._unfinished = self._unfinished + data, b""
        text = _NEGOTIATION.sub(self._take, data)
        replies, self._replies = b"".join(self._replies), []
        return text, replies

    def _take(self, found: re.Match[bytes]) -> bytes:
        if found["literal"]:
            return b"\xff"
        if found["request"] and found[0] not in self._refused:
            self._refused.add(found[0])
            self._replies.append(b"\xff" + _REFUSALS[found["request"]] + found["option"])
        if found["unfinished"] is not None:
            self._unfinished = self._keep(found)
        return b""

    @staticmethod
    def _keep(found: re.Match[bytes]) -> bytes:
        """As much of an unfinished negotiation as its end needs: a subnegotiation may never end."""
        if not found["sub"]:
            return found[0]
        return b"\xff\xfa\xff" if _ends_in_iac(found[0]) else b"\xff\xfa"


def _ends_in_iac(subnegotiation: bytes) -> bool:
    """Whether the last byte is an IAC of its own, not the second half of ``IAC IAC``."""
    body = subnegotiation[2:]
    return (len(body) - len(body.rstrip(b"\xff"))) % 2 == 1
