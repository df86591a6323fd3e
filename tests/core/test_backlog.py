from array import array
from collections.abc import Sequence
from sys import getsizeof

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simple_chat.core.backlog import Backlog, Batch

ANN, BOB, CLEO = 1, 2, 3


def batch(first: int, authors: Sequence[int], time: float = 0.0) -> Batch:
    """A batch whose lines say their number and their author."""
    lines = [b"%d by %d\n" % (number, author) for number, author in enumerate(authors, first)]
    return Batch(first, lines, array("Q", authors), [(first, time)])


@pytest.fixture
def middle() -> Batch:
    """The lines 10 to 14."""
    return batch(10, [ANN, ANN, BOB, ANN, BOB], time=7.5)


def test_batch_holds_its_lines_in_one_piece(middle: Batch) -> None:
    assert (middle.first, middle.end, middle.time) == (10, 15, 7.5)
    assert middle.data == b"10 by 1\n11 by 1\n12 by 2\n13 by 1\n14 by 2\n"
    assert middle.size > len(middle.data)


def test_size_is_about_the_memory_that_a_batch_takes() -> None:
    shortest = batch(0, [ANN] * 1_000)
    taken = sum(map(getsizeof, (shortest.data, shortest.edges, shortest._authors)))
    assert taken <= shortest.size < 1.1 * taken


@pytest.mark.parametrize(
    ("start", "stop", "lines"),
    [
        (10, 12, [b"10 by 1\n", b"11 by 1\n"]),
        (13, 99, [b"13 by 1\n", b"14 by 2\n"]),
        (0, 11, [b"10 by 1\n"]),
        (12, 12, []),
        (15, 20, []),
        (0, 5, []),
    ],
)
def test_lines_are_those_in_the_range(middle: Batch, start: int, stop: int, lines: list[bytes]) -> None:
    assert [line for _, _, line in middle.iter_lines(start, stop)] == lines


@pytest.mark.parametrize(
    ("author", "start", "stop", "piece"),
    [
        (CLEO, 10, 15, (b"10 by 1\n11 by 1\n12 by 2\n13 by 1\n14 by 2\n", 0)),
        (ANN, 10, 15, (b"12 by 2\n14 by 2\n", 3)),
        (BOB, 10, 15, (b"10 by 1\n11 by 1\n13 by 1\n", 2)),
        (BOB, 11, 13, (b"11 by 1\n", 1)),
        (ANN, 10, 12, (b"", 2)),
        (CLEO, 10, 10, (b"", 0)),
        (CLEO, 11, 99, (b"11 by 1\n12 by 2\n13 by 1\n14 by 2\n", 0)),
    ],
)
def test_own_lines_are_left_out(
    middle: Batch, author: int, start: int, stop: int, piece: tuple[bytes, int]
) -> None:
    lines, end, own, time = middle.excluding(author, start, stop)
    assert ((lines, own), end, time) == (piece, min(stop, 15), 7.5)


def test_batch_without_own_lines_is_not_copied(middle: Batch) -> None:
    assert middle.excluding(CLEO, 10, 15)[0] is middle.data


def test_each_line_has_the_time_that_holds_from_its_number_on() -> None:
    lines = [b"%d\n" % number for number in range(4, 9)]
    batch = Batch(4, lines, array("Q", [ANN, BOB, ANN, ANN, BOB]), [(4, 1.0), (6, 2.0), (8, 3.0)])
    assert batch.time == 1.0
    assert [(number, time) for number, time, _ in batch.iter_lines(5, 99)] == [
        (5, 1.0),
        (6, 2.0),
        (7, 2.0),
        (8, 3.0),
    ]
    assert batch.excluding(ANN, 4, 9) == (b"5\n", 6, 1, 1.0)
    assert batch.excluding(ANN, 5, 9) == (b"5\n", 6, 0, 1.0)
    assert batch.excluding(ANN, 6, 9) == (b"", 8, 2, 2.0)
    assert batch.excluding(ANN, 8, 9) == (b"8\n", 9, 0, 3.0)


@pytest.mark.parametrize(("start", "count"), [(0, 3), (10, 3), (11, 2), (12, 1), (14, 0), (15, 0)])
def test_own_lines_are_counted_from_a_number_on(middle: Batch, start: int, count: int) -> None:
    assert middle.count_own(ANN, start) == count


