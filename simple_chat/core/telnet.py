"""Takes telnet negotiation out of a byte stream and refuses every option it asks for.

A telnet client may negotiate in the middle of a line, and a packet may end in the middle of a negotiation.
The command bytes are those of RFC 854 and RFC 1184. UTF-8 never has the byte 0xFF that they begin with.
"""

import re

IAC = b"\xff"
"""The byte that every negotiation begins with."""

_REFUSALS = {b"\xfd": b"\xfc", b"\xfb": b"\xfe"}  # DO -> WONT, WILL -> DONT

# An IAC before a byte below 0xEC begins nothing that telnet knows: it stays in the stream, where the
# line it stands in is refused as not UTF-8. Dropping it could join two lines.
_NEGOTIATION = re.compile(
    rb"\xff(?:"
    rb"(?P<literal>\xff)"
    rb"|(?P<request>[\xfb\xfd])(?P<option>[\x00-\xff])"
    rb"|[\xfc\xfe][\x00-\xff]"  # WONT, DONT: nothing was asked for, so there is nothing to stop
    rb"|[\xec-\xf9]"  # commands of one byte: NOP, interrupt, suspend, are you there, ...
    rb"|\xfa(?:[^\xff]|\xff[^\xf0])*+\xff\xf0"  # a subnegotiation, up to IAC SE
    rb"|(?P<unfinished>[\xfb-\xfe]?\Z|(?P<sub>\xfa)(?:[^\xff]|\xff[^\xf0])*+\xff?\Z)"
    rb")"
)


class Telnet:
    """The telnet negotiation of one connection."""

    __slots__ = ("_refusals", "_unfinished")

    def __init__(self) -> None:
        self._unfinished = b""
        self._refusals: dict[bytes, None] = {}

    def feed(self, data: bytes) -> bytes:
        """Return the text in what came in.

        Args:
            data: bytes as they came from the peer, cut anywhere.
        """
        if not self._unfinished and IAC not in data:
            return data
        data, self._unfinished = self._unfinished + data, b""
        return _NEGOTIATION.sub(self._replace, data)

    def take_refusals(self) -> bytes:
        """Return the refusals to send, each once, so that no peer can make them pile up."""
        refusals = b"".join(self._refusals)
        self._refusals.clear()
        return refusals

    def _replace(self, found: re.Match[bytes]) -> bytes:
        if found["literal"]:
            return b"\xff"
        if found["request"]:
            self._refusals[IAC + _REFUSALS[found["request"]] + found["option"]] = None
        if found["unfinished"] is not None:
            self._unfinished = self._keep(found)
        return b""

    @staticmethod
    def _keep(found: re.Match[bytes]) -> bytes:
        """Return as much of an unfinished negotiation as its end needs: a subnegotiation may never end."""
        if not found["sub"]:
            return found[0]
        return b"\xff\xfa\xff" if _ends_in_iac(found[0]) else b"\xff\xfa"


def _ends_in_iac(subnegotiation: bytes) -> bool:
    """Whether the last byte is an IAC of its own, not the second half of ``IAC IAC``."""
    return (len(subnegotiation) - len(subnegotiation.rstrip(b"\xff"))) % 2 == 1
