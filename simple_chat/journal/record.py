"""The journal's format: a line of text for each line of the room.

Pure. A record is the line's number, its time, a checksum, and the line itself::

    42 2026-11-23T19:48:21.123Z 64f2dd1a MSG ann hello

The checksum is the CRC-32, in hexadecimal, of the record without the checksum and the space behind it, line
end included. It tells whether a record is whole; the numbers tell whether one is missing. ``START`` in place
of a line is where a server began: with nobody in the room any more.
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


class Record(NamedTuple):
    """A line of the room as it is kept.

    Attributes:
        number: its place in the sequence.
        time: when it was said, as RFC 3339 in UTC, to the millisecond.
        line: the line, without its LF.
    """

    number: int
    time: str
    line: bytes

    @property
    def seconds(self) -> float:
        """When it was said, in seconds since the epoch."""
        return datetime.fromisoformat(self.time).timestamp()


@dataclass(frozen=True)
class CorruptRecordError(Exception):
    """A record is not what was kept.

    Args:
        line: which line of its file it is, from 1 on.
        wrong: what is wrong with it.
    """

    line: int
    wrong: str


def encode_records(batch: Batch) -> bytes:
    """Turn a batch into records, each with its LF."""
    time = timestamp(datetime.fromtimestamp(batch.time, UTC)).encode()
    parts: list[bytes] = []
    for number, line in enumerate(batch.lines(batch.first, batch.end), batch.first):
        head = b"%d %b " % (number, time)
        parts += head, b"%08x " % crc32(line, crc32(head)), line
    return b"".join(parts)


def start_of_server(number: int, time: float) -> Batch:
    """What a server keeps first.

    Args:
        number: of the record.
        time: seconds since the epoch.
    """
    return Batch(number, [_START], array("Q", [NO_AUTHOR]), time)


def batches(records: list[Record]) -> Iterator[Batch]:
    """Turn records that follow each other into batches: one for all that were kept at a time."""
    for _, group in groupby(records, key=lambda record: record.time):
        together = list(group)
        lines = [record.line + b"\n" for record in together]
        yield Batch(together[0].number, lines, array("Q", [NO_AUTHOR]) * len(lines), together[0].seconds)


class RecordReader:
    """Puts the records of a file together from pieces, and checks each.

    The last line may be torn: a line that is no record is damaged only if something follows it.

    Args:
        number: of the first record.
        stop: number of the record to stop before, whatever may follow; None to read to the end.

    Attributes:
        number: of the next record.
        size: bytes of all records up to there.
    """

    def __init__(self, number: int, stop: int | None = None) -> None:
        self.number = number
        self.size = 0
        self._stop = stop
        self._fed = 0
        self._lines = 0
        self._rest = b""
        self._damage: CorruptRecordError | None = None  # of the last line

    @property
    def torn(self) -> int:
        """Bytes behind all records: of a last one that is not whole."""
        return self._fed - self.size

    def feed(self, data: bytes) -> list[Record]:
        """Read on.

        Args:
            data: what follows in the file; not empty.

        Raises:
            CorruptRecordError: a line that is not the last is no record, or not the next one.
        """
        self._fed += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        records = [record for line in lines if (record := self._read(line))]
        if self._damage is not None and self._rest:
            raise self._damage
        return records

    def _read(self, line: bytes) -> Record | None:
        if self.number == self._stop:
            return None
        if self._damage is not None:
            raise self._damage
        self._lines += 1
        head = line[: line.find(b" ", line.find(b" ") + 1) + 1]
        checksum, _, said = line[len(head) :].partition(b" ")
        if not head or checksum != b"%08x" % crc32(said + b"\n", crc32(head)):
            self._damage = CorruptRecordError(self._lines, "this is not what was kept")
        elif not head.startswith(b"%d " % self.number):
            found = head.partition(b" ")[0].decode()
            self._damage = CorruptRecordError(
                self._lines, f"this is record {found} where {self.number} should be"
            )
        else:
            record = Record(self.number, head.split(b" ")[1].decode(), said)
            self.number += 1
            self.size += len(line) + 1
            return record
        return None
