"""What is beyond a retention: by size, and by an age that a wrong clock does not change."""

import pytest

from simple_chat.journal.retention import Span, count_beyond_age, count_beyond_size

DAY = 86_400.0
FUTURE = 12 * 365.0
"""Days that a clock may be ahead."""


@pytest.mark.parametrize(
    ("limit", "count"), [(400, 0), (399, 1), (300, 1), (200, 2), (101, 3), (100, 3), (99, 3), (0, 3)]
)
def test_oldest_segments_are_beyond_a_size(limit: int, count: int) -> None:
    assert count_beyond_size([100, 100, 100, 100], limit) == count


@pytest.mark.parametrize("sizes", [[], [100]])
def test_last_segment_is_never_beyond_a_size(sizes: list[int]) -> None:
    assert count_beyond_size(sizes, 0) == 0


def count(limit: float, *spans: tuple[float, float]) -> int:
    """Count the segments that are older than some days; each span is begin and end in days."""
    return count_beyond_age([Span(begin * DAY, end * DAY) for begin, end in spans], limit * DAY, DAY)


@pytest.mark.parametrize(("limit", "beyond"), [(0.9, 4), (1, 3), (2.5, 2), (3, 1), (3.9, 1), (4, 0)])
def test_oldest_segments_are_beyond_an_age(limit: float, beyond: int) -> None:
    assert count(limit, (0, 1), (1, 2), (2, 3), (3, 4), (5, 5)) == beyond


@pytest.mark.parametrize("spans", [[], [(0, 100)]])
def test_last_segment_is_never_beyond_an_age(spans: list[tuple[float, float]]) -> None:
    assert count(1, *spans) == 0


def test_time_without_a_line_counts_while_a_server_runs() -> None:
    assert count(30, (0, 1), (1, 31.5), (31.5, 32)) == 1


def test_leap_makes_nothing_old() -> None:
    assert count(1, (0, 0.3), (0.3, 0.5), (FUTURE, FUTURE)) == 0


def test_time_after_a_leap_counts() -> None:
    assert count(2, (0, 1), (FUTURE, FUTURE + 1), (FUTURE + 1, FUTURE + 3), (FUTURE + 3, FUTURE + 3)) == 1


def test_segment_of_a_wrong_clock_is_deleted_in_its_turn() -> None:
    days = [(n, n + 1) for n in range(9)]
    for wrong in [(FUTURE, FUTURE + 0.5), (-FUTURE, -FUTURE + 0.5)]:
        assert count(3.1, *days[:5], wrong, *days[5:]) in {4, 5}
        assert count(2.9, *days[:5], wrong, *days[5:]) == 6
        assert count(5, *days[:5], wrong, *days[5:]) in {2, 3}


@pytest.mark.parametrize("end", [-3.0, 300.0], ids=["before it begins", "a copy made later"])
def test_end_that_can_not_be_is_not_believed(end: float) -> None:
    assert count(1, (0, 1), (1, end), (1.5, 2)) == 0


def test_end_a_leap_after_the_next_begin_is_believed_just_so() -> None:
    assert count(1, (0, 0.5), (0.5, 2), (1, 3)) == 1


def test_each_second_counts_and_no_leap_takes_one_back() -> None:
    spans = [Span(0, 10), Span(1_000, 1_010), Span(1_010, 1_010)]
    assert [count_beyond_age(spans, limit, 60) for limit in (9.5, 10)] == [1, 0]


@pytest.mark.parametrize(("following", "limit"), [(0.5, 10.4), (-0.5, 9.8)], ids=["pause", "overlap"])
def test_half_a_second_between_segments_counts_and_an_overlap_takes_none_back(
    following: float, limit: float
) -> None:
    spans = [Span(0, 10), Span(10, 20), Span(20 + following, 30)]
    assert count_beyond_age(spans, limit, 60) == 1
