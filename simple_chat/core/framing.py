"""Cuts a stream of bytes into lines."""

from simple_chat.core.codes import Code
from simple_chat.core.detect import REQUEST_END_MAX, PeerProtocol, ends_http_request, is_http_request
from simple_chat.errors import CommandError

MAX_LINE = 4096
"""Bytes a client's line may have before its line end, by default."""


class LineBuffer:
    """Cuts a stream of bytes into lines, however the stream was cut into packets.

    Holds no more than one unfinished line and what was fed last. A line that is too long is refused once, as
    soon as that is certain, and dropped up to its LF. The first line that is not empty is refused if it is an
    HTTP request line, however long: see `simple_chat.core.detect`.

    Args:
        max_line: bytes a line may have before its line end.

    Attributes:
        crlf: whether a line so far ended in CRLF.
        peer: the protocol of the peer, as its first line tells; None until that has come. Empty lines tell
            nothing.
    """

    __slots__ = ("_data", "_ended", "_max_line", "_overlong", "_start", "crlf", "peer")

    def __init__(self, max_line: int = MAX_LINE) -> None:
        self._max_line = max_line
        self._data = b""
        self._start = 0  # of the next line
        self._overlong = False  # the next line was refused already
        self._ended = False
        self.crlf = False
        self.peer: PeerProtocol | None = None

    def feed(self, data: bytes) -> None:
        """Add what the peer sent."""
        self._data = self._data[self._start :] + data
        self._start = 0

    def feed_eof(self) -> None:
        """Note that the peer sends nothing more."""
        self._ended = True

    @property
    def held(self) -> int:
        """Bytes that wait to be read as lines."""
        return len(self._data) - self._start

    @property
    def empty(self) -> bool:
        """Whether `next_line` has nothing to return until more is fed, not even the end."""
        return not (self._data or self._ended)

    @property
    def at_end(self) -> bool:
        """Whether every line was read and none can follow."""
        return self._ended and not self._data

    def next_line(self) -> str | None:
        """Return the next line.

        Returns:
            The line without its line end, perhaps empty, or None if it is still to come.

        Raises:
            CommandError: line-too-long, not-utf8, not-chat, or incomplete-line at the end of the stream.
                The line is dropped then; the next call goes on after it.
        """
        while True:
            start, lf = self._start, self._data.find(b"\n", self._start)
            stop = lf if lf >= 0 else len(self._data)
            if cr := self._data.endswith(b"\r", start, stop):
                stop -= 1
            if stop - start > self._max_line and not self._overlong:
                self._overlong = True
                raise CommandError(Code.LINE_TOO_LONG)
            if lf < 0:
                self._keep_unfinished(stop)
                return None
            if cr:
                self.crlf = True
            line = self._data[start:stop]
            self._drop(lf + 1)
            if not (self.peer is None or self._overlong) or self._is_kept(line):
                try:
                    return line.decode()
                except UnicodeDecodeError:
                    raise CommandError(Code.NOT_UTF8) from None

    def _drop(self, read: int) -> None:
        """Go on after the bytes that were read, and release them once they are all there is.

        What was received may be a few bytes in a large piece of memory, which an idle user would hold.
        """
        if read == len(self._data):
            self._data, read = b"", 0
        self._start = read

    def _keep_unfinished(self, stop: int) -> None:
        """Keep the beginning of a line; of one that was refused, only what its end may tell."""
        if self._overlong:
            self._drop(max(stop - REQUEST_END_MAX, self._start) if self.peer is None else stop)
        # The beginning alone: it may be a byte behind a large piece of memory that was received with it.
        self._data, self._start = self._data[self._start :], 0
        if self._ended and not self.at_end:
            self._drop(len(self._data))
            if not self._overlong:
                raise CommandError(Code.INCOMPLETE_LINE)

    def _is_kept(self, line: bytes) -> bool:
        """Return whether a line is kept, which is the first one, or the rest of one that was refused."""
        overlong, self._overlong = self._overlong, False
        if self.peer is None and line:
            is_http = ends_http_request(line) if overlong else is_http_request(line)
            self.peer = PeerProtocol.HTTP if is_http else PeerProtocol.CHAT
            if is_http:
                raise CommandError(Code.NOT_CHAT)
        return not overlong