def test_new_backlog_is_empty() -> None:
    backlog = Backlog()
    assert (backlog.first, backlog.end) == (0, 0)
    assert backlog.count_own(ANN, 0) == 0
    assert list(backlog.iter_lines(0, 0)) == []


def test_oldest_batches_go_when_the_limit_is_passed() -> None:
    batches = [batch(number, [ANN]) for number in range(4)]
    backlog = Backlog(batches[0].size * 2)
    for expected_first, one in zip([0, 0, 1, 2], batches, strict=True):
        backlog.append(one)
        assert (backlog.first, backlog.end) == (expected_first, one.end)


def test_byte_too_many_drives_out_a_batch() -> None:
    batches = [batch(number, [ANN]) for number in range(2)]
    backlog = Backlog(batches[0].size * 2 - 1)
    for one in batches:
        backlog.append(one)
    assert backlog.first == 1


def test_newest_batch_is_kept_even_if_it_is_too_large() -> None:
    backlog = Backlog(1)
    backlog.append(batch(0, [ANN]))
    backlog.append(batch(1, [ANN, BOB]))
    assert (backlog.first, backlog.end) == (1, 3)


def test_large_batch_drives_out_as_many_as_it_must() -> None:
    small = [batch(number, [ANN]) for number in range(5)]
    large = batch(5, [ANN] * 40)
    backlog = Backlog(large.size + small[0].size)
    for one in [*small, large]:
        backlog.append(one)
    assert (backlog.first, backlog.end) == (4, 45)


def test_iteration_tells_the_number_and_time_of_each_line() -> None:
    backlog = Backlog()
    backlog.append(batch(0, [ANN, BOB], time=1.0))
    backlog.append(batch(2, [ANN], time=2.0))
    assert list(backlog.iter_lines(1, 3)) == [(1, 1.0, b"1 by 2\n"), (2, 2.0, b"2 by 1\n")]


def test_iteration_passes_over_what_was_let_go_meanwhile() -> None:
    backlog = Backlog(batch(0, [ANN]).size * 2)
    backlog.append(batch(0, [ANN]))
    backlog.append(batch(1, [BOB]))
    lines = backlog.iter_lines(0, 3)
    assert next(lines) == (0, 0.0, b"0 by 1\n")
    for number in (2, 3):
        backlog.append(batch(number, [CLEO]))
    assert list(lines) == [(2, 0.0, b"2 by 3\n")]


def test_iteration_that_is_all_gone_is_empty() -> None:
    backlog = Backlog(1)
    lines = backlog.iter_lines(0, 1)
    backlog.append(batch(0, [ANN]))
    backlog.append(batch(1, [ANN]))
    assert list(lines) == []


authors_of_batches = st.lists(
    st.lists(st.sampled_from([ANN, BOB, CLEO]), min_size=1, max_size=6), min_size=1, max_size=8
)


@given(authors_of_batches, st.integers(600, 3_000), st.data())
def test_reader_gets_every_kept_line_of_others(
    batches: list[list[int]], limit: int, data: st.DataObject
) -> None:
    backlog = Backlog(limit)
    for authors in batches:
        backlog.append(batch(backlog.end, authors))
    everything = list(enumerate(author for authors in batches for author in authors))
    start = data.draw(st.integers(backlog.first, backlog.end))
    stop = data.draw(st.integers(start, backlog.end))
    asked = everything[start:stop]

    cursor, pieces, left_out = start, b"", 0
    while cursor < stop:
        piece, cursor, own, _ = backlog.read(ANN, cursor, stop)
        pieces, left_out = pieces + piece, left_out + own

    assert backlog.end == len(everything)
    assert cursor == stop
    assert pieces == b"".join(b"%d by %d\n" % line for line in asked if line[1] != ANN)
    assert left_out == sum(author == ANN for _, author in asked)
    assert backlog.count_own(ANN, start) == sum(author == ANN for _, author in everything[start:])
    assert [line for _, _, line in backlog.iter_lines(start, stop)] == [
        b"%d by %d\n" % line for line in asked
    ]
