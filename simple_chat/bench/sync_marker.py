"""Where the streams begin: behind a mark that everybody got, so that what came before can differ.

One connection says marks with ascending numbers until everybody has got any of them. Then all are in the
room, so the last that was said comes to all of them, and it is the start.

Pure.
"""


class Mark:
    """The marks of one run.

    Args:
        tag: what makes them different from those of another run.
    """

    def __init__(self, tag: str) -> None:
        self.prefix = f"start-{tag}-"
        self._said = 0

    def next(self) -> str:
        """Write the next mark."""
        self._said += 1
        return self.last

    @property
    def last(self) -> str:
        """The last that was said."""
        return f"{self.prefix}{self._said:08x}"


class Arrival:
    """What one connection got before the start.

    Args:
        prefix: how marks begin.

    Attributes:
        marked: whether it got any mark.
        last_line: the last whole line before it got one: an answer of the server, if it is not let in.
    """

    def __init__(self, prefix: str) -> None:
        self.marked = False
        self.last_line = b""
        self._prefix = prefix.encode()
        self._kept = b""  # from the first mark on; before, what came of the last line

    def take(self, data: bytes) -> None:
        """Look at what the connection got."""
        self._kept += data
        if not self.marked:
            *whole, torn = self._kept.split(b"\n")
            marks = [at for at, line in enumerate(whole) if self._prefix in line]
            self.marked = bool(marks)
            self.last_line = whole[-1] if whole else self.last_line
            self._kept = b"\n".join([*whole[marks[0] :], torn]) if marks else torn

    def after(self, mark: str) -> bytes | None:
        """Return what came behind a mark's line, None if that did not come yet."""
        at = self._kept.find(mark.encode())
        end = self._kept.find(b"\n", at)
        return self._kept[end + 1 :] if min(at, end) >= 0 else None
