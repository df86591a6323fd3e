"""The log's format: what one server's members did, in one message.

Pure. The first line is the server and the message's number, and each line behind it is something that was
done::

    5f0c1e9ab2d4 17
    MSG ann hello
    JOIN bob
    LEAVE cid
    END

``MSG`` is the room's own line. ``END`` is a server that leaves in order, with all of its members. A message
without lines says that the server is there.
"""

from collections.abc import Iterable
from typing import NamedTuple

JOIN = b"JOIN "
LEAVE = b"LEAVE "
END = b"END\n"


class Entry(NamedTuple):
    """A message as it stands in the log.

    Attributes:
        position: its place in the log; they rise.
        time: when it was stored, in microseconds since the epoch, by the log's clock.
        node: the server that it is from; empty if it is nothing that was done.
        number: its number among that server's, from 1 on.
        lines: each with its LF.
    """

    position: int
    time: int
    node: str = ""
    number: int = 0
    lines: tuple[bytes, ...] = ()


def encode_entry(node: str, number: int, lines: Iterable[bytes]) -> bytes:
    """Write down what a server's members did.

    Args:
        node: the server.
        number: of the message.
        lines: each with its LF.
    """
    return b"%b %d\n%b" % (node.encode(), number, b"".join(lines))


def decode_entry(position: int, time: int, data: bytes) -> Entry:
    """Read what `encode_entry` wrote.

    Raises:
        ValueError: something else wrote it.
    """
    head, *lines = data.splitlines(keepends=True)  # there is no CR in a line of the room
    node, number = head.decode().split()
    if not data.endswith(b"\n"):
        raise ValueError("its end is missing")
    return Entry(position, time, node, int(number), tuple(lines))
