"""The journal's format: records are decoded as they were encoded, or reported as corrupt."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_chat.core.backlog import NO_AUTHOR, Batch
from simple_chat.journal.record import (
    CorruptRecordError,
    Record,
    RecordReader,
    decode_batches,
    encode_records,
    start_marker,
)
from tests.journal.harness import make_batch

FIRST = 98  # the numbers of the small journal get a digit more on the way
TIME = 1795463301.123
TIMESTAMP = "2026-11-23T19:48:21.123Z"


def batch(first: int, *lines: bytes, time: float = TIME) -> Batch:
    return make_batch(first, *lines, time=time)


def read(data: bytes, reader: RecordReader) -> list[Record]:
    return reader.feed(data) if data else []


def read_in_pieces(data: bytes, cuts: Iterable[int], reader: RecordReader) -> list[Record]:
    pieces = [data[start:end] for start, end in pairwise([0, *sorted(cuts), len(data)])]
    return [record for piece in pieces for record in read(piece, reader)]


SMALL = [
    encode_records(start_marker(FIRST, TIME)),
    *(
        encode_records(batch(FIRST + 1 + n, line))
        for n, line in enumerate([b"JOINED ann", b"MSG ann h\xc3\xa4"])
    ),
]
"""The records of a small journal."""

RECORDS = [
    Record(98, TIMESTAMP, b"START"),
    Record(99, TIMESTAMP, b"JOINED ann"),
    Record(100, TIMESTAMP, "MSG ann hä".encode()),
]


@pytest.fixture
def reader() -> RecordReader:
    return RecordReader(FIRST)


# Encoding and decoding


def test_record_is_encoded_as_a_line_of_text() -> None:
    assert encode_records(batch(42, b"MSG ann hello")) == f"42 {TIMESTAMP} 64f2dd1a MSG ann hello\n".encode()


def test_timestamp_is_converted_to_seconds() -> None:
    assert RECORDS[0].seconds == TIME


def test_start_marker_is_one_record(reader: RecordReader) -> None:
    assert reader.feed(SMALL[0]) == RECORDS[:1]


journals = st.lists(
    st.tuples(
        st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line), min_size=1, max_size=5),
        st.integers(0, 4_000_000_000_000).map(lambda milliseconds: milliseconds / 1000),
    ),
    max_size=6,
)


def make_batches(some: Sequence[tuple[list[bytes], float]], first: int) -> list[Batch]:
    made: list[Batch] = []
    for lines, time in some:
        made.append(batch(made[-1].end if made else first, *lines, time=time))
    return made


@given(journals, st.integers(0, 2**63), st.data())
def test_encoded_batches_are_decoded_from_blocks_of_any_size(
    some: list[tuple[list[bytes], float]], first: int, data: st.DataObject
) -> None:
    batches = make_batches(some, first)
    written = b"".join(map(encode_records, batches))
    cuts = data.draw(st.lists(st.integers(0, len(written)), max_size=20))
    reader = RecordReader(first)

    records = read_in_pieces(written, cuts, reader)

    assert [record.number for record in records] == list(range(first, batches[-1].end if batches else first))
    assert [record.line for record in records] == [line for lines, _ in some for line in lines]
    assert [record.seconds for record in records] == pytest.approx(
        [time for lines, time in some for _ in lines], abs=0.001
    )
    assert (reader.size, reader.torn) == (len(written), 0)


def test_records_are_decoded_byte_by_byte(reader: RecordReader) -> None:
    written = b"".join(SMALL)
    assert read_in_pieces(written, range(1, len(written)), reader) == RECORDS


# Corruption


@pytest.mark.parametrize("length", range(len(b"".join(SMALL)) + 1))
def test_truncated_journal_decodes_to_its_complete_records(reader: RecordReader, length: int) -> None:
    records = read(b"".join(SMALL)[:length], reader)
    sizes = [len(b"".join(SMALL[:n])) for n in range(4)]
    whole = max(n for n in range(4) if sizes[n] <= length)
    assert records == RECORDS[:whole]
    assert (reader.number, reader.size, reader.torn) == (FIRST + whole, sizes[whole], length - sizes[whole])


def read_until_corrupt(data: bytes, size: int) -> tuple[list[Record], CorruptRecordError | None]:
    """Return the records that a reader decodes from blocks of this size, and the error that ends it."""
    reader, records = RecordReader(FIRST), list[Record]()
    try:
        for start in range(0, len(data), size):
            records += reader.feed(data[start : start + size])
    except CorruptRecordError as error:
        return records, error
    return records, None


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize("broken", range(3))
def test_flipped_bit_is_never_decoded(broken: int, size: int) -> None:
    start, end = len(b"".join(SMALL[:broken])), len(b"".join(SMALL[: broken + 1]))
    for bit in range(start * 8, end * 8):
        written = bytearray(b"".join(SMALL))
        written[bit // 8] ^= 1 << bit % 8
        records, error = read_until_corrupt(bytes(written), size)
        assert records == RECORDS[: len(records)]
        assert len(records) == broken or error
        torn = written.count(b"\n", start) < 2  # as is the last but one too, when its line end is gone
        assert error == (None if torn else CorruptRecordError(broken + 1, "checksum mismatch"))


def test_torn_last_line_is_corrupt_only_when_something_follows(reader: RecordReader) -> None:
    torn = SMALL[1][:-5] + b"\n"
    assert reader.feed(SMALL[0] + torn) == RECORDS[:1]
    assert (reader.number, reader.torn) == (99, len(torn))
    with pytest.raises(CorruptRecordError) as raised:
        reader.feed(b"1")
    assert raised.value == CorruptRecordError(2, "checksum mismatch")


@pytest.mark.parametrize("line", [b"", b"98", b"98 ", b"98 x", b"98 x ", b"98 x y", b"98 x 00000000 MSG"])
def test_line_of_another_format_is_corrupt(reader: RecordReader, line: bytes) -> None:
    with pytest.raises(CorruptRecordError, match="checksum mismatch"):
        reader.feed(line + b"\n" + SMALL[0])


@pytest.mark.parametrize(
    ("order", "error"),
    [
        ([0, 2, 2], CorruptRecordError(2, "record 100 instead of 99")),
        ([0, 1, 1, 2], CorruptRecordError(3, "record 99 instead of 100")),
        ([1, 2], CorruptRecordError(1, "record 99 instead of 98")),
    ],
    ids=["missing", "duplicate", "first missing"],
)
def test_missing_or_duplicate_record_is_corrupt(
    reader: RecordReader, order: list[int], error: CorruptRecordError
) -> None:
    with pytest.raises(CorruptRecordError) as raised:
        reader.feed(b"".join(SMALL[n] for n in order))
    assert raised.value == error


def test_bytes_that_are_no_ascii_are_replaced_in_a_time_and_a_number(reader: RecordReader) -> None:
    for number in (b"98", b"\xff"):
        checksum = b"%08x" % crc32(b"%b \xff MSG\n" % number)
        record = b"%b \xff %b MSG\n" % (number, checksum)
        if number == b"98":
            assert reader.feed(record) == [Record(98, "\N{REPLACEMENT CHARACTER}", b"MSG")]
        else:
            with pytest.raises(CorruptRecordError, match="record \N{REPLACEMENT CHARACTER} instead of 99"):
                reader.feed(record + record)


def test_number_with_the_next_one_as_prefix_is_corrupt() -> None:
    reader = RecordReader(9)
    with pytest.raises(CorruptRecordError, match="record 98 instead of 9"):
        reader.feed(SMALL[0] + SMALL[1])


# The stop


@pytest.mark.parametrize("in_pieces", [False, True], ids=["one block", "byte by byte"])
@pytest.mark.parametrize(
    "rest", [b"".join(SMALL[2:]), b"torn", b"no record\nnor this\n", SMALL[0], SMALL[2] + SMALL[2]]
)
def test_everything_after_the_stop_is_ignored(rest: bytes, *, in_pieces: bool) -> None:
    written = b"".join(SMALL[:2]) + rest
    reader = RecordReader(FIRST, stop=100)
    assert read_in_pieces(written, range(1, len(written)) if in_pieces else [], reader) == RECORDS[:2]
    assert (reader.number, reader.size) == (100, len(written) - len(rest))


def test_missing_record_before_the_stop_is_corrupt() -> None:
    with pytest.raises(CorruptRecordError, match="record 100 instead of 99"):
        RecordReader(FIRST, stop=101).feed(SMALL[0] + SMALL[2] + SMALL[2])


# Batches


def test_records_of_the_same_time_are_one_batch() -> None:
    early = batch(7, b"JOINED ann", b"MSG ann a", time=TIME - 5)
    late = batch(9, b"MSG ann b")
    found = list(decode_batches(RecordReader(7).feed(encode_records(early) + encode_records(late))))
    assert [(each.first, each.end, each.data, each.time) for each in found] == [
        (each.first, each.end, each.data, each.time) for each in (early, late)
    ]
    assert all(each.count_own(NO_AUTHOR, 0) == each.end - each.first for each in found)
    assert [list(each.iter_lines(7, 10)) for each in found] == [
        list(each.iter_lines(7, 10)) for each in (early, late)
    ]


def test_no_records_decode_to_no_batches() -> None:
    assert list(decode_batches([])) == []
