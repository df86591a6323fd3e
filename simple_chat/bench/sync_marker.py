"""Markers that tell where the checked streams begin: what a connection received before may differ.

One connection sends markers with ascending numbers until every other has received one. Then all are in the
room, so everybody receives the last marker sent: the streams begin behind it.

Pure.
"""


class SyncMarker:
    """The markers of one run.

    Args:
        tag: distinguishes them from those of other runs.
    """

    def __init__(self, tag: str) -> None:
        self.prefix = f"start-{tag}-"
        self._number = 0

    def next(self) -> str:
        """Return the next marker."""
        self._number += 1
        return self.last

    @property
    def last(self) -> str:
        """The marker returned last."""
        return f"{self.prefix}{self._number:08x}"


class SyncBuffer:
    """What one connection received before its stream begins.

    Args:
        prefix: how markers begin.

    Attributes:
        synced: whether it received a marker.
        last_line: the last complete line before the first marker: the server's answer if it rejects the JOIN.
    """

    def __init__(self, prefix: str) -> None:
        self.synced = False
        self.last_line = b""
        self._prefix = prefix.encode()
        self._data = b""  # from the first marker on; before it, the incomplete line

    def feed(self, data: bytes) -> None:
        """Process received bytes."""
        self._data += data
        if not self.synced:
            *lines, incomplete = self._data.split(b"\n")
            markers = [at for at, line in enumerate(lines) if self._prefix in line]
            self.synced = bool(markers)
            self.last_line = lines[-1] if lines else self.last_line
            self._data = b"\n".join([*lines[markers[0] :], incomplete]) if markers else incomplete

    def data_after(self, marker: str) -> bytes | None:
        """Return the bytes behind a marker's line, or None if that line has not arrived."""
        at = self._data.find(marker.encode())
        end = self._data.find(b"\n", at)
        return self._data[end + 1 :] if min(at, end) >= 0 else None
