"""What a room that was busy refused, taken out of a recording: the checker knows only what was carried out.

Pure.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence

from simple_chat.core.codes import Code

_BUSY = f"ERR {Code.BUSY} "
_UNASKED = tuple(f"ERR {code} " for code in (Code.JOIN_TIMEOUT, Code.KICKED, Code.BANNED))  # with a BYE


def without_refusals(
    sent: Sequence[str], received: Iterable[str], heard: Collection[str]
) -> tuple[list[str], list[str]]:
    """Return the lines that one connection sent and received, without what was refused as busy.

    A refusal does not say which line it is about. It is about one of those since the last PING that was
    answered: a message that nobody heard, or else a JOIN.

    Args:
        sent: lines, with PINGs.
        received: lines.
        heard: the texts of all messages of the room.
    """
    received = [line for line in received if not line.startswith(_UNASKED)]
    if not any(line.startswith(_BUSY) for line in received):
        return [*sent], received
    pings = {line: at for at, line in enumerate(sent) if line.startswith("PING ")}
    refused: set[int] = set()
    accepted: list[str] = []
    start = busy = 0
    for line in received:
        if line.startswith(_BUSY):
            busy += 1
            continue
        accepted.append(line)
        if line.startswith("PONG ") and (end := pings.get(f"PING {line[5:]}", -1)) >= start:
            refused.update(_refusable(sent, start, end, heard, busy))
            start, busy = end + 1, 0
    refused.update(_refusable(sent, start, len(sent), heard, busy))
    return [line for place, line in enumerate(sent) if place not in refused], accepted


def _refusable(
    sent: Sequence[str], start: int, end: int, heard: Collection[str], count: int
) -> Iterator[int]:
    """Yield the places of as many lines as were refused."""
    places = range(start, end)
    messages = [at for at in places if sent[at].startswith("MSG ") and sent[at][4:] not in heard]
    joins = [at for at in places if sent[at].startswith("JOIN ")]
    yield from [*messages, *joins][:count]
