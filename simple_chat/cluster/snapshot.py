"""Snapshots: who is in the room at one position of the log, so that no server reads it from its start."""

import json
import zlib
from typing import Any, NamedTuple


class Snapshot(NamedTuple):
    """The state of a replicated room.

    Attributes:
        position: of the last entry that was applied.
        message_entries: positions of the entries with the last messages, for HISTORY.
        nodes: as `Nodes.snapshot` returns them.
        names: of the members, by their node.
        bans: in their text form.
    """

    position: int
    message_entries: list[int]
    nodes: dict[str, Any]
    names: dict[str, list[str]]
    bans: list[str] = []  # noqa: RUF012 - never changed; older servers' snapshots have none


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Return a snapshot as bytes, quickly rather than as few as possible: nobody is served meanwhile."""
    return zlib.compress(json.dumps(snapshot._asdict()).encode(), level=1)


def decode_snapshot(data: bytes) -> Snapshot:
    """Return the snapshot that `encode_snapshot` made bytes of."""
    return Snapshot(**json.loads(zlib.decompress(data)))


def position_after(snapshot: bytes | None) -> int:
    """Return the position of the first entry that a snapshot does not cover; None covers nothing."""
    return 1 if snapshot is None else decode_snapshot(snapshot).position + 1
