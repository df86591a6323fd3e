"""How a stream of bytes becomes lines.

Pure.
"""

from collections.abc import Callable

from simple_chat.core.detect import REQUEST_END_MAX, ends_http_request, is_http_request
from simple_chat.core.protocol import Code
from simple_chat.errors import CommandError

MAX_LINE = 4096
"""Bytes a client's line may have before its line end."""


class LineBuffer:
    """Cuts a stream of bytes into lines, however the stream was cut into packets.

    Holds no more than one unfinished line and what was fed last. A line that is too long is refused once,
    as soon as that is certain, and the rest of it is thrown away up to its LF. The first line that is not
    empty is refused if it is an HTTP request's, however long that is: see `simple_chat.core.detect`.

    Args:
        max_line: bytes a line may have before its line end.

    Attributes:
        crlf: whether a line so far ended in CRLF.
    """

    __slots__ = ("_data", "_ended", "_first", "_max_line", "_overlong", "_start", "crlf")

    def __init__(self, max_line: int = MAX_LINE) -> None:
        self._max_line = max_line
        self._data = b""
        self._start = 0  # of the line that is next
        self._overlong = False  # the line that is next was refused already
        self._ended = False
        self._first = True  # no line has come yet, apart from empty ones
        self.crlf = False

    def feed(self, data: bytes) -> None:
        """Take in what the peer sent."""
        self._data = self._data[self._start :] + data
        self._start = 0

    def feed_eof(self) -> None:
        """Take in that the peer sends nothing more."""
        self._ended = True

    @property
    def held(self) -> int:
        """Bytes that wait to be taken as lines."""
        return len(self._data) - self._start

    @property
    def empty(self) -> bool:
        """Whether `next_line` has nothing to tell until more is fed, not even the end."""
        return not (self._data or self._ended)

    @property
    def at_end(self) -> bool:
        """Whether every line was taken and none can follow."""
        return self._ended and not self._data

    def next_line(self) -> str | None:
        """Take the next line.

        Returns:
            The line without its line end, perhaps empty, or None if it is still to come.

        Raises:
            CommandError: line-too-long, not-utf8, not-chat, or incomplete-line at the end of the stream.
                The line is gone then; the next call goes on behind it.
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
            self.crlf = self.crlf or cr
            line = self._data[start:stop]
            self._drop(lf + 1)
            overlong, self._overlong = self._overlong, False
            if self._first and line:
                self._first = False
                _check_first(line, ends_http_request if overlong else is_http_request)
            if not overlong:
                return _decode(line)

    def _drop(self, taken: int) -> None:
        """Go on behind the bytes that were taken, and let go of them once they are all there is.

        What was received may be a few bytes in a large piece of memory, which an idle user would hold.
        """
        if taken == len(self._data):
            self._data, taken = b"", 0
        self._start = taken

    def _keep_unfinished(self, stop: int) -> None:
        """Keep the beginning of a line for later; of one that was refused, only what its end may tell."""
        if self._overlong:
            self._drop(max(stop - REQUEST_END_MAX, self._start) if self._first else stop)
        # The beginning alone: it may be a byte behind a large piece of memory that was received with it.
        self._data, self._start = self._data[self._start :], 0
        if self._ended and not self.at_end:
            self._drop(len(self._data))
            if not self._overlong:
                raise CommandError(Code.INCOMPLETE_LINE)


def _check_first(line: bytes, is_http: Callable[[bytes], bool]) -> None:
    if is_http(line):
        raise CommandError(Code.NOT_CHAT)


def _decode(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise CommandError(Code.NOT_UTF8) from None
