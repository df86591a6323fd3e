"""The format of a stream entry: what the members of one server did, in one message.

Pure. The first line is the node id of the server and the entry's number; each following line is one event::

    5f0c1e9ab2d4 17
    MSG ann hello
    JOIN bob
    LEAVE cid
    END

``MSG`` is the line that members receive. ``END`` says that the server shuts down, with all of its members. An
entry without events is a heartbeat.
"""

from collections.abc import Iterable
from typing import NamedTuple

JOIN = b"JOIN "
LEAVE = b"LEAVE "
END = b"END\n"


class Entry(NamedTuple):
    """One entry of the stream.

    Attributes:
        position: its sequence number in the stream; rises from entry to entry.
        time: when NATS stored it, in microseconds since the epoch.
        node: the server that published it; empty if the message is no entry of a chat server.
        number: its number among the entries of that server, from 1 on.
        lines: its events, each with its LF.
    """

    position: int
    time: int
    node: str = ""
    number: int = 0
    lines: tuple[bytes, ...] = ()


def encode_entry(node: str, number: int, lines: Iterable[bytes]) -> bytes:
    """Return an entry as the stream stores it.

    Args:
        node: the server that publishes it.
        number: its number among the entries of that server.
        lines: its events, each with its LF.
    """
    return b"%b %d\n%b" % (node.encode(), number, b"".join(lines))


def decode_entry(position: int, time: int, data: bytes) -> Entry:
    """Parse what `encode_entry` returned.

    Raises:
        ValueError: the data is no entry, or is cut short.
    """
    head, *lines = data.splitlines(keepends=True)  # no room line has a CR inside
    node, number = head.decode().split()
    if not data.endswith(b"\n"):
        raise ValueError("the last line has no LF")
    return Entry(position, time, node, int(number), tuple(lines))
