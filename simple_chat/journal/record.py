"""The journal's format: a line of text for each line of the room.

Pure. A record is the line's number, its time, a checksum, and the line itself::

    42 2026-11-23T19:48:21.123Z 64f2dd1a MSG ann hello

The checksum is the CRC-32, in hexadecimal, of the record without the checksum and the space behind it, line
end included. It detects a torn or corrupt record; the numbers detect a missing one. ``START`` in place of a
line marks the start of a server, with nobody in the room.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import NamedTuple
from zlib import crc32

from simple_chat.core.backlog import NO_AUTHOR, Batch
from simple_chat.core.protocol import timestamp

_START = b"START\n"
_FIELDS = 4  # of a record


class Record(NamedTuple):
    """A line of the room in the journal.

    Attributes:
        number: the line's number in the room's sequence.
        time: when the room took it, in RFC 3339 format in UTC, with milliseconds.
        line: the line without its LF.
    """

    number: int
    time: str
    line: bytes

    @property
    def seconds(self) -> float:
        """The time in seconds since the epoch."""
        return datetime.fromisoformat(self.time).timestamp()


@dataclass(frozen=True)
class CorruptRecordError(Exception):
    """A record is corrupt or out of sequence.

    Args:
        line: number of the line in its file, from 1 on.
        problem: what is wrong with it.
    """

    line: int
    problem: str


def encode_records(batch: Batch) -> bytes:
    """Encode a batch as records, each with its LF."""
    time = timestamp(datetime.fromtimestamp(batch.time, UTC)).encode()
    parts: list[bytes] = []
    for number, _, line in batch.iter_lines(batch.first, batch.end):
        head = b"%d %b " % (number, time)
        parts += head, b"%08x " % crc32(line, crc32(head)), line
    return b"".join(parts)


def start_marker(number: int, time: float) -> Batch:
    """Return the batch that marks the start of a server.

    Args:
        number: of its only record.
        time: seconds since the epoch.
    """
    return Batch(number, [_START], array("Q", [NO_AUTHOR]), [(number, time)])


def decode_batches(records: list[Record]) -> Iterator[Batch]:
    """Decode consecutive records into batches: one for all records of the same time."""
    for _, group in groupby(records, key=lambda record: record.time):
        together = list(group)
        lines = [record.line + b"\n" for record in together]
        times = [(together[0].number, together[0].seconds)]
        yield Batch(together[0].number, lines, array("Q", [NO_AUTHOR]) * len(lines), times)


class RecordReader:
    """Decodes and checks the records of a segment, fed in blocks of any size.

    A torn record at the end is no error: a line that is no record is corrupt only if something follows it.

    Args:
        number: of the first record.
        stop: number of the record to stop before, whatever follows; None to read to the end.

    Attributes:
        number: of the next record.
        size: bytes of all complete records so far.
    """

    def __init__(self, number: int, stop: int | None = None) -> None:
        self.number = number
        self.size = 0
        self._first = number
        self._stop = stop
        self._fed = 0  # bytes
        self._rest = b""  # an incomplete line
        self._error: CorruptRecordError | None = None  # in the last line

    @property
    def torn(self) -> int:
        """Bytes behind the last complete record."""
        return self._fed - self.size

    def feed(self, data: bytes) -> list[Record]:
        """Decode the next block.

        Args:
            data: the bytes that follow in the segment; not empty.

        Raises:
            CorruptRecordError: a line other than the last one is no record, or not the next one.
        """
        self._fed += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        records = self._decode(lines)
        if self._error is not None and self._rest:
            raise self._error
        return records

    def _decode(self, lines: list[bytes]) -> list[Record]:
        """Decode complete lines: without a call for each, as this is what the start of a server takes."""
        records: list[Record] = []
        number, size = self.number, self.size
        for line in lines:
            if number == self._stop:
                break
            if self._error is not None:
                raise self._error
            fields = line.split(b" ", 3)
            if len(fields) == _FIELDS and fields[0] == b"%d" % number and fields[2] == _checksum(*fields):
                records.append(Record(number, fields[1].decode("ascii", "replace"), fields[3]))
                number += 1
                size += len(line) + 1
            else:
                self._error = CorruptRecordError(number - self._first + 1, _problem(fields, number))
        self.number, self.size = number, size
        return records


def _checksum(number: bytes, time: bytes, _: bytes, line: bytes) -> bytes:
    """Return the checksum that a record should have."""
    return b"%08x" % crc32(b"%b %b %b\n" % (number, time, line))


def _problem(fields: list[bytes], number: int) -> str:
    """Return what is wrong with a line that is not the record of a number."""
    if len(fields) < _FIELDS or fields[2] != _checksum(*fields):
        return "checksum mismatch"
    return f"record {fields[0].decode('ascii', 'replace')} instead of {number}"
